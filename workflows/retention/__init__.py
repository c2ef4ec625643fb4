"""EnforceRetention: logs and reports are removed when they are older than they may get."""

__all__: list[str] = []
