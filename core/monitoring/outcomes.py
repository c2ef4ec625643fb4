"""Joins what happened to what was answered, day by day, and keeps the sums: a day is asked again until nothing can still come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import polars as pl

from mainspring.core.contracts.monitoring import SCORE, Baseline
from mainspring.core.monitoring import kpis as business
from mainspring.core.monitoring import prediction_log, predictions, sketches, windows

__all__ = ["Labels", "update"]

#: Answers that are joined at a time.
CHUNK_ROWS: Final = 1_000_000
#: Labels are reported late: so long after the last could have happened a day is asked no more.
GRACE: Final = timedelta(days=1)
_DAY: Final = timedelta(days=1)


class Labels:
    """What happened: the first row of `frame` at or after an answer's moment, by its keys and within `horizon`, is its outcome.

    `frame` has the columns `keys` (tokens where the log has tokens), `at` (UTC) and `label` (0 or 1).
    """

    def __init__(
        self, frame: pl.LazyFrame, *, keys: Sequence[str], at: str, label: str, horizon: timedelta
    ) -> None:
        self.keys, self.horizon = tuple(keys), horizon
        self._frame, self._at, self._label = frame, at, label

    def joined(self, logged: pl.LazyFrame, begins: datetime, ends: datetime, now: datetime) -> pl.LazyFrame:
        """`logged` with `predictions.LABEL`. Errors: InvalidRequest for a column that is not there."""
        due = pl.col(self._at).cast(pl.Datetime("us", "UTC")).is_between(begins, ends + self.horizon)
        return predictions.join_labels(
            logged,
            self._frame.filter(due),
            keys=self.keys,
            label=self._label,
            label_time=self._at,
            horizon=self.horizon,
            now=now,
        )


def update(
    store: windows.WindowStore,
    logged: pl.LazyFrame,
    labels: Labels,
    *,
    since: datetime,
    until: datetime,
    now: datetime,
    kpis: Mapping[str, pl.Expr] | None = None,
) -> int:
    """Bring what is known of the days that `[since, until)` touches up to date; answers how many days were asked.

    `logged`: as `predictions.scan` reads it. `kpis`: by name, what an answer is worth (`kpis`). An hour whose answers the log has let go of, or of some, keeps what was known of it.
    Memory:  `CHUNK_ROWS` answers, however many there are.
    Errors:  NotFound without baseline; InvalidRequest for a column that is not there, or a KPI that gives no number.
    """
    baseline = store.baseline()
    judged = logged.filter(
        pl.col("role") == windows.JUDGED_ROLE, pl.col("model_version") == baseline.bundle_digest
    )
    open_days = [day for day in _days(since, until) if not store.is_settled(day)]
    if not open_days:
        return 0
    counts = store.score_counts(_begin(open_days[0]), _begin(open_days[-1]) + _DAY)
    counts = counts.filter(pl.col("hour").dt.date().is_in(open_days))
    found = [_known(baseline, judged, labels, a, b, now, kpis or {}) for a, b in _chunks(counts)]
    cells = pl.concat([sketches.empty(), *found])
    by_day = {day: part for (day,), part in cells.group_by(pl.col("hour").dt.date())}
    for day in open_days:
        begins, part = _begin(day), by_day.get(day, sketches.empty())
        part = _knowing_more(store.outcome_cells(begins, begins + _DAY), part)
        store.put_outcomes(day, part, is_settled=now > begins + _DAY + labels.horizon + GRACE)
    return len(open_days)


def _knowing_more(before: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """By hour, the cells of whichever knows of more outcomes; of as many, what was found last."""
    if before.is_empty():
        return found

    def known(cells: pl.DataFrame) -> pl.DataFrame:
        whole = cells.filter(pl.col("slice") == "", pl.col("column") == sketches.OUTCOMES)
        return whole.group_by("hour").agg(pl.col("counts").list.sum().sum().alias("n"))

    beside = known(before).join(known(found), on="hour", how="left", suffix="_found")
    kept = beside.filter(pl.col("n") > pl.col("n_found").fill_null(0))["hour"]
    is_kept = pl.col("hour").is_in(kept.to_list())
    return pl.concat([before.filter(is_kept), found.filter(~is_kept)])


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _known(
    baseline: Baseline,
    judged: pl.LazyFrame,
    labels: Labels,
    begins: datetime,
    ends: datetime,
    now: datetime,
    kpis: Mapping[str, pl.Expr],
) -> pl.DataFrame:
    entity = [prediction_log.KEY + key for key in labels.keys]
    there = judged.collect_schema().names()
    inputs: dict[str, str] = {}
    for name in (*baseline.slices, *business.columns_of(kpis)):
        logged = [prefix + name for prefix in (prediction_log.FEATURE, prediction_log.KEY)]
        if found := [column for column in logged if column in there]:
            inputs[name] = found[0]
    inside = judged.filter(pl.col("as_of").is_between(begins, ends, closed="left"), pl.col("by_entity"))
    # What was asked again about the same entity and moment counts once, as it was answered first.
    once = inside.sort("time").unique([*entity, "as_of"], keep="first", maintain_order=True)
    rows = (
        labels.joined(once, begins, ends, now)
        .drop_nulls(predictions.LABEL)
        .select(
            "as_of",
            pl.col("score").alias(SCORE),
            pl.col(predictions.LABEL).cast(pl.Float64).alias(predictions.LABEL),
            *(pl.col(column).alias(name) for name, column in inputs.items()),
        )
        .collect()
    )
    at_us = rows["as_of"].dt.epoch("us").to_numpy()
    known = sketches.outcomes(
        baseline, at_us, rows[SCORE].to_numpy(), rows[predictions.LABEL].to_numpy(), rows
    )
    return pl.concat([known, business.cells(kpis, at_us, rows.rename({SCORE: business.SCORE}))])


def _chunks(counts: pl.DataFrame) -> Iterator[tuple[datetime, datetime]]:
    """Stretches of hours with at most `CHUNK_ROWS` answers each, by the hours' own counts, or one hour with more."""
    start: datetime | None = None
    held, end = 0, None
    for hour, n in counts.sort("hour").iter_rows():
        if start is not None and held + n > CHUNK_ROWS:
            yield start, hour
            start, held = None, 0
        start, held, end = start or hour, held + n, hour
    if start is not None and end is not None:
        yield start, end + timedelta(hours=1)


def _days(since: datetime, until: datetime) -> Iterator[date]:
    day, last = since.astimezone(UTC).date(), (until - timedelta(microseconds=1)).astimezone(UTC).date()
    while day <= last:
        yield day
        day += timedelta(days=1)
