"""What every project's examples must be, whatever they are of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from mainspring.core import projects
from mainspring.core.features import frames, schema
from mainspring.core.tabular.tables import AS_OF, SPLIT, SPLITS

__all__ = ["of_examples"]


def of_examples(
    asked: pl.DataFrame, columns: Sequence[schema.Column], label: str
) -> tuple[projects.CheckResult, ...]:
    """`columns`: keys and request columns. Errors: SchemaMismatch for an absent column or another type."""
    wanted: dict[str, Any] = {c.name: frames.POLARS_TYPES[c.dtype] for c in columns}
    wanted |= {AS_OF: frames.TIME, label: pl.Int8(), SPLIT: pl.String()}
    frames.check(asked.schema, wanted, what="examples")
    undated = asked[AS_OF].null_count()
    wrong = int((~asked[label].drop_nulls().is_in([0, 1])).sum())
    odd = sorted(set(asked[SPLIT].unique().to_list()) - set(SPLITS), key=str)
    outcomes = {s: asked.filter(pl.col(SPLIT) == s)[label].drop_nulls() for s in SPLITS}
    poor = [s for s, found in outcomes.items() if found.n_unique() < 2]
    counts = ", ".join(f"{s} {len(found)}" for s, found in outcomes.items())
    return (
        _result("times", f"`{AS_OF}` in every row", f"{undated} rows without", not undated),
        _result("labels", "0, 1 or null", f"{wrong} other values", not wrong),
        _result("splits", f"{list(SPLITS)}", f"{odd or 'these'}", not odd),
        _result("outcomes", "both outcomes in every split", f"{counts} rows, not in {poor}", not poor),
    )


def _result(name: str, expected: str, observed: str, ok: bool) -> projects.CheckResult:
    return projects.CheckResult(name=name, expected=expected, observed=observed, ok=ok)
