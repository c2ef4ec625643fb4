"""Polars frames against declared columns: one place that checks types and names what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.features import schema

__all__ = ["POLARS_TYPES", "TIME", "check", "collect", "require", "to_numpy"]

#: Every time column of a feature frame: UTC microseconds.
TIME: Final = pl.Datetime("us", "UTC")

POLARS_TYPES: Final[Mapping[ports.FieldType, pl.DataType]] = {
    "float32": pl.Float32(),
    "float64": pl.Float64(),
    "int64": pl.Int64(),
    "bool": pl.Boolean(),
    "string": pl.String(),
}


def check(found: Mapping[str, Any], wanted: Mapping[str, Any], *, what: str) -> None:
    """SchemaMismatch unless `found` has every wanted column with exactly that Polars type."""
    for name, dtype in wanted.items():
        if name not in found:
            close = difflib.get_close_matches(name, list(found), n=1)
            raise errors.SchemaMismatch(
                f"{what} has no column `{name}`, expected {dtype}; "
                + (f"did you mean `{close[0]}`" if close else "add it where the data is made"),
                feature=name,
                expected=str(dtype),
                got="no such column",
            )
        if found[name] != dtype:
            raise errors.SchemaMismatch(
                f"column `{name}` of {what} has type {found[name]}, expected {dtype}; cast it where the data is made",
                feature=name,
                expected=str(dtype),
                got=str(found[name]),
            )


def require(found: Mapping[str, Any], names: Iterable[str], *, what: str) -> None:
    """SchemaMismatch unless `found` has every column of `names`, of whatever type."""
    check(found, {name: found.get(name, "a column") for name in names}, what=what)


def collect(
    frame: pl.DataFrame | pl.LazyFrame, columns: Sequence[schema.Column], *, what: str
) -> pl.DataFrame:
    """The wanted columns of `frame`, checked. Errors: SchemaMismatch."""
    found = frame.collect_schema()
    check(found, {c.name: POLARS_TYPES[c.dtype] for c in columns}, what=what)
    return frame.lazy().select([c.name for c in columns]).collect()


def to_numpy(frame: pl.DataFrame, columns: Sequence[schema.Column]) -> dict[str, NDArray[Any]]:
    """Columns as arrays in the form a Program reads: floats with NaN, strings as objects with None.

    Errors: SchemaMismatch for an absent column, another type, or a null in an int64 or bool column.
    """
    check(frame.schema, {c.name: POLARS_TYPES[c.dtype] for c in columns}, what="frame")
    arrays: dict[str, NDArray[Any]] = {}
    for column in columns:
        series = frame[column.name]
        if column.dtype == "string":
            arrays[column.name] = np.array(series.to_list(), dtype=np.object_)
            continue
        if column.dtype in ("float32", "float64"):
            series = series.fill_null(np.nan)
        elif series.null_count():
            raise errors.SchemaMismatch(
                f"column `{column.name}` has {series.null_count()} nulls, which {column.dtype} cannot say;"
                " declare it float64",
                feature=column.name,
                expected=column.dtype,
                got="null",
            )
        arrays[column.name] = series.to_numpy()
    return arrays
