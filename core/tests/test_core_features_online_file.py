"""What only the store with a file promises: restored on reopening, durable once acknowledged, refused when it is not ours."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainspring.core import errors, ports
from mainspring.core.features import online

VIEW = ports.ViewSchema(
    "v",
    ("carrier", "flight"),
    (("a", "float32"), ("b", "float64"), ("c", "int64"), ("d", "bool"), ("e", "string")),
    90,
)


def push(store: online.OnlineStore, flight: int, event: int, value: float | None) -> int:
    return store.upsert(
        "v",
        {"carrier": ["UA"], "flight": [flight]},
        event_us=np.array([event]),
        created_us=np.array([event]),
        columns={"a": [value], "b": [0.1], "c": [2**62], "d": [True], "e": ["é"]},
    )


def read(store: online.OnlineStore, *flights: int, now_us: int = 1000) -> ports.OnlineRows:
    return store.read("v", {"carrier": ["UA"] * len(flights), "flight": list(flights)}, now_us=now_us)


def test_reopening_restores_views_rows_nulls_and_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "online.db"
    with online.OnlineStore(path) as store:
        store.register(VIEW)
        push(store, 1, 500, 0.1)
        push(store, 2, 500, None)
    with online.OnlineStore(path) as store:
        assert store.views() == (VIEW,) and store.counts() == {"v": 2}
        rows = read(store, 1, 2, 3)
        assert rows.status.tolist() == [0, 0, 1]
        assert rows.values["a"][0] == np.float32(0.1) and rows.valid["a"].tolist() == [True, False, False]
        assert [rows.values[n][0] for n in "bcde"] == [0.1, 2**62, True, "é"]
        assert push(store, 1, 499, 9.0) == 0 and push(store, 1, 501, 9.0) == 1
        with pytest.raises(errors.SchemaMismatch):  # the key types were restored too
            store.read("v", {"carrier": ["UA"], "flight": ["1"]}, now_us=1000)


_WRITER = """
import os, sys, numpy as np
from pathlib import Path
from mainspring.core import ports
from mainspring.core.features import online
store = online.OnlineStore(Path(sys.argv[1]))
store.register(ports.ViewSchema("v", ("k",), (("x", "float64"),), None))
for i in range(1, 10_000):
    times = np.array([i, i])
    store.upsert("v", {"k": ["a", "b"]}, event_us=times, created_us=times, columns={"x": [float(i), float(i)]})
    os.write(1, b"%d\\n" % i)
"""


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    acknowledged = 0
    for line in writer.stdout:
        acknowledged = int(line)
        if acknowledged >= 20:
            break
    writer.kill()
    for line in writer.stdout:
        if line.endswith(b"\n"):
            acknowledged = int(line)
    writer.stdout.close()
    writer.wait()
    with online.OnlineStore(path) as store:
        rows = store.read("v", {"k": ["a", "b"]}, now_us=10**6)
        assert rows.values["x"][0] == rows.values["x"][1] >= acknowledged


def test_a_full_disk_refuses_the_batch_whole(tmp_path: Path) -> None:
    store = online.OnlineStore(tmp_path / "online.db")
    store.register(VIEW)
    push(store, 1, 500, 1.0)
    assert store._file is not None
    store._file._db.execute(
        f"PRAGMA max_page_count={store._file._db.execute('PRAGMA page_count').fetchone()[0]}"
    )
    many = list(range(1, 5000))
    with pytest.raises(errors.DependencyDown, match="full"):
        store.upsert(
            "v",
            {"carrier": ["UA"] * len(many), "flight": many},
            event_us=np.full(len(many), 600),
            created_us=np.full(len(many), 600),
            columns={
                "a": [2.0] * len(many),
                "b": [0.1] * len(many),
                "c": many,
                "d": [True] * len(many),
                "e": ["x" * 50] * len(many),
            },
        )
    rows = read(store, 1, 2)
    assert rows.values["a"][0] == 1.0 and rows.status.tolist() == [0, 1]
    store._file._db.execute("PRAGMA max_page_count=1000000")
    assert push(store, 2, 600, 3.0) == 1  # and the store goes on
    store.close()


def test_a_second_owner_is_refused_and_the_lock_goes_with_the_first(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    with online.OnlineStore(path):
        with pytest.raises(errors.Conflict, match="open already"):
            online.OnlineStore(path)
    online.OnlineStore(path).close()


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def _another_database(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mlflow (x)")
    db.close()


def _newer_layout(path: Path) -> None:
    online.OnlineStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=2")
    db.close()


def _broken_definition(path: Path) -> None:
    with online.OnlineStore(path) as store:
        store.register(VIEW)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE view SET definition = '{}'")
    db.close()


def _broken_row(path: Path) -> None:
    with online.OnlineStore(path) as store:
        store.register(VIEW)
        push(store, 1, 500, 1.0)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE rows_1 SET f0 = 'text'")
    db.close()


@pytest.mark.parametrize(
    "damage", [_garbage, _another_database, _newer_layout, _broken_definition, _broken_row]
)
def test_a_file_that_is_no_store_is_refused_untouched(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "online.db"
    damage(path)
    before = path.read_bytes()
    for _ in range(2):  # the refusal lets go of the lock
        with pytest.raises(errors.CorruptArtifact) as caught:
            online.OnlineStore(path)
        assert caught.value.artifact == str(path)
    assert path.read_bytes() == before


def test_a_closed_store_refuses_writes(tmp_path: Path) -> None:
    store = online.OnlineStore(tmp_path / "online.db")
    store.register(VIEW)
    store.close()
    store.close()
    with pytest.raises(errors.DependencyDown):
        push(store, 1, 500, 1.0)
