"""TuneModel: trials of a project's model, and a training with the best."""

__all__: list[str] = []
