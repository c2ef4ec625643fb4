"""From raw data to an approved, deployed model. See README.md."""

__all__ = ["messages", "workflow"]
