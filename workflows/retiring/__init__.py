"""RetireModel: a model version leaves traffic, memory and the registry's names, and is not loaded again."""

__all__: list[str] = []
