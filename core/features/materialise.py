"""Materialisation: the newest row of each key, from a source to an online store, slice by slice of event time.

A slice is read, reduced to the newest row of each key, pushed, and then the watermark moves past it. The store keeps the
newest row whatever comes twice, so a run that died at any point is run again, and goes on where it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import polars as pl

from mainspring.core import errors, ports
from mainspring.core.features import frames, lake, slices, watermark

__all__ = ["Job", "OnlineSink", "Progress", "Sink", "materialise"]

_US: Final = timedelta(microseconds=1)
#: At 100 bytes a row a slice is some tens of megabytes.
SLICE_ROWS: Final = 250_000


@dataclass(frozen=True)
class Job:
    """Which rows: the columns of `source` under the names that the sink has for them.

    `renamed` maps a column of the source to its name in the sink where that is another. Of one key and event time the row
    created last wins (a null created time is earliest), then the later row, as in the point-in-time join.
    """

    source: lake.Rows
    keys: tuple[str, ...]
    fields: tuple[str, ...]
    event: str
    created: str | None = None
    renamed: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Progress:
    """How far a run is: `rows` of `of_rows` rows are read, `pushed` of them were the newest of their key in a slice."""

    rows: int
    of_rows: int
    pushed: int
    taken: int | None
    """Rows that became the newest of the store, or were it already; None where the store does not say."""

    watermark: datetime | None
    """Rows before this are in the store."""


class Sink(Protocol):
    """An online store, as a materialisation sees it."""

    @property
    def name(self) -> str:
        """What tells it from others, in the watermark and in errors."""
        ...

    def push(self, rows: pl.DataFrame, job: Job) -> int | None:
        """Keep `rows` (the job's columns, one row a key) where they are newer, durably; how many it took, None if it is not told.

        Errors: SchemaMismatch for a column that the store refuses; DependencyDown if it does not answer.
        """
        ...


class OnlineSink:
    """A view of a `ports.OnlineFeatures`, which is registered if it is not."""

    def __init__(self, store: ports.OnlineFeatures, view: ports.ViewSchema) -> None:
        self._store = store
        self._view = view
        store.register(view)

    @property
    def name(self) -> str:
        return self._view.name

    def job(
        self,
        source: lake.Rows,
        *,
        event: str,
        created: str | None = None,
        renamed: Mapping[str, str] | None = None,
    ) -> Job:
        """The job that fills this view from `source`."""
        return Job(source, self._view.join_keys, self._view.field_names, event, created, renamed)

    def push(self, rows: pl.DataFrame, job: Job) -> int:
        """Numbers are cast to the view's floats, shorter integers to int64; nothing else is."""
        columns: dict[str, Any] = {}
        for name, kind in self._view.fields:
            series = rows[name]
            wanted = frames.POLARS_TYPES[kind]
            is_safe = wanted.is_float() and series.dtype.is_numeric()
            is_safe |= wanted.is_integer() and series.dtype.is_integer()
            if is_safe or isinstance(series.dtype, (pl.Null, pl.Categorical, pl.Enum)):
                series = series.cast(wanted)
            frames.check({name: series.dtype}, {name: wanted}, what=f"`{job.source.uri}`")
            # Floats with NaN as their null, in one array; the rest cell by cell.
            columns[name] = (
                series.fill_null(float("nan")).to_numpy() if wanted.is_float() else series.to_list()
            )
        created_us = np.zeros(rows.height, np.int64)  # null is before everything else
        if job.created is not None:
            created_us = rows[job.created].to_physical().fill_null(0).to_numpy()
        return self._store.upsert(
            self._view.name,
            {key: rows[key].to_list() for key in self._view.join_keys},
            event_us=rows[job.event].to_physical().to_numpy(),
            created_us=created_us,
            columns=columns,
        )


def materialise(
    job: Job,
    sink: Sink,
    *,
    until: datetime,
    since: datetime | None = None,
    state: Path | None = None,
    lateness: timedelta = timedelta(0),
    slice_rows: int = SLICE_ROWS,
    progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Push every key's newest row with event time up to `until`, both ends included.

    Resume:  with `state`, a file, the next run starts at the newest event time taken so far, less `lateness`: rows that
             came to the source later than rows with newer event times are found within that. `since` bounds the first
             run only. Keep the file beside the store: a store that is lost loses its watermark too.
    Again:   pushing the same rows changes nothing. A run that died is run again with the same arguments.
    Missing: rows without a key or an event time are left out; a null field is a null in the store.
    Memory:  one slice of `slice_rows` rows; more only if more have one event time.
    Reads:   the times once, and each slice's rows. Of files that are laid out by time only those of the slice; others, and
             SQL, are read once a slice: give such a source larger slices.
    Errors:  NotFound, CorruptArtifact, SchemaMismatch, InvalidRequest for the source; Conflict if another run holds
             `state` or it is another job's; what the sink raises. Then the slices before are in, and the watermark says so.
    Threads: one run of a `state` at a time; `progress` is called in this thread after each slice, and may raise to stop.
    """
    if since is not None and slices.to_us(since) > slices.to_us(until):
        raise errors.InvalidRequest(f"since {since} lies after until {until}; exchange them", field="since")
    with contextlib.ExitStack() as stack:
        mark = (
            None if state is None else stack.enter_context(watermark.Watermark(state, _described(job, sink)))
        )
        first_us = None if since is None else slices.to_us(since)
        if mark is not None and mark.us is not None:
            first_us = mark.us - lateness // _US
        rows = _rows(job)
        event = job.event
        planned = slices.plan(
            job.source,
            _original(job, event),
            first_us=first_us,
            last_us=slices.to_us(until),
            slice_rows=slice_rows,
        )
        done = Progress(0, sum(s.rows for s in planned), 0, 0, _time(mark))
        for part in planned:
            with job.source.named():
                found = slices.within(rows, event, part.first_us, part.last_us).collect(engine="streaming")
            newest = _newest(found, job)
            taken = sink.push(newest, job) if newest.height else 0
            if mark is not None:
                mark.move(part.last_us)
            done = Progress(
                done.rows + found.height,
                max(done.of_rows, done.rows + found.height),
                done.pushed + newest.height,
                None if taken is None or done.taken is None else done.taken + taken,
                slices.from_us(part.last_us),
            )
            if progress:
                progress(done)
        return done


def _rows(job: Job) -> pl.LazyFrame:
    """The job's columns, renamed, times as UTC microseconds. Errors: SchemaMismatch."""
    what = f"`{job.source.uri}`"
    with job.source.named():
        rows = job.source.scan()
        schema = rows.collect_schema()
        rows = rows.rename({old: new for old, new in (job.renamed or {}).items() if old in schema})
        schema = rows.collect_schema()
        times = [job.event, *([job.created] if job.created else [])]
        frames.require(schema, [*job.keys, *job.fields, *times], what=what)
        rows = rows.with_columns(lake.as_time(rows, time, what=what) for time in times)
        return rows.select(list(dict.fromkeys([*job.keys, *job.fields, *times])))


def _newest(rows: pl.DataFrame, job: Job) -> pl.DataFrame:
    times = [job.event, *([job.created] if job.created else [])]
    ordered = rows.drop_nulls(list(job.keys)).sort(times, maintain_order=True)
    return ordered.unique(job.keys, keep="last", maintain_order=True) if job.keys else ordered.tail(1)


def _original(job: Job, name: str) -> str:
    return next((old for old, new in (job.renamed or {}).items() if new == name), name)


def _described(job: Job, sink: Sink) -> dict[str, Any]:
    return {
        "source": job.source.uri,
        "sink": sink.name,
        "keys": list(job.keys),
        "fields": list(job.fields),
        "event": job.event,
        "created": job.created,
        "renamed": dict(job.renamed or {}),
    }


def _time(mark: watermark.Watermark | None) -> datetime | None:
    return None if mark is None or mark.us is None else slices.from_us(mark.us)
