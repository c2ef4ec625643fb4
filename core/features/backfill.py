"""Backfill of trailing aggregates over a long history: cell by cell of time, each one Parquet file, resumable.

Cells lie on a fixed grid, and a cell's file is named by its beginning and written whole or not at all. What a run that
died has done stays, the cell that it was in is made again, and no row is ever there twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from mainspring.core import durable, errors
from mainspring.core.features import frames, lake, slices, watermark, windows

__all__ = ["Backfill", "Filled", "fill"]

_US = timedelta(microseconds=1)


@dataclass(frozen=True)
class Backfill:
    """:func:`windows.trailing` of `facts`, in `cell`s of time. A cell shorter than the window reads many facts twice."""

    facts: lake.Rows
    keys: tuple[str, ...]
    known_at: str
    window: timedelta
    aggregates: tuple[windows.Aggregate, ...]
    cell: timedelta
    hop: timedelta | None = None


@dataclass(frozen=True)
class Filled:
    """How far a run is: `cells` of `of_cells` are made, with `rows` rows; rows before `watermark` are complete."""

    cells: int
    of_cells: int
    rows: int
    watermark: datetime


def fill(
    job: Backfill,
    folder: Path,
    *,
    since: datetime,
    until: datetime,
    state: Path | None = None,
    lateness: timedelta = timedelta(0),
    progress: Callable[[Filled], None] | None = None,
) -> Filled:
    """Write the rows with instants from the cell of `since` on to `until`, that included, into `folder`.

    Rows:    those of one call of :func:`windows.trailing` over all facts, to the bit; times are microseconds in UTC.
    Resume:  with `state`, a file, the next run starts at the cell that the last one reached, less `lateness` (late facts
             change the rows of a window after them, too). Cells made again replace their files.
    Memory:  the facts of one cell and of one window before it.
    Errors:  InvalidRequest for a cell, window or hop that makes no sense, or `since` after `until`; SchemaMismatch and what reading the
             facts raises; Conflict if another run holds `state`; DependencyDown if the disk refuses.
    """
    first, last, width = slices.to_us(since), slices.to_us(until), job.cell // _US
    if width <= 0 or first > last:
        raise errors.InvalidRequest(
            f"backfill from {since} to {until} in cells of {job.cell}; give an ascending range and a positive cell",
            field="cell" if width <= 0 else "since",
        )
    with contextlib.ExitStack() as stack:
        mark = (
            None
            if state is None
            else stack.enter_context(watermark.Watermark(state, _described(job, folder)))
        )
        if mark is not None and mark.us is not None:
            first = mark.us - lateness // _US
        cells = range(first // width * width, last + 1, width)
        done = Filled(0, len(cells), 0, slices.from_us(min(first, last)))
        for start in cells:
            end = min(start + width - 1, last)
            rows = _cell(job, start, end)
            _place(folder / f"cell-{start:020d}.parquet", rows)
            if mark is not None:
                mark.move(end + 1)
            done = Filled(done.cells + 1, len(cells), done.rows + rows.height, slices.from_us(end))
            if progress:
                progress(done)
        return done


def _cell(job: Backfill, first_us: int, last_us: int) -> pl.DataFrame:
    """The rows of the instants within [first_us, last_us]."""
    with job.facts.named():
        facts = slices.timed(job.facts, job.known_at)
        used: Sequence[str] = [a.column for a in job.aggregates if a.how != "rows"]
        frames.require(facts.collect_schema(), [*job.keys, *used], what=f"`{job.facts.uri}`")
        # The window before an instant is open at its far end, and a fact may count up to a hop later than it was known.
        reach = job.window + (job.hop or timedelta(0))
        facts = slices.within(facts, job.known_at, first_us - reach // _US + 1, last_us)
        events = facts.select(list(dict.fromkeys([*job.keys, job.known_at, *used]))).collect(
            engine="streaming"
        )
    rows = windows.trailing(
        events,
        keys=job.keys,
        known_at=job.known_at,
        window=job.window,
        aggregates=job.aggregates,
        hop=job.hop,
    )
    return slices.within(rows.lazy(), windows.EVENT, first_us, last_us).collect()


def _place(path: Path, rows: pl.DataFrame) -> None:
    """An empty cell has a file too: one that had rows before must not keep them."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.place_file(path, rows.write_parquet)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise errors.DependencyDown(
            f"`{path}` did not take {rows.height} rows: {error}; check the disk and run the backfill again",
            name=str(path),
        ) from error


def _described(job: Backfill, folder: Path) -> dict[str, object]:
    return {
        "facts": job.facts.uri,
        "folder": str(folder),
        "keys": list(job.keys),
        "known_at": job.known_at,
        "window_us": job.window // _US,
        "aggregates": [asdict(a) for a in job.aggregates],
        "cell_us": job.cell // _US,
        "hop_us": None if job.hop is None else job.hop // _US,
    }
