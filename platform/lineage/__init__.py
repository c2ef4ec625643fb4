"""Lineage: OpenLineage events, and the graph that they make."""

__all__: list[str] = []
