"""Is a synthetic table of use, and does it tell of anybody: judged by rows that were held back from what it was made of."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.contracts.synthetic import ColumnFidelity, SyntheticReport
from mainspring.core.models import evaluation
from mainspring.core.synthetic.marginals import numbers_of

__all__ = ["MOST_MEMBERSHIP", "MOST_NEARER", "judge", "require_private"]

#: Chance is 0.5, with a standard error of 0.016 at `_COMPARED` rows.
MOST_NEARER: Final = 0.55
MOST_MEMBERSHIP: Final = 0.55
RULE: Final = "synthetic.private"
#: Rows whose nearest is looked for, among all of the other side: a copy of any is found.
_COMPARED: Final = 1000
_BLOCK: Final = 20
_CATEGORIES: Final = 20
_RIDGE: Final = 1e-3

_Floats = NDArray[np.float64]


def judge(
    made: pl.DataFrame,
    fitted: pl.DataFrame,
    held: pl.DataFrame,
    *,
    rows: int,
    seed: int,
    identifiers: Collection[str] = (),
    target: str = "",
) -> SyntheticReport:
    """`made`: synthetic rows, at least as many as are held; `rows`: of the whole table. All three have the same columns.

    Errors: InvalidRequest for no rows, or none but identifiers.
    """
    names = [name for name in fitted.columns if name not in identifiers]
    if not names or not made.height or not held.height:
        raise errors.InvalidRequest(
            "there is nothing to compare: no row, or no column but identifiers", field="rows"
        )
    rng = np.random.default_rng(seed)
    # As many of each: among more rows the nearest is nearer.
    m = min(fitted.height, held.height)
    real, others = _some(fitted, m, rng), _some(held, m, rng)
    asked = _some(made, _COMPARED, rng)
    near_fitted, near_held = _nearest(asked, real, names, real), _nearest(asked, others, names, real)
    nearer = float((near_fitted < near_held).mean() + (near_fitted == near_held).mean() / 2)
    known = [_nearest(_some(side, _COMPARED, rng), made, names, real) for side in (real, others)]
    membership = _auc(np.repeat([1.0, 0.0], [len(one) for one in known]), -np.concatenate(known))
    copied, by_chance = _copied(made, fitted, names), _copied(held, fitted, names)
    of_real, of_synthetic = _aucs(made, fitted, held, names, target)
    report = SyntheticReport(
        rows=rows, fitted_rows=fitted.height, held_rows=held.height, seed=seed, identifiers=tuple(identifiers),
        columns=tuple(ColumnFidelity(name=name, distance=_distance(made[name], held[name])) for name in names),
        correlation_difference=_correlations(made, held, names),
        target=target, auc_of_real=of_real, auc_of_synthetic=of_synthetic,
        copied=copied, copied_by_chance=by_chance, nearer_to_fitted=nearer, membership_auc=membership,
    )  # fmt: skip
    return report.model_copy(update={"problems": tuple(_problems(report, made.height))})


def require_private(report: SyntheticReport) -> None:
    """Errors: PolicyDenied for a table that tells of those it was made of."""
    if report.problems:
        raise errors.PolicyDenied(
            f"rule `{RULE}` denies it: {'; '.join(report.problems)}; name what identifies as an identifier, or leave out columns of"
            " few values each",
            rule_id=RULE,
        )


def _problems(report: SyntheticReport, made: int) -> list[str]:
    found = []
    noise = 3 * math.sqrt(report.copied_by_chance * (1 - report.copied_by_chance) / made) + 0.001
    if report.copied > report.copied_by_chance + noise:
        found.append(
            f"{report.copied:.2%} of the rows are real ones, and {report.copied_by_chance:.2%} would be by chance"
        )
    # Of few rows chance is further from a half: three standard errors, where those are more than the limits leave.
    few = max(0.0, 1.5 / math.sqrt(min(_COMPARED, made, report.fitted_rows, report.held_rows)) - 0.05)
    if report.nearer_to_fitted > MOST_NEARER + few:
        found.append(f"{report.nearer_to_fitted:.1%} of the rows are nearer to rows that they were made of")
    if report.membership_auc > MOST_MEMBERSHIP + few:
        found.append(f"who was among the real rows is told with an AUC of {report.membership_auc:.3f}")
    return found


def _some(frame: pl.DataFrame, n: int, rng: np.random.Generator) -> pl.DataFrame:
    return frame if n >= frame.height else frame[np.sort(rng.choice(frame.height, n, replace=False))]


def _copied(frame: pl.DataFrame, fitted: pl.DataFrame, names: Sequence[str]) -> float:
    same = frame.select(names).join(
        fitted.select(names).unique(), on=list(names), how="semi", nulls_equal=True
    )
    return same.height / frame.height


def _distance(made: pl.Series, held: pl.Series) -> float:
    if not _is_number(made.dtype):
        both = pl.concat(
            [
                frame.to_frame("v").select(pl.col("v").cast(pl.String)).group_by("v").agg((pl.len() / frame.len()).alias("p"), pl.lit(side).alias("side"))
                for side, frame in (("made", made), ("held", held))
            ]
        )  # fmt: skip
        shares = both.pivot("side", index="v", values="p").fill_null(0.0)
        gaps = [
            shares[s] if s in shares.columns else pl.Series([0.0] * shares.height) for s in ("made", "held")
        ]
        return float(((gaps[0] - gaps[1]).abs().sum() or 0.0) / 2)
    a, b = (np.sort(of[~np.isnan(of)]) for of in (numbers_of(made), numbers_of(held)))
    at = np.concatenate([a, b])
    steps = np.abs(
        np.searchsorted(a, at, "right") / made.len() - np.searchsorted(b, at, "right") / held.len()
    )
    missing = abs(len(a) / made.len() - len(b) / held.len())
    return float(max(steps.max(initial=0.0), missing))


def _correlations(made: pl.DataFrame, held: pl.DataFrame, names: Sequence[str]) -> float:
    numbers = [name for name in names if _is_number(made[name].dtype)]
    if len(numbers) < 2:
        return 0.0
    of = [np.corrcoef(np.array([_ranks(f[name]) for name in numbers])) for f in (made, held)]
    upper = np.triu_indices(len(numbers), 1)
    return float(np.nan_to_num(np.abs(of[0] - of[1])[upper]).mean())


def _ranks(values: pl.Series) -> _Floats:
    return values.to_physical().rank("average").fill_null(0.0).to_numpy().astype(np.float64)


def _nearest(one: pl.DataFrame, other: pl.DataFrame, names: Sequence[str], by: pl.DataFrame) -> _Floats:
    """Gower's distance from each row of one to the nearest of the other, (n,). A column counts at most 1; `by` has the scales."""
    numbers = [name for name in names if _is_number(one[name].dtype)]
    words = [name for name in names if name not in numbers]
    left, right = _scaled(one, by, numbers), _scaled(other, by, numbers)
    codes = [_codes(one[name], other[name]) for name in words]
    found = np.empty(one.height)
    for begins in range(0, one.height, _BLOCK):
        part = slice(begins, begins + _BLOCK)
        apart = np.zeros((len(found[part]), other.height), np.float32)
        for i in range(len(numbers)):
            apart += np.abs(left[part, i, None] - right[None, :, i])
        for ours, theirs in codes:
            apart += ours[part, None] != theirs[None, :]
        found[part] = apart.min(axis=1)
    return found


