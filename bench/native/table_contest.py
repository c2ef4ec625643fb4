"""The online table and its peers: reading rows of 50 floats, alone and beside a writer; writing them durably."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.bench import suite
from mainspring.bench.native import table_disk, table_peers, table_rows
from mainspring.bench.native.contest import Contest, Contestant
from mainspring.native import table

#: Rows of the contest with peers, and of our own table beside it.
ROWS, QUICK_ROWS = 500_000, 100_000
LARGE_ROWS, QUICK_LARGE_ROWS = 10_000_000, 1_000_000
BATCHES = (1, 32, 256)


def contests(*, quick: bool) -> list[Callable[[], Contest]]:
    """Everybody on the same rows, in one contest for each number of keys."""
    return [functools.partial(_contest, batch, quick) for batch in BATCHES]


class _World:
    """Our table and the peers, filled once for all contests."""

    def __init__(self, rows: int) -> None:
        self._stack = contextlib.ExitStack()
        place = pathlib.Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.rows = rows
        # It gets ready while the others are filled.
        self.feast = self._stack.enter_context(table_peers.feast(256))
        self.values = table_peers.values()
        keys = table_peers.keys(0, rows)
        matrix = np.ascontiguousarray(self.values[np.arange(rows) % table_peers.VALUES])
        self.table = table.OnlineTable(table_rows.INT_KEYS, rows=rows)
        table_rows.fill(self.table, rows, self.values)
        self.named = table.OnlineTable(table_rows.STRING_KEYS, rows=rows)
        for start in range(0, rows, table_peers.VALUES):
            names = [table_rows.text_key(i) for i in range(start, min(start + table_peers.VALUES, rows))]
            table_rows.upsert(self.named, names, self.values)
        as_bytes = lambda asked: [key.tobytes() for key in asked]  # noqa: E731
        read, prepare = table_peers.dictionary(keys, matrix)
        self.peers: dict[str, tuple[table_peers.Read | None, Callable[[NDArray[np.int64]], Any]]] = {
            "dict-numpy": (read, prepare),
            "lmdb": (self._stack.enter_context(table_peers.lmdb(place, keys, matrix)), as_bytes),
            "sqlite": (
                self._stack.enter_context(table_peers.sqlite(place, keys, matrix)),
                lambda asked: asked.tolist(),
            ),
            "redis-mget": (self._stack.enter_context(table_peers.redis(place, keys, matrix)), as_bytes),
        }
        assert self.feast.stdout is not None
        self.feast_state = self.feast.stdout.readline().strip()

    def close(self) -> None:
        self._stack.close()


_worlds: dict[int, _World] = {}


def _world(quick: bool) -> _World:
    rows = QUICK_ROWS if quick else ROWS
    if rows not in _worlds:
        _worlds[rows] = _World(rows)
    return _worlds[rows]


def _contest(batch: int, quick: bool) -> Contest:
    world = _world(quick)
    places = table_rows.key_sets(world.rows, batch, batch)
    keys = [table_peers.keys(0, world.rows)[p] for p in places]

    def contestant(
        name: str, sets: list[Any], read: Callable[[Any], NDArray[np.float32]], note: str
    ) -> Contestant:
        turn = itertools.cycle(sets)

        def check(_: Any) -> str | None:
            for p, asked in zip(places[:20], sets[:20], strict=True):
                if not np.array_equal(read(asked)[:batch], world.values[p % table_peers.VALUES]):
                    return "rows differ from those that were written"
            return None

        return Contestant(
            name, 1, lambda: read(next(turn)), check, is_ours=name.startswith("mainspring"), note=note
        )

    def bound(of: table.OnlineTable) -> Callable[[Any], NDArray[np.float32]]:
        made = of.bind(batch, matrix=True)
        get, matrix = made.get, made.matrix
        assert matrix is not None

        def read(asked: Any) -> NDArray[np.float32]:
            get(asked, table_rows.NOW)
            return matrix

        return read

    one = batch == 1
    group = [
        contestant("mainspring", [int(k[0]) for k in keys] if one else keys, bound(world.table), "bound matrix"),
        contestant(
            "mainspring-strings",
            [table_rows.text_key(int(p[0])) for p in places] if one else [[table_rows.text_key(i) for i in p.tolist()] for p in places],
            bound(world.named), "string keys, a list of str",
        ),
    ]  # fmt: skip
    for name, (peer, prepare) in world.peers.items():
        if peer is not None:
            group.append(contestant(name, [prepare(k) for k in keys], peer, "keys prepared beforehand"))
    return Contest(f"table/{world.rows}", batch, group)


def judge(results: Iterable[dict[str, Any]], *, quick: bool) -> list[dict[str, Any]]:
    """One record a target; measures what is no contest, and ends the peers."""
    found = {(r["rows"], r["contestant"]): r for r in results if r["name"].startswith("table/")}
    world = _world(quick)
    rows = world.rows
    try:
        judged = table_disk.measure_large(QUICK_LARGE_ROWS if quick else LARGE_ROWS)
        for peer, target in (("redis-mget", 40.0), ("lmdb", 20.0), ("sqlite", 20.0)):
            judged.append(_against(found, peer, target, rows))
        judged.append(_strings(found, rows))
        judged.append(_against_feast(world))
        judged += table_disk.measure_beside_a_writer(1.0 if quick else 150.0)  # 1e9 rows take two minutes
    finally:
        for world in _worlds.values():
            world.close()
        _worlds.clear()
    return judged


def _against_feast(world: _World) -> dict[str, Any]:
    """Our matrix and Feast's dict of 256 rows, in turn."""
    bound = world.table.bind(256, matrix=True)
    keys = [table_peers.keys(0, world.rows)[p] for p in table_rows.key_sets(world.rows, 256, 9)]
    theirs, ours = [], []
    for _ in range(5 if world.feast_state == "ready" else 0):
        assert world.feast.stdin is not None
        assert world.feast.stdout is not None
        world.feast.stdin.write("\n")
        world.feast.stdin.flush()
        theirs.append(float(world.feast.stdout.readline()) / 256)
        start = time.perf_counter()
        for asked in keys:
            bound.get(asked, table_rows.NOW)
        ours.append((time.perf_counter() - start) / len(keys) / 256)
    value = sorted(ours)[len(ours) // 2] if ours else None
    ratio = sorted(theirs)[len(theirs) // 2] / value if value else None
    record = suite.goal(
        f"OnlineTable get, 256 keys x 50 floats, {world.rows:,} rows, against feast", value and value * 1e6, "us/key", ratio,
        "feast", 1000.0, ok=ratio is not None and ratio >= 1000,
    ) | {"note": "Feast on Redis, get_online_features(...).to_dict(), a table of 300 rows"}  # fmt: skip
    if ratio is None:
        record["why"] = f"feast on redis is not there: {world.feast_state or 'not installed'}"
    elif not record["ok"]:
        record["why"] = (
            f"both are faster or slower than in a quiet run; load average {os.getloadavg()[0]:.1f}"
        )
    return record


def _against(
    found: dict[tuple[int, str], dict[str, Any]], peer: str, target: float, rows: int
) -> dict[str, Any]:
    ours, theirs = found.get((256, "mainspring")), found.get((256, peer))
    value = ours["value"] if ours else None
    ratio = theirs["value"] / value if value and theirs and theirs["value"] else None
    record = suite.goal(
        f"OnlineTable get, 256 keys x 50 floats, {rows:,} rows, against {peer}", value, "us/key", ratio, peer, target,
        ok=ratio is not None and ratio >= target,
    )  # fmt: skip
    if ratio is None:
        record["why"] = f"no answer from {peer} in this run"
    elif not record["ok"]:
        record["why"] = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    return record


def _strings(found: dict[tuple[int, str], dict[str, Any]], rows: int) -> dict[str, Any]:
    ours, named = found.get((256, "mainspring")), found.get((256, "mainspring-strings"))
    value = named["value"] if named else None
    ratio = value / ours["value"] if value and ours and ours["value"] else None
    ok = ratio is not None and ratio <= 2
    record = suite.goal(f"OnlineTable get by string, 256 keys, {rows:,} rows, times int64 keys", value, "us/key", ratio, None, 2.0, ok=ok)  # fmt: skip
    return (
        record
        if ok
        else record | {"why": "each str is an object to fetch, and its row has five lines, not four"}
    )
