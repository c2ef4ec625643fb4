"""Statistics of every column of a batch, as expressions of the one query and read back from its answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from mainspring.core.quality.report import ColumnStatistics

__all__ = ["asks", "missing", "read"]


def missing(column: str, dtype: pl.DataType) -> pl.Expr:
    """True for null, and for NaN."""
    value = pl.col(column)
    return value.is_null() | value.is_nan().fill_null(True) if dtype.is_float() else value.is_null()


def asks(found: Mapping[str, pl.DataType]) -> dict[str, pl.Expr]:
    """The expressions, named by the column's place: names of columns are anybody's."""
    made: dict[str, pl.Expr] = {}
    for i, (name, dtype) in enumerate(found.items()):
        made[f"missing_of_{i}"] = missing(name, dtype).sum()
        if not dtype.is_nested():
            made[f"distinct_of_{i}"] = pl.col(name).approx_n_unique()
        number = _number(name, dtype)
        if number is not None:
            made[f"low_of_{i}"] = number.min()
            made[f"high_of_{i}"] = number.max()
            made[f"mean_of_{i}"] = number.mean()
    return made


def read(found: Mapping[str, pl.DataType], answer: Mapping[str, Any]) -> tuple[ColumnStatistics, ...]:
    return tuple(
        ColumnStatistics(
            name=name,
            dtype=str(dtype),
            missing=int(answer[f"missing_of_{i}"] or 0),
            distinct=answer.get(f"distinct_of_{i}"),
            low=_finite(answer.get(f"low_of_{i}")),
            high=_finite(answer.get(f"high_of_{i}")),
            mean=_finite(answer.get(f"mean_of_{i}")),
        )
        for i, (name, dtype) in enumerate(found.items())
    )


def _number(name: str, dtype: pl.DataType) -> pl.Expr | None:
    value = pl.col(name)
    if dtype.is_float():
        return value.cast(pl.Float64).fill_nan(None)
    if dtype.is_numeric() or dtype == pl.Boolean:
        return value.cast(pl.Float64)
    if isinstance(dtype, pl.Datetime | pl.Date):
        # Whole microseconds of this century are exact in float64.
        return value.dt.timestamp("us").cast(pl.Float64)
    return None


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
