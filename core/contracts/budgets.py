"""What projects may spend, by environment and period, and what runs and projects have spent, as whoever has work under way asks for it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

__all__ = [
    "ALL",
    "BudgetPut",
    "BudgetView",
    "Period",
    "PeriodSpending",
    "Reservation",
    "ReservationEnd",
    "ReservationRenewal",
    "Spending",
    "Standing",
]

#: The environment of a budget for all of a project's environments together.
ALL = "all"

#: Of work that is no run: what the keys of its usage begin with.
_WorkId: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][A-Za-z0-9._/-]{7,199}$")]
_Share: TypeAlias = Annotated[float, Field(gt=0, le=10)]


class Period(StrEnum):
    """By the calendar, in UTC; a week begins on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class BudgetPut(Request):
    """One budget, all of it."""

    amount: Annotated[float, Field(gt=0, le=4_500_000)]
    """Of each period, in the price book's currency."""
    is_hard: bool = True
    """What would spend more does not begin, and what is at work is stopped; False: it is told of, and nothing more."""
    thresholds: Annotated[tuple[_Share, ...], Field(max_length=10)] = (0.5, 0.8, 1.0)
    """Shares of `amount` that somebody is told of when they are spent, once each in a period."""
    stop_endpoints: bool = False
    """Of a hard one: when it is spent StopIdle gives notice to the endpoints of its environment and takes them out of service after
    a grace. False: what serves goes on, and costs more than the budget."""

    @field_validator("thresholds")
    @classmethod
    def _in_order(cls, given: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(given)))

    @model_validator(mode="after")
    def _stops_if_hard(self) -> Self:
        if self.stop_endpoints and not self.is_hard:
            raise ValueError(
                "`stop_endpoints` is of a hard budget; a soft one stops nothing, so leave it out or set `is_hard`"
            )
        return self


class BudgetView(Message):
    """A budget and where it stands. `version` is of what was set: its ETag, which a change names as `If-Match`."""

    project: Slug
    environment: str
    """`all`: of all of them together."""
    period: Period
    amount: float
    is_hard: bool
    thresholds: tuple[float, ...]
    stop_endpoints: bool = False
    currency: str
    begins: UtcTime
    """Of the period that is now, as is what follows."""
    ends: UtcTime
    spent: float
    held: float
    """Kept free for runs, workspaces and readers of streams that have not ended."""
    forecast: float
    """What the period will have cost if it goes on as in the last days: `spent`, and their mean until its end."""
    reached: float = 0.0
    """The highest threshold that is spent; 0: none."""
    version: str
    set_at: UtcTime
    set_by: str


class ReservationRenewal(Request):
    """What work that is no run may use from here on, beyond what is on record of it: kept free until it is renewed, ends or lapses."""

    work_id: _WorkId
    environment: Annotated[str, Field(min_length=1, max_length=32)]
    ahead: Annotated[dict[str, Annotated[float, Field(ge=0, le=1e9)]], Field(max_length=16)]
    """By SKU of the price book, in its units."""


class ReservationEnd(Request):
    work_id: _WorkId


class Reservation(Message):
    project: Slug
    work_id: str
    amount: float
    """Kept free beyond what is on record, in the price book's currency."""
    lapses_at: UtcTime | None = None
    """None: nothing is kept."""


class Spending(Message):
    """`spent` is what is on record: what is at work has used more."""

    limit: float | None = None
    """None: there is none."""
    spent: float = 0.0


class PeriodSpending(Message):
    """Of a hard budget, in the period that is now."""

    project: Slug
    environment: str
    """`all`: of all of them together."""
    period: Period
    limit: float
    spent: float

    def is_for(self, environment: str) -> bool:
        return self.environment in (ALL, environment)


class Standing(Message):
    """Of the runs that were asked about and may be known of, and of their projects. Amounts are in `currency`."""

    currency: str
    prices: dict[str, float]
    """By SKU of the price book, of one of its units: on nodes on demand."""
    rates: dict[str, dict[str, float]] = {}
    """By other capacity of nodes and by SKU. One that is absent is billed as on demand, as releases do that know one price."""
    runs: dict[str, Spending] = {}
    """By id; a run that the control API did not start is absent."""
    projects: dict[Slug, Spending] = {}
    """Of this month (UTC)."""
    budgets: tuple[PeriodSpending, ...] = ()
    """Of those projects."""
