"""An online store that one process writes and others read in place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainspring.core import errors, ports
from mainspring.core.features import online

VIEW = ports.ViewSchema("stats", ("key",), (("mean", "float32"), ("label", "string")), 3600)
NOW_US = 1_385_900_000_000_000


def push(store: online.OnlineStore, key: str, mean: float, *, at_us: int = NOW_US) -> int:
    when = np.array([at_us], np.int64)
    columns: dict[str, Any] = {"mean": [mean], "label": [f"{key}!"]}
    return store.upsert("stats", {"key": [key]}, event_us=when, created_us=when, columns=columns)


def mean_of(store: online.OnlineStore, key: str) -> float | None:
    rows = store.read("stats", {"key": [key]}, now_us=NOW_US)
    if rows.status[0] != ports.FeatureStatus.PRESENT:
        return None
    assert rows.values["label"][0] == f"{key}!"
    return float(rows.values["mean"][0])


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[online.OnlineStore]:
    with online.OnlineStore(tmp_path / "store", access="share") as store:
        yield store


@pytest.fixture
def reader(tmp_path: Path, writer: online.OnlineStore) -> Iterator[online.OnlineStore]:
    with online.OnlineStore(tmp_path / "store", access="read") as store:
        yield store


def test_a_reader_sees_views_rows_and_changes_when_they_are_there(
    writer: online.OnlineStore, reader: online.OnlineStore
) -> None:
    assert reader.views() == ()
    with pytest.raises(errors.NotFound):
        mean_of(reader, "a")
    writer.register(VIEW)
    assert mean_of(reader, "a") is None, "known, and without rows"
    assert push(writer, "a", 1.5) == 1
    assert mean_of(reader, "a") == 1.5
    push(writer, "a", 2.5, at_us=NOW_US)
    push(writer, "b", 3.0)
    assert (mean_of(reader, "a"), mean_of(reader, "b")) == (2.5, 3.0)
    assert (reader.views(), reader.counts()) == ((VIEW,), {"stats": 2})
    reader.register(VIEW)


def test_a_reader_changes_nothing(
    tmp_path: Path, writer: online.OnlineStore, reader: online.OnlineStore
) -> None:
    writer.register(VIEW)
    with pytest.raises(errors.Conflict, match="push to the process that has it"):
        push(reader, "a", 1.0)
    with pytest.raises(errors.DependencyDown, match="`other` is not in the online store yet"):
        reader.register(ports.ViewSchema("other", ("key",), (("mean", "float32"),), None))
    with pytest.raises(errors.Conflict, match="is registered as"):
        reader.register(ports.ViewSchema("stats", ("key",), (("mean", "float64"),), None))
    with pytest.raises(errors.Conflict, match="is open already"):
        online.OnlineStore(tmp_path / "store", access="share")
    assert not online.OnlineStore(tmp_path / "nowhere", access="read").views()
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(errors.InvalidRequest, match="nobody to share with"):
        online.OnlineStore(access="read")


def test_rows_that_nobody_shares_are_not_no_rows(tmp_path: Path) -> None:
    with online.OnlineStore(tmp_path, access="own") as alone:
        alone.register(VIEW)
        push(alone, "a", 1.0)
    with online.OnlineStore(tmp_path, access="read") as reader:
        with pytest.raises(errors.DependencyDown, match="wait for the process that writes it"):
            mean_of(reader, "a")
        with online.OnlineStore(tmp_path, access="share"):
            assert mean_of(reader, "a") == 1.0
        assert mean_of(reader, "a") == 1.0, "its writer is away, and what it had is read"


WRITER = """
import sys, pathlib
sys.path.insert(0, {folder!r})
import test_core_features_online_shared as t
from mainspring.core.features import online
store = online.OnlineStore(pathlib.Path({path!r}), access="share")
store.register(t.VIEW)
for i in range(int(sys.argv[1])):
    t.push(store, f"k{{i % 50}}", float(i))
print("written", flush=True)
sys.stdin.read()
"""


def test_a_killed_writer_leaves_its_rows_and_the_next_one_is_followed(tmp_path: Path) -> None:
    code = WRITER.format(folder=str(Path(__file__).parent), path=str(tmp_path))
    with online.OnlineStore(tmp_path, access="read") as reader:
        for rows in (200, 300):
            writer = subprocess.Popen(
                [sys.executable, "-c", code, str(rows)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert writer.stdout is not None and writer.stdin is not None
            assert writer.stdout.readline() == "written\n"
            try:
                for i in range(50):
                    assert mean_of(reader, f"k{i}") == rows - 50 + i
            finally:
                writer.kill()
                writer.communicate(timeout=30)
            assert mean_of(reader, "k7") == rows - 43
