"""Results that are no contests with peers: the main job, the templates' projects, and a year and a day of monitoring."""

from __future__ import annotations

from typing import Any

from charts import Bar, bars
from words import code, prose, table

Section = tuple[list[str], dict[str, str]]
"""Parts of a page, and the pictures that they show."""


def main_job(found: dict[str, Any]) -> Section:
    """Where the time of one whole run went, and what came out of a first run and of the next one."""
    runs = found["runs"]
    steps = [s for s in runs["cold"]["steps"] if s["seconds"] >= 0.1]
    picture = bars(
        "The main job, cold, by step",
        "seconds",
        [Bar(s["step"].replace("_", " "), s["seconds"], f"{s['seconds']:,.1f}", is_ours=True) for s in steps],
    )
    rows = [
        ("whole job, s", *(f"{run['total_seconds']:,.0f}" for run in runs.values())),
        ("AUC of the test months", *(f"{run['metrics']['test']['auc']:.4f}" for run in runs.values())),
        (
            "the same, logistic regression",
            *(f"{run['metrics']['test/logistic_regression']['auc']:.4f}" for run in runs.values()),
        ),
        (
            "prediction by entity over HTTP, p50, ms",
            *(f"{run['latency_p50_ms']:.1f}" for run in runs.values()),
        ),
        ("the same, p99, ms", *(f"{run['latency_p99_ms']:.1f}" for run in runs.values())),
        (
            "served score against offline score, largest difference",
            *(f"{run['online_offline_max_difference']:.1e}" for run in runs.values()),
        ),
        ("audit log verifies", *("yes" if run["audit_intact"] else "**no**" for run in runs.values())),
    ]
    cold = runs["cold"]
    of = cold["metrics"]["test"]["rows"]
    said = f"{cold['predictions']:,} predictions over HTTP, of the {of:,} flights of the test months."
    parts = [
        said,
        "![The main job, cold, by step: seconds](../images/bench/demo.svg)",
        table(("", *runs), rows),
    ]
    return parts, {"images/bench/demo.svg": picture}


def template_rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """A template's project on all of its data, beside a baseline and its goal."""
    return [
        (
            code(one["template"]),
            f"{one['rows']['train']:,}",
            f"{one['test_auc']:.4f}",
            f"{one['baseline_auc']:.4f}",
            f"{one['goal']['unit']} {one['goal']['target']} ({prose(one['goal']['peer'])})",
            f"{'met' if one['goal']['ok'] else '**missed**'}: {one['goal']['value']}",
            f"{sum(one['seconds'].values()):,.0f}",
        )
        for one in found["results"]
    ]


def promises(found: list[dict[str, Any]]) -> list[str]:
    """What templates promise beside a model: months that are scored as the training scored them, streams that answer as the batch."""
    told = []
    for one in [row for result in found for row in result["results"]]:
        if "months" in one:
            off = max(month["most_off"] for month in one["months"])
            rows = sum(month["rows"] for month in one["months"])
            by = "; ".join(f"{m['month']}: AUC {m['auc']} ({m['listed_auc']})" for m in one["months"])
            told.append(
                f"{code(one['template'])}: {rows:,} flights of three months scored as {code('mainspring batch score')} does; the largest"
                f" difference from the training's own score is {off:.1g}. By month, beside boosted trees over like features: {by}."
            )
        if "streams" in one:
            seen = one["streams"]
            told.append(
                f"{code(one['template'])}: {seen['events']:,} events played by their time in {seen['seconds']:.0f} s; of {seen['rows']:,} keys that"
                f" have a row at their end, {seen['different']} have another than the batch's."
            )
    return told


TEMPLATES_HEAD = ("template", "rows learned from", "test AUC", "baseline", "wanted", "", "seconds in all")


def year(found: dict[str, Any]) -> list[str]:
    """What a model that was frozen in March was told about, month by month."""
    months = "; ".join(f"{month}: {count}" for month, count in found["alerts_by_month"].items())
    late = ", ".join(
        f"{month} after {days} days of its data" for month, days in found["days_of_data_until_found"].items()
    )
    moved = ", ".join(
        f"{code(name)} on {days}" for name, days in found["days_on_which_an_input_moved"].items()
    )
    return [
        f"A model frozen in March, judged on {found['checks']} days. What really went wrong was found in {late}; in a stable month there"
        f" was at most {found['most_false_alarms_in_a_stable_month']} false alarm. An alarm by inputs alone would have rung for {moved} days.",
        f"Alerts by month: {months}.",
        table(("alert", "kind", ""), [(a["at"], a["kind"], prose(a["message"])) for a in found["alerts"]]),
    ]


#: Steps of a check, in order, in words.
_STEPS = {
    "newest_bundle": "find the bundle that answered last",
    "count": "count every answer",
    "join": "join what happened",
    "judge": "judge the day",
    "page": "make the page of a sample",
}


def day(found: dict[str, Any]) -> list[str]:
    """What a check of one busy endpoint's day took one process."""
    rows = [
        (
            says,
            f"{took['seconds']:,.1f}",
            f"{took['cpu_seconds']:,.1f}",
            f"{took['resident_megabytes_peak']:,.0f}",
        )
        for name, says in _STEPS.items()
        for took in [found["steps"][name]]
    ]
    total = (
        "all of it",
        f"{found['seconds']:,.1f}",
        f"{found['cpu_seconds']:,.1f}",
        f"{found['resident_megabytes_peak']:,.0f}",
    )
    return [
        f"{found['rows']:,} answers in {found['files']:,} files of the log, {found['log_megabytes']:,.0f} MB; {found['columns']} columns, two of"
        f" them slices; every outcome known. Their sums take {found['windows_megabytes']:,.1f} MB. The process had"
        f" {found['resident_megabytes_before']:,.0f} MB before it began.",
        table(("step", "seconds", "CPU seconds", "peak of memory until its end, MB"), [*rows, total]),
    ]
