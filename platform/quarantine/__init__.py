"""Quarantine: batches of a project's folders that failed their expectations, and their release."""

__all__: list[str] = []
