"""The audit log: who did what, chained by hash."""

__all__: list[str] = []
