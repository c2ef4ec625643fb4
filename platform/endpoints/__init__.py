"""Endpoints: which project each is of."""

__all__: list[str] = []
