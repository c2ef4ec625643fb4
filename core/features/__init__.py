"""Features: declared once, computed with event times, joined point-in-time, read online, turned into model input.

Import the modules, not this package: each pulls in only what it needs (`plan` and `program` want numpy, `online`
sqlite3, `point_in_time` and `windows` Polars, `feast_adapter` Feast), so a serving process never loads Feast.
"""

__all__: list[str] = []
