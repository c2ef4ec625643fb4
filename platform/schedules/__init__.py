"""Schedules: processes of a project that run by the clock."""

__all__: list[str] = []
