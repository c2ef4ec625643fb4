"""The only file that knows Evidently: two sets of columns in, our own drift report out.

Evidently computes the population stability index of the values that are present; what it does not judge is judged
here: columns without values, and the share of missing ones. The usual reading is stable below 0.1 and a significant
shift above 0.25 (Siddiqi, Credit Risk Scorecards, 2006); the default threshold, 0.2, lies between.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.monitoring import drift, pages

with warnings.catch_warnings():
    # Evidently 0.7.23 imports its whole server, which uses deprecated parts of Litestar: no caller can act on that.
    warnings.simplefilter("ignore")
    import evidently
    from evidently import metrics as evidently_metrics
    from evidently import presets as evidently_presets
    from evidently.core import metric_types as evidently_widgets
    from evidently.legacy.renderers import html_widgets

#: With fewer rows the index is above 0.1 by chance alone: its mean without drift is about (bins - 1)(1/n + 1/m).
MIN_ROWS: Final = 200
#: The column of a full report that has the scores.
SCORE_COLUMN: Final = "score"
#: Slices with a section of their own in a full report: each takes time, and the page is for people.
MAX_SLICES: Final = 6


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


def full_report(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    *,
    label: str = "",
    slices: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Evidently's own page about two sets of rows with the same columns: drift by column, and a summary of the data.

    `label`: the column that has what happened (0, 1, or null while nobody knows), beside `SCORE_COLUMN`. Of the rows whose outcome is
    known the page has the target's drift and how good the model was; so of each of the `MAX_SLICES` largest `slices`, columns
    of strings with the values to tell apart. What is too little known to show is told there.

    It holds all that it shows, and lets nothing out when it is opened. A column that one side has no value of is left out.
    Missing: null and NaN. Errors: SchemaMismatch for other columns; DataInvalid below `MIN_ROWS` rows on a side.
    Time: some 5 s of one core for 5,000 rows of 30 columns, and 0.3 s a section of outcomes.
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
    sides = reference.with_columns(_plain()), current.with_columns(_plain())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of columns with few values
        widgets = _data(*(f.drop(label) if label else f for f in sides))
        if label:
            widgets += _outcomes(*sides, label, slices or {})
        page = evidently_widgets.render_widgets([html_widgets.group_widget(title="", widgets=widgets)])
    return _closed(str(page))


def _data(reference: pl.DataFrame, current: pl.DataFrame) -> list[Any]:
    """What is asked of every row."""
    text = [n for n, kind in reference.schema.items() if kind == pl.String]
    full = [
        n for n in reference.columns if all(f[n].fill_nan(None).null_count() < f.height if n not in text
                                            else f[n].null_count() < f.height for f in (reference, current))
    ]  # fmt: skip
    definition = evidently.DataDefinition(
        numerical_columns=[n for n in full if n not in text],
        categorical_columns=[n for n in full if n in text],
    )
    presets = [evidently_presets.DataDriftPreset(method="psi"), evidently_presets.DataSummaryPreset()]
    return _run(presets, reference.select(full), current.select(full), definition)


def _outcomes(
    reference: pl.DataFrame, current: pl.DataFrame, label: str, slices: Mapping[str, Sequence[str]]
) -> list[Any]:
    """What is asked of the rows whose outcome is known: of all of them, and of the largest slices."""
    is_known = pl.col(label).is_not_null() & pl.col(SCORE_COLUMN).is_finite()
    sides = tuple(f.filter(is_known) for f in (reference, current))
    known = f"{sides[1].height:,} of the sample's {current.height:,} answers"
    title = f"Target drift and performance: the {known} whose outcome is known"
    widgets = [_performance(title, sides, label, evidently_presets.ClassificationPreset())]
    if _too_little(sides, label):
        return widgets
    values = [(column, value) for column, listed in slices.items() for value in listed]
    parts = [(c, v, tuple(f.filter(pl.col(c) == _as_shown(v)) for f in sides)) for c, v in values]
    parts.sort(key=lambda part: -part[2][1].height)
    for column, value, part in parts[:MAX_SLICES]:
        title = f"{column} = {_as_shown(value)}: {part[1].height:,} answers"
        widgets.append(_performance(title, part, label, evidently_presets.ClassificationQuality()))
    if left_out := len(parts[MAX_SLICES:]):
        told = f"{left_out} smaller slices have no section of their own."
        widgets.append(html_widgets.text_widget(text=told))
    return widgets


def _performance(title: str, sides: tuple[pl.DataFrame, ...], label: str, preset: Any) -> Any:
    if why := _too_little(sides, label):
        return html_widgets.group_widget(title=title, widgets=[html_widgets.text_widget(text=why)])
    definition = evidently.DataDefinition(
        numerical_columns=[SCORE_COLUMN],
        categorical_columns=[label],
        classification=[evidently.BinaryClassification(target=label, prediction_probas=SCORE_COLUMN)],
    )
    drifts = [evidently_metrics.ValueDrift(column=name, method="psi") for name in (label, SCORE_COLUMN)]
    reference, current = (f.select(SCORE_COLUMN, pl.col(label).cast(pl.Int64)) for f in sides)
    widgets = _run([*drifts, preset], reference, current, definition)
    return html_widgets.group_widget(title=title, widgets=widgets)


def _too_little(sides: tuple[pl.DataFrame, ...], label: str) -> str:
    """Why nothing can be said of these rows' outcomes; empty: it can."""
    for side, rows in zip(("training", "the window"), sides, strict=True):
        if rows.height < MIN_ROWS:
            return f"Nothing is shown: {rows.height} outcomes of {side} are known here, and {MIN_ROWS} are needed."
        if rows[label].n_unique() < 2:
            return f"Nothing is shown: all outcomes of {side} here are the same."
    return ""


def _run(metrics: list[Any], reference: pl.DataFrame, current: pl.DataFrame, definition: Any) -> list[Any]:
    ours, theirs = (evidently.Dataset.from_pandas(f.to_pandas(), definition) for f in (current, reference))
    return list(evidently.Report(metrics, include_tests=False).run(ours, theirs).to_snapshot_model().widgets)


def _as_shown(value: str) -> str:
    return value.replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}")


def _plain() -> pl.Expr:
    """Strings that cannot end the script of the page that they are in: Evidently writes them there as they are."""
    return pl.col(pl.String).str.replace_all("<", _as_shown("<"), literal=True)


def _closed(page: str) -> str:
    """The page with a policy of its own: wherever it is opened, it fetches nothing and sends nothing."""
    head, found, rest = page.partition("<head>")
    if not found:
        raise errors.InvariantViolated("evidently's page has no head", where="evidently_adapter.full_report")
    return f'{head}{found}<meta http-equiv="Content-Security-Policy" content="{pages.POLICY}">{rest}'


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
