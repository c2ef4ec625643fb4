"""Projects: a team's unit of access and cost."""

__all__: list[str] = []
