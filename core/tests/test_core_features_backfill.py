"""Backfill by cells of time: the rows of one pass over everything, to the bit, after kills and after late facts too."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import core_join_reference as reference
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.core.features import backfill, frames, lake, windows

T0 = datetime(2024, 5, 1, tzinfo=UTC)
AGGREGATES = (
    windows.Aggregate("mean", "mean", "n"), windows.Aggregate("total", "sum", "n"), windows.Aggregate("count", "rows"),
    windows.Aggregate("greatest", "max", "n"), windows.Aggregate("newest", "last", "n"),
)  # fmt: skip


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def facts(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "k": [r[0] for r in rows],
            "t": [None if r[1] is None else at(r[1]) for r in rows],
            "n": [r[2] for r in rows],
        },
        schema={"k": pl.String, "t": frames.TIME, "n": pl.Int64},
    )


def minutes(n: int | None) -> timedelta | None:
    return None if n is None else timedelta(minutes=n)


def job(folder: Path, *, cell: int = 4, window: int = 7, hop: int | None = None) -> backfill.Backfill:
    return backfill.Backfill(
        lake.Parquet(str(folder / "facts.parquet")), ("k",), "t", timedelta(minutes=window), AGGREGATES,
        timedelta(minutes=cell), minutes(hop),
    )  # fmt: skip


def fill(
    folder: Path, last: float, *, first: float = 0, state: bool = True, **options: Any
) -> backfill.Filled:
    mark = folder / "mark" if state else None
    made = options.pop("made", job(folder))
    return backfill.fill(made, folder / "rows", since=at(first), until=at(last), state=mark, **options)


def held(folder: Path) -> list[tuple[Any, ...]]:
    return lake.Parquet(f"{folder / 'rows'}/").scan().sort("event_timestamp", "k").collect().rows()


def whole(rows: list[Any], last: float, window: int = 7, hop: int | None = None) -> list[tuple[Any, ...]]:
    made = windows.trailing(
        facts(rows),
        keys=["k"],
        known_at="t",
        window=timedelta(minutes=window),
        aggregates=AGGREGATES,
        hop=minutes(hop),
    )
    return made.filter(pl.col("event_timestamp") <= at(last)).rows()


ROW = st.tuples(
    st.sampled_from(["x", "y", None]), st.none() | st.integers(0, 30), st.none() | st.integers(-9, 9)
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(ROW, max_size=25), st.integers(1, 12), st.integers(1, 4), st.sampled_from([None, 1, 3]),
    st.integers(0, 33), st.integers(0, 33),
)  # fmt: skip
def test_cells_have_the_rows_of_one_pass(
    rows: Any, cell: int, hops: int, hop: int | None, first: int, second: int
) -> None:
    first, second = sorted((first, second))
    window = hops * (hop or 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts(rows).write_parquet(folder / "facts.parquet")
        for last in (first, second):
            fill(folder, last, made=job(folder, cell=cell, window=window, hop=hop))
            assert held(folder) == whole(rows, last, window, hop)


ROWS = [(k, m, m + 1) for m in range(20) for k in ("x", "y")]


def test_times_are_microseconds_and_progress_is_told(tmp_path: Path) -> None:
    facts(ROWS).write_parquet(tmp_path / "facts.parquet")
    told: list[backfill.Filled] = []
    done = fill(tmp_path, 19, progress=told.append)
    assert done == told[-1] == backfill.Filled(5, 5, 40, at(19))
    assert [p.rows for p in told] == [8, 16, 24, 32, 40]
    for path in (tmp_path / "rows").iterdir():
        types = {f.name: str(f.type) for f in pq.read_schema(path)}
        assert types["event_timestamp"] == types["created_timestamp"] == "timestamp[us, tz=UTC]"
    assert fill(tmp_path, 19).cells == 1  # the last cell may have grown


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import test_core_features_backfill as here
from mainspring.core import durable
left, place = int(sys.argv[2]), durable.place_file
def dying(path, write):
    global left
    left -= 1
    if left == 0:
        path.with_name(path.name + ".new").write_bytes(b"half")
        os.kill(os.getpid(), 9)
    place(path, write)
    if left == -1:
        os.kill(os.getpid(), 9)
durable.place_file = dying
here.fill(Path(sys.argv[1]), 19)
"""


@pytest.mark.parametrize("n", [1, 3, 0])
def test_a_backfill_that_is_killed_goes_on(tmp_path: Path, n: int) -> None:
    facts(ROWS).write_parquet(tmp_path / "facts.parquet")
    arguments = [str(tmp_path), str(n), str(Path(__file__).parent)]
    died = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], timeout=60, check=False, env=dict(os.environ)
    )
    assert died.returncode == -9
    done = fill(tmp_path, 19)
    assert done.cells == (3 if n == 3 else 5)
    assert held(tmp_path) == whole(ROWS, 19)
    assert not list((tmp_path / "rows").glob("*.new"))


def test_late_facts_are_taken_within_lateness(tmp_path: Path) -> None:
    facts(ROWS).write_parquet(tmp_path / "facts.parquet")
    fill(tmp_path, 19)
    late = [*ROWS, ("x", 11, 50)]
    facts(late).write_parquet(tmp_path / "facts.parquet")
    fill(tmp_path, 19)
    assert held(tmp_path) != whole(late, 19)
    fill(tmp_path, 19, lateness=timedelta(minutes=9))
    assert held(tmp_path) == whole(late, 19)


def test_a_full_disk_is_told_and_what_was_made_stays(tmp_path: Path) -> None:
    facts(ROWS).write_parquet(tmp_path / "facts.parquet")
    fill(tmp_path, 9)
    with reference.full_disk(), pytest.raises(errors.DependencyDown, match="run the backfill again"):
        fill(tmp_path, 19)
    assert held(tmp_path) == whole(ROWS, 9)
    fill(tmp_path, 19)
    assert held(tmp_path) == whole(ROWS, 19)


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match="no Parquet"):
        fill(tmp_path, 5)
    facts(ROWS).write_parquet(tmp_path / "facts.parquet")
    with pytest.raises(errors.InvalidRequest, match="ascending range"):
        fill(tmp_path, 5, first=6)
    with pytest.raises(errors.InvalidRequest, match="positive cell"):
        fill(tmp_path, 5, made=job(tmp_path, cell=0), state=False)
    with pytest.raises(errors.InvalidRequest, match="window"):
        fill(tmp_path, 5, made=job(tmp_path, window=0), state=False)
    with pytest.raises(errors.InvalidRequest, match="no multiple of the hop"):
        fill(tmp_path, 5, made=job(tmp_path, window=7, hop=2), state=False)
    fill(tmp_path, 5)
    with pytest.raises(errors.Conflict, match="give each job its own"):
        fill(tmp_path, 5, made=job(tmp_path, window=8))
    facts(ROWS).drop("n").write_parquet(tmp_path / "facts.parquet")
    with pytest.raises(errors.SchemaMismatch, match="no column `n`"):
        fill(tmp_path, 9)
    facts(ROWS).cast({"n": pl.Float64}).write_parquet(tmp_path / "facts.parquet")
    with pytest.raises(errors.SchemaMismatch, match="expected a whole number"):
        fill(tmp_path, 9)
    (tmp_path / "file").write_text("")
    facts(ROWS).write_parquet(tmp_path / "facts.parquet")
    with pytest.raises(errors.DependencyDown, match="run the backfill again"):
        backfill.fill(job(tmp_path), tmp_path / "file" / "rows", since=at(0), until=at(3))
    assert held(tmp_path) == whole(ROWS, 5)
