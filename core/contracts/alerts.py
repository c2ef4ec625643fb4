"""Alerts: what a check of a served model found, until somebody has seen to it; and the rules by which people are told."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from mainspring.core.contracts import base, monitoring

__all__ = [
    "AlertEvent",
    "AlertReason",
    "AlertRules",
    "AlertState",
    "AlertView",
    "MetricRule",
    "Receiver",
    "ReportRecord",
    "ReportView",
    "Retraining",
    "Rule",
    "RulesView",
    "fingerprint",
]

_NAME: Final = r"^[a-z][a-z0-9-]{0,62}$"
_Name = Annotated[str, Field(pattern=_NAME)]


class AlertState(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Receiver(base.Request):
    """Where an alert is told: a webhook, addresses, or both."""

    name: _Name
    webhook: Annotated[
        str, Field(pattern=r"^(|https?://[^\s]+|secret:[a-z0-9][a-z0-9-]*)$", max_length=500)
    ] = ""
    """POSTed to as JSON, signed. Addresses of private networks are refused unless `monitor.allow_private_webhooks`. `secret:NAME`: the
    address is a secret of the project, as those of chat rooms are, and is read when somebody is told."""
    email: tuple[Annotated[str, Field(pattern=r"^[^@\s,]+@[^@\s,]+$", max_length=200)], ...] = ()

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not self.webhook and not self.email:
            raise ValueError(f"receiver `{self.name}` has neither `webhook` nor `email`; give it one")
        return self


class Rule(base.Request):
    """Which findings are alerts, and who is told of them. The first rule that fits a finding is its rule."""

    name: _Name
    kinds: tuple[monitoring.FindingKind, ...] = ()
    """Empty: every kind."""
    endpoint: str = "*"
    severity: Literal["alarm", "notice"] = "alarm"
    """`notice`: what only informs raises an alert as well."""
    clear_hours: Annotated[float, Field(ge=0, le=24 * 90)] = 336.0
    """It is resolved when no window that ended so long after the last with the finding had it: two weeks, of which none overlaps
    that one. Until then it is the same alert, however it comes and goes."""
    reopen_hours: Annotated[float, Field(ge=0, le=24 * 90)] = 168.0
    """What somebody resolved by hand and is found again so soon is the same alert, open again; windows' time, too."""
    runbook: Annotated[str, Field(pattern=r"^(|https?://[^\s]+)$", max_length=500)] = ""
    receivers: tuple[str, ...] = ()
    mute: bool = False
    """Such findings raise no alert."""
    retrain: bool = False
    """When its alert opens, the check that found it starts RetrainOnDrift, once: of the same alert met again, or open again, nothing
    starts. `kinds` then says which, of those that a new model may mend."""

    @model_validator(mode="after")
    def _mendable(self) -> Self:
        if not self.retrain:
            return self
        if self.mute:
            raise ValueError(
                f"rule `{self.name}` is `mute`, and opens no alert to `retrain` for; leave one out"
            )
        if not self.kinds or (other := sorted(set(self.kinds) - monitoring.TRAINABLE)):
            what = f"`{other[0]}`, which no new model mends" if self.kinds else "every kind"
            known = "`, `".join(sorted(monitoring.TRAINABLE))
            raise ValueError(f"rule `{self.name}` has `retrain` for {what}; name `kinds` of `{known}`")
        return self


class MetricRule(base.Request):
    """A rule over metrics, which Prometheus evaluates: `mainspring monitor rules export` writes it in its format."""

    name: _Name
    expression: Annotated[str, Field(min_length=1, max_length=2000)]
    for_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    severity: Literal["page", "ticket"] = "ticket"
    summary: Annotated[str, Field(min_length=1, max_length=300)]
    runbook: Annotated[str, Field(pattern=r"^(|https?://[^\s]+)$", max_length=500)] = ""


