"""Endpoints that nobody asks: what is on record of them."""

__all__: list[str] = []
