"""ExpireAccess: a role for a time ends on record when it is due."""

__all__: list[str] = []
