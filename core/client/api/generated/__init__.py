"""Made by `tools/async_client.py` from the files of the same names one folder up: change those, and run it."""

__all__: list[str] = []
