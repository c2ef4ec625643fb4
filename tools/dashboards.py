#!/usr/bin/env python3
"""Makes Grafana's dashboards of what the processes count; with --check it only says whether they are as made.

    platform/deploy/kubernetes/components/dashboards/*.json

Typed by Grafana's own builders, so a field that Grafana does not know is found here and not in a browser. The data source is a
variable: whoever imports one by hand chooses his Prometheus.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog import encoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FOLDER: Final = Path(__file__).resolve().parent.parent / "platform/deploy/kubernetes/components/dashboards"
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${source}")
_BY_ENDPOINT: Final = '{endpoint=~"$endpoint"}'
_WIDTH, _HEIGHT = 12, 8


@dataclass(frozen=True)
class Panel:
    """A graph: `unit` in Grafana's words; queries with what their lines are called."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    says: str = ""


def _rate(metric: str, by: str = "", where: str = "") -> str:
    selector = _BY_ENDPOINT if metric.startswith("mainspring_endpoint_") else where
    asked = f"rate({metric}{selector}[$__rate_interval])"
    return f"sum by ({by}) ({asked})" if by else f"sum({asked})"


def _quantile(share: float, histogram: str, *by: str) -> str:
    return f"histogram_quantile({share}, {_rate(histogram + '_bucket', ', '.join(('le', *by)))})"


SERVING: Final[Sequence[tuple[str, Sequence[Panel]]]] = (
    (
        "Endpoints",
        (
            Panel(
                "Requests", "reqps", [(_rate("mainspring_endpoint_requests_total", "endpoint, role"), "{{endpoint}} {{role}}")]
            ),
            Panel(
                "Share of the canary", "percentunit",
                [(
                    'sum by (endpoint) (rate(mainspring_endpoint_requests_total{endpoint=~"$endpoint",role="canary"}[$__rate_interval]))'
                    f" / {_rate('mainspring_endpoint_requests_total', 'endpoint')}",
                    "{{endpoint}}",
                )],
                "What it was given is in the traffic table; what it got depends on who asked.",
            ),
            Panel(
                "Failures", "percentunit",
                [(
                    f"{_rate('mainspring_endpoint_errors_total', 'endpoint, role')}"
                    f" / {_rate('mainspring_endpoint_requests_total', 'endpoint, role')}",
                    "{{endpoint}} {{role}}",
                )],
                "Above 1 % for five minutes is an alert (`endpoint-errors`).",
            ),
            Panel("Rows", "rowsps", [(_rate("mainspring_endpoint_rows_total", "endpoint"), "{{endpoint}}")]),
            Panel(
                "Shadow differs", "percentunit",
                [(
                    f"{_rate('mainspring_endpoint_differing_rows_total', 'endpoint')}"
                    f" / {_rate('mainspring_endpoint_compared_rows_total', 'endpoint')}",
                    "{{endpoint}}",
                )],
                "Rows whose score differs from the stable bundle's by more than `serving.shadow_tolerance`.",
            ),
        ),
    ),
    (
        "Models",
        (
            Panel(
                "Whole requests, p50 and p99", "s",
                [
                    (_quantile(0.5, "mainspring_model_request_seconds", "model"), "{{model}} p50"),
                    (_quantile(0.99, "mainspring_model_request_seconds", "model"), "{{model}} p99"),
                ],
            ),
            Panel("Time by phase", "s", [(_rate("mainspring_model_phase_seconds_total", "phase"), "{{phase}}")], "Seconds a second."),
            Panel("Rows in a request, mean", "short", [(
                f"{_rate('mainspring_model_request_rows_sum', 'model')} / {_rate('mainspring_model_request_rows_count', 'model')}",
                "{{model}}",
            )]),
            Panel("Without an answer", "reqps", [(_rate("mainspring_model_failures_total", "model"), "{{model}}")]),
        ),
    ),
    (
        "Load",
        (
            Panel("At work and waiting", "short", [("mainspring_running_requests", "at work"), ("mainspring_waiting_requests", "waiting")]),
            Panel(
                "Sent away", "reqps",
                [
                    (_rate("mainspring_shed_requests_total"), "too many"),
                    (_rate("mainspring_expired_requests_total"), "too late"),
                    (_rate("mainspring_left_requests_total"), "caller gone"),
                    (_rate("mainspring_callers_refused_total"), "not let in"),
                    (_rate("mainspring_caller_limited_total"), "above a limit"),
                ],
            ),
            Panel("Native front", "reqps", [
                (_rate("mainspring_front_answered_total"), "answered"),
                (_rate("mainspring_front_passed_total"), "passed on"),
                (_rate("mainspring_front_refused_total"), "refused"),
            ]),
            Panel("Reads of features, p99", "s", [(_quantile(0.99, "mainspring_front_read_seconds"), "reads")]),
        ),
    ),
    (
        "What it holds and tells",
        (
            Panel("Memory", "bytes", [
                ("process_resident_memory_bytes", "process"),
                ("mainspring_bundle_memory_bytes", "bundles"),
                ("mainspring_packed_weights_bytes", "packed weights, {{memory}}"),
            ]),
            Panel("Bundles", "short", [
                ("mainspring_bundles_resident", "in memory"),
                ("sum(increase(mainspring_bundle_loads_total[1h]))", "loads an hour"),
            ]),
            Panel("Not told", "short", [
                ("sum(increase(mainspring_logged_predictions_dropped_total[1h]))", "predictions not logged an hour"),
                ("sum(increase(mainspring_usage_records_lost_total[1h]))", "use not charged an hour"),
            ], "Either is an alert."),
            Panel("Processor", "short", [("rate(process_cpu_seconds_total[$__rate_interval])", "cores")]),
        ),
    ),
)  # fmt: skip


