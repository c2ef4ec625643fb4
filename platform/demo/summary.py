"""What the demo did, in numbers: one typed report, and the table that a person reads."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from mainspring.core.contracts import training


class RolledBack(BaseModel):
    """What a bad candidate's deployment came to: the judge's figures, and what callers met meanwhile."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    bundle: str
    why: str
    percent: int
    """Share of traffic that it had at most."""
    judged_requests: int
    p95_ratio: float | None
    """Its p95 over stable's in the window that ended it."""
    in_force_seconds: float
    """From its first share of traffic to the way back, by the audit log."""
    seen_seconds: float
    """From the first question to the last answer of it that a caller saw; 0: none did."""
    callers_asked: int
    callers_answered: int
    """Of these, by it."""
    callers_failed: int
    callers_p95_ms: float
    """Of those that it answered; 0: none."""
    stable_p95_ms: float


class Drifted(BaseModel):
    """What the scheduled check of the logged predictions found, and the training that it started, if it was an alarm."""

    model_config = ConfigDict(frozen=True)

    predictions: int
    known: int
    """Of these, with an outcome."""
    alarms: list[str]
    """Of the newest month."""
    message: str
    run_id: str = ""
    """Empty: no alarm, or too little to judge by, as `message` says."""
    requested_by: str = ""
    on_behalf_of: str = ""
    """Who put the schedule on record."""
    approved_by: str = ""
    metrics: dict[str, training.Metrics] = {}
    """On the days up to the alarm, which neither the new model nor the old one learned from."""
    model_version: str = ""
    """Which took over."""
    seconds: float = 0.0


class DemoReport(BaseModel):
    """All that was measured. `seconds` of a step are the workflow's own clock; latency is the client's."""

    model_config = ConfigDict(frozen=True)

    project: str
    run_id: str
    sample_fraction: float
    model_version: str
    data_digest: str
    metrics: dict[str, training.Metrics]
    steps: list[training.StepReport]
    start_seconds: dict[str, float]
    """By part of the stack."""
    predictions: int
    pushed_rows: int
    latency_p50_ms: float
    latency_p99_ms: float
    replay_auc: float
    online_offline_max_difference: float
    """Largest difference between a served score and the same flight's offline score."""
    compared_values: int
    """Feature values served over HTTP and compared with the offline join's."""
    skewed_values: int
    """Of these, how many were not the same to the bit."""
    recorded_reads: int
    """Of what serving answered, asked again by the scheduled skew check."""
    recorded_features: int
    recorded_skewed: list[str]
    """Features of these that offline says otherwise."""
    streamed_events: int
    """Of the last day, read as streams."""
    streamed_values: int
    """Feature values of all keys that serving had at the end of that day."""
    streamed_differences: int
    """Of these, how many were not the batch's to the bit."""
    streamed_seconds: float
    rolled_back: RolledBack
    """The bad candidate."""
    drifted: Drifted
    """What came of the replayed months."""
    drifted_columns: dict[str, float]
    """Column to population stability index, training split against test split."""
    checked_columns: int
    cost: float
    currency: str
    audit_rows: int
    audit_intact: bool
    catalog: dict[str, int] = {}
    """Entries of the project in the catalog, by kind."""
    came_from: dict[str, int] = {}
    """What the bundle that answered came from by its lineage: datasets by kind."""
    total_seconds: float
    urls: dict[str, str]


