"""Counts, sums and means that may be published: noise by OpenDP, so that no one person changes an answer noticeably.

The only file that imports opendp. Its list API: its Polars mode wants another Polars than ours. Values are whole numbers of a
fixed unit before noise is added, which takes away the leaks of floating point, and the noise is OpenDP's discrete Laplace.
Whoever may be in many rows is in `rows_per_person` of them at most: the rest is left out before anything is added up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from mainspring.core import errors
from mainspring.core.contracts.privacy import Question

__all__ = ["Answer", "Asked", "answer", "check"]

#: Steps between the bounds: noise is coarser by far.
_STEPS: Final = 1 << 20


@dataclass(frozen=True)
class Asked:
    """What is to be told of a table. `bounds` are of one value, from knowledge and not from the data; of a sum or mean."""

    question: Question
    person: str
    """The column that tells persons apart."""
    epsilon: float
    column: str = ""
    bounds: tuple[float, float] | None = None
    rows_per_person: int = 1


@dataclass(frozen=True)
class Answer:
    """`value` may be published. `scale`: of the noise, in the value's unit; two of three answers are within 1.1 of it."""

    value: float
    scale: float
    epsilon: float


def answer(rows: pl.DataFrame, asked: Asked) -> Answer:
    """Missing: rows without a person or a value are left out, NaN and infinity too.

    Errors: InvalidRequest for bounds that are none or missing; SchemaMismatch for a column that is absent or no number.
    """
    check(rows, asked)
    kept = _bounded(rows, asked)
    if asked.question == "count":
        counted, scale = _noisy_sum([1] * kept.height, 1, asked.rows_per_person, asked.epsilon)
        return Answer(float(counted), scale, asked.epsilon)
    low, high = _bounds(asked)
    unit = (high - low) / _STEPS
    middle = (low + high) / 2 if asked.question == "mean" else 0.0
    clipped = kept[asked.column].cast(pl.Float64).clip(low, high)
    steps = ((clipped - middle) / unit).round().cast(pl.Int64).to_list()
    most = int(max(abs(low - middle), abs(high - middle)) / unit + 1)
    share = asked.epsilon if asked.question == "sum" else asked.epsilon / 2
    total, scale = _noisy_sum(steps, most, asked.rows_per_person, share)
    if asked.question == "sum":
        return Answer(total * unit, scale * unit, asked.epsilon)
    counted, _ = _noisy_sum([1] * kept.height, 1, asked.rows_per_person, share)
    # What is told must lie within the bounds anyway: that costs nothing, and a tiny count would leave them.
    mean = middle + total * unit / max(1, counted)
    return Answer(min(high, max(low, mean)), scale * unit / max(1, counted), asked.epsilon)


def check(rows: pl.DataFrame, asked: Asked) -> None:
    """What :func:`answer` would refuse, told by the shape of the table alone: before anything is charged. Errors: as there."""
    if asked.rows_per_person < 1 or not 0 < asked.epsilon <= 20:
        raise errors.InvalidRequest(
            "`rows_per_person` is at least 1, and `epsilon` above 0 and at most 20; correct them",
            field="epsilon",
        )
    wanted = [asked.person] if asked.question == "count" else [asked.person, asked.column]
    for name in wanted:
        if name not in rows.columns:
            raise errors.SchemaMismatch(
                f"no column `{name}`; name one of {rows.columns[:10]}",
                feature=name,
                expected="a column",
                got="none",
            )
    if asked.question != "count":
        _bounds(asked)
        if not rows.schema[asked.column].is_numeric():
            raise errors.SchemaMismatch(
                f"column `{asked.column}` has type {rows.schema[asked.column]}, which does not add up; name a number",
                feature=asked.column,
                expected="a number",
                got=str(rows.schema[asked.column]),
            )


def _bounded(rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
    """Rows that count: of each person the first ones of its own."""
    kept = rows.filter(pl.col(asked.person).is_not_null())
    if asked.question != "count":
        kept = kept.filter(pl.col(asked.column).cast(pl.Float64).is_finite().fill_null(False))
    return kept.group_by(asked.person).head(asked.rows_per_person)


def _bounds(asked: Asked) -> tuple[float, float]:
    if asked.bounds is None or not -math.inf < asked.bounds[0] < asked.bounds[1] < math.inf:
        raise errors.InvalidRequest(
            f"a {asked.question} needs bounds of one value, the lower one first; give those that are known without the data",
            field="bounds",
        )
    return asked.bounds


def _noisy_sum(values: list[int], most: int, rows_per_person: int, epsilon: float) -> tuple[int, float]:
    """The sum of values within `most` of 0 with noise for one person's rows, and the noise's scale."""
    measure, scale = _measure(most, rows_per_person, epsilon)
    return measure(values), scale


def _measure(most: int, rows_per_person: int, epsilon: float) -> tuple[Callable[[list[int]], int], float]:
    """The least noise that keeps one person within `epsilon`, as OpenDP itself accounts for it; and its scale."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    # Their functions are typed in parts.
    transformations: Any = dp.t
    space: Any = dp.vector_domain(dp.atom_domain(T="i64")), dp.symmetric_distance()

    def made(scale: float) -> Any:
        clamped = space >> transformations.then_clamp((-most, most))
        return clamped >> transformations.then_sum() >> dp.m.then_laplace(scale)

    scale = float(dp.binary_search_param(made, d_in=rows_per_person, d_out=epsilon))
    measurement = made(scale)
    return lambda values: int(measurement(values)), scale
