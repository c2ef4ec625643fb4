"""Environments, and what each lets through."""

__all__: list[str] = []
