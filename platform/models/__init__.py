"""Models: what trainings made or people imported, with what their bundles say."""

__all__: list[str] = []
