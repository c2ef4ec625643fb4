"""What the check says to its activities, by name."""

from __future__ import annotations

from typing import Final

from mainspring.core.contracts import alerts as alert_contracts
from mainspring.core.contracts import drift_checks, monitoring
from mainspring.core.contracts.base import Message

CHECK: Final = "mainspring.drift_checks.check.v1"
RECORD: Final = "mainspring.drift_checks.record.v1"


class Checked(Message):
    """What the sums say."""

    report: monitoring.MonitorReport | None = None
    """None: there was nothing to judge, as `message` says."""
    html_digest: str = ""
    damaged: tuple[str, ...] = ()
    message: str = ""


class Record(Message):
    """A report for the control API."""

    request: drift_checks.DriftCheckRequest
    report: monitoring.MonitorReport
    html_digest: str = ""
    made_by: str


class Recorded(Message):
    report_id: str
    alerts: tuple[str, ...] = ()
    retrain: alert_contracts.Retraining | None = None
    """What alerts that it opened ask for."""
