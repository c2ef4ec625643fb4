"""What a project may have at once: runs, workers of one run, endpoints."""

__all__: list[str] = []
