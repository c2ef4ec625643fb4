"""What a project may have at once: runs, workers of one run, endpoints, storage."""

__all__: list[str] = []
