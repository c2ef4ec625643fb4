"""The table on disk and beside its writer: latencies, rows a second and recovery, which are no contest."""

from __future__ import annotations

import functools
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from mainspring.bench import suite
from mainspring.bench.native import table_peers, table_rows
from mainspring.native import table

T = TypeVar("T")


#: Of a few milliseconds each: a neighbour on the host disturbs some of them.
_ROUNDS: Final = 31


class _Pressure:
    """How long somebody waited for a core since it was made: what a missed target may be due to."""

    def __init__(self) -> None:
        self._start, self._waited = time.perf_counter(), _waited()

    def why(self) -> str:
        """In words, for people."""
        load = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        if self._waited is None:
            return load
        share = ((_waited() or 0.0) - self._waited) / (time.perf_counter() - self._start)
        return f"somebody waited for a core {share:.0%} of the time; {load}"


def _waited() -> float | None:
    """Seconds since the start in which a task of this machine could run and had no core; None: not counted here."""
    try:
        words = pathlib.Path("/proc/pressure/cpu").read_text().split()
    except OSError:
        return None
    return int(next(word for word in words if word.startswith("total=")).removeprefix("total=")) / 1e6


def _huge_pages_mb() -> int | None:
    """Of this process; None: not counted here. Reads of a large table in small pages take about half as long again."""
    try:
        words = pathlib.Path("/proc/self/smaps_rollup").read_text().split()
    except OSError:
        return None
    return int(words[words.index("AnonHugePages:") + 1]) // 1024


