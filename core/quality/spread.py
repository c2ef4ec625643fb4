"""How a column's values are spread, and how far one spread is from another: the population stability index."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from mainspring.core.quality import statistics
from mainspring.core.quality.report import Profile

__all__ = ["asks", "counted", "counts", "is_number", "psi", "read"]

#: Deciles of the accepted batch are the bins.
_QUANTILES: Final = tuple(i / 10 for i in range(1, 10))
#: A value with so many of the rows has a bin of its own, or a constant that becomes another one would not be seen.
_OWN_BIN: Final = 0.05
_VALUES: Final = 20


def is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric()


def asks(columns: Mapping[str, pl.DataType]) -> dict[str, pl.Expr]:
    """What the batch's own profile needs, for when it is the accepted one."""
    made: dict[str, pl.Expr] = {}
    for i, (name, dtype) in enumerate(columns.items()):
        made[f"profile_missing_{i}"] = statistics.missing(name, dtype).sum()
        if is_number(dtype):
            value = _value(name)
            for j, q in enumerate(_QUANTILES):
                edge = value.quantile(q, "nearest")
                made[f"edge_{i}_{j}"] = edge
                made[f"below_{i}_{j}"] = (value < edge).sum()
                made[f"upto_{i}_{j}"] = (value <= edge).sum()
        else:
            seen = pl.col(name).cast(pl.String).drop_nulls().alias("value").value_counts(name="n")
            one = pl.element()
            by = [one.struct.field("n"), one.struct.field("value")]
            # Ties by value: the same rows in another order have the same profile. Sorted within the list, because
            # two mentions of `seen` are counted twice, in two orders.
            first = one.sort_by(by, descending=[True, False]).head(_VALUES)
            made[f"values_{i}"] = seen.implode().list.eval(first)
    return made


def read(columns: Mapping[str, pl.DataType], answer: Mapping[str, Any]) -> tuple[Profile, ...]:
    found = []
    for i, (name, dtype) in enumerate(columns.items()):
        missing, rows = int(answer[f"profile_missing_{i}"] or 0), int(answer["rows"])
        if is_number(dtype):
            edges, upto = _edges(i, answer, rows - missing)
            found.append(
                Profile(column=name, edges=edges, counts=_steps(upto, rows - missing), missing=missing)
            )
        else:
            seen = answer[f"values_{i}"] or []
            counts = [int(s["n"]) for s in seen]
            found.append(
                Profile(
                    column=name,
                    values=tuple(s["value"] for s in seen),
                    counts=(*counts, rows - missing - sum(counts)),
                    missing=missing,
                )
            )
    return tuple(found)


def counts(before: Profile, column: str, dtype: pl.DataType) -> dict[str, pl.Expr]:
    """What counts a batch in the bins of another one's profile."""
    made = {"psi_missing": statistics.missing(column, dtype).sum()}
    if before.edges is not None:
        value = _value(column)
        return made | {f"psi_{j}": (value <= edge).sum() for j, edge in enumerate(before.edges)}
    text = pl.col(column).cast(pl.String)
    return made | {f"psi_{j}": (text == value).sum() for j, value in enumerate(before.values or ())}


def counted(before: Profile, answer: Mapping[str, int], rows: int) -> Profile:
    """The batch in the bins of `before`, from what :func:`counts` gave."""
    missing = answer["psi_missing"]
    found = [answer[f"psi_{j}"] for j in range(len(before.counts) - 1)]
    if before.edges is None:
        found = [*found, rows - missing - sum(found)]
        return before.model_copy(update={"counts": tuple(found), "missing": missing})
    return before.model_copy(update={"counts": _steps(found, rows - missing), "missing": missing})


def psi(before: Profile, now: Profile) -> float:
    """Σ (q − p) ln(q / p) over the bins and the missing; half a row is added to each, so that an empty bin is no infinity."""
    pairs = [
        (a, b)
        for a, b in zip((*before.counts, before.missing), (*now.counts, now.missing), strict=True)
        if a or b
    ]
    of_before, of_now = (sum(side) + len(pairs) / 2 for side in zip(*pairs, strict=True))
    total = 0.0
    for a, b in pairs:
        p, q = (a + 0.5) / of_before, (b + 0.5) / of_now
        total += (q - p) * math.log(q / p)
    return total


def _value(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Float64).fill_nan(None)


def _edges(i: int, answer: Mapping[str, Any], present: int) -> tuple[tuple[float, ...], list[int]]:
    """The bins' edges, each once and finite, and how many values lie at or below each."""
    edges: dict[float, int] = {}
    for j in range(len(_QUANTILES)):
        edge = answer[f"edge_{i}_{j}"]
        if edge is None or not math.isfinite(edge):
            continue
        below, upto = int(answer[f"below_{i}_{j}"]), int(answer[f"upto_{i}_{j}"])
        if upto - below >= _OWN_BIN * present:
            edges[math.nextafter(edge, -math.inf)] = below
        edges[float(edge)] = upto
    ordered = sorted(edges)
    return tuple(ordered), [edges[e] for e in ordered]


def _steps(upto: list[int], present: int) -> tuple[int, ...]:
    """Counts by bin from counts up to each edge."""
    return tuple(b - a for a, b in zip([0, *upto], [*upto, present], strict=True))
