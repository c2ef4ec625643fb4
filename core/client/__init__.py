"""Thin typed clients: what a product team's process imports. No torch, no ray, no pandas."""

__all__: list[str] = []
