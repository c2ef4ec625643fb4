"""Legal holds: placed by one person, lifted by two."""

__all__: list[str] = []
