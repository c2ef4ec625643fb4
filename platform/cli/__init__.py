"""The command line: a thin client of the control API."""

__all__: list[str] = []
