"""Periods follow one another without a gap, and every moment is in one of each kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.contracts.budgets import BudgetPut, Period
from mainspring.core.cost import periods

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC))


@given(period=st.sampled_from(Period), now=MOMENTS)
def test_every_moment_is_in_one_period_and_the_next_begins_where_it_ends(
    period: Period, now: datetime
) -> None:
    begins, ends = periods.span(period, now)
    assert begins <= now < ends
    assert (
        periods.span(period, begins)
        == periods.span(period, ends - timedelta(microseconds=1))
        == (begins, ends)
    )
    assert periods.span(period, ends)[0] == ends
    assert (begins.hour, begins.minute, begins.second, begins.microsecond) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("period", "begins", "ends"),
    [
        (Period.DAY, "2026-12-31", "2027-01-01"),
        (Period.WEEK, "2026-12-28", "2027-01-04"),
        (Period.MONTH, "2026-12-01", "2027-01-01"),
        (Period.QUARTER, "2026-10-01", "2027-01-01"),
        (Period.YEAR, "2026-01-01", "2027-01-01"),
    ],
)
def test_at_the_end_of_a_year_by_utc(period: Period, begins: str, ends: str) -> None:
    # 2027 has begun where this was read; in UTC it has not.
    now = datetime(2027, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    found = periods.span(period, now)
    assert tuple(at.date().isoformat() for at in found) == (begins, ends)
    assert {at.tzinfo for at in found} == {UTC}


def test_a_leap_day_is_in_february_and_its_quarter() -> None:
    now = datetime(2028, 2, 29, 12, tzinfo=UTC)
    assert periods.span(Period.MONTH, now)[1] == datetime(2028, 3, 1, tzinfo=UTC)
    assert periods.span(Period.QUARTER, now) == (
        datetime(2028, 1, 1, tzinfo=UTC),
        datetime(2028, 4, 1, tzinfo=UTC),
    )


def test_thresholds_are_in_order_and_each_once() -> None:
    assert BudgetPut(amount=1.0, thresholds=(1.0, 0.5, 1.0)).thresholds == (0.5, 1.0)
