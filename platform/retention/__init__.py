"""What retentions remove: on record before it is gone, and events of lineage, which are rows of ours."""

__all__: list[str] = []
