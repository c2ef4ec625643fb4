"""The main job as a measurement: the demo on a fresh state directory, then again on what it left."""

__all__: list[str] = []
