"""When an endpoint that nobody asks is told of, and when it is stopped. Pure: the time is an argument."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from mainspring.core import settings
from mainspring.core.contracts import idling
from mainspring.core.cost import pricing

HOURS_PER_MONTH: Final = 730


class Verdict(StrEnum):
    BUSY = "busy"
    EXEMPT = "exempt"
    NOTICE = "notice"
    WAIT = "wait"
    """There was a notice, and its grace is not over."""
    STOP = "stop"
    STOPPED = "stopped"
    """Since then nobody has asked."""


def idle_since(one: idling.IdleEndpoint) -> datetime:
    """The last request, or the first claim of its name. A deployment asks the endpoint, so it counts as well."""
    return one.claimed_at if one.last_used_at is None else max(one.claimed_at, one.last_used_at)


def verdict(
    one: idling.IdleEndpoint, since: datetime, asked: idling.StopIdleRequest, now: datetime
) -> Verdict:
    """A notice or a stop from before the last request says nothing any more. What was stopped is not stopped again, though
    its weights came back without a request that was metered.
    """
    if one.endpoint in asked.exempt or one.environment in asked.exempt_environments:
        return Verdict.EXEMPT
    if now - since < timedelta(minutes=asked.idle_minutes):
        return Verdict.BUSY
    if one.stopped_at is not None and one.stopped_at >= since:
        return Verdict.STOPPED
    if one.noticed_at is None or one.noticed_at < since:
        return Verdict.NOTICE
    if now - one.noticed_at < timedelta(minutes=asked.grace_minutes):
        return Verdict.WAIT
    return Verdict.STOP


def over_budget(one: idling.IdleEndpoint, asked: idling.StopIdleRequest, now: datetime) -> Verdict:
    """Of an endpoint whose budget is spent and wants it stopped, however often it is asked."""
    since = one.spent_since
    if since is None or one.endpoint in asked.exempt or one.environment in asked.exempt_environments:
        return Verdict.EXEMPT
    if one.budget_stopped_at is not None and one.budget_stopped_at >= since:
        return Verdict.STOPPED
    if one.budget_noticed_at is None or one.budget_noticed_at < since:
        return Verdict.NOTICE
    if now - one.budget_noticed_at < timedelta(minutes=asked.budget_grace_minutes):
        return Verdict.WAIT
    return Verdict.STOP


def memory_cost_per_month(memory_bytes: int, book: settings.CostSettings) -> float:
    """In the book's currency, exact to the billionth."""
    gib_hours = memory_bytes * HOURS_PER_MONTH / (1 << 30)
    return pricing.to_amount(round(gib_hours * book.memory_gib_hour * 10**9))
