"""Counts and sums as Prometheus's families."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, otlp
from mainspring.core.contracts import monitoring, training
from mainspring.platform.metrics import requests, store
from mainspring.platform.runs import store as run_store

__all__ = ["of_alerts", "of_audit", "of_costs", "of_process", "of_reports", "of_runs", "text"]

Families = Iterable[Metric]

_OF_RUNS: Final = ("project", "kind", "stage")
_OF_ENDPOINTS: Final = ("project", "endpoint")
_OF_KPIS: Final = (*_OF_ENDPOINTS, "kpi")
#: What a report says of all answers (`monitoring.SliceFound`), and in which words.
_MEASURES: Final = (
    ("rows", "answers in the window of the newest report"),
    ("score_psi", "population stability index of the scores"),
    ("calibration_gap", "what happened less what was predicted"),
    ("auc", "ranking, where both outcomes happened"),
    ("base_rate", "share of those that happened"),
    ("mean_score", "mean of the scores"),
)


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


def _filled(family: GaugeMetricFamily, rows: Iterable[Sequence[Any]]) -> GaugeMetricFamily:
    """Each row: its labels, and the value at its end."""
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


def of_audit(late_seconds: float) -> Metric:
    return GaugeMetricFamily(
        "mainspring_audit_checkpoint_late_seconds",
        "for how long rows of the audit log have waited for a signed checkpoint that could not be taken",
        value=late_seconds,
    )


async def of_runs(connection: AsyncConnection, projects: store.Projects) -> list[Metric]:
    rows = await store.runs(connection, projects)
    ended = CounterMetricFamily("mainspring_runs_ended", "runs by how they ended", labels=_OF_RUNS)
    begun = GaugeMetricFamily(
        "mainspring_runs_open", "runs that have not ended, by the stage last reported", labels=_OF_RUNS
    )
    for project, kind, stage, count in rows:
        is_over = training.Stage(stage) in run_store.TERMINAL
        (ended if is_over else begun).add_metric((project, kind, stage), count)
    waiting = GaugeMetricFamily(
        "mainspring_run_intents_open",
        "what was asked of runs and the engine has not taken",
        labels=("project", "kind"),
    )
    return [ended, begun, _filled(waiting, await store.open_intents(connection, projects))]


async def of_costs(connection: AsyncConnection, projects: store.Projects, now: datetime) -> list[Metric]:
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    spent = GaugeMetricFamily(
        "mainspring_cost_month",
        "spent since the month began (UTC)",
        labels=("project", "service", "currency"),
    )
    budgets = GaugeMetricFamily(
        "mainspring_budget_month",
        "what a project may spend a month; absent: no limit",
        labels=("project",),
    )
    for *of, nanos in await store.spent(connection, projects, month):
        labels: list[str] = list(of)
        spent.add_metric(labels, cost.to_amount(int(nanos)))
    for name, nanos in await store.budgets(connection, projects):
        budgets.add_metric((name,), cost.to_amount(int(nanos)))
    return [spent, budgets]


async def of_alerts(connection: AsyncConnection, projects: store.Projects) -> list[Metric]:
    unresolved = GaugeMetricFamily(
        "mainspring_alerts_unresolved",
        "alerts that somebody may still have to see to",
        labels=("project", "endpoint", "kind", "state"),
    )
    told = GaugeMetricFamily(
        "mainspring_alert_deliveries",
        "tellings of alerts, by what became of them",
        labels=("project", "channel", "state"),
    )
    return [
        _filled(unresolved, await store.alerts(connection, projects)),
        _filled(told, await store.deliveries(connection, projects)),
    ]


async def of_reports(connection: AsyncConnection, projects: store.Projects) -> list[Metric]:
    """The newest report of each endpoint: of all answers in its window."""
    found: dict[str, list[Sequence[Any]]] = {}
    worth: list[Sequence[Any]] = []
    for project, endpoint, body in await store.newest_reports(connection, projects):
        report = monitoring.MonitorReport.model_validate(body)
        of_all = report.whole or monitoring.SliceFound(rows=report.rows)
        for name, _ in _MEASURES:
            if (value := getattr(of_all, name)) is not None:
                found.setdefault(name, []).append((project, endpoint, value))
        worth += ((project, endpoint, one.name, one.mean) for one in report.kpis)
    kpis = GaugeMetricFamily(
        "mainspring_monitor_kpi", "mean of what an answer is worth, as the project says", labels=_OF_KPIS
    )
    families = [_filled(kpis, worth)]
    for name, says in _MEASURES:
        family = GaugeMetricFamily(f"mainspring_monitor_{name}", says, labels=_OF_ENDPOINTS)
        families.append(_filled(family, found.get(name, ())))
    return list[Metric](families)