def _per_key(opened: table.OnlineTable, rows: int, batch: int) -> float:
    """Seconds a key, the median of rounds; every key is new, so that no cache holds its row."""
    bound = opened.bind(batch, matrix=True)
    values = table_peers.values()
    rng = np.random.default_rng(7)
    assert bound.matrix is not None
    rounds = []
    for _ in range(_ROUNDS):
        places = rng.integers(0, rows, (max(4096 // batch, 64), batch))
        keys = (places.astype(np.uint64) * np.uint64(table_peers.SPREAD)).view(np.int64)
        asked: list[Any] = keys[:, 0].tolist() if batch == 1 else list(keys)
        get = bound.get
        start = time.perf_counter()
        for k in asked:
            get(k, table_rows.NOW)
        rounds.append((time.perf_counter() - start) / keys.size)
        assert np.array_equal(bound.matrix, values[places[-1] % table_peers.VALUES])
    return sorted(rounds)[len(rounds) // 2]


def measure_large(rows: int) -> list[dict[str, Any]]:
    """A table on disk: written in 10 ms groups, read, left as a crash would, closed, opened again."""
    values = table_peers.values()
    pressure = _Pressure()
    with tempfile.TemporaryDirectory() as place:
        options: dict[str, Any] = {"group_seconds": 0.010, "rows": rows, "snapshot_log_bytes": 1 << 40}
        opened = table.OnlineTable.open(f"{place}/t", table_rows.INT_KEYS, **options)
        _, written = _timed(functools.partial(table_rows.fill, opened, rows, values))
        many, one = _per_key(opened, rows, 256), _per_key(opened, rows, 1)
        bytes_per_row, huge_mb = opened.stats().bytes_per_row, _huge_pages_mb()
        del opened  # no snapshot: what follows replays every row
        again, replayed = _timed(lambda: table.OnlineTable.open(f"{place}/t", **options))
        assert again.stats().rows == rows
        _, closed = _timed(again.close)
        del again
        again, reopened = _timed(lambda: table.OnlineTable.open(f"{place}/t", rows=rows))
        assert again.stats().rows == rows
        del again
        with table.OnlineTable.open(f"{place}/t", shared=True):
            reader, mapped = _timed(lambda: table.OnlineTable.open_reader(f"{place}/t"))
            assert (
                reader.get(int(table_peers.keys(0, 1)[0]), now_us=table_rows.NOW).status[0] == table.PRESENT
            )
            del reader
    seconds = 0.5 * rows / 1e6
    records = [
        suite.goal(f"OnlineTable get, 256 keys x 50 floats, at {rows:,} rows", many * 1e6, "us/key", None, None, 0.075, ok=many <= 75e-9)
        | {"bytes_per_row": suite.rounded(bytes_per_row), "huge_pages_mb": huge_mb},
        suite.goal(f"OnlineTable get, one key, at {rows:,} rows", one * 1e6, "us/key", None, None, 1.0, ok=one <= 1e-6),
        suite.goal("OnlineTable durable upsert, fsync in 10 ms groups", rows / written, "rows/s", None, None, 300_000.0, ok=rows / written >= 300_000),
        suite.goal(f"OnlineTable recovery of {rows:,} x 50 from its log", replayed, "s", None, None, 2 * seconds, ok=replayed <= 2 * seconds)
        | {"note": "no snapshot, every row replayed and checked; the target is a second for each million rows"},
        suite.goal(f"OnlineTable open of a clean table, {rows:,} x 50, by its writer", reopened, "s", None, None, seconds, ok=reopened <= seconds)
        | {"close_seconds": suite.rounded(closed), "note": "loads and checks the snapshot; the target is 0.5 s for each million rows"},
        suite.goal(f"OnlineTable open of a shared table, {rows:,} x 50, by a reader", mapped, "s", None, None, 0.5, ok=mapped <= 0.5)
        | {"note": "mmap"},
    ]  # fmt: skip
    return [r if r["ok"] else r | {"why": pressure.why()} for r in records]


def _timed(act: Callable[[], T]) -> tuple[T, float]:
    """What it returned, and its seconds."""
    start = time.perf_counter()
    made = act()
    return made, time.perf_counter() - start


_WRITER = """
import sys, time
import numpy as np
from mainspring.bench.native import table_peers, table_rows
from mainspring.native import table
ROWS, BATCH = 100_000, 1000
with table.OnlineTable.open(sys.argv[1], table_rows.INT_KEYS, shared=True) as opened:
    keys, one = table_peers.keys(0, ROWS), np.zeros(ROWS, np.float32)
    opened.upsert(keys, np.zeros(ROWS, np.int64), dict.fromkeys(table_rows.NAMES, one))
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    until, written = start + float(sys.argv[2]), 0
    while (now := time.perf_counter()) < until:
        at = written % ROWS
        value = np.full(BATCH, written // ROWS + 1, np.float32)
        opened.upsert(keys[at : at + BATCH], np.full(BATCH, written + 1), dict.fromkeys(table_rows.NAMES, value), wait=False)
        written += BATCH
        time.sleep(max(0.0, start + written / 100_000 - time.perf_counter()))
    print(written / (time.perf_counter() - start), flush=True)
    sys.stdin.read()
"""


class _Reads(NamedTuple):
    """Nanoseconds of each read, rows that were torn or missing, the newest version seen."""

    took: list[int]
    wrong: int
    newest: int


def _read(reader: table.OnlineTable, seconds: float) -> _Reads:
    """256 keys at once; every row is checked between two reads."""
    bound = reader.bind(256, matrix=True)
    matrix = bound.matrix
    assert matrix is not None
    keys = [table_peers.keys(0, 100_000)[p] for p in table_rows.key_sets(100_000, 256, 3)]
    took, wrong, newest = [], 0, 0
    until = time.perf_counter() + seconds
    for asked in itertools.cycle(keys):
        start = time.perf_counter_ns()
        bound.get(asked, table_rows.NOW * 10**6)
        took.append(time.perf_counter_ns() - start)
        wrong += int((matrix != matrix[:, :1]).any(axis=1).sum())
        wrong += int(np.count_nonzero(bound.status))
        newest = max(newest, int(matrix[0, 0]))
        if time.perf_counter() > until:
            break
    return _Reads(took, wrong, newest)


def _tail(took: list[int]) -> float:
    p50, p99 = np.percentile(took, [50, 99])
    return float(p99 / p50)


def measure_beside_a_writer(seconds: float) -> list[dict[str, Any]]:
    """Reads of 256 keys of a table that another process writes 100,000 rows a second into; every row is checked."""
    with tempfile.TemporaryDirectory() as place:
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, f"{place}/t", str(seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert writer.stdout is not None
        assert writer.stdin is not None
        try:
            assert writer.stdout.readline() == "ready\n"
            reader = table.OnlineTable.open_reader(f"{place}/t")
            alone = _read(reader, seconds * 0.3)
            writer.stdin.write("\n")
            writer.stdin.flush()
            pressure = _Pressure()
            beside = _read(reader, seconds * 0.9)
            why = pressure.why()
            rate = float(writer.stdout.readline())
        finally:
            writer.stdin.close()
            writer.stdout.close()
            writer.wait(20)
    p50, p99 = np.percentile(beside.took, [50, 99])
    ratio, without = float(p99 / p50), _tail(alone.took)
    read, torn = 256 * len(beside.took), beside.wrong
    latency = suite.goal(
        "OnlineTable get while a writer upserts 100k rows/s, p99 / p50",
        float(p50) / 1e3,
        "us",
        ratio,
        None,
        3.0,
        ok=ratio <= 3 and rate >= 99_000,
    )
    whole = suite.goal(
        "OnlineTable torn rows while a writer upserts",
        float(torn),
        "rows",
        None,
        None,
        0.0,
        ok=torn == 0 and beside.newest > alone.newest,
    )
    latency |= {
        "p99": suite.rounded(float(p99) / 1e3),
        "upserts_per_s": suite.rounded(rate),
        "ratio_without_writer": suite.rounded(without),
    }
    whole |= {
        "rows_read": read,
        "note": f"{read:,} rows of a table of 100,000 that another process rewrote meanwhile",
    }
    if not latency["ok"]:
        latency["why"] = f"p99 / p50 of the same reads before the writer began was {without:.1f}; {why}"
    if not whole["ok"]:
        whole["why"] = "rows were torn or missing, or the writer changed none"
    return [latency, whole]
