"""StopIdle: weights of endpoints that nobody asks leave memory, after a notice."""

__all__: list[str] = []
