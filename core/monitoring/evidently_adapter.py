"""The only file that knows Evidently: two sets of columns in, our own drift report out.

Evidently computes the population stability index of the values that are present; what it does not judge is judged
here: columns without values, and the share of missing ones. The usual reading is stable below 0.1 and a significant
shift above 0.25 (Siddiqi, Credit Risk Scorecards, 2006); the default threshold, 0.2, lies between.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.monitoring import drift

with warnings.catch_warnings():
    # Evidently 0.7.23 imports its whole server, which uses deprecated parts of Litestar: no caller can act on that.
    warnings.simplefilter("ignore")
    import evidently
    from evidently import metrics as evidently_metrics
    from evidently import presets as evidently_presets

#: With fewer rows the index is above 0.1 by chance alone: its mean without drift is about (bins - 1)(1/n + 1/m).
MIN_ROWS: Final = 200


def drift_report(
    reference: Mapping[str, NDArray[Any]],
    current: Mapping[str, NDArray[Any]],
    *,
    psi_threshold: float = 0.2,
    missing_threshold: float = 0.1,
    share_threshold: float = 0.3,
    min_rows: int = MIN_ROWS,
) -> drift.DriftReport:
    """Compare columns of the same names.

    Shapes:  reference[name] (n,), current[name] (m,); numbers, or strings as objects.
    Missing: None, NaN and infinities; they count as missing, never as values.
    Errors:  SchemaMismatch for other names, kinds or lengths; DataInvalid below `min_rows` rows on a side.
    Threads: no shared state.
    """
    rows = {"reference": _rows(reference, "reference"), "current": _rows(current, "current")}
    if set(reference) != set(current):
        raise errors.SchemaMismatch(
            f"columns differ: {sorted(set(reference) ^ set(current))} are on one side only; log the same columns that"
            " were trained on",
            feature=min(set(reference) ^ set(current)),
            expected=str(sorted(reference)),
            got=str(sorted(current)),
        )
    for side, count in rows.items():
        if count < min_rows:
            raise errors.DataInvalid(
                f"{side} has {count} rows, drift needs {min_rows}; wait for more traffic or widen the window",
                dataset=side,
                failed=("rows",),
            )
    pairs = {name: (_series(reference[name]), _series(current[name])) for name in reference}
    kinds = {name: _kind(name, *pair) for name, pair in pairs.items()}
    full = {n: p for n, p in pairs.items() if p[0].notna().any() and p[1].notna().any()}
    psi = _psi(full, kinds)
    return drift.DriftReport(
        rows_reference=rows["reference"],
        rows_current=rows["current"],
        psi_threshold=psi_threshold,
        missing_threshold=missing_threshold,
        share_threshold=share_threshold,
        columns=tuple(
            _judge(name, kinds[name], psi.get(name), pair, psi_threshold, missing_threshold)
            for name, pair in pairs.items()
        ),
    )


def full_report(reference: pl.DataFrame, current: pl.DataFrame) -> str:
    """Evidently's own page about two sets of rows with the same columns: drift by column, and a summary of the data.

    It holds all that it shows: nothing is fetched when it is opened. A column that one side has no value of is left out.
    Missing: null and NaN. Errors: SchemaMismatch for other columns; DataInvalid below `MIN_ROWS` rows on a side.
    """
    if set(reference.columns) != set(current.columns):
        raise errors.SchemaMismatch(
            f"columns differ: {sorted(set(reference.columns) ^ set(current.columns))} are on one side only",
            feature=min(set(reference.columns) ^ set(current.columns)),
            expected=str(sorted(reference.columns)),
            got=str(sorted(current.columns)),
        )
    for side, rows in (("reference", reference), ("current", current)):
        if rows.height < MIN_ROWS:
            raise errors.DataInvalid(
                f"{side} has {rows.height} rows, a report needs {MIN_ROWS}", dataset=side, failed=("rows",)
            )
    text = [n for n, kind in reference.schema.items() if kind == pl.String]
    full = [
        n for n in reference.columns if all(f[n].fill_nan(None).null_count() < f.height if n not in text
                                            else f[n].null_count() < f.height for f in (reference, current))
    ]  # fmt: skip
    definition = evidently.DataDefinition(
        numerical_columns=[n for n in full if n not in text],
        categorical_columns=[n for n in full if n in text],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of columns with few values
        ours, theirs = (
            evidently.Dataset.from_pandas(f.select(full).to_pandas(), definition)
            for f in (current, reference)
        )
        presets = [evidently_presets.DataDriftPreset(method="psi"), evidently_presets.DataSummaryPreset()]
        return str(evidently.Report(presets).run(ours, theirs).get_html_str(as_iframe=False))


def _judge(
    name: str,
    kind: Literal["numerical", "categorical"],
    psi: float | None,
    pair: tuple[Any, Any],
    psi_threshold: float,
    missing_threshold: float,
) -> drift.ColumnDrift:
    before, after = (float(series.isna().mean()) for series in pair)
    reasons = []
    if psi is not None and psi >= psi_threshold:
        reasons.append(f"psi {psi:.3f} >= {psi_threshold:.3f}")
    if abs(after - before) >= missing_threshold:
        reasons.append(f"missing share {before:.3f} became {after:.3f}")
    if psi is None and before != after:
        reasons.append("no values in " + ("reference" if before == 1 else "current"))
    return drift.ColumnDrift(
        name=name,
        kind=kind,
        psi=psi,
        missing_reference=before,
        missing_current=after,
        is_drifted=bool(reasons),
        reason="; ".join(reasons),
    )


def _psi(pairs: Mapping[str, tuple[Any, Any]], kinds: Mapping[str, str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, pair in pairs.items():
        # Without the missing values, which Evidently leaves in the denominators; so one dataset a column.
        frames = [pd.DataFrame({name: s.dropna().reset_index(drop=True)}) for s in pair]
        definition = evidently.DataDefinition(**{f"{kinds[name]}_columns": [name]})
        reference, current = (evidently.Dataset.from_pandas(f, definition) for f in frames)
        metric = evidently_metrics.ValueDrift(column=name, method="psi")
        snapshot = evidently.Report([metric], include_tests=False).run(current, reference)
        (result,) = snapshot.dict()["metrics"]
        value = float(result["value"])
        if not np.isfinite(value):
            raise errors.InvariantViolated(
                f"evidently gave psi {value} for `{name}`", where="evidently_adapter.psi"
            )
        found[name] = value
    return found


def _rows(columns: Mapping[str, NDArray[Any]], side: str) -> int:
    shapes = {np.shape(values) for values in columns.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise errors.SchemaMismatch(
            f"{side} has columns of shapes {sorted(shapes)}; pass one or more columns of one length",
            feature=side,
            expected="one shape (n,)",
            got=str(sorted(shapes)),
        )
    return int(next(iter(shapes))[0])


def _series(values: NDArray[Any]) -> Any:
    if values.dtype.kind in "fiub":
        numbers = values.astype(np.float64)
        return pd.Series(np.where(np.isfinite(numbers), numbers, np.nan))
    series = pd.Series(values, dtype=object)
    return series.where(series.notna(), None)


def _kind(name: str, reference: Any, current: Any) -> Literal["numerical", "categorical"]:
    kinds = {"numerical" if s.dtype == np.float64 else "categorical" for s in (reference, current)}
    if len(kinds) > 1:
        raise errors.SchemaMismatch(
            f"column `{name}` is numbers on one side and strings on the other; log the type that was trained on",
            feature=name,
            expected=str(reference.dtype),
            got=str(current.dtype),
        )
    return "numerical" if kinds == {"numerical"} else "categorical"
