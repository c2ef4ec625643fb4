"""What a plan learns from the training split: fills, bounds, means, deviations and vocabularies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.features import ops

__all__ = ["fit_dense", "fit_ids"]


def fit_dense(name: str, column: pl.Series, declared: Sequence[ops.DenseOp]) -> tuple[ops.DenseOutput, ...]:
    """The outputs of one float32 column: itself and, if declared, its indicator.

    Missing: null and NaN. Errors: DataInvalid if nothing is present where a statistic is wanted, or if a value is
    infinite.
    """
    values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    present = values[~np.isnan(values)]
    if np.isinf(present).any():
        raise _invalid(name, "holds an infinite value", "clip or null it where the feature is computed")
    by_kind = {op.op: op for op in declared}
    fill, lower, upper, mean, scale = 0.0, None, None, 0.0, 1.0
    for op in declared:
        if isinstance(op, ops.Impute):
            fill = _fill(name, op, present)
        elif isinstance(op, ops.Clip):
            lower, upper = _bounds(name, op, present)
    log1p = "log1p" in by_kind
    if "standardise" in by_kind:
        mean, scale = _moments(name, values, fill, lower, upper, log1p=log1p)
    outputs = [
        ops.DenseOutput(
            name=name, source=name, fill=fill, lower=lower, upper=upper, log1p=log1p, mean=mean, scale=scale
        )
    ]
    if "indicator" in by_kind:
        outputs.append(ops.DenseOutput(name=f"{name}__missing", source=name, indicator=True))
    return tuple(outputs)


def fit_ids(name: str, column: pl.Series, declared: ops.Vocabulary) -> ops.IdOutput:
    """The vocabulary of one string or int64 column. Errors: DataInvalid if no value is frequent enough."""
    present = column.drop_nulls()
    if present.dtype == pl.String:
        present = present.filter(present != "")
    counts = present.value_counts(name="n").filter(pl.col("n") >= declared.min_count)
    if declared.max_values is not None:
        counts = counts.sort("n", present.name, descending=[True, False]).head(declared.max_values)
    if counts.is_empty():
        raise _invalid(
            name,
            f"has no value with {declared.min_count} rows or more",
            "lower `min_count` or drop the column",
        )
    return ops.IdOutput(name=name, source=name, values=tuple(counts[present.name].sort().to_list()))


def _fill(name: str, op: ops.Impute, present: NDArray[np.float64]) -> float:
    if op.value is not None:
        return float(np.float32(op.value))
    _need_values(name, present, f"impute by {op.method}")
    value = np.mean(present) if op.method == "mean" else np.median(present)
    # The kernel holds fills and bounds as float32, so the plan says the value that is in force.
    return float(np.float32(value))


def _bounds(name: str, op: ops.Clip, present: NDArray[np.float64]) -> tuple[float | None, float | None]:
    def bound(value: float | None, quantile: float | None) -> float | None:
        if quantile is not None:
            _need_values(name, present, "clip by quantile")
            # A value of the column, not one between two: exact in float32.
            value = float(np.quantile(present, quantile, method="nearest"))
        return None if value is None else float(np.float32(value))

    lower, upper = bound(op.lower, op.lower_quantile), bound(op.upper, op.upper_quantile)
    if lower is not None and upper is not None and lower > upper:
        raise _invalid(
            name,
            f"would be clipped to [{lower}, {upper}]",
            "move the fixed bound or use quantiles on both sides",
        )
    return lower, upper


def _moments(
    name: str,
    values: NDArray[np.float64],
    fill: float,
    lower: float | None,
    upper: float | None,
    *,
    log1p: bool,
) -> tuple[float, float]:
    # Over every row, filled ones included: the network then sees mean 0 and deviation 1.
    if not len(values):
        raise _invalid(name, "has no rows", "fit on a training split that has some")
    y = np.where(np.isnan(values), fill, values)
    y = np.clip(y, lower, upper) if lower is not None or upper is not None else y
    y = np.log1p(np.maximum(y, 0.0)) if log1p else y
    deviation = float(np.std(y))
    # A constant column has only rounding for a deviation; dividing by that would blow noise up to features.
    floor = 1e-6 * max(1.0, float(np.max(np.abs(y))))
    return float(np.mean(y)), deviation if deviation > floor else 1.0


def _need_values(name: str, present: NDArray[np.float64], what: str) -> None:
    if not len(present):
        raise _invalid(
            name, f"has no value in the training split, so it cannot {what}", "impute a constant or drop it"
        )


def _invalid(name: str, problem: str, next_step: str) -> errors.DataInvalid:
    return errors.DataInvalid(
        f"column `{name}` {problem}; {next_step}", dataset="training split", failed=(name,)
    )
