"""Models: what trainings made, with what their bundles say."""

__all__: list[str] = []