CONTROL: Final[Sequence[tuple[str, Sequence[Panel]]]] = (
    (
        "Requests",
        (
            Panel("Requests", "reqps", [(_rate("mainspring_control_requests_total", "method, route"), "{{method}} {{route}}")]),
            Panel(
                "Failures of ours", "reqps",
                [(_rate("mainspring_control_requests_total", "route, status", '{status=~"5.."}'), "{{route}} {{status}}")],
            ),
            Panel(
                "Refused", "reqps",
                [(_rate("mainspring_control_requests_total", "status", '{status=~"4.."}'), "{{status}}")],
                "401 and 403: who may not; 409 and 412: who came too late; 429: who asks too much.",
            ),
            Panel("p99 by route", "s", [(_quantile(0.99, "mainspring_control_request_seconds", "route"), "{{route}}")],
                  "A watch of events is a request that lasts."),
        ),
    ),
    (
        "What waits",
        (
            Panel("Asked of runs, not taken by the engine", "short", [("sum by (kind) (mainspring_run_intents_open)", "{{kind}}")],
                  "Above zero for a minute: the workflow engine is away."),
            Panel("Tellings of alerts", "short", [("sum by (channel, state) (mainspring_alert_deliveries)", "{{channel}} {{state}}")],
                  "`given-up` is an alert that nobody was told of."),
            Panel("Memory", "bytes", [("process_resident_memory_bytes", "{{instance}}")]),
            Panel("Spans that nobody took", "short", [("sum(increase(mainspring_control_spans_dropped_total[1h]))", "an hour")]),
        ),
    ),
)  # fmt: skip

WORKFLOWS: Final[Sequence[tuple[str, Sequence[Panel]]]] = (
    (
        "Runs",
        (
            Panel("Open, by stage", "short", [("sum by (kind, stage) (mainspring_runs_open)", "{{kind}} {{stage}}")]),
            Panel("Ended an hour", "short", [("sum by (kind, stage) (increase(mainspring_runs_ended_total[1h]))", "{{kind}} {{stage}}")]),
            Panel("Awaiting a decision", "short", [('sum by (project) (mainspring_runs_open{stage="approval"})', "{{project}}")]),
        ),
    ),
    (
        "The worker",
        (
            Panel("Activities that failed", "short", [(_rate("temporal_activity_execution_failed_total", "activity_type"), "{{activity_type}}")],
                  "Each attempt; most are tried again."),
            Panel("How long activities take, p95", "s",
                  [(_quantile(0.95, "temporal_activity_execution_latency_seconds", "activity_type"), "{{activity_type}}")]),
            Panel("How long activities wait for a worker, p95", "s",
                  [(_quantile(0.95, "temporal_activity_schedule_to_start_latency_seconds"), "wait")],
                  "Grows where there are too few workers."),
            Panel("Workflow tasks, p95", "s", [
                (_quantile(0.95, "temporal_workflow_task_execution_latency_seconds"), "to decide"),
                (_quantile(0.95, "temporal_workflow_task_schedule_to_start_latency_seconds"), "to be taken"),
            ]),
            Panel("Places that are free", "short", [("sum by (worker_type) (temporal_worker_task_slots_available)", "{{worker_type}}")]),
            Panel("Workflows in memory", "short", [("sum(temporal_sticky_cache_size)", "cached")]),
        ),
    ),
)  # fmt: skip

