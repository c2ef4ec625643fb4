"""The rows of closed hops in the lake: what a stream's views were, for joins with training rows.

    <folder>/<view>/part-<number>[.<reader>].parquet

A part is written before the snapshot that counts it. Parts that no snapshot counts are of events that will be read again, and
are removed when the stream is opened: so each row is there once, whenever the process is killed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from mainspring.core import durable, errors
from mainspring.core.features import frames, windows
from mainspring.core.features.streams.definition import StreamDefinition, WindowedView
from mainspring.core.features.streams.keys import ViewRows

__all__ = ["History"]

_PART: Final = re.compile(r"part-(\d{12})(?:\.([\w-]+))?\.parquet")


class History:
    """The folder of a stream's history. `reader` names the process where several read the topic's partitions.

    Rows:   the view's keys, `event_timestamp` and `created_timestamp` (the end of the hop; UTC microseconds), and the
            aggregates as float32, null where they are of nothing: those of `windows.trailing(..., hop=stream.hop)`.
    Errors: DependencyDown if the disk refuses.
    """

    def __init__(self, folder: Path, stream: StreamDefinition, *, reader: str = "") -> None:
        self.folder = folder
        self._stream = stream
        self._reader = reader
        self._types = stream.types

    def open(self, next_part: int | None) -> None:
        """Remove parts from `next_part` on; None: there is no snapshot, and so must be no part.

        Errors: Conflict if there are parts and no snapshot: their events would be read, and written, again.
        """
        try:
            for view in self._stream.views:
                place = self.folder / view.name
                place.mkdir(parents=True, exist_ok=True)
                found = [(int(m[1]), p) for p in place.iterdir() if (m := self._mine(p))]
                if found and next_part is None:
                    raise errors.Conflict(
                        f"`{place}` has history of stream `{self._stream.name}`, whose state is not there; bring the state"
                        " back, or move the history away, and it is made anew from what the topic still has",
                        resource="stream history",
                        name=str(place),
                    )
                for number, path in found:
                    if next_part is not None and number >= next_part:
                        path.unlink()
                durable.sync_folder(place)
        except OSError as error:
            raise self._down(error) from error

    def write(self, number: int, rows: Sequence[ViewRows]) -> None:
        """Put the rows on disk as part `number` of their views, in the place of one that is there."""
        end = f".{self._reader}" if self._reader else ""
        try:
            for view in self._stream.views:
                mine = [some for some in rows if some.view == view.name]
                if mine:
                    frame = self._frame(view, mine)
                    path = self.folder / view.name / f"part-{number:012d}{end}.parquet"
                    durable.place_file(path, frame.write_parquet)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise self._down(error) from error

    def _frame(self, view: WindowedView, rows: Sequence[ViewRows]) -> pl.DataFrame:
        kinds = {"string": pl.String(), "int64": pl.Int64()}
        at = pl.Series(np.concatenate([some.event_us for some in rows])).cast(frames.TIME)
        columns = {
            name: pl.Series([key for some in rows for key in some.keys[name]], dtype=kinds[self._types[name]])
            for name in view.keys
        }
        columns |= {windows.EVENT: at, windows.CREATED: at}
        for a in view.aggregates:
            columns[a.name] = pl.Series(
                np.concatenate([some.columns[a.name] for some in rows]), nan_to_null=True
            )
        return pl.DataFrame(columns)

    def _mine(self, path: Path) -> re.Match[str] | None:
        found = _PART.fullmatch(path.name)
        return found if found and (found[2] or "") == self._reader else None

    def _down(self, error: Exception) -> errors.DependencyDown:
        return errors.DependencyDown(
            f"history of stream `{self._stream.name}` in `{self.folder}` cannot be written: {error}; check the disk",
            name="stream history",
        )
