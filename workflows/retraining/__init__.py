"""RetrainOnDrift: what was predicted, held against what happened, and a training where that is an alarm."""

__all__: list[str] = []
