"""Data protection: what tells of persons (`naming`, `detecting`), and how it is kept from who may not see it."""

__all__: list[str] = []
