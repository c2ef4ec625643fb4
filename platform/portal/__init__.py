"""The web pages: a built bundle that the control API serves, and the reads that only they need."""

__all__ = ["bundle", "me", "routes"]
