"""Who asks as one does who copies a model: much, of everything, and close to where its answer turns.

Three signals by caller and endpoint in a window of time, none of which alone proves anything:
  volume     ten times the rows at which a caller is looked at at all
  coverage   hardly a row twice, and all of the range that training saw, in every column that declares one
  boundary   an unusual share of scores around one half, as a search for the boundary has
Two of them are an alert: a line in the log, a metric, and a throttle where the settings say so. A copier who is patient enough stays
below any such threshold; what limits it then is the quota.

Requests put references into a bounded buffer; a thread looks at them. What is too much is not looked at. Memory: some kilobytes for each
of at most MAX_TRACKED pairs of caller and endpoint, those that asked last.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mainspring.core.contracts import inputs
from mainspring.serving import observed, traffic
from mainspring.serving.access import guard

__all__ = ["Monitor", "Suspicion"]

_LOG: Final = logging.getLogger("mainspring.serving")

MAX_TRACKED: Final = 4096
#: Rows that may wait for the thread.
MAX_WAITING_ROWS: Final = 50_000
LOOK_SECONDS: Final = 1.0

#: Buckets of the counter of distinct rows (linear counting: within 2 % up to some 30,000 rows, then it says fewer).
_BUCKETS: Final = 1 << 14
_BINS: Final = 16
_VOLUME_TIMES: Final = 10
_DISTINCT_SHARE: Final = 0.9
_COVERED_SHARE: Final = 0.9
_BOUNDARY: Final = 0.05
_BOUNDARY_SHARE: Final = 0.25
_BOUNDARY_TIMES: Final = 3.0

_Key: TypeAlias = tuple[str, str]


class Suspicion(NamedTuple):
    """Why a caller is suspected: signals, and what they were made of in the window."""

    signals: tuple[str, ...]
    rows: int
    distinct_share: float
    covered_share: float
    boundary_share: float


class _Waiting(NamedTuple):
    key: _Key
    policy: inputs.InputPolicy
    columns: Mapping[str, NDArray[Any]]
    scores: NDArray[np.float32]


@dataclass
class _Track:
    """One caller at one endpoint in the open window."""

    began: float
    rows: int = 0
    near: int = 0
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(_BUCKETS, np.bool_))
    bins: dict[str, int] = field(default_factory=dict)
    """Column to a bit for each bin of its range that was asked."""
    suspected_until: float = -math.inf
    suspicion: Suspicion | None = None

    def distinct_share(self) -> float:
        empty = _BUCKETS - int(self.seen.sum())
        distinct = _BUCKETS * math.log(_BUCKETS / empty) if empty else math.inf
        # Beyond what the buckets can count, the share of what they can.
        return min(1.0, distinct / max(1, min(self.rows, 2 * _BUCKETS)))

    def covered_share(self) -> float:
        return sum(b.bit_count() for b in self.bins.values()) / (_BINS * len(self.bins)) if self.bins else 0.0


class Monitor:
    """Watches answers. Thread-safe; `close` ends its thread.

    `on_change` is told of a caller and endpoint that became suspected, or are no more.
    """

    def __init__(
        self,
        *,
        min_rows: int,
        window_seconds: float,
        on_change: Callable[[str, str, bool], None] = lambda caller, endpoint, is_suspected: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`min_rows`: fewer in a window tell nothing."""
        self._min_rows, self._window_seconds = min_rows, window_seconds
        self._on_change, self._clock = on_change, clock
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._waiting_rows = 0
        self._tracks: OrderedDict[_Key, _Track] = OrderedDict()
        self.alerts = 0
        self.unwatched_rows = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="extraction", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def observe(self, scored: observed.Scored) -> None:
        """Take one answer to look at."""
        if scored.role == traffic.SHADOW:
            return
        n = len(scored.scores)
        key = guard.current().caller.name, scored.endpoint
        # What the caller chose: what was looked up for its keys is ours.
        columns = {**scored.asked.columns, **scored.asked.overrides}
        with self._lock:
            if self._waiting_rows + n > MAX_WAITING_ROWS:
                self.unwatched_rows += n
                return
            self._waiting.append(_Waiting(key, scored.bundle.input_policy, columns, scored.scores))
            self._waiting_rows += n

    def suspects(self) -> dict[_Key, Suspicion]:
        """Who is suspected now, and why."""
        with self._looking:
            return {k: t.suspicion for k, t in self._tracks.items() if t.suspicion is not None}

    def look(self) -> None:
        """Look at what waits, and let suspicions end whose time is over."""
        with self._lock:
            taken, self._waiting, self._waiting_rows = self._waiting, [], 0
        with self._looking:
            now = self._clock()
            for waiting in taken:
                self._add(waiting, now)
            for key in {waiting.key for waiting in taken}:
                if key in self._tracks:
                    self._judge(key, self._tracks[key], now)
            for key, track in self._tracks.items():
                if track.suspicion is not None and now >= track.suspected_until:
                    track.suspicion = None
                    self._on_change(*key, False)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - the edge of its thread: the next answers must still be watched
                _LOG.exception("the extraction monitor failed")

    def _add(self, waiting: _Waiting, now: float) -> None:
        track = self._tracks.get(waiting.key)
        if track is None or now - track.began >= self._window_seconds:
            before, track = track, _Track(now)
            if before is not None:
                track.suspicion, track.suspected_until = before.suspicion, before.suspected_until
            self._tracks[waiting.key] = track
            self._make_room()
        self._tracks.move_to_end(waiting.key)
        track.rows += len(waiting.scores)
        track.near += int((np.abs(waiting.scores - 0.5) < _BOUNDARY).sum())
        track.seen[_hashes(waiting.columns, len(waiting.scores)) % _BUCKETS] = True
        for name, declared in waiting.policy.columns.items():
            column = waiting.columns.get(name)
            if (
                column is not None
                and column.dtype.kind in "fi"
                and declared.low is not None
                and declared.high is not None
            ):
                track.bins[name] = track.bins.get(name, 0) | _bins(column, declared.low, declared.high)

    def _make_room(self) -> None:
        while len(self._tracks) > MAX_TRACKED:
            # A suspect is not forgotten because others came.
            oldest = next(
                (k for k, t in self._tracks.items() if t.suspicion is None), next(iter(self._tracks))
            )
            del self._tracks[oldest]

    def _judge(self, key: _Key, track: _Track, now: float) -> None:
        if track.rows < self._min_rows:
            return
        distinct, covered, near = track.distinct_share(), track.covered_share(), track.near / track.rows
        signals = []
        if track.rows >= _VOLUME_TIMES * self._min_rows:
            signals.append("volume")
        if distinct >= _DISTINCT_SHARE and covered >= _COVERED_SHARE:
            signals.append("coverage")
        if near >= max(_BOUNDARY_SHARE, _BOUNDARY_TIMES * self._near_of_others(key)):
            signals.append("boundary")
        if len(signals) < 2:
            return
        is_new = track.suspicion is None
        track.suspicion = Suspicion(tuple(signals), track.rows, distinct, covered, near)
        track.suspected_until = now + self._window_seconds
        if is_new:
            self.alerts += 1
            self._alert(key, track.suspicion)
            self._on_change(*key, True)

    def _near_of_others(self, key: _Key) -> float:
        """The share of scores near the boundary that others have at the endpoint; 0 where nobody else asks."""
        others = [t for k, t in self._tracks.items() if k[1] == key[1] and k != key]
        rows = sum(t.rows for t in others)
        return sum(t.near for t in others) / rows if rows >= self._min_rows else 0.0

    def _alert(self, key: _Key, found: Suspicion) -> None:
        caller, endpoint = key
        fields = {"alert": "model_extraction", "caller": caller, "endpoint": endpoint, **found._asdict()}
        _LOG.warning(
            "`%s` asks `%s` as one who copies the model: %s; look at what it asks, or revoke its key",
            caller,
            endpoint,
            ", ".join(found.signals),
            extra={"fields": fields},
        )


def _hashes(columns: Mapping[str, NDArray[Any]], n: int) -> NDArray[np.uint64]:
    """A hash of each row, (n,); equal rows have equal ones within this process."""
    total = np.zeros(n, np.uint64)
    for column in columns.values():
        if column.dtype == object:
            bits = np.fromiter((hash(value) for value in column.tolist()), np.int64, n).view(np.uint64)
        else:
            bits = column.astype(np.float64).view(np.uint64)
        # The finalizer of splitmix64 (public domain).
        total = (total ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(30)
        total *= np.uint64(0xBF58476D1CE4E5B9)
        total ^= total >> np.uint64(27)
    return total


def _bins(column: NDArray[Any], low: float, high: float) -> int:
    """A bit for each of `_BINS` equal parts of low..high that has a value."""
    values = column.astype(np.float64)
    values = values[(values >= low) & (values <= high)]
    if high <= low:
        return (1 << _BINS) - 1 if len(values) else 0
    at = np.minimum(((values - low) / (high - low) * _BINS).astype(np.int64), _BINS - 1)
    return int(np.bitwise_or.reduce(1 << at)) if len(at) else 0
