"""One file for each revision, in order."""

__all__: list[str] = []
