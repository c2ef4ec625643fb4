"""CheckDrift: what an endpoint answered, held against its baseline, on record; alarms raise alerts."""

__all__: list[str] = []
