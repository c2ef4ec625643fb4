"""How a classifier does on parts of its rows: quality by slice, and how far groups of people or things are apart.

Fairness measures are fairlearn's by definition and name (`demographic_parity_difference`, `demographic_parity_ratio`,
`equalized_odds_difference`, between groups, worst case). No number is made of fewer rows than the project asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors, projects
from mainspring.core.contracts import evaluation as contracts
from mainspring.core.models import evaluation

__all__ = ["check_columns", "check_fairness", "fairness", "fairness_gap", "slices"]

FAIRNESS_GATE: Final = "max_fairness_gap"

_Part = tuple[str, NDArray[np.float64], NDArray[np.float64]]


def check_columns(asked: projects.Evaluation, schema: Mapping[str, pl.DataType]) -> None:
    """Whether a training set with `schema` has what is to be looked at. Errors: SchemaMismatch naming the column."""
    for name in dict.fromkeys((*asked.slices, *asked.fairness)):
        found = schema.get(name)
        is_told_apart = found is not None and (
            found.is_integer()
            or found in (pl.String, pl.Boolean, pl.Categorical)
            or isinstance(found, pl.Enum)
        )
        if not is_told_apart:
            got = "no such column" if found is None else str(found)
            raise errors.SchemaMismatch(
                f"column `{name}` of the project's evaluation is {got} in the training set, expected strings, bools or"
                " whole numbers; name another column, or cut its values into classes where the training set is made",
                feature=name,
                expected="strings, bools or whole numbers",
                got=got,
            )


def slices(
    rows: pl.DataFrame, labels: NDArray[Any], scores: NDArray[Any], asked: projects.Evaluation
) -> list[contracts.SliceMetrics]:
    """By column and value, the most frequent values first; of each column the rows add up to those of `rows`.

    Shapes: a label of 0 or 1 and a score in [0, 1] for each row. Errors: those of :func:`check_columns`.
    """
    check_columns(asked, rows.schema)
    return [
        _slice(name, *part, asked.min_rows)
        for name in asked.slices
        for part in _parts(rows[name], labels, scores, asked.max_values)
    ]


def fairness(
    rows: pl.DataFrame, labels: NDArray[Any], scores: NDArray[Any], asked: projects.Evaluation
) -> list[contracts.Fairness]:
    """By column; shapes and errors as :func:`slices`."""
    check_columns(asked, rows.schema)
    return [
        _compared(
            name,
            [
                _rates(value, y, p >= asked.threshold, asked.min_rows)
                for value, y, p in _parts(rows[name], labels, scores, asked.max_values)
            ],
            asked,
        )
        for name in asked.fairness
    ]


def fairness_gap(found: contracts.Fairness) -> float | None:
    """The larger of the two differences; None if neither is known."""
    known = (found.demographic_parity_difference, found.equalized_odds_difference)
    return max((gap for gap in known if gap is not None), default=None)


def check_fairness(found: Sequence[contracts.Fairness], gates: projects.QualityGates) -> dict[str, Any]:
    """Hold every column against `max_fairness_gap`; what was compared, for the record, empty without such a gate.

    A column whose groups are too small for any number is not judged: its `note` tells so.
    Errors: GateFailed for the column that is furthest apart, with its groups and their rates.
    """
    limit = gates.max_fairness_gap
    gaps = {one.column: gap for one in found if (gap := fairness_gap(one)) is not None}
    if limit is None or not gaps:
        return {}
    worst = max(gaps, key=lambda name: gaps[name])
    if gaps[worst] > limit:
        told = _furthest(next(one for one in found if one.column == worst))
        raise errors.GateFailed(
            f"gate `{FAIRNESS_GATE}` expects <= {limit:.4f}, groups of `{worst}` are {gaps[worst]:.4f} apart: {told};"
            " find what the model has learned of them, or change the gate in a reviewed change",
            gate=FAIRNESS_GATE,
            expected=f"<= {limit:.4f}",
            got=f"{gaps[worst]:.4f}",
        )
    return {FAIRNESS_GATE: {"expected": f"<= {limit:.4f}", "got": gaps[worst]}}


def _parts(series: pl.Series, labels: NDArray[Any], scores: NDArray[Any], max_values: int) -> Iterator[_Part]:
    """The most frequent values, ties by name; then those without one, then the rest. A part without rows is none."""
    y, p = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if not len(series) == len(y) == len(p):
        raise errors.InvariantViolated(
            f"column `{series.name}` has {len(series)} rows, there are {len(y)} labels and {len(p)} scores"
        )
    values = series.cast(pl.String)
    counted = values.drop_nulls().value_counts(name="n").rename({series.name: "value"})
    frequent = counted.sort(["n", "value"], descending=[True, False])["value"].head(max_values)
    chosen = [(str(value), (values == value).fill_null(False)) for value in frequent]
    chosen.append((contracts.MISSING, values.is_null()))
    chosen.append((contracts.OTHER, (~values.is_in(frequent.implode())).fill_null(False)))
    for name, mask in chosen:
        inside = mask.to_numpy()
        if inside.any():
            yield name, y[inside], p[inside]


def _slice(
    column: str, value: str, y: NDArray[np.float64], p: NDArray[np.float64], min_rows: int
) -> contracts.SliceMetrics:
    found = contracts.SliceMetrics(column=column, value=value, rows=len(y))
    if len(y) < min_rows:
        return found.model_copy(update={"note": f"too few rows: {len(y)} of {min_rows}"})
    one_class = y.min() == y.max()
    return found.model_copy(
        update={
            "base_rate": float(y.mean()),
            "mean_score": float(p.mean()),
            "auc": None if one_class else evaluation.auc(y, p, split=f"{column}={value}"),
            "calibration_error": evaluation.calibration_error(y, p),
            "note": f"all labels are {int(y[0])}: no auc" if one_class else "",
        }
    )


def _rates(value: str, y: NDArray[np.float64], yes: NDArray[np.bool_], min_rows: int) -> contracts.GroupRates:
    def share(of: NDArray[np.bool_]) -> float | None:
        return float(yes[of].mean()) if int(of.sum()) >= min_rows else None

    return contracts.GroupRates(
        value=value,
        rows=len(y),
        positives=int(y.sum()),
        selection_rate=share(np.ones(len(y), np.bool_)),
        true_positive_rate=share(y == 1),
        false_positive_rate=share(y == 0),
    )


def _compared(
    column: str, groups: list[contracts.GroupRates], asked: projects.Evaluation
) -> contracts.Fairness:
    selection = _known(groups, "selection_rate")
    odds = [
        gap
        for rate in ("true_positive_rate", "false_positive_rate")
        if (gap := _difference(_known(groups, rate))) is not None
    ]
    most = max(selection.values(), default=0.0)
    return contracts.Fairness(
        column=column,
        threshold=asked.threshold,
        groups=groups,
        demographic_parity_difference=_difference(selection),
        demographic_parity_ratio=min(selection.values()) / most if len(selection) > 1 and most > 0 else None,
        # One of the two rates alone would be equal opportunity, not equalized odds.
        equalized_odds_difference=max(odds) if len(odds) == 2 else None,
        note=_note(selection, odds, asked.min_rows),
    )


def _note(selection: Mapping[str, float], odds: Sequence[float], min_rows: int) -> str:
    if len(selection) < 2:
        return f"fewer than two groups have {min_rows} rows"
    if len(odds) < 2:
        return f"fewer than two groups have {min_rows} rows of each label"
    return ""


def _known(groups: Sequence[contracts.GroupRates], rate: str) -> dict[str, float]:
    """By group; the rest is no group of its own."""
    rates = {g.value: getattr(g, rate) for g in groups if g.value != contracts.OTHER}
    return {value: found for value, found in rates.items() if found is not None}


def _difference(rates: Mapping[str, float]) -> float | None:
    return max(rates.values()) - min(rates.values()) if len(rates) > 1 else None


def _furthest(found: contracts.Fairness) -> str:
    """The rate that is furthest apart, and the two groups that are."""
    by_rate = {
        rate: _known(found.groups, rate)
        for rate in ("selection_rate", "true_positive_rate", "false_positive_rate")
    }
    if found.equalized_odds_difference is None:
        by_rate = {"selection_rate": by_rate["selection_rate"]}
    rate, rates = max(by_rate.items(), key=lambda item: _difference(item[1]) or 0.0)
    high, low = max(rates, key=lambda g: rates[g]), min(rates, key=lambda g: rates[g])
    return f"{rate.replace('_', ' ')} {rates[high]:.4f} of `{high}`, {rates[low]:.4f} of `{low}`"
