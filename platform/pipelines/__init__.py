"""Pipelines: code that a project brings, kept by its digest before a run is started with it."""

__all__: list[str] = []
