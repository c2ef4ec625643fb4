"""Reads and writes of online features, by batch."""

__all__ = ["push", "read", "reader"]
