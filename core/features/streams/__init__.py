"""Features from events: topics in, windowed aggregates out, each event with an effect exactly once."""

__all__: list[str] = []
