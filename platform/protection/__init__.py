"""Data protection: which columns tell of persons, by a detector's finding and a person's word."""

__all__: list[str] = []