def lines(report: DemoReport) -> list[str]:
    """The report as plain lines, no wider than 100 characters."""
    return [
        "",
        f"{report.project}, run {report.run_id}",
        *_table("quality on its split", _metrics(report.metrics)),
        *_table("seconds by step", _steps(report)),
        *_table(
            "serving",
            {
                "predictions over HTTP, one row each": f"{report.predictions}",
                "latency p50 / p99, client side": f"{report.latency_p50_ms:.2f} / {report.latency_p99_ms:.2f} ms",
                "AUC of the served scores": f"{report.replay_auc:.4f}",
                "served against offline score, largest difference": f"{report.online_offline_max_difference:.1e}",
                "feature values that differ from the offline join": f"{report.skewed_values} of {report.compared_values}",
                "features that the scheduled skew check finds skewed": f"{len(report.recorded_skewed)} of"
                f" {report.recorded_features}, {report.recorded_reads} recorded reads",
                "feature rows pushed": f"{report.pushed_rows}",
                "a day of events by streaming": f"{report.streamed_events} in {report.streamed_seconds:.1f} s",
                "streamed values that differ from the batch": f"{report.streamed_differences} of {report.streamed_values}",
                "bundle that answered": report.model_version[:23],
            },
        ),
        *_table("a bad candidate: right, signed and too slow", _rolled_back(report.rolled_back)),
        *_table("months that the model did not learn from", _drifted(report.drifted)),
        *_table(
            "governance",
            {
                "cost of the run": f"{report.cost:.4f} {report.currency}",
                "audit rows, chain intact": f"{report.audit_rows}, {'yes' if report.audit_intact else 'NO'}",
                "drifted columns, training to test": _drift(report),
                "in the catalog": _counted(report.catalog),
                "the bundle that answered came from": _counted(report.came_from),
            },
        ),
        *_table("where to look, while the stack runs", report.urls),
        "",
        f"{report.total_seconds:.0f} s in all",
    ]


def _metrics(metrics: Mapping[str, training.Metrics]) -> dict[str, str]:
    return {
        name: f"AUC {m.auc:.4f}  AP {m.average_precision:.4f}  Brier {m.brier:.4f}  base rate {m.base_rate:.4f}"
        f"  rows {m.rows}"
        for name, m in sorted(metrics.items())
    }


def _steps(report: DemoReport) -> dict[str, str]:
    started = {f"start {name}": f"{seconds:.1f}" for name, seconds in report.start_seconds.items()}
    return started | {
        str(step.step): f"{step.seconds:.1f}{'  (reused)' if step.reused else ''}" for step in report.steps
    }


def _rolled_back(found: RolledBack) -> dict[str, str]:
    ratio = "no" if found.p95_ratio is None else f"{found.p95_ratio:.1f}"
    return {
        "rolled back by itself at": f"{found.percent} % of traffic, p95 {ratio} times stable's over"
        f" {found.judged_requests} requests",
        "in force, by the audit log": f"{found.in_force_seconds:.1f} s",
        "callers met it for": f"{found.seen_seconds:.1f} s: {found.callers_answered} of {found.callers_asked} answers",
        "their p95, and of the others": f"{found.callers_p95_ms:.1f} / {found.stable_p95_ms:.1f} ms",
        "requests that failed": f"{found.callers_failed}",
    }


def _drifted(found: Drifted) -> dict[str, str]:
    rows = {"predictions with an outcome": f"{found.known} of {found.predictions}"}
    rows |= {f"alarm {i}": alarm for i, alarm in enumerate(found.alarms, 1)}
    if not found.run_id:
        return rows | {"no training was started": found.message or "no alarm"}
    return (
        rows
        | {
            "training started": f"{found.run_id}, by {found.requested_by} on behalf of {found.on_behalf_of}",
            "approved by": found.approved_by,
        }
        | {f"quality, {name}": told for name, told in _metrics(found.metrics).items()}
        | {"took over": f"{found.model_version[:23]}, {found.seconds:.0f} s of steps"}
    )


def _drift(report: DemoReport) -> str:
    worst = sorted(report.drifted_columns.items(), key=lambda item: -item[1])[:3]
    named = ", ".join(f"{name} {psi:.2f}" for name, psi in worst)
    return f"{len(report.drifted_columns)} of {report.checked_columns}" + (f": {named}" if named else "")


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "nothing that is known"


def _table(title: str, rows: Mapping[str, str]) -> list[str]:
    width = max((len(key) for key in rows), default=0)
    return ["", title, *(f"  {key.ljust(width)}  {value}" for key, value in rows.items())]
