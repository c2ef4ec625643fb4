"""What a bundle declares of its inputs: the ranges of its training rows, and which columns tell of a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from mainspring.core import projects
from mainspring.core.contracts import catalog, inputs
from mainspring.core.features import schema

__all__ = ["declare"]

_NUMBERS = ("float32", "float64", "int64")


def declare(
    rows: projects.TrainingSetReport,
    columns: Sequence[schema.Column],
    entries: Iterable[catalog.CatalogEntry],
) -> inputs.InputPolicy:
    """The policy of a model whose plan reads `columns`: serving warns of what training never saw, and logs tokens of people.

    Ranges are of the finite values of the training split; a column without any has none. `entries` are the project's
    catalog; a derived column tells of a person if one that it is derived from does.
    """
    private = _private(entries, rows.derived_from)
    ranges = _ranges(rows, [c.name for c in columns if c.dtype in _NUMBERS])
    declared = {}
    for name in sorted({*ranges, *private}):
        low, high = ranges.get(name, (None, None))
        told = private.get(name)
        declared[name] = inputs.ColumnPolicy(
            is_pii=told is not None,
            classification=told.classification if told is not None else "",
            low=low,
            high=high,
        )
    return inputs.InputPolicy(columns=declared)


def _ranges(rows: projects.TrainingSetReport, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    finite = [pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in names]
    train = pl.scan_parquet(rows.path).filter(pl.col("split") == "train").select(finite)
    found = train.select(
        *(pl.col(name).min().alias(f"low {name}") for name in names),
        *(pl.col(name).max().alias(f"high {name}") for name in names),
    ).collect()
    bounds = {name: (found[f"low {name}"].item(), found[f"high {name}"].item()) for name in names}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items() if low is not None}


def _private(
    entries: Iterable[catalog.CatalogEntry], derived_from: Mapping[str, Sequence[str]]
) -> dict[str, catalog.CatalogColumn]:
    """By the names that serving knows: a key's own, `view__field`, and those of derived columns."""
    private: dict[str, catalog.CatalogColumn] = {}
    for entry in entries:
        if entry.kind == "view":
            view = entry.name.removeprefix("view.")
            for column in entry.columns:
                if column.is_pii:
                    name = column.name if column.is_key else schema.joined_name(view, column.name)
                    private[name] = column
    for name, sources in derived_from.items():
        told = [private[source] for source in sources if source in private]
        if told:
            order = ("", *catalog.CLASSIFICATIONS)
            private[name] = max(told, key=lambda column: order.index(column.classification))
    return private
