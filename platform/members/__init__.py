"""Members: who may do what in one project."""

__all__: list[str] = []
