"""Endpoints that nobody asks: who is told, and when their weights leave memory. Workflow type: `mainspring.StopIdle.v1`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

__all__ = [
    "STOP_IDLE_WORKFLOW",
    "IdleEndpoint",
    "IdleEvent",
    "IdleKind",
    "StopIdleOutcome",
    "StopIdleRequest",
    "StoppedEndpoint",
]

STOP_IDLE_WORKFLOW: Final = "mainspring.StopIdle.v1"


class StopIdleRequest(Message):
    """Look at a project's endpoints once."""

    project: Slug
    idle_minutes: Annotated[float, Field(gt=0, le=527_040)] = 10_080.0
    """Nobody has asked for so long: then there is a notice. A week."""
    grace_minutes: Annotated[float, Field(ge=0, le=527_040)] = 1440.0
    """From the notice to the stop. A day."""
    budget_grace_minutes: Annotated[float, Field(ge=0, le=527_040)] = 60.0
    """From the notice that a budget with `stop_endpoints` is spent until the endpoint is taken out of service."""
    exempt: tuple[Slug, ...] = ()
    """Endpoints that are never stopped: those whose first answer after a month must be fast."""
    exempt_environments: tuple[str, ...] = ()
    """Likewise, all of these environments."""


class IdleKind(StrEnum):
    """Only grows."""

    NOTICE = "notice"
    STOP = "stop"
    BUDGET_NOTICE = "budget-notice"
    BUDGET_STOP = "budget-stop"


class IdleEndpoint(Message):
    """What is on record of an endpoint's use."""

    endpoint: Slug
    project: Slug
    environment: str
    claimed_at: UtcTime
    last_used_at: UtcTime | None = None
    """The end of the last window in which somebody was answered, as serving reported; None: never, or before it metered."""
    noticed_at: UtcTime | None = None
    stopped_at: UtcTime | None = None
    spent_budget: str = ""
    """A budget with `stop_endpoints` that is spent, `environment/period`; empty: none."""
    spent_since: UtcTime | None = None
    """When its period began, or it was set as it is: a notice or a stop from before says nothing any more."""
    budget_noticed_at: UtcTime | None = None
    budget_stopped_at: UtcTime | None = None


class IdleEvent(Request):
    """Something that is put on record of an endpoint that nobody asks, or can pay; idempotent by its key."""

    event_key: Annotated[str, Field(min_length=1, max_length=200)]
    kind: IdleKind
    detail: dict[str, Any] = {}


class StoppedEndpoint(Message):
    endpoint: Slug
    idle_since: UtcTime
    freed_bytes: int = 0
    memory_cost_per_month: float = 0.0
    """What that memory costs in a month of 730 hours by the price book."""


class StopIdleOutcome(Message):
    """What was done; the rest is in use, exempt, stopped before, or within its grace."""

    project: Slug
    looked_at: int
    noticed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    stopped: tuple[StoppedEndpoint, ...] = ()
    budget_noticed: tuple[str, ...] = ()
    budget_stopped: tuple[str, ...] = ()
    """Out of service: a deployment brings one back, which the budget refuses until there is money."""
    refused: dict[str, str] = {}
    """Those that serving did not let go, by name, and why: a deployment is under way, or it is pinned. The next look tries again."""
