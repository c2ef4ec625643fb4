"""`python -m mainspring.bench templates TEMPLATE`: make its project, train it on all of its data, hold it against its baseline.

One template a process: made projects are imported. `--data` is a folder whose files the project finds in its `data/`.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from mainspring.bench import suite
from mainspring.bench.native import machine
from mainspring.bench.templates import promises
from mainspring.core import trainers
from mainspring.core.tabular import trial
from mainspring.core.workspace import Workspace
from mainspring.platform.templates import engine

#: What each is compared with: the metric, the number that was measured before there was a template, and of what.
LISTED: Final = {
    "classification": ("auc", 0.753, "a network of 84,000 weights over like features"),
    "text": ("auc", 0.877, "TF-IDF and logistic regression"),
    "batch": ("auc", 0.753, "a network of 84,000 weights over like features"),
    "streaming": ("auc", 0.753, "a network of 84,000 weights over like features"),
    "vision": ("accuracy", 0.877, "a convolutional network of 106,000 weights, 2 epochs of Fashion-MNIST"),
}
_PROJECT: Final = "bench-project"
_PACKAGE: Final = "bench_project"


def measure(
    template: str,
    folder: Path,
    *,
    data: Path | None = None,
    given: dict[str, Any] | None = None,
    fraction: float = 1.0,
    threads: int = 2,
) -> dict[str, Any]:
    """One row; gates are not asked, because a missed number is to be told, too."""
    made = engine.plan(engine.find(template), {"name": _PROJECT, "owner": "bench", **(given or {})})
    engine.write(made, folder / "project")
    if data is not None:
        shutil.copytree(data, folder / "project" / "data")
    sys.path.insert(0, str(folder / "project"))
    project = importlib.import_module(f"{_PACKAGE}.project").PROJECT
    found = trial.run(project, folder / "work", sample_fraction=fraction, threads=threads, gated=False)
    reached: dict[str, Any] = {"auc": found.metrics["test"].auc}
    if template == "vision":
        reached["accuracy"] = _accuracy(found)
    promised: dict[str, Any] = {}
    if template in promises.KEPT:
        space = Workspace((folder / "work").absolute(), project.name, fraction)
        promised = promises.KEPT[template](_PACKAGE, project, found, space)
    metric, listed, of = LISTED[template]
    return {
        "template": template,
        "sample_fraction": fraction,
        **found.summary,
        **{name: round(value, 4) for name, value in reached.items()},
        "goal": suite.goal(
            f"{template} {metric}", reached[metric], metric, None, of, listed, ok=reached[metric] >= listed
        ),
        **promised,
        "correct": set(found.rows) == {"train", "valid", "test"} and promised.get("kept", True),
    }


def _accuracy(found: trial.Trial) -> float:
    """Of the class that scores highest when a picture is asked about for every category."""
    (categories,) = found.plan.ids
    rows = pl.read_parquet(found.training_set).filter(pl.col("split") == "test")
    scores = np.stack(
        [
            trainers.scores(found.candidate, found.plan, rows.with_columns(category=pl.lit(name)))
            for name in categories.values
        ]
    )
    chosen = np.array(categories.values)[scores.argmax(axis=0)]
    return float((chosen == rows["shows"].to_numpy()).mean())


def _table(result: dict[str, Any]) -> str:
    lines = []
    for row in result["results"]:
        goal = row["goal"]
        lines.append(
            f"{row['template']}: {goal['unit']} {goal['value']}, listed {goal['target']} ({goal['peer']});"
            f" logistic regression auc {row['baseline_auc']}; {row['seconds']['train']} s of training"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """1 if nothing could be compared."""
    parser = suite.parser("templates", __doc__, quick="a tenth of the data")
    parser.add_argument("template", choices=sorted(LISTED))
    parser.add_argument("--data", type=Path, help="files for the project's `data/`")
    parser.add_argument("--set", dest="given", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--threads", type=int, default=2, help="of a project's own training")
    asked: argparse.Namespace = parser.parse_args(argv)
    given = dict(pair.split("=", 1) for pair in asked.given)
    with tempfile.TemporaryDirectory(prefix="mainspring-templates-") as folder:
        row = measure(
            asked.template,
            Path(folder),
            data=asked.data,
            given=given,
            fraction=0.1 if asked.quick else 1.0,
            threads=asked.threads,
        )
    result = {"schema": "mainspring.bench.templates/v1", "machine": machine.describe(), "results": [row]}
    suite.show(result, asked, _table)
    return suite.exit_code(result)


if __name__ == "__main__":
    sys.exit(main())
