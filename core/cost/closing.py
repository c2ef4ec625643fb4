"""When a month's costs are closed, and in which month something is billed that comes later. Pure: the time is an argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from mainspring.core import errors
from mainspring.core.contracts.budgets import Period
from mainspring.core.cost import periods

__all__ = ["billed_in", "is_closed", "month_before", "span_of"]

#: A change that began before a month was closed may be on record a little later: only then is a report said to be final.
_SETTLES: Final = timedelta(minutes=10)
_MONTH: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
_FIRST_YEAR, _LAST_YEAR = 1970, 9998


def billed_in(began: datetime, now: datetime, close_days: float) -> str:
    """The month, as `2026-11`, in which use that began then and is put on record now is billed; empty: the month it began in."""
    earliest_open = _first(now - timedelta(days=close_days))
    return earliest_open.strftime("%Y-%m") if _first(began) < earliest_open else ""


def is_closed(month: str, now: datetime, close_days: float) -> bool:
    """Whether nothing comes to its costs any more. Errors: InvalidRequest."""
    return now >= span_of(month)[1] + timedelta(days=close_days) + _SETTLES


def span_of(month: str) -> tuple[datetime, datetime]:
    """Its beginning and its end, in UTC. Errors: InvalidRequest for what is no month."""
    found = _MONTH.fullmatch(month)
    if found is None or not _FIRST_YEAR <= int(found[1]) <= _LAST_YEAR:
        raise errors.InvalidRequest(f"`{month[:40]}` is no month; write one as `2026-11`", field="month")
    return periods.span(Period.MONTH, datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC))


def month_before(month: str) -> str:
    """Errors: InvalidRequest."""
    return (span_of(month)[0] - timedelta(days=1)).strftime("%Y-%m")


def _first(at: datetime) -> datetime:
    return periods.span(Period.MONTH, at)[0]
