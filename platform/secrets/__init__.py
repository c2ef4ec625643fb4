"""References to secrets: where each lies, never what it is."""

__all__: list[str] = []
