"""Who else keeps a row of 50 floats by its key: a dict, LMDB, SQLite, Redis, and Feast on Redis; all filled once."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.bench import redis_server

WIDTH = 50
#: Rows of values: row i of a table holds row i % VALUES of these.
VALUES = 20_000

#: What row numbers are multiplied by, so that keys spread over all 64 bits.
SPREAD = 0x9E3779B97F4A7C15

Matrix = NDArray[np.float32]
#: Keys in the form a peer likes best, made beforehand; to the rows as one float32 matrix.
Read = Callable[[Any], Matrix]


def values() -> Matrix:
    """(VALUES, WIDTH), the same in every process."""
    return np.random.default_rng(50).random((VALUES, WIDTH), np.float32)


def keys(start: int, stop: int) -> NDArray[np.int64]:
    """Keys of rows start .. stop - 1, each different."""
    return (np.arange(start, stop).astype(np.uint64) * np.uint64(SPREAD)).view(np.int64)


def dictionary(all_keys: NDArray[np.int64], rows: Matrix) -> tuple[Read, Callable[[NDArray[np.int64]], Any]]:
    """A dict from key to row number, and numpy.take."""
    index = {key: i for i, key in enumerate(all_keys.tolist())}
    find = index.__getitem__
    return lambda asked: rows.take([find(key) for key in asked], axis=0), lambda asked: asked.tolist()


def _matrix(blobs: list[Any]) -> Matrix:
    return np.frombuffer(b"".join(blobs), np.float32).reshape(-1, WIDTH)


@contextlib.contextmanager
def lmdb(place: pathlib.Path, all_keys: NDArray[np.int64], rows: Matrix) -> Iterator[Read]:
    """One read transaction a call, buffers joined once."""
    import lmdb as library  # absent from light installations

    environment = library.open(str(place / "lmdb"), map_size=1 << 34, sync=False, writemap=True)
    pairs = sorted((key.tobytes(), row.tobytes()) for key, row in zip(all_keys, rows, strict=True))
    with environment.begin(write=True) as transaction:
        _, added = transaction.cursor().putmulti(pairs, append=True)
    assert added == len(pairs)

    def read(asked: list[bytes]) -> Matrix:
        with environment.begin(buffers=True) as transaction:
            get = transaction.get
            return _matrix([get(key) for key in asked])

    yield read
    environment.close()


@contextlib.contextmanager
def sqlite(place: pathlib.Path, all_keys: NDArray[np.int64], rows: Matrix) -> Iterator[Read]:
    """`IN (...)` on the integer primary key; the answers are put into the order asked."""
    connection = sqlite3.connect(place / "rows.sqlite")
    connection.execute("pragma journal_mode = off")
    connection.execute("pragma mmap_size = 1073741824")
    connection.execute("create table rows (key integer primary key, row blob)")
    with connection:
        connection.executemany(
            "insert into rows values (?, ?)", zip(all_keys.tolist(), map(bytes, rows), strict=True)
        )

    def read(asked: list[int]) -> Matrix:
        marks = ",".join("?" * len(asked))
        found = dict(connection.execute(f"select key, row from rows where key in ({marks})", asked))
        return _matrix([found[key] for key in asked])

    yield read
    connection.close()


@contextlib.contextmanager
def redis(place: pathlib.Path, all_keys: NDArray[np.int64], rows: Matrix) -> Iterator[Read | None]:
    """MGET of one blob a row over a unix socket, from a server of our own; None where there is no redis-server."""
    if not redis_server.is_installed():
        yield None
        return
    import redis as library  # absent from light installations

    with redis_server.started(place) as address, library.Redis(unix_socket_path=str(address)) as client:
        for start in range(0, len(all_keys), 10_000):
            part = slice(start, start + 10_000)
            client.mset({k.tobytes(): r.tobytes() for k, r in zip(all_keys[part], rows[part], strict=True)})
        yield lambda asked: _matrix(client.mget(asked))


# Feast wants seconds to be imported, and keeps threads: in a process of its own, which says when it is ready.
_FEAST = """
import sys, time
sys.modules["torch"] = None  # Feast would take two seconds to import it, and needs it for nothing here
import numpy as np
from mainspring.bench.features import world
ENTITIES = 300
rows = np.random.default_rng(5).random((ENTITIES, int(sys.argv[1])), np.float32)  # as the world has them
with world.world(entities=ENTITIES, features=rows.shape[1]) as made:
    drivers = np.random.default_rng(6).integers(0, ENTITIES, int(sys.argv[2]))
    asked = {"driver": drivers.tolist()}
    def ask():
        return made.redis.get_online_features(made.refs, asked).to_dict()
    answer = ask()
    got = np.array([answer[f"f{j}"] for j in range(rows.shape[1])], np.float32).T
    print("ready" if np.array_equal(got, rows[drivers]) else "wrong", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        ask()
        print(time.perf_counter() - start, flush=True)
"""


@contextlib.contextmanager
def feast(batch: int) -> Iterator[subprocess.Popen[str]]:
    """A process that reads `batch` rows from Feast on Redis for each line it gets, and answers with the seconds.

    Its first line is `ready`, `wrong` where the rows were not those that were written, or nothing where Feast or
    redis-server are not installed.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _FEAST, str(WIDTH), str(batch)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate(timeout=20)  # an end of its input ends it
