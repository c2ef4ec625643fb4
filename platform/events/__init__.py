"""Watching: what goes on record is told to who may read it, as it happens."""

__all__: list[str] = []
