"""Usage and what it costs."""

__all__: list[str] = []
