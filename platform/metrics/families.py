"""Counts and sums as Prometheus's families."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, otlp
from mainspring.core.contracts import monitoring, training
from mainspring.platform.metrics import requests, store
from mainspring.platform.runs import store as run_store

__all__ = ["of_alerts", "of_costs", "of_process", "of_reports", "of_runs", "text"]

Families = Iterable[Metric]


class _Given(Collector):
    def __init__(self, families: Families) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def text(families: Families, *, with_process: bool = False) -> bytes:
    """Prometheus's text format; `with_process`: memory and CPU of this process, too."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(_Given(families))
    if with_process:
        prometheus_client.ProcessCollector(registry=registry)
    return prometheus_client.generate_latest(registry)


def _gauge(name: str, says: str, labels: Sequence[str], rows: Iterable[Sequence[Any]]) -> GaugeMetricFamily:
    """Each row: its labels, and the value at its end."""
    family = GaugeMetricFamily(name, says, labels=labels)
    for *found, value in rows:
        family.add_metric([str(one) for one in found], float(value))
    return family


def of_process(book: requests.RequestBook, sender: otlp.SpanSender | None) -> Iterator[Metric]:
    answers = CounterMetricFamily(
        "mainspring_control_requests", "answers, by route", labels=("method", "route", "status")
    )
    for labels, count in sorted(book.answers.items()):
        answers.add_metric(labels, count)
    times = HistogramMetricFamily(
        "mainspring_control_request_seconds", "how long an answer took", labels=("method", "route")
    )
    for key, buckets, total in book.times():
        times.add_metric(key, buckets, total)
    yield from (answers, times)
    yield CounterMetricFamily(
        "mainspring_control_spans_dropped",
        "spans that nobody took",
        value=0 if sender is None else sender.dropped,
    )


async def of_runs(connection: AsyncConnection, projects: store.Projects) -> list[Metric]:
    rows = await store.runs(connection, projects)
    ended = CounterMetricFamily(
        "mainspring_runs_ended", "runs by how they ended", labels=("project", "kind", "stage")
    )
    for project, kind, stage, count in rows:
        if training.Stage(stage) in run_store.TERMINAL:
            ended.add_metric((project, kind, stage), count)
    begun = [row for row in rows if training.Stage(row.stage) not in run_store.TERMINAL]
    labels = ("project", "kind", "stage")
    waiting = await store.open_intents(connection, projects)
    return [
        ended,
        _gauge("mainspring_runs_open", "runs that have not ended, by the stage last reported", labels, begun),
        _gauge(
            "mainspring_run_intents_open",
            "what was asked of runs and the engine has not taken",
            ("project", "kind"),
            waiting,
        ),
    ]


async def of_costs(connection: AsyncConnection, projects: store.Projects, now: datetime) -> list[Metric]:
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    spent = await store.spent(connection, projects, month)
    budgets = await store.budgets(connection, projects)
    return [
        _gauge(
            "mainspring_cost_month",
            "spent since the month began (UTC)",
            ("project", "service", "currency"),
            [(*labels, cost.to_amount(int(nanos))) for *labels, nanos in spent],
        ),
        _gauge(
            "mainspring_budget_month",
            "what a project may spend a month; absent: no limit",
            ("project",),
            [(name, cost.to_amount(int(nanos))) for name, nanos in budgets],
        ),
    ]


async def of_alerts(connection: AsyncConnection, projects: store.Projects) -> list[Metric]:
    return [
        _gauge(
            "mainspring_alerts_unresolved",
            "alerts that somebody may still have to see to",
            ("project", "endpoint", "kind", "state"),
            await store.alerts(connection, projects),
        ),
        _gauge(
            "mainspring_alert_deliveries",
            "tellings of alerts, by what became of them",
            ("project", "channel", "state"),
            await store.deliveries(connection, projects),
        ),
    ]


async def of_reports(connection: AsyncConnection, projects: store.Projects) -> list[Metric]:
    """The newest report of each endpoint: of all answers in its window."""
    found: dict[str, list[Sequence[Any]]] = {name: [] for name in _MEASURES}
    for project, endpoint, body in await store.newest_reports(connection, projects):
        report = monitoring.MonitorReport.model_validate(body)
        values: dict[str, float | None] = {"rows": report.rows}
        if (whole := report.whole) is not None:
            values |= {
                "score_psi": whole.score_psi,
                "calibration_gap": whole.calibration_gap,
                "auc": whole.auc,
                "base_rate": whole.base_rate,
                "mean_score": whole.mean_score,
            }
        for name, value in values.items():
            if value is not None:
                found[name].append((project, endpoint, value))
    labels = ("project", "endpoint")
    return [
        _gauge(f"mainspring_monitor_{name}", _MEASURES[name], labels, rows) for name, rows in found.items()
    ]


_MEASURES = {
    "rows": "answers in the window of the newest report",
    "score_psi": "population stability index of the scores",
    "calibration_gap": "what happened less what was predicted",
    "auc": "ranking, where both outcomes happened",
    "base_rate": "share of those that happened",
    "mean_score": "mean of the scores",
}
