"""Access requests: a role for a time, by somebody's decision or by breaking the glass."""

__all__: list[str] = []
