"""Tables that look like a real one and have nobody's row: for environments where the real one must not be."""

__all__: list[str] = []
