"""Bringing a bundle into service by steps, with the way back always open. See README.md."""

__all__ = ["activities", "judge", "messages", "workflow"]
