"""The model card: what a person reads before trusting a bundle. The same run gives the same text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mainspring.core import projects
from mainspring.core.contracts import training


def render(
    name: str,
    request: training.TrainRequest,
    rows: projects.TrainingSetReport,
    metrics: Mapping[str, training.Metrics],
    gates: Mapping[str, Any],
    leaks: projects.LeakReport,
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
