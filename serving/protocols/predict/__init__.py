"""Bodies of `:predict` beside one JSON object: lines, Arrow streams, and events."""

__all__ = ["arrow", "events", "lines"]
