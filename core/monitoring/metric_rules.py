"""Alerting rules over the metrics of serving and of the control API, for every installation; a project adds its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from mainspring.core import errors
from mainspring.core.contracts import alerts

__all__ = ["CONTROL", "PLATFORM", "SERVING", "metrics_of", "to_prometheus"]

#: Over the metrics of serving's `/metrics`; a test holds that each is there.
SERVING: Final = (
    alerts.MetricRule(
        name="endpoint-errors",
        expression=(
            "sum by (endpoint, bundle) (rate(mainspring_endpoint_errors_total[5m]))"
            " / clamp_min(sum by (endpoint, bundle) (rate(mainspring_endpoint_requests_total[5m])), 1e-9) > 0.01"
        ),
        for_seconds=300,
        severity="page",
        summary="more than one in a hundred requests of an endpoint fails in its bundle",
    ),
    alerts.MetricRule(
        name="predictions-not-logged",
        expression="increase(mainspring_logged_predictions_dropped_total[15m]) > 0",
        summary="answers are missing in the prediction log, which monitoring counts",
    ),
    alerts.MetricRule(
        name="usage-lost",
        expression="increase(mainspring_usage_records_lost_total[1h]) > 0",
        summary="what endpoints used is not charged to anybody",
    ),
    alerts.MetricRule(
        name="access-documents-stale",
        expression="mainspring_access_documents_stale > 0",
        severity="page",
        summary="keys or limits cannot be read, and what they said before is in force",
    ),
)

#: Over the metrics of the control API's `/metrics`; a test holds that each is there.
CONTROL: Final = (
    # As late as makes `/readyz` say `degraded` by default (`audit.late_seconds`), and still so a minute later.
    alerts.MetricRule(
        name="audit-checkpoints-late",
        expression="mainspring_audit_checkpoint_late_seconds > 60",
        for_seconds=60,
        severity="page",
        summary="rows of the audit log wait for a signed checkpoint: what is done and undone meanwhile is not shown",
    ),
)

PLATFORM: Final = (*SERVING, *CONTROL)


def metrics_of(rule: alerts.MetricRule) -> frozenset[str]:
    """The metrics of ours that a rule asks for, by name."""
    return frozenset(re.findall(r"\bmainspring_\w+", rule.expression))


def to_prometheus(own: Iterable[alerts.MetricRule] = ()) -> str:
    """A rules file of Prometheus: the platform's rules, then a project's own. It is JSON, which is YAML as well.

    Errors: Conflict for a name of ours.
    """
    taken = {rule.name for rule in PLATFORM}
    own = tuple(own)
    for rule in own:
        if rule.name in taken:
            raise errors.Conflict(
                f"rule `{rule.name}` is the platform's; choose another name", resource="rule", name=rule.name
            )
    groups = [{"name": "mainspring", "rules": [_rule(rule) for rule in PLATFORM]}]
    if own:
        groups.append({"name": "project", "rules": [_rule(rule) for rule in own]})
    return json.dumps({"groups": groups}, indent=2) + "\n"


def _rule(rule: alerts.MetricRule) -> dict[str, Any]:
    runbook = {"runbook_url": rule.runbook} if rule.runbook else {}
    return {
        "alert": rule.name,
        "expr": rule.expression,
        "for": f"{rule.for_seconds}s",
        "labels": {"severity": rule.severity},
        "annotations": {"summary": rule.summary, **runbook},
    }
