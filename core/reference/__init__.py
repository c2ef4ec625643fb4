"""Reference projects: complete, on real data, and small enough to read."""

__all__: list[str] = []
