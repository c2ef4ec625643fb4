"""What stands for a drift check's steps in tests of its decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from mainspring.core.contracts import alerts, drift_checks, monitoring
from mainspring.workflows.drift_checks import messages

REQUEST = drift_checks.DriftCheckRequest(project="tiny", endpoint="tiny")
BUNDLE = "sha256:" + "b" * 64


def report(*kinds: monitoring.FindingKind) -> monitoring.MonitorReport:
    return monitoring.MonitorReport(
        project="tiny",
        endpoint="tiny",
        bundle_digest=BUNDLE,
        begins=datetime(2013, 12, 1, tzinfo=UTC),
        ends=datetime(2013, 12, 8, tzinfo=UTC),
        rows=500,
        known=400,
        findings=tuple(
            monitoring.Finding(kind=k, severity="alarm", value=1, limit=0.5, message=f"{k} moved")
            for k in kinds
        ),
    )


@dataclass
class Steps:
    """`checked` is what the check finds; `retrain` what the alerts that it opens ask for."""

    checked: messages.Checked
    retrain: alerts.Retraining | None = None
    recorded: list[messages.Record] = field(default_factory=list)

    def activities(self) -> list[Callable[..., Any]]:
        @activity.defn(name=messages.CHECK)
        async def check(_: drift_checks.DriftCheckRequest) -> messages.Checked:
            return self.checked

        @activity.defn(name=messages.RECORD)
        async def record(asked: messages.Record) -> messages.Recorded:
            self.recorded.append(asked)
            return messages.Recorded(report_id="report_1", alerts=("alert_1",), retrain=self.retrain)

        return [check, record]


def found(*kinds: monitoring.FindingKind) -> Steps:
    return Steps(messages.Checked(report=report(*kinds)))