def _scaled(frame: pl.DataFrame, by: pl.DataFrame, numbers: Sequence[str]) -> NDArray[np.float32]:
    """By the other's 5th and 95th percentile, within 0 and 1; a missing value is as far from any as can be."""
    found = np.empty((frame.height, len(numbers)), np.float32)
    for i, name in enumerate(numbers):
        reference = numbers_of(by[name])
        present = reference[~np.isnan(reference)]
        low, high = np.percentile(present, [5, 95]) if len(present) else (0.0, 1.0)
        scaled = np.clip((numbers_of(frame[name]) - low) / max(high - low, 1e-12), 0, 1)
        found[:, i] = np.where(np.isnan(scaled), -1.0, scaled)
    return found


def _codes(one: pl.Series, other: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    both = pl.concat([one.cast(pl.String), other.cast(pl.String)]).fill_null("\0").rank("dense")
    codes = both.to_numpy().astype(np.int64)
    return codes[: one.len()], codes[one.len() :]


def _aucs(
    made: pl.DataFrame, fitted: pl.DataFrame, held: pl.DataFrame, names: Sequence[str], target: str
) -> tuple[float | None, float | None]:
    """A linear model of each, asked about the rows held back."""
    if not target or target not in names:
        return None, None
    labels = [numbers_of(frame[target]) for frame in (fitted, made, held)]
    if any(set(np.unique(y)) != {0.0, 1.0} for y in labels):
        return None, None
    inputs = [name for name in names if name != target]
    words = {name: _most(fitted[name]) for name in inputs if not _is_number(fitted[name].dtype)}
    real, ours, asked = (_design(frame, fitted, inputs, words) for frame in (fitted, made, held))
    scores = (asked @ _weights(x, y) for x, y in ((real, labels[0]), (ours, labels[1])))
    of_real, of_synthetic = (_auc(labels[2], score) for score in scores)
    return of_real, of_synthetic


def _auc(labels: _Floats, scores: _Floats) -> float:
    order = pl.Series(scores).rank("average").to_numpy() / len(
        scores
    )  # as shares, which the measure asks for
    return evaluation.auc(labels, order, split="held")


def _most(values: pl.Series) -> list[str]:
    counted = values.cast(pl.String).drop_nulls().value_counts(sort=True).head(_CATEGORIES)
    return counted[values.name].to_list()


def _design(
    frame: pl.DataFrame, by: pl.DataFrame, inputs: Sequence[str], words: dict[str, list[str]]
) -> _Floats:
    """One, each number as far as it is from the mean of `by`, whether it is missing, and whether a text is each of its words."""
    columns = [np.ones(frame.height)]
    for name in inputs:
        if name in words:
            text = frame[name].cast(pl.String)
            columns += [
                (text == word).fill_null(value=False).to_numpy().astype(np.float64) for word in words[name]
            ]
            continue
        reference, found = numbers_of(by[name]), numbers_of(frame[name])
        mean, spread = (
            (np.nanmean(reference), np.nanstd(reference)) if not np.isnan(reference).all() else (0.0, 1.0)
        )
        missing = np.isnan(found)
        columns += [np.where(missing, 0.0, (found - mean) / (spread or 1.0)), missing.astype(np.float64)]
    return np.stack(columns, axis=1)


def _weights(x: _Floats, y: _Floats) -> _Floats:
    return np.asarray(np.linalg.solve(x.T @ x + _RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y), np.float64)


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype.is_temporal()
