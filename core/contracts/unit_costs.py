"""What a training costs, what a thousand predictions cost, and what a month will have cost."""

from __future__ import annotations

from mainspring.core.contracts.base import Digest, Message, Slug, UtcTime

__all__ = ["BudgetForecast", "OversizeRun", "RunCost", "ServedCost", "UnitCosts"]


class RunCost(Message):
    """Runs of one kind that used something in the period."""

    kind: str
    """As of a run: `train`, `tune`, `score`, ..."""
    runs: int
    cost: float
    cost_per_run: float


class ServedCost(Message):
    """What one model version answered for one endpoint."""

    endpoint: Slug
    model_version: Digest
    requests: int
    predictions: int
    cost: float
    cost_per_thousand: float | None = None
    """Of predictions, CPU time included; None where nothing was predicted."""


class UnitCosts(Message):
    """All that was used in a period: `runs`, `serving` and `other` add up to `total` to the billionth."""

    currency: str
    runs: list[RunCost]
    serving: list[ServedCost]
    """The dearest per thousand predictions first."""
    other: float
    """Of usage whose run is not on record here."""
    total: float


class OversizeRun(Message):
    """A run that ended well and used a small share of what it had kept free: others could not start for it."""

    run_id: str
    project: Slug
    kind: str
    requested_by: str
    max_cost: float
    cost: float


class BudgetForecast(Message):
    """A project's month, if it goes on as in the last seven days."""

    project: Slug
    currency: str
    limit: float | None = None
    """None: it has no budget."""
    spent: float
    held: float
    """Kept free for runs that have not ended."""
    per_day: float
    """The mean of the last seven days; of a younger project since it was made, of a day at least."""
    forecast: float
    """What the month will have cost: `spent`, and `per_day` until its end."""
    is_over: bool = False
    runs_out_at: UtcTime | None = None
    """When `limit` is reached at that rate; None: not this month."""
