"""What a template promises beside a model: months that are scored as serving would, streams that answer as the batch does."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import polars as pl

from mainspring.core import trainers
from mainspring.core.features import online
from mainspring.core.models import evaluation, runtimes
from mainspring.core.models.source import Part
from mainspring.core.scoring import scorer
from mainspring.core.tabular import trial
from mainspring.core.workspace import Workspace

__all__ = ["KEPT"]

#: AUC of boosted trees over like features, by month of what is held back.
MONTHS: Final = {"2013-10": 0.743, "2013-11": 0.727, "2013-12": 0.748}


def _months(package: str, project: Any, found: trial.Trial, space: Workspace) -> dict[str, Any]:
    """Each month's rows as `months.py` writes them, scored as `mainspring batch score` does, beside what the training said of them."""
    compiled = found.plan.compile()
    learned = found.candidate
    runtime = runtimes.model_factories(runtimes.Options(torch_threads=1))[learned.kind](
        Part("the model just trained", learned.kind, dict(learned.model), learned.data), compiled
    )
    scores = scorer.Scorer(
        service=project.service,
        request_columns=project.request_columns,
        program=compiled,
        runtime=runtime,
        derive=type(project).derive,
        views={view.name: pl.read_parquet(space.features / f"{view.name}.parquet") for view in project.views},
    )
    rows = pl.read_parquet(found.training_set).filter(pl.col("split") == "test")
    said = rows.with_columns(said=trainers.scores(learned, found.plan, rows), outcome=project.label)
    months = importlib.import_module(f"{package}.months")
    keys = [*(key.name for key in project.service.keys), scorer.AS_OF]
    told = []
    for month, listed in MONTHS.items():
        asked = months.rows(month, sample_fraction=space.sample_fraction)
        begun = time.perf_counter()
        answers = scores.score(asked)
        seconds = time.perf_counter() - begun
        both = asked.with_columns(score=answers).join(said.select(*keys, "said", "outcome"), on=keys)
        judged = evaluation.evaluate(both["outcome"].to_numpy(), both["score"].to_numpy(), split=month)
        off = float(np.abs(both["score"].to_numpy() - both["said"].to_numpy()).max())
        told.append(
            {
                "month": month,
                "rows": asked.height,
                "labelled": both.height,
                "auc": round(judged.auc, 4),
                "listed_auc": listed,
                "most_off": off,
                "rows_per_second": round(asked.height / seconds),
            }
        )
    return {"months": told, "kept": all(month["most_off"] <= 1e-5 and month["labelled"] for month in told)}


def _streams(package: str, project: Any, found: trial.Trial, space: Workspace) -> dict[str, Any]:
    """All events by their time, without a broker, and each key's newest row beside the batch's."""
    tables = project.tables(space.lake)
    facts = {name: tables[name].rows for name in project.streams()}
    begun = time.perf_counter()
    compared = importlib.import_module(f"{package}.streams").compared(facts, online.OnlineStore())
    seconds = time.perf_counter() - begun
    told = {**compared, "seconds": round(seconds, 2)}
    return {"streams": told, "kept": compared["different"] == 0 and compared["rows"] > 0}


#: By template: what was found, and whether its promise is `kept`.
KEPT: Final[dict[str, Callable[[str, Any, trial.Trial, Workspace], dict[str, Any]]]] = {
    "batch": _months,
    "streaming": _streams,
}
