"""What serving saw of each version of each model, by phase: the source of v2 statistics and of `/metrics`."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

#: Upper edges in seconds of the histogram of whole requests; the last bucket is open. A native model answers in tens
#: of microseconds, a torch one in milliseconds.
EDGES: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
#: Upper edges of the histogram of rows in a request.
ROW_EDGES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)


@dataclass(slots=True)
class Phases:
    """Where one request's time went, in nanoseconds."""

    queue: int = 0
    input: int = 0
    infer: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        return self.queue + self.input + self.infer + self.output


@dataclass
class Entry:
    """Sums since the process began."""

    requests: int = 0
    rows: int = 0
    last_ms: int = 0
    """Unix milliseconds of the newest answer."""
    nanos: Phases = field(default_factory=Phases)
    latency: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))
    """Answers by bucket of :data:`EDGES`."""
    row_sizes: list[int] = field(default_factory=lambda: [0] * (len(ROW_EDGES) + 1))
    failed: dict[str, int] = field(default_factory=dict)
    """Requests without an answer, by the code of their error."""
    failed_nanos: int = 0

    def copy(self) -> Entry:
        return Entry(
            self.requests,
            self.rows,
            self.last_ms,
            Phases(self.nanos.queue, self.nanos.input, self.nanos.infer, self.nanos.output),
            list(self.latency),
            list(self.row_sizes),
            dict(self.failed),
            self.failed_nanos,
        )

    def plus(self, other: Entry) -> Entry:
        """The sums of both."""
        ours, theirs = self.nanos, other.nanos
        return Entry(
            self.requests + other.requests,
            self.rows + other.rows,
            max(self.last_ms, other.last_ms),
            Phases(
                ours.queue + theirs.queue,
                ours.input + theirs.input,
                ours.infer + theirs.infer,
                ours.output + theirs.output,
            ),
            [a + b for a, b in zip(self.latency, other.latency, strict=True)],
            [a + b for a, b in zip(self.row_sizes, other.row_sizes, strict=True)],
            {
                code: self.failed.get(code, 0) + other.failed.get(code, 0)
                for code in {**self.failed, **other.failed}
            },
            self.failed_nanos + other.failed_nanos,
        )


class ModelBook:
    """Entries by (model, version). Thread-safe. Only models and versions that exist get one: callers cannot add."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], Entry] = {}
        self._elsewhere: list[Callable[[], Mapping[tuple[str, str], Entry]]] = []

    def add_from(self, elsewhere: Callable[[], Mapping[tuple[str, str], Entry]]) -> None:
        """Add what others counted, who answer for the same models: it is asked at each reading."""
        self._elsewhere.append(elsewhere)

    def answered(self, model: str, version: str, rows: int, phases: Phases) -> None:
        """One request of `rows` rows that was answered."""
        bucket = bisect_left(EDGES, phases.total / 1e9)
        with self._lock:
            entry = self._entry(model, version)
            entry.requests += 1
            entry.rows += rows
            entry.last_ms = self._now_ns() // 1_000_000
            nanos = entry.nanos
            nanos.queue += phases.queue
            nanos.input += phases.input
            nanos.infer += phases.infer
            nanos.output += phases.output
            entry.latency[bucket] += 1
            entry.row_sizes[bisect_left(ROW_EDGES, rows)] += 1

    def failed(self, model: str, version: str, code: str, nanos: int) -> None:
        """One request that ended in the error `code` after that long."""
        with self._lock:
            entry = self._entry(model, version)
            entry.failed[code] = entry.failed.get(code, 0) + 1
            entry.failed_nanos += nanos

    def entries(self) -> dict[tuple[str, str], Entry]:
        """A copy of everything, by (model, version)."""
        with self._lock:
            entries = {key: entry.copy() for key, entry in self._entries.items()}
        for elsewhere in self._elsewhere:
            for key, entry in elsewhere().items():
                entries[key] = entries[key].plus(entry) if key in entries else entry
        return entries

    def _entry(self, model: str, version: str) -> Entry:
        entry = self._entries.get((model, version))
        if entry is None:
            entry = self._entries[model, version] = Entry()
        return entry
