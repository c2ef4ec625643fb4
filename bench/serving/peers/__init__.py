"""Servers that others wrote, each in an environment of its own: how they are installed and how they start."""

__all__ = ["commands", "environments"]
