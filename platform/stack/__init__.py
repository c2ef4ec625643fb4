"""The embedded stack of one machine: real servers as child processes, on loopback, ended by pid."""

__all__ = ["parts", "processes", "stack"]
