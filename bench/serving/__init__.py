"""The data plane under load, against the bare server, a plain FastAPI route and servers that others wrote."""

__all__ = [
    "compiled",
    "contestants",
    "deployed",
    "forms",
    "goals",
    "load",
    "machine",
    "measure",
    "model",
    "peers",
    "servers",
    "shipped",
]
