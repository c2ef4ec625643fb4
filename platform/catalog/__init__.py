"""The catalog: what every project has, who answers for it, and who uses it."""

__all__: list[str] = []
