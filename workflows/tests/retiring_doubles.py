"""What stands for serving, the store and the registry in tests of a retirement's decisions: each step by name, scripted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from workflows_doubles import CANDIDATE

from mainspring.core import errors
from mainspring.core.contracts import retiring, training
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.deployment import messages as deployment_messages
from mainspring.workflows.retiring import messages


def retire_request(**changes: Any) -> retiring.RetireRequest:
    values: dict[str, Any] = {
        "run_id": "run_retire",
        "project": "flight-delay",
        "requested_by": "ana",
        "bundle_digest": CANDIDATE,
        "reason": "it leaks",
    }
    return retiring.RetireRequest.model_validate(values | changes)


@dataclass
class Retirement:
    """`failing`: activity name -> what it raises. `calls`: what was done, in order."""

    stable_on: list[str] = field(default_factory=list)
    shadow_on: list[str] = field(default_factory=list)
    failing: dict[str, errors.MainspringError] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    events: list[training.RunEvent] = field(default_factory=list)

    def _called(self, name: str, about: str = "") -> None:
        self.calls.append(name.split(".")[-2] + about)
        if name in self.failing:
            raise temporal_errors.to_failure(self.failing[name])

    def activities(self, *, with_events: bool = True) -> list[Callable[..., Any]]:
        @activity.defn(name=messages.LOOK)
        async def look(_: retiring.RetireRequest) -> messages.Looked:
            self._called(messages.LOOK)
            return messages.Looked(stable_on=self.stable_on, shadow_on=self.shadow_on)

        @activity.defn(name=messages.MOVE)
        async def move(asked: messages.Move) -> messages.Moved:
            self._called(messages.MOVE, f" {asked.endpoint}")
            return messages.Moved(version=2, changed=True)

        @activity.defn(name=messages.WITHDRAW)
        async def withdraw(request: retiring.RetireRequest) -> messages.Withdrawn:
            self._called(messages.WITHDRAW)
            return messages.Withdrawn(by=request.requested_by, reason=request.reason)

        @activity.defn(name=messages.UNREGISTER)
        async def unregister(_: retiring.RetireRequest) -> messages.Unregistered:
            self._called(messages.UNREGISTER)
            return messages.Unregistered(version="3", aliases=["champion"])

        @activity.defn(name=deployment_messages.REPORT_EVENT)
        async def report(asked: deployment_messages.ReportEvent) -> None:
            self.calls.append(f"told {asked.event.action}")
            self.events.append(asked.event)

        steps: list[Callable[..., Any]] = [look, move, withdraw, unregister]
        return [*steps, report] if with_events else steps