COSTS: Final[Sequence[tuple[str, Sequence[Panel]]]] = (
    (
        "This month",
        (
            Panel("Spent, by project", "short", [("sum by (project, currency) (mainspring_cost_month)", "{{project}} {{currency}}")],
                  "Since the month began, UTC; it begins at zero with the next."),
            Panel("Share of the budget", "percentunit", [("sum by (project) (mainspring_cost_month) / sum by (project) (mainspring_budget_month)", "{{project}}")],
                  "Projects without a budget are not here. At 1 nothing more is started."),
            Panel("Spent, by service", "short", [("sum by (service, currency) (mainspring_cost_month)", "{{service}} {{currency}}")]),
            Panel("Spent in the last day", "short", [("sum by (project, currency) (delta(mainspring_cost_month[1d]) >= 0)", "{{project}} {{currency}}")],
                  "Empty on the first of a month."),
        ),
    ),
)  # fmt: skip

DRIFT: Final[Sequence[tuple[str, Sequence[Panel]]]] = (
    (
        "Newest report of each endpoint",
        (
            Panel("Scores against training (PSI)", "short", [("mainspring_monitor_score_psi", "{{project}} {{endpoint}}")]),
            Panel("Calibration gap", "percentunit", [("mainspring_monitor_calibration_gap", "{{project}} {{endpoint}}")],
                  "What happened less what was predicted."),
            Panel("AUC", "short", [("mainspring_monitor_auc", "{{project}} {{endpoint}}")]),
            Panel("Predicted, and happened", "percentunit", [
                ("mainspring_monitor_mean_score", "{{endpoint}} predicted"),
                ("mainspring_monitor_base_rate", "{{endpoint}} happened"),
            ]),
            Panel("Answers in the window", "short", [("mainspring_monitor_rows", "{{project}} {{endpoint}}")]),
            Panel("What an answer is worth", "short", [("mainspring_monitor_kpi", "{{endpoint}} {{kpi}}")],
                  "Means of the KPIs that projects tell of."),
            Panel("Alerts that are not resolved", "short", [("sum by (endpoint, kind, state) (mainspring_alerts_unresolved)", "{{endpoint}} {{kind}} {{state}}")]),
        ),
    ),
)  # fmt: skip

#: By the name of the file: the title, and its rows.
BOARDS: Final[dict[str, tuple[str, Sequence[tuple[str, Sequence[Panel]]]]]] = {
    "serving": ("serving", SERVING),
    "control": ("control plane", CONTROL),
    "workflows": ("workflows", WORKFLOWS),
    "costs": ("costs", COSTS),
    "drift": ("drift", DRIFT),
}


def made() -> dict[str, str]:
    """Text of each file by name."""
    return {f"{name}.json": _board(name, title, rows) for name, (title, rows) in BOARDS.items()}


def _board(name: str, title: str, rows: Sequence[tuple[str, Sequence[Panel]]]) -> str:
    board = (
        dashboard.Dashboard(f"Mainspring: {title}")
        .uid(f"mainspring-{name}")
        .tags(["mainspring"])
        .refresh("30s")
        .time("now-6h", "now")
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    if name == "serving":
        board = board.with_variable(
            dashboard.QueryVariable("endpoint")
            .label("Endpoint")
            .datasource(_SOURCE)
            .query("label_values(mainspring_endpoint_requests_total, endpoint)")
            .multi(True)
            .include_all(True)
        )
    for row, panels in rows:
        board = board.with_row(dashboard.Row(row))
        for panel in panels:
            board = board.with_panel(_panel(panel))
    return encoder.JSONEncoder(sort_keys=True, indent=1).encode(board.build()) + "\n"


def _panel(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .title(panel.title)
        .unit(panel.unit)
        .datasource(_SOURCE)
        .span(_WIDTH)
        .height(_HEIGHT)
    )
    made = made.description(panel.says) if panel.says else made
    for i, (expression, legend) in enumerate(panel.queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + i))
        made = made.with_target(query)
    return made


def expressions(text: str) -> Iterable[str]:
    """Every query of a made file."""
    board: dict[str, Any] = json.loads(text)
    return [t["expr"] for panel in board["panels"] for t in panel.get("targets", ())]


def main(words: list[str]) -> int:
    """0 if every file is as it would be made, or was made."""
    stale = []
    for name, text in made().items():
        path = FOLDER / name
        if "--check" not in words:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        print(f"not as made: {', '.join(stale)}; run tools/dashboards.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
