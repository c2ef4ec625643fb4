"""Keys: which there are, and what changes them."""

__all__: list[str] = []
