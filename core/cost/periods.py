"""Where the periods of budgets begin and end. Pure: the time is an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mainspring.core.contracts.budgets import Period

__all__ = ["span"]

_QUARTER_MONTHS = 3


def span(period: Period, now: datetime) -> tuple[datetime, datetime]:
    """The period that `now` is in, its beginning and its end, in UTC."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case Period.DAY:
            return day, day + timedelta(days=1)
        case Period.WEEK:
            monday = day - timedelta(days=day.weekday())
            return monday, monday + timedelta(days=7)
        case Period.MONTH:
            return day.replace(day=1), _months_on(day, day.month)
        case Period.QUARTER:
            before = (day.month - 1) // _QUARTER_MONTHS * _QUARTER_MONTHS
            return day.replace(month=before + 1, day=1), _months_on(day, before + _QUARTER_MONTHS)
        case Period.YEAR:
            return day.replace(month=1, day=1), _months_on(day, 12)


def _months_on(day: datetime, months: int) -> datetime:
    """The first of the month after `months` of the year of `day`."""
    years, month = divmod(months, 12)
    return day.replace(year=day.year + years, month=month + 1, day=1)
