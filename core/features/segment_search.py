"""The join over sorted segments: each is searched, the newest of what they found answers, and only that is gathered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core.features import frames, matching, segment_file

__all__ = ["forget_others", "match", "opened"]

_US: Final = timedelta(microseconds=1)
#: Segments kept mapped: their pages are the page cache's, and are given back as memory is wanted.
_KEPT: Final = 256

_Stamp = tuple[tuple[int, int, int], ...]
_lock = threading.Lock()
_open: OrderedDict[Path, tuple[_Stamp, segment_file.Segment]] = OrderedDict()


def opened(folder: Path, entry: segment_file.Entry, order: segment_file.Order) -> segment_file.Segment:
    """The segment, its digests checked when this process opens it first, and again whenever its files have changed.

    Errors: FileNotFoundError if a file is gone; CorruptArtifact.
    """
    place = folder / entry.name
    stamp = _stamp(folder, entry)
    with _lock:
        known = _open.get(place)
        if known is not None and known[0] == stamp:
            _open.move_to_end(place)
            return known[1]
    segment = segment_file.Segment(folder, entry, order)
    with _lock:
        _open[place] = (stamp, segment)
        while len(_open) > _KEPT:
            _open.popitem(last=False)
    return segment


def forget_others(folder: Path, entries: Sequence[segment_file.Entry]) -> None:
    """Let go of the folder's segments that are not among `entries`: while they are mapped their disk space is not free."""
    names = {entry.name for entry in entries}
    with _lock:
        for place in [p for p in _open if p.parent == folder and p.name not in names]:
            del _open[place]


def match(
    segments: Sequence[segment_file.Segment],
    asked: pl.DataFrame,
    *,
    keys: Sequence[str],
    times: matching.Times,
    columns: Sequence[str],
) -> pl.DataFrame:
    """See :meth:`segments.Segments.match`. Later segments hold the later rows of the source."""
    frames.require(segments[0].rows.schema, columns, what="the segments")
    as_of = asked[times.as_of].to_physical().to_numpy()
    held = _within(segments, as_of, times.ttl)
    # Of each segment only rows alive: where the newest of all is dead every older one is.
    age = None if times.ttl is None else times.ttl // _US
    if len(held) == 1:
        only = held[0]
        found = only.search(only.codes(asked, keys), as_of, max_age_us=age, known_only=times.known_only)
        return matching.gather(only.rows, found, columns)
    which = np.full(len(as_of), -1)
    position, event = np.zeros(len(as_of), np.int64), np.zeros(len(as_of), np.int64)
    created = np.full(len(as_of), segment_file.EARLIEST)
    for number, segment in enumerate(held):
        found = segment.search(segment.codes(asked, keys), as_of, max_age_us=age, known_only=times.known_only)
        hits = np.nonzero(found >= 0)[0]
        at = found[hits]
        its_event, its_created = segment.event(at), segment.created(at)
        is_newer = which[hits] < 0
        is_newer |= its_event > event[hits]
        is_newer |= (its_event == event[hits]) & (its_created >= created[hits])
        hits = hits[is_newer]
        which[hits], position[hits] = number, at[is_newer]
        event[hits], created[hits] = its_event[is_newer], its_created[is_newer]
    return _gathered(held or segments[:1], which, position, columns)


def _within(
    segments: Sequence[segment_file.Segment], as_of: NDArray[np.int64], ttl: timedelta | None
) -> list[segment_file.Segment]:
    """The segments with a row that could answer: none before all questions' TTL, none after all questions."""
    if not len(as_of):
        return []
    last, first = int(as_of.max()), int(as_of.min()) - (0 if ttl is None else ttl // _US)
    return [s for s in segments if s.entry.holds(first if ttl is not None else None, last)]


def _gathered(
    segments: Sequence[segment_file.Segment],
    which: NDArray[np.int64],
    position: NDArray[np.int64],
    columns: Sequence[str],
) -> pl.DataFrame:
    # Segment by segment, so that no column is copied whole, and then each row where it was asked for.
    by_segment = np.argsort(which, kind="stable")
    ends = np.searchsorted(which[by_segment], np.arange(-1, len(segments)), side="right")
    parts = [segments[0].rows.select(columns).clear(int(ends[0]))]
    for number, segment in enumerate(segments):
        its = position[by_segment[ends[number] : ends[number + 1]]]
        parts.append(segment.rows.select(columns)[pl.Series(its, dtype=pl.UInt32)])
    back = np.empty(len(which), np.uint32)
    back[by_segment] = np.arange(len(which), dtype=np.uint32)
    return pl.concat(parts, rechunk=True)[pl.Series(back)]


def _stamp(folder: Path, entry: segment_file.Entry) -> _Stamp:
    stats = [(folder / name).stat() for name in entry.files]
    return tuple((s.st_size, s.st_mtime_ns, s.st_ino) for s in stats)
