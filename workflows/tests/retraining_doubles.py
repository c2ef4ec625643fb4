"""What stands for a retraining's check and its start in tests of its decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from mainspring.core import errors
from mainspring.core.contracts import performance, retraining
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.retraining import messages

BUNDLE = "sha256:" + "b" * 64
REQUEST = retraining.RetrainRequest(project="tiny", endpoint="tiny")
ALARM = "calibration: 0.220 was predicted and 0.330 happened"


def report(*alarms: str) -> performance.PerformanceReport:
    window = performance.WindowPerformance(
        begins=datetime(2013, 12, 1, tzinfo=UTC),
        ends=datetime(2013, 12, 8, tzinfo=UTC),
        rows=500,
        known=500,
        alarms=alarms,
    )
    return performance.PerformanceReport(
        reference_rows=900, reference_auc=0.75, limits=performance.Limits(), windows=(window,)
    )


@dataclass
class Watched:
    """`checked` is what the check finds; `refuses` what the start answers with."""

    checked: messages.Checked
    refuses: errors.MainspringError | None = None
    started: list[messages.Start] = field(default_factory=list)

    def activities(self) -> list[Callable[..., Any]]:
        @activity.defn(name=messages.CHECK)
        async def check(_: retraining.RetrainRequest) -> messages.Checked:
            return self.checked

        @activity.defn(name=messages.START)
        async def start(asked: messages.Start) -> messages.Started:
            self.started.append(asked)
            if self.refuses is not None:
                raise temporal_errors.to_failure(self.refuses)
            return messages.Started(run_id="run_new", message="training started")

        return [check, start]


def alarmed(**changes: Any) -> Watched:
    checked = messages.Checked(bundle_digest=BUNDLE, predictions=600, known=500, report=report(ALARM))
    return Watched(checked, **changes)
