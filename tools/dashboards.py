#!/usr/bin/env python3
"""Makes Grafana's dashboards of serving's metrics; with --check it only says whether they are as made.

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


def _rate(metric: str, by: str = "") -> str:
    selector = _BY_ENDPOINT if metric.startswith("mainspring_endpoint_") else ""
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


def made() -> dict[str, str]:
    """Text of each file by name."""
    board = (
        dashboard.Dashboard("Mainspring: serving")
        .uid("mainspring-serving")
        .tags(["mainspring"])
        .refresh("30s")
        .time("now-6h", "now")
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("endpoint")
            .label("Endpoint")
            .datasource(_SOURCE)
            .query("label_values(mainspring_endpoint_requests_total, endpoint)")
            .multi(True)
            .include_all(True)
        )
    )
    for title, panels in SERVING:
        board = board.with_row(dashboard.Row(title))
        for panel in panels:
            board = board.with_panel(_panel(panel))
    return {"serving.json": encoder.JSONEncoder(sort_keys=True, indent=1).encode(board.build()) + "\n"}


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
