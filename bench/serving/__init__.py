"""The data plane under load, against the bare server and a plain FastAPI route, in one run on one machine."""

__all__ = ["goals", "load", "machine", "measure", "model", "servers"]
