"""What a project says that its answers are worth: a number for each whose outcome is known, summed by the hour as all else is.

A KPI's cells are of column `KPI` + its name, of all answers together: `counts` has how many had a number, `sums` the sums of it and of
its square. Whether a number is good is the project's to say, by `Limits.kpis`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from mainspring.core import errors
from mainspring.core.contracts.monitoring import Baseline, Finding, KpiBaseline, KpiFound, Limits
from mainspring.core.monitoring import sketches

__all__ = ["LABEL", "SCORE", "cells", "columns_of", "findings", "found", "reference"]

KPI: Final = "\0kpi:"
#: What a KPI's expression calls the answer and the outcome.
SCORE: Final = "score"
LABEL: Final = "label"
_DAY_US: Final = 86_400_000_000


def columns_of(kpis: Mapping[str, pl.Expr]) -> tuple[str, ...]:
    """The inputs that they ask for beside `SCORE` and `LABEL`."""
    asked = {name for kpi in kpis.values() for name in kpi.meta.root_names()}
    return tuple(sorted(asked - {SCORE, LABEL}))


def reference(kpis: Mapping[str, pl.Expr], rows: pl.DataFrame) -> dict[str, KpiBaseline]:
    """What each was worth on rows that the model was not fitted to. Errors: those of :func:`_values`."""
    made = {}
    for name, values in _values(kpis, rows).items():
        present = values.drop_nulls()
        mean = float(present.sum()) / len(present) if len(present) else None
        made[name] = KpiBaseline(rows=len(present), mean=mean)
    return made


def cells(kpis: Mapping[str, pl.Expr], at_us: Any, rows: pl.DataFrame) -> pl.DataFrame:
    """Cells of answers whose outcome is known, which were asked about `at_us` (n,), UTC microseconds.

    Shapes: `rows` (n,) has `SCORE`, `LABEL` and the inputs that the KPIs ask for. Errors: those of :func:`_values`.
    """
    frames = [sketches.empty()]
    if not rows.height:
        return frames[0]
    hours = pl.Series("hour", at_us // sketches.HOUR_US * sketches.HOUR_US)
    for name, values in _values(kpis, rows).items():
        x = pl.col("x")
        summed = (
            pl.DataFrame({"hour": hours, "x": values})
            .drop_nulls()
            .group_by("hour", maintain_order=True)
            .agg(
                slice=pl.lit(""),
                value=pl.lit(""),
                column=pl.lit(KPI + name),
                counts=pl.concat_list(pl.len().cast(pl.Int64)),
                sums=pl.concat_list(x.sum(), (x * x).sum()),
                fresh=pl.lit(""),
            )
        )
        frames.append(summed.cast(dict(sketches.SCHEMA.items())).select(*sketches.SCHEMA))
    return pl.concat(frames)


def found(baseline: Baseline, outcomes: pl.DataFrame, begins: datetime, ends: datetime) -> Iterator[KpiFound]:
    """Each KPI that has numbers in `[begins, ends)`, by name."""
    inside = outcomes.filter(
        pl.col("hour").is_between(begins, ends, closed="left"), pl.col("column").str.starts_with(KPI)
    )
    for (column,), part in sorted(inside.group_by("column"), key=lambda item: str(item[0])):
        name = str(column).removeprefix(KPI)
        n = sketches.matrix(part["counts"])[:, 0]
        sums, squares = sketches.matrix(part["sums"]).T
        rows, total = int(n.sum()), float(sums.sum())
        mean, before = total / rows, baseline.kpis.get(name)
        yield KpiFound(
            name=name,
            rows=rows,
            mean=mean,
            total=total,
            error=_error(part["hour"].dt.epoch("us").to_numpy(), n, sums, float(squares.sum())),
            mean_reference=None if before is None else before.mean,
        )


def findings(kpis: Sequence[KpiFound], limits: Limits) -> Iterator[Finding]:
    """Means that are beyond the project's limits, and beyond chance."""
    for one in kpis:
        limit = limits.kpis.get(one.name)
        if limit is None or one.rows < limits.min_rows:
            continue
        chance = limits.standard_errors * one.error
        for bound, over in ((limit.low, -1.0), (limit.high, 1.0)):
            if bound is not None and over * (one.mean - bound) > chance:
                yield Finding(
                    kind="kpi",
                    severity="alarm",
                    subject=one.name,
                    value=one.mean,
                    limit=bound,
                    message=f"`{one.name}`: {one.mean:.4g} an answer, {'at most' if over > 0 else 'at least'} {bound:g} is asked"
                    f" for ({one.rows} outcomes, standard error {one.error:.2g})",
                )


def _error(at_us: Any, n: Any, sums: Any, squares: float) -> float:
    """Of the mean. Days are what is counted where they differ by more than chance among rows explains."""
    rows, total = float(n.sum()), float(sums.sum())
    by_row = max(squares - total * total / rows, 0.0)
    _, day = np.unique(at_us // _DAY_US, return_inverse=True)
    rest = np.bincount(day, sums) - total / rows * np.bincount(day, n)
    by_day = float(rest @ rest) * len(rest) / (len(rest) - 1) if len(rest) > 1 else 0.0
    return float(np.sqrt(max(by_row, by_day))) / rows


def _values(kpis: Mapping[str, pl.Expr], rows: pl.DataFrame) -> dict[str, pl.Series]:
    """A number a row; null and NaN are none.

    Errors: InvalidRequest for an input that is not there, or an expression that gives no number.
    """
    made = {}
    for name, kpi in kpis.items():
        if absent := [n for n in kpi.meta.root_names() if n not in rows.columns]:
            raise errors.InvalidRequest(
                f"KPI `{name}` asks for `{absent[0]}`, which is not logged; it may ask for `{SCORE}`, `{LABEL}` and the model's inputs",
                field="kpis",
            )
        try:
            values = rows.select(kpi.cast(pl.Float64).alias(name))[name]
        except pl.exceptions.PolarsError as error:
            raise errors.InvalidRequest(
                f"KPI `{name}` gives no number: {error}; correct the project's `kpis`", field="kpis"
            ) from error
        if len(values) != rows.height:
            raise errors.InvalidRequest(
                f"KPI `{name}` gives {len(values)} numbers for {rows.height} answers; let it give one for each",
                field="kpis",
            )
        made[name] = values.fill_nan(None)
    return made
