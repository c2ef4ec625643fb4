"""Materialize: the newest feature rows, brought to serving's online store."""

__all__: list[str] = []
