"""What Prometheus scrapes: the process's own counts, and what is on record of projects."""

__all__: list[str] = []
