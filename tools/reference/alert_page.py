"""What wakes whom: the platform's rules over metrics, the findings of a check, and the limits that make one an alarm."""

from __future__ import annotations

from typing import get_args

from words import code, page, prose, table

INTRO = """Two things raise alerts. Prometheus evaluates rules over the metrics of serving and of the control API:
the platform's below, and a project's own.
A check of the logged predictions makes findings, which a project's rules turn into alerts ([Monitoring](../monitoring.md#rules)). What to do
when one fires is in the [runbooks](../runbooks.md)."""


def pages() -> dict[str, str]:
    from mainspring.core.contracts import alerts, monitoring
    from mainspring.core.monitoring import metric_rules

    rules = [
        f"### {rule.name}\n\n{prose(rule.summary.capitalize())}. {_urgency(rule.severity, rule.for_seconds)}"
        f" [Runbook](../runbooks.md#{rule.name})\n\n```text\n{rule.expression}\n```"
        for rule in metric_rules.PLATFORM
    ]
    findings = [
        (f"[{kind}](../runbooks.md#{kind})", _severity(kind)) for kind in get_args(monitoring.FindingKind)
    ]
    limits = monitoring.Limits.model_json_schema()["properties"]
    rows = [(code(n), code(f["default"]), prose(f.get("description"))) for n, f in limits.items()]
    fields = [
        (code(name), prose(field.description))
        for name, field in alerts.Rule.model_fields.items()
        if field.description
    ]
    parts = [
        "## Rules of the platform",
        *rules,
        "## Findings of a check",
        table(("kind", ""), findings),
        "## Limits",
        "Of `[limits]` in a project's rules.",
        table(("limit", "default", ""), rows),
        "## A project's rule",
        table(("field", ""), fields),
    ]
    return {"reference/alerts.md": page("Alerts", INTRO, parts)}


def _urgency(severity: str, seconds: int) -> str:
    return f"{'Wakes somebody' if severity == 'page' else 'A ticket'}, after {seconds} s."


def _severity(kind: str) -> str:
    return {
        "inputs": "a notice: inputs move with every season",
        "quality": "an alarm for missing, infinite and unseen values",
        "target": "a notice: outcomes are spread otherwise than when the model was accepted",
    }.get(kind, "an alarm, beyond its limit and beyond chance")
