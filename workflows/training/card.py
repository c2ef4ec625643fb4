"""The model card: what a person reads before trusting a bundle. The same run gives the same text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mainspring.core import projects
from mainspring.core.contracts import evaluation, training
from mainspring.core.protection import showing


def render(
    name: str,
    request: training.TrainRequest,
    rows: projects.TrainingSetReport,
    metrics: Mapping[str, training.Metrics],
    gates: Mapping[str, Any],
    leaks: projects.LeakReport,
    looked: evaluation.Evaluation,
) -> str:
    """Markdown."""
    sample = "" if request.sample_fraction == 1.0 else f" (a sample: {request.sample_fraction:g} of the rows)"
    return "\n".join(
        (
            f"# {name}",
            "",
            f"Project `{request.project}`, run `{request.run_id}`, asked for by `{request.requested_by}`"
            + (f" on behalf of `{request.on_behalf_of}`" if request.on_behalf_of else "")
            + (f", when `{request.prompted_by}` asked for it." if request.prompted_by else ".")
            + (f" Cause: {request.cause}." if request.cause else ""),
            "",
            "## Data",
            f"Training set `{rows.digest}`{sample}; label `{rows.label}`.",
            "",
            "| split | rows | base rate |",
            "|---|---|---|",
            *(f"| {s} | {rows.rows[s]} | {rows.base_rate[s]:.4f} |" for s in rows.rows),
            "",
            "## Quality",
            "| split and peer | rows | AUC | average precision | Brier | log loss | calibration error |",
            "|---|---|---|---|---|---|---|",
            *(
                f"| {n} | {m.rows} | {m.auc:.4f} | {m.average_precision:.4f} | {m.brier:.4f} | {m.log_loss:.4f}"
                f" | {m.calibration_error:.4f} |"
                for n, m in sorted(metrics.items())
            ),
            "",
            *_slices(looked),
            *_fairness(looked),
            *_latency(looked),
            *_champion(looked),
            "## Gates" + (" (those of a sample run)" if gates.get("relaxed") else ""),
            *(
                f"- `{gate}` expected {found['expected']}, got {found['got']:.4f}"
                for gate, found in sorted(gates.items())
                if isinstance(found, Mapping)
            ),
            "",
            "## Leaks",
            f"Everything later than {leaks.cutoffs} cut-offs was changed ({leaks.perturbed_values} values); of"
            f" {leaks.compared_rows} rows no feature moved.",
            "",
        )
    )


def _slices(looked: evaluation.Evaluation) -> list[str]:
    if not looked.slices:
        return []
    return [
        "## Slices of the test split",
        "| column | value | rows | base rate | mean score | AUC | calibration error | |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {showing.cell(one.column)} | {showing.cell(one.value)} | {one.rows} | {_told(one.base_rate)} | {_told(one.mean_score)}"
            f" | {_told(one.auc)} | {_told(one.calibration_error)} | {one.note} |"
            for one in looked.slices
        ),
        "",
    ]


def _fairness(looked: evaluation.Evaluation) -> list[str]:
    lines = ["## Fairness on the test split"] if looked.fairness else []
    for found in looked.fairness:
        lines += [
            f"By `{found.column}`, a score of {found.threshold:g} or more being a yes: demographic parity difference"
            f" {_told(found.demographic_parity_difference)}, ratio {_told(found.demographic_parity_ratio)}; equalized odds"
            f" difference {_told(found.equalized_odds_difference)}."
            + (f" {found.note[0].upper()}{found.note[1:]}." if found.note else ""),
            "",
            "| group | rows | positives | selection rate | true positive rate | false positive rate |",
            "|---|---|---|---|---|---|",
            *(
                f"| {showing.cell(g.value)} | {g.rows} | {g.positives} | {_told(g.selection_rate)} | {_told(g.true_positive_rate)}"
                f" | {_told(g.false_positive_rate)} |"
                for g in found.groups
            ),
            "",
        ]
    return lines


def _latency(looked: evaluation.Evaluation) -> list[str]:
    found = looked.latency
    if found is None:
        return []
    return [
        "## Latency of a row",
        f"Median {found.p50_ms:.3f} ms, 99th percentile {found.p99_ms:.3f} ms ({found.p99_ms_best:.3f} to"
        f" {found.p99_ms_worst:.3f} in {found.rounds} rounds), {found.requests} predictions by runtime"
        f" `{found.runtime}` on {found.machine}: plan and model, without network and look-ups.",
        "",
    ]


def _champion(looked: evaluation.Evaluation) -> list[str]:
    found = looked.champion
    if found is None:
        return []
    text = f"Not compared: {found.note}."
    if found.auc_gain is not None:
        text = (
            f"On the same {found.rows} rows AUC {_told(found.auc)}, calibration error {_told(found.calibration_error)}; this"
            f" model has {found.auc_gain:+.4f} AUC (95 % confidence {_told(found.auc_gain_low)} to"
            f" {_told(found.auc_gain_high)})."
        )
    named = f"Bundle `{found.bundle_digest}`. " if found.bundle_digest else ""
    return ["## Beside the champion", named + text, ""]


def _told(value: float | None) -> str:
    return "not told" if value is None else f"{value:.4f}"
