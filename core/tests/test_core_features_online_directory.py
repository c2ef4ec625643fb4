"""What only the store with a directory promises: restored on reopening, durable once acknowledged, refused when it is not ours."""

from __future__ import annotations

import itertools
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
    path = tmp_path / "deep" / "online"
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
    path = tmp_path / "online"
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


_FULL_DISK = """
import resource, signal, sys, numpy as np
from pathlib import Path
from mainspring.core import errors, ports
from mainspring.core.features import online

def push(store, keys, value):
    n = len(keys)
    store.upsert("v", {"k": keys}, event_us=np.full(n, value), created_us=np.full(n, value), columns={"x": [float(value)] * n, "e": ["x" * 50] * n})

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = online.OnlineStore(Path(sys.argv[1]))
store.register(ports.ViewSchema("v", ("k",), (("x", "float64"), ("e", "string")), None))
push(store, [1], 5)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
try:
    push(store, list(range(1, 5000)), 6)
    sys.exit("the batch was taken")
except errors.DependencyDown as error:
    print(error)
rows = store.read("v", {"k": [1, 2]}, now_us=9)
assert rows.status.tolist() == [0, 1] and rows.values["x"].tolist()[0] == 5.0, rows
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
push(store, [2], 7)  # and the store goes on
store.close()
"""


def test_a_full_disk_refuses_the_batch_whole(tmp_path: Path) -> None:
    """Files may not grow here, which is how a full disk looks to a process."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path / "online")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "did not take the batch" in done.stdout and "push it again" in done.stdout
    with online.OnlineStore(tmp_path / "online") as store:
        rows = store.read("v", {"k": [1, 2, 3]}, now_us=9)
        assert rows.values["x"].tolist()[:2] == [5.0, 7.0] and rows.status.tolist() == [0, 0, 1]


def test_a_second_owner_is_refused_and_the_lock_goes_with_the_first(tmp_path: Path) -> None:
    path = tmp_path / "online"
    with online.OnlineStore(path):
        with pytest.raises(errors.Conflict, match="open already"):
            online.OnlineStore(path)
    online.OnlineStore(path).close()


def _a_file(path: Path) -> Path:
    path.write_bytes(b"a store of another layout" * 100)
    return path


def _definition(path: Path) -> Path:
    with online.OnlineStore(path) as store:
        store.register(VIEW)
        push(store, 1, 500, 1.0)
    (folder,) = (p for p in path.iterdir() if p.is_dir())
    return folder / "view.json"


def _broken_definition(path: Path) -> Path:
    found = _definition(path)
    found.write_text("{}")
    return found


def _newer_layout(path: Path) -> Path:
    found = _definition(path)
    found.write_text(found.read_text().replace('"layout": 2', '"layout": 3'))
    return found


def _definition_of_another_view(path: Path) -> Path:
    found = _definition(path)
    found.write_text(found.read_text().replace('"name": "v"', '"name": "w"'))
    return found


def _other_fields(path: Path) -> Path:
    found = _definition(path)
    found.write_text(found.read_text().replace('"float32"', '"float64"'))
    return found.parent / "rows"


def _lost_definition(path: Path) -> Path:
    found = _definition(path)
    found.unlink()
    return found


def _broken_rows(path: Path) -> Path:
    found = _definition(path).parent / "rows"
    for file in found.glob("snapshot-*"):
        damaged = bytearray(file.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        file.write_bytes(damaged)
    return found


@pytest.mark.parametrize(
    "damage",
    [
        _a_file, _broken_definition, _newer_layout, _definition_of_another_view, _other_fields, _lost_definition,
        _broken_rows,
    ],
)  # fmt: skip
def test_what_is_no_store_is_refused_and_named(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "online"
    named = damage(path)
    for _ in range(2):  # the refusal lets go of the lock
        with pytest.raises(errors.CorruptArtifact, match="move") as caught:
            online.OnlineStore(path)
        assert caught.value.artifact == str(named)


def test_a_view_whose_definition_was_never_whole_is_none(tmp_path: Path) -> None:
    """The process died while it registered: nobody was told that the view is there."""
    path = tmp_path / "online"
    with online.OnlineStore(path) as store:
        store.register(VIEW)
    (folder,) = (p for p in path.iterdir() if p.is_dir())
    (folder / "view.json").rename(folder / "view.json.new")
    with online.OnlineStore(path) as store:
        assert store.views() == ()
        store.register(VIEW)
        assert push(store, 1, 500, 1.0) == 1


@pytest.mark.parametrize("name", ["a/../b", "é", "x" * 300, ".", "lock", "a b"])
def test_any_name_of_a_view_has_a_folder_of_its_own(tmp_path: Path, name: str) -> None:
    path = tmp_path / "online"
    view = ports.ViewSchema(name, ("k",), (("x", "float64"),), None)
    with online.OnlineStore(path) as store:
        store.register(view)
        store.register(ports.ViewSchema(name + "!", ("k",), (("x", "float64"),), None))
    assert len(list(path.iterdir())) == 3
    with online.OnlineStore(path) as store:
        assert view in store.views()


def test_a_closed_store_refuses_writes(tmp_path: Path) -> None:
    store = online.OnlineStore(tmp_path / "online")
    store.register(VIEW)
    store.close()
    store.close()
    with pytest.raises(errors.DependencyDown):
        push(store, 1, 500, 1.0)


def test_a_closed_store_says_so_to_readers_too(tmp_path: Path) -> None:
    store = online.OnlineStore(tmp_path / "online")
    store.register(VIEW)
    push(store, 1, 500, 1.0)
    store.close()
    with pytest.raises(errors.DependencyDown, match="open the store again"):
        read(store, 1)


def test_whatever_callers_ask_for_few_buffers_are_kept() -> None:
    """Callers choose fields, their order and how many rows: memory must not follow them."""
    store = online.OnlineStore()
    store.register(VIEW)
    push(store, 1, 500, 0.5)
    for fields in itertools.permutations(VIEW.field_names):
        keys = {"carrier": ["UA"], "flight": [1]}
        rows = store.read("v", keys, now_us=1000, fields=fields)
        assert list(rows.values) == list(fields) and rows.values["a"][0] == 0.5
    assert len(store._views["v"]._idle) <= 64
