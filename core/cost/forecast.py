"""What a month, or another period, will have cost if it goes on as in the last days. Exact and pure: the time is an argument.

The method is the mean of the last seven days, carried on to the end of the month (UTC). It knows of no weekdays and no plans;
what it is for is to say early that a budget will not last. Of the first day of a month it takes the days before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from mainspring.core.contracts.budgets import Period
from mainspring.core.cost import periods

WINDOW: Final = timedelta(days=7)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Forecast:
    """Billionths of the currency."""

    per_day_nanos: int
    nanos: int
    runs_out_at: datetime | None


def window_of(created_at: datetime, now: datetime) -> timedelta:
    """How far back is looked: a project that is younger has not spent less, it has existed for less."""
    return max(_DAY, min(WINDOW, now - created_at))


def of(
    *,
    spent_nanos: int,
    recent_nanos: int,
    window: timedelta,
    limit_nanos: int | None,
    now: datetime,
    ends: datetime | None = None,
) -> Forecast:
    """`spent_nanos` since the period began that `ends`, the month of `now` if None; `recent_nanos` in the `window` before `now`."""
    per_day = recent_nanos / _days(window)
    left = (ends or periods.span(Period.MONTH, now)[1]) - now
    nanos = spent_nanos + per_day * _days(left)
    out: datetime | None = None
    if limit_nanos is not None and spent_nanos >= limit_nanos:
        out = now
    elif limit_nanos is not None and nanos > limit_nanos:
        out = now + timedelta(days=float((limit_nanos - spent_nanos) / per_day))
    return Forecast(round(per_day), round(nanos), out)


def _days(span: timedelta) -> Fraction:
    return Fraction(span // timedelta(microseconds=1), _DAY // timedelta(microseconds=1))
