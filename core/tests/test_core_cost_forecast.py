"""A month at the mean of the last seven days: exact, and early in the month as well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.cost import forecast

USD = 10**9
MIDDLE = datetime(2026, 11, 16, tzinfo=UTC)  # fifteen days are left


def told(spent: int, recent: int, limit: int | None, now: datetime = MIDDLE) -> forecast.Forecast:
    return forecast.of(
        spent_nanos=spent, recent_nanos=recent, window=forecast.WINDOW, limit_nanos=limit, now=now
    )


def test_the_rest_of_the_month_costs_what_the_last_days_did() -> None:
    found = told(30 * USD, 14 * USD, 100 * USD)
    assert (found.per_day_nanos, found.nanos, found.runs_out_at) == (2 * USD, 60 * USD, None)


def test_a_budget_that_does_not_last_says_when_it_ends() -> None:
    found = told(30 * USD, 14 * USD, 50 * USD)
    assert found.runs_out_at == MIDDLE + timedelta(days=10) and found.nanos == 60 * USD
    assert told(50 * USD, 0, 50 * USD).runs_out_at == MIDDLE  # it has
    assert told(30 * USD, 14 * USD, None).runs_out_at is None
    assert told(30 * USD, 0, 30 * USD + 1).runs_out_at is None


@pytest.mark.parametrize(
    ("now", "days"),
    [
        (datetime(2026, 12, 1, tzinfo=UTC), 31),  # the days before are of another month
        (datetime(2026, 12, 31, 12, tzinfo=UTC), 0.5),
        (datetime(2028, 2, 1, tzinfo=UTC), 29),
        (datetime(2026, 11, 30, 23, tzinfo=timezone(timedelta(hours=-1))), 31),
    ],
)
def test_months_end_in_utc_whatever_their_length(now: datetime, days: float) -> None:
    assert told(0, 7 * USD, None, now).nanos == round(days * USD)


def test_a_young_project_is_measured_since_it_was_made() -> None:
    made = MIDDLE - timedelta(days=2)
    assert forecast.window_of(made, MIDDLE) == timedelta(days=2)
    assert forecast.window_of(MIDDLE, MIDDLE) == timedelta(days=1)
    assert forecast.window_of(MIDDLE - timedelta(days=400), MIDDLE) == forecast.WINDOW


@given(
    spent=st.integers(0, 10**15),
    recent=st.integers(0, 10**15),
    limit=st.integers(0, 10**16),
    seconds=st.integers(0, 30 * 86_400 - 1),
)
def test_it_runs_out_exactly_where_the_forecast_is_over(
    spent: int, recent: int, limit: int, seconds: int
) -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    found = told(spent, recent, limit, now)
    assert found.nanos >= spent
    if found.runs_out_at is None:
        assert found.nanos <= limit
    else:
        assert now <= found.runs_out_at <= datetime(2026, 12, 1, tzinfo=UTC)
