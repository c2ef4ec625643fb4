"""The proof that no feature of a project of tables knows the future: change all that was known later, build again, compare.

Which values were known when is what the project's tables say of themselves (`tables.Table`). Values are exchanged for those of
other rows and shifted, so that types and most shapes stay; some rows that may vanish do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from mainspring.core import errors, projects
from mainspring.core.features import point_in_time
from mainspring.core.tabular.tables import Table

__all__ = ["Build", "check", "choose_cutoffs", "perturb"]

#: From tables to one row a question: `as_of` and the features under test, in an order that depends on the tables alone.
Build = Callable[[Mapping[str, Table]], pl.DataFrame]

_VANISH: Final = 0.3
#: Of the history that is built around a cut-off, how much of a future is there to be changed.
_FUTURE: Final = 0.1


def check(
    tables: Mapping[str, Table],
    build: Build,
    cutoffs: Sequence[datetime],
    *,
    ignored: frozenset[str],
    history: timedelta | None = None,
    seed: int = 0,
) -> projects.LeakReport:
    """Perturb after each cut-off, and compare every row that was asked at or before it.

    `ignored`: columns that are no features, the label among them. `history`: build from so much before a cut-off only; at
    least as long as the longest window. Errors: DataInvalid if nothing was compared or changed, which proves nothing.
    """
    compared, changed, moved = 0, 0, set[str]()
    for i, cutoff in enumerate(cutoffs):
        before = tables if history is None else _around(tables, cutoff, history)
        after, values = perturb(before, cutoff, np.random.default_rng([seed, i]))
        rows, names = _moved(build(before), build(after), cutoff, ignored)
        compared, changed = compared + rows, changed + values
        moved |= names
    if not compared or not changed:
        raise errors.DataInvalid(
            f"leak check compared {compared} rows after changing {changed} values, which proves nothing; say in `Table`"
            " what is known when, or raise the sample fraction",
            dataset="tables",
            failed=("leak check",),
        )
    return projects.LeakReport(
        cutoffs=len(cutoffs), compared_rows=compared, perturbed_values=changed, moved=tuple(sorted(moved))
    )


def choose_cutoffs(as_of: pl.Series, count: int) -> list[datetime]:
    """Instants spread evenly over the questions, each exactly the `as_of` of one: equality at the edge is tested too.

    Errors: InvalidRequest for a count below 1.
    """
    if count < 1:
        raise errors.InvalidRequest(f"`cutoffs` is {count}, expected 1 or more", field="cutoffs")
    ordered = as_of.drop_nulls().sort()
    return [ordered[len(ordered) * (i + 1) // (count + 1)] for i in range(count)]


def perturb(
    tables: Mapping[str, Table], cutoff: datetime, rng: np.random.Generator
) -> tuple[dict[str, Table], int]:
    """The tables with what became known after `cutoff` changed, and how many values that were."""
    changed, values = {}, 0
    for name, table in tables.items():
        rows, count = _perturbed(table, cutoff, rng)
        changed[name], values = replace(table, rows=rows), values + count
    return changed, values


def _perturbed(table: Table, cutoff: datetime, rng: np.random.Generator) -> tuple[pl.DataFrame, int]:
    rows, times = table.rows, {table.known_at, *table.later.values()}
    new, values = [], 0
    for column in rows.get_columns():
        at = table.later.get(column.name, table.known_at)
        if not at or column.name in table.fixed or column.name in times:
            continue
        is_later = (rows[at] > cutoff).fill_null(True)
        other = _other(column.gather(rng.permutation(rows.height)))
        new.append(other.zip_with(is_later, column).alias(column.name))
        values += int(is_later.sum())
    rows = rows.with_columns(new)
    if table.known_at and table.may_vanish:
        gone = pl.Series(rng.random(rows.height) < _VANISH) & (rows[table.known_at] > cutoff)
        rows = rows.filter(~gone)
    return rows, values


def _other(values: pl.Series) -> pl.Series:
    """Of the same type, and different wherever it can be."""
    dtype = values.dtype
    if dtype == pl.Boolean:
        return ~values
    if dtype.is_float():
        return (values * 1.5 + 1.0).cast(dtype)
    if dtype.is_integer():
        return (values.cast(pl.Int64) + 1).cast(dtype, strict=False)
    if dtype == pl.String:
        return (values.fill_null("") + " ~").cast(dtype)
    return values


def _around(tables: Mapping[str, Table], cutoff: datetime, history: timedelta) -> dict[str, Table]:
    low, high = cutoff - history, cutoff + history * _FUTURE
    return {
        name: replace(table, rows=table.rows.filter(pl.col(table.known_at).is_between(low, high)))
        if table.known_at
        else table
        for name, table in tables.items()
    }


def _moved(
    before: pl.DataFrame, after: pl.DataFrame, cutoff: datetime, ignored: frozenset[str]
) -> tuple[int, set[str]]:
    asked, again = (rows.filter(pl.col(point_in_time.AS_OF) <= cutoff) for rows in (before, after))
    if asked.height != again.height:
        # What was asked must not depend on what came later either.
        return asked.height, {"rows"}
    features = [c for c in asked.columns if c not in ignored]
    return asked.height, {c for c in features if again[c].ne_missing(asked[c]).any()}
