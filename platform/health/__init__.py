"""Is the process alive, and can it serve."""

__all__: list[str] = []