class AlertRules(base.Request):
    """A project's rules, as its repository has them."""

    limits: monitoring.Limits = monitoring.Limits()
    """Of every check of the project that says no others."""
    rules: Annotated[tuple[Rule, ...], Field(max_length=100)] = (Rule(name="all"),)
    receivers: Annotated[tuple[Receiver, ...], Field(max_length=50)] = ()
    metrics: Annotated[tuple[MetricRule, ...], Field(max_length=200)] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for what, names in (
            ("rule", [r.name for r in self.rules]),
            ("receiver", [r.name for r in self.receivers]),
            ("metric", [r.name for r in self.metrics]),
        ):
            if twice := sorted({n for n in names if names.count(n) > 1}):
                raise ValueError(f"{what} `{twice[0]}` is there twice; give each its own name")
        known = {r.name for r in self.receivers}
        for rule in self.rules:
            if unknown := sorted(set(rule.receivers) - known):
                raise ValueError(f"rule `{rule.name}` tells `{unknown[0]}`, which is no receiver here")
        return self

    def rule_of(self, finding: monitoring.Finding, endpoint: str) -> Rule | None:
        """The rule of a finding; None: it is no alert."""
        for rule in self.rules:
            fits = (not rule.kinds or finding.kind in rule.kinds) and rule.endpoint in ("*", endpoint)
            if fits and (finding.severity == "alarm" or rule.severity == "notice"):
                return None if rule.mute else rule
        return None


class RulesView(base.Message):
    """The rules in force."""

    project: base.Slug
    version: int
    """Counts up; 0: none were put, and the default holds."""
    rules: AlertRules
    put_at: base.UtcTime | None = None
    put_by: str = ""


class ReportRecord(base.Request):
    """A report, to be put on record; the alerts that it calls for come with it."""

    report: monitoring.MonitorReport
    made_by: Annotated[str, Field(max_length=200)] = ""
    """The workflow that made it."""
    html_digest: Annotated[str, Field(pattern=r"^(|sha256:[0-9a-f]{64})$")] = ""
    """Of the full report in HTML, where the check left one; its file has that name."""


class Retraining(base.Message):
    """What alerts that a report opened ask for, by their rules."""

    alerts: tuple[str, ...]
    asked_by: str
    """Who put those rules in force."""


class ReportView(base.Message):
    """A report on record."""

    report_id: str
    digest: str
    project: base.Slug
    environment: str
    endpoint: base.Slug
    bundle_digest: str
    training_run_id: str
    begins: base.UtcTime
    ends: base.UtcTime
    recorded_at: base.UtcTime
    made_by: str = ""
    rows: int
    known: int
    alarms: int
    notices: int
    html_digest: str = ""
    alerts: tuple[str, ...] = ()
    """Ids of the alerts that it raised or met again."""
    retrain: Retraining | None = None
    """What its alerts ask for, where a rule of one that it opened says so; None in a list."""
    report: monitoring.MonitorReport | None = None
    """None in a list."""


class AlertEvent(base.Message):
    """Something that happened to an alert."""

    at: base.UtcTime
    kind: str
    """`opened`, `reopened`, `seen`, `acknowledged`, `resolved`, `delivered`, `given-up`."""
    by: str
    detail: dict[str, Any] = {}


class AlertView(base.Message):
    """One finding that is an alert."""

    alert_id: str
    project: base.Slug
    environment: str
    endpoint: base.Slug
    kind: str
    subject: str
    state: AlertState
    severity: str
    message: str
    """As it was found last."""
    value: float
    limit: float
    rule: str
    runbook: str
    opened_at: base.UtcTime
    last_seen_at: base.UtcTime
    times: int
    """Reports that had it."""
    report_id: str
    """The last of them."""
    bundle_digest: str
    acknowledged_at: base.UtcTime | None = None
    acknowledged_by: str = ""
    resolved_at: base.UtcTime | None = None
    resolved_by: str = ""
    reason: str = ""
    """What whoever acknowledged or resolved it said last."""
    history: tuple[AlertEvent, ...] = ()
    """Oldest first; empty in a list."""


class AlertReason(base.Request):
    """What somebody who sees to an alert says of it."""

    reason: Annotated[str, Field(min_length=1, max_length=1000)]


def fingerprint(project: str, environment: str, endpoint: str, finding: monitoring.Finding) -> str:
    """What is the same alert: the same kind of finding about the same thing, whatever its numbers and whichever bundle.

    More than was predicted and less are two: what made the one is not what made the other.
    """
    side = finding.kind + ("-" if finding.kind == "calibration" and finding.value < 0 else "")
    parts = "\n".join((project, environment, endpoint, side, finding.subject))
    return hashlib.sha256(parts.encode()).hexdigest()[:32]
