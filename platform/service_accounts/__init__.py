"""Service accounts: programs that act for a project, by tokens for minutes."""

__all__: list[str] = []
