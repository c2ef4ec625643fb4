"""Reads the prediction log back, and joins what turned out: the label of a prediction comes hours or weeks later."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from mainspring.core import errors
from mainspring.core.monitoring import prediction_log, tokens

__all__ = [
    "IS_DUE",
    "LABEL",
    "LABEL_TIME",
    "join_labels",
    "join_labels_by_request",
    "newest_bundle",
    "sampled",
    "scan",
    "tokenised",
]

LABEL: Final = "label"
LABEL_TIME: Final = "label_time"
IS_DUE: Final = "is_due"

_BY_REQUEST: Final = ("request_id", "row")


def scan(
    folder: Path,
    *,
    endpoint: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> pl.LazyFrame:
    """Every logged prediction, one row each, answered from `since` up to before `until`; of one endpoint if it is named.

    Columns as in `prediction_log`; a column that a bundle does not have is null for it. Nothing is read before it is asked for.
    Errors: NotFound if nothing is logged there.
    """
    frames = []
    for bundle in sorted(p for p in folder.glob(f"{endpoint or '*'}/*") if p.is_dir()):
        files = sorted(bundle.glob("*.parquet"))
        if since is not None:
            # A file is named by the time of writing, and nothing in it is later.
            files = [f for f in files if int(f.name.partition("-")[0]) >= since.timestamp() * 1e6]
        if files:
            frames.append(pl.scan_parquet(files))
    if not frames:
        raise errors.NotFound(
            f"no predictions of {f'`{endpoint}`' if endpoint else 'any endpoint'} are logged there in that time; serving"
            " logs a share of them, `serving.log_predictions`",
            resource="predictions",
            name=endpoint,
        )
    found = pl.concat(frames, how="diagonal_relaxed")
    if since is not None:
        found = found.filter(pl.col("time") >= since)
    if until is not None:
        found = found.filter(pl.col("time") < until)
    return found


def newest_bundle(logged: pl.LazyFrame) -> str:
    """The bundle that answered last; empty: none did. Memory: a row a bundle, however long the log is."""
    last = logged.group_by("model_version").agg(pl.col("time").max()).collect(engine="streaming")
    return "" if last.is_empty() else str(last.sort("time", "model_version")["model_version"][-1])


def sampled(logged: pl.LazyFrame, rows: int, *, of: int) -> pl.DataFrame:
    """About `rows` of the `of` rows there are, evenly over the log. Memory: that of the answer, however many there are."""
    every = max(of // max(rows, 1), 1)
    number = "\0number"
    chosen = logged.with_row_index(number).filter(pl.col(number) % every == 0).drop(number)
    return chosen.collect(engine="streaming")


def join_labels(
    predictions: pl.LazyFrame,
    labels: pl.LazyFrame,
    *,
    keys: Sequence[str],
    label: str,
    label_time: str,
    horizon: timedelta,
    now: datetime,
) -> pl.LazyFrame:
    """Each prediction with what turned out for its entity: the first label at or after `as_of`, within `horizon`.

    `labels`: columns `keys` (as the model calls them), `label_time` (UTC) and `label`. Where the log has tokens of a key,
    `tokenised` makes those of the labels.
    Adds: `label` and `label_time`, null if none came; `is_due`, whether one can no longer come by `now`: a prediction that is
    not due and has no label is neither right nor wrong yet.
    Predictions by row have no entity, and never a label. Errors: InvalidRequest for a column that is not there.
    """
    ours = [prediction_log.KEY + key for key in keys]
    _require(predictions, [*ours, "as_of"], "the logged predictions")
    _require(labels, [*keys, label, label_time], "the labels")
    known = labels.select(
        *(pl.col(key).alias(name) for key, name in zip(keys, ours, strict=True)),
        pl.col(label_time).cast(pl.Datetime("us", "UTC")).alias(LABEL_TIME),
        pl.col(label).alias(LABEL),
    ).drop_nulls([*ours, LABEL_TIME])
    joined = (
        predictions.with_row_index("_order")
        .sort("as_of")
        .join_asof(
            known.sort(LABEL_TIME),
            left_on="as_of",
            right_on=LABEL_TIME,
            by=ours,
            strategy="forward",
            tolerance=horizon,
            coalesce=False,
            check_sortedness=False,  # both are sorted here; within groups it cannot tell
        )
        .sort("_order")
        .drop("_order")
    )
    return joined.with_columns((pl.col("as_of") + horizon < now).alias(IS_DUE))


def join_labels_by_request(predictions: pl.LazyFrame, labels: pl.LazyFrame, *, label: str) -> pl.LazyFrame:
    """Each prediction with the label that was reported for its `request_id` and `row` (0 for requests of one row).

    Adds `label`, null if none was. Errors: InvalidRequest for a column that is not there.
    """
    _require(predictions, _BY_REQUEST, "the logged predictions")
    _require(labels, [*_BY_REQUEST, label], "the labels")
    known = labels.select("request_id", pl.col("row").cast(pl.Int32), pl.col(label).alias(LABEL))
    # Reported twice: the last report counts, and no prediction is there twice.
    known = known.unique(_BY_REQUEST, keep="last", maintain_order=True)
    return predictions.join(known, on=_BY_REQUEST, how="left", maintain_order="left")


def tokenised(labels: pl.LazyFrame, tokeniser: tokens.Tokeniser, keys: Sequence[str]) -> pl.LazyFrame:
    """The labels with tokens in place of those keys, as the log has them."""
    _require(labels, keys, "the labels")

    def of(column: pl.Series) -> pl.Series:
        return pl.Series(column.name, tokeniser.column(column.name, column.to_list()), pl.String)

    return labels.with_columns(pl.col(key).map_batches(of, return_dtype=pl.String) for key in keys)


def _require(frame: pl.LazyFrame, columns: Sequence[str], what: str) -> None:
    there = frame.collect_schema().names()
    absent = [name for name in columns if name not in there]
    if absent:
        raise errors.InvalidRequest(
            f"{what} have no column `{absent[0]}`; they have {', '.join(f'`{n}`' for n in there[:20])}",
            field=absent[0],
        )
