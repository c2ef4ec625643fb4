"""Erasures: asked for, decided on by somebody else, and their certificates."""

__all__: list[str] = []
