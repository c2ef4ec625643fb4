"""Materialisation: the newest rows of the join's words, by slices, after kills, again and again, and what is refused."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import core_join_reference as reference
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core import errors, ports
from mainspring.core.features import lake, materialise, online, segment_file, segments, slices, sql_query

VIEW = ports.ViewSchema("facts", ("a", "b"), (("v", "float64"),), None)
ALL_KEYS = [(a, b) for a in ("x", "y") for b in (1, 2)]
NOW_US = slices.to_us(reference.T0 + timedelta(days=1))


def source(folder: Path, rows: Sequence[Any], name: str = "facts") -> lake.Parquet:
    reference.facts(list(rows)).write_parquet(folder / f"{name}.parquet")
    return lake.Parquet(str(folder / f"{name}.parquet"))


def run(
    store: ports.OnlineFeatures, rows: lake.Rows, minute: int = 12, **options: Any
) -> materialise.Progress:
    sink = materialise.OnlineSink(store, VIEW)
    until = reference.at(minute)
    assert until is not None
    return materialise.materialise(sink.job(rows, event="e", created="c"), sink, until=until, **options)


def held(store: ports.OnlineFeatures) -> list[float | None]:
    keys = {"a": [a for a, _ in ALL_KEYS], "b": [b for _, b in ALL_KEYS]}
    found = store.read("facts", keys, now_us=NOW_US)
    return [float(v) if ok else None for v, ok in zip(found.values["v"], found.valid["v"], strict=True)]


def expected(rows: Sequence[Any], minute: int = 12) -> list[float | None]:
    return reference.brute_force([(a, b, minute) for a, b in ALL_KEYS], list(rows), None, False, True)


@settings(max_examples=100, deadline=None)
@given(st.lists(reference.ROW, max_size=20), st.integers(1, 6), st.integers(0, 12), st.integers(0, 12))
def test_the_store_holds_the_newest_row_of_each_key(
    rows: Any, slice_rows: int, first: int, second: int
) -> None:
    first, second = sorted((first, second))
    with tempfile.TemporaryDirectory() as name:
        files = source(Path(name), rows)
        store = online.OnlineStore()
        run(store, files, first, slice_rows=slice_rows, state=Path(name) / "mark")
        assert held(store) == expected(rows, first)
        done = run(store, files, second, slice_rows=slice_rows, state=Path(name) / "mark")
        assert held(store) == expected(rows, second)
        again = run(store, files, second, slice_rows=slice_rows)
        assert held(store) == expected(rows, second) and again.rows == again.of_rows >= done.rows


ROWS = [("x", 1, m, m, m) for m in range(10)] + [("y", 2, m, None, 100 + m) for m in range(0, 10, 2)]


@pytest.mark.parametrize("slice_rows", [1, 4, 7, 100])
def test_slices_are_bounded_ascending_and_tell_how_far_they_are(tmp_path: Path, slice_rows: int) -> None:
    told: list[materialise.Progress] = []
    done = run(online.OnlineStore(), source(tmp_path, ROWS), slice_rows=slice_rows, progress=told.append)
    assert told[-1] == done and done.rows == done.of_rows == len(ROWS) and done.watermark == reference.at(9)
    sizes = [
        b.rows - a.rows for a, b in zip([materialise.Progress(0, 0, 0, 0, None), *told], told, strict=False)
    ]
    assert max(sizes) <= max(slice_rows, 2)  # two rows have one time
    assert [p.watermark for p in told] == sorted(p.watermark for p in told if p.watermark)
    assert done.taken == done.pushed and (done.pushed == 2) == (slice_rows == 100)


def test_rows_that_crowd_in_one_corner_of_time_are_divided(tmp_path: Path) -> None:
    us = [0, *range(10_000_000_000_000, 10_000_000_000_050), *[20_000_000_000_000] * 9]
    pl.DataFrame({"e": us}).with_columns(pl.col("e").cast(pl.Datetime("us", "UTC"))).write_parquet(
        tmp_path / "f.parquet"
    )
    plan = slices.plan(
        lake.Parquet(str(tmp_path / "f.parquet")), "e", first_us=None, last_us=2**60, slice_rows=7
    )
    assert sum(s.rows for s in plan) == len(us)
    assert all(s.rows <= 7 or s.first_us == s.last_us for s in plan) and plan[-1].rows == 9
    assert all(a.last_us < b.first_us for a, b in itertools.pairwise(plan))
    assert len(plan) <= 12


def test_the_next_run_takes_what_is_new_and_late_rows_within_lateness(tmp_path: Path) -> None:
    store, mark = online.OnlineStore(), tmp_path / "state" / "mark"
    assert run(store, source(tmp_path, ROWS), state=mark).rows == len(ROWS)
    assert run(store, source(tmp_path, ROWS), state=mark).rows == 1  # that of the watermark's own instant
    late = [("y", 1, 5, 5, 7), ("x", 1, 11, 11, 8)]
    assert run(store, source(tmp_path, [*ROWS, *late]), state=mark).rows == 2
    assert held(store) == [8.0, None, None, 108.0]
    assert run(store, source(tmp_path, [*ROWS, *late]), state=mark, lateness=timedelta(minutes=6)).rows > 2
    assert held(store) == [8.0, None, 7.0, 108.0]


def test_since_bounds_the_first_run(tmp_path: Path) -> None:
    store = online.OnlineStore()
    assert run(store, source(tmp_path, ROWS), since=reference.at(9)).rows == 1
    with pytest.raises(errors.InvalidRequest, match="exchange them"):
        run(store, source(tmp_path, ROWS), 3, since=reference.at(4))
    with pytest.raises(errors.InvalidRequest, match="at least 1"):
        run(store, source(tmp_path, ROWS), slice_rows=0)


def test_segments_and_sql_are_sources_too(tmp_path: Path) -> None:
    files = source(tmp_path, ROWS)
    sorted_rows = segments.Segments(
        tmp_path / "s", files, segment_file.Order(("a", "b"), "e", "c"), max_rows=4
    )
    sorted_rows.refresh()
    query = sql_query.SqlQuery("q", "SELECT a, b, e, c, 2 * v AS v FROM f", {"f": files})
    for rows, factor in ((sorted_rows, 1), (query, 2)):
        store = online.OnlineStore()
        run(store, rows, slice_rows=4)
        assert held(store) == [None if v is None else factor * v for v in expected(ROWS)]


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
import test_core_features_materialise as here
from mainspring.core import durable
from mainspring.core.features import lake, materialise, online
left = int(sys.argv[2])
def maybe_die(*_):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
if sys.argv[3] == "push":
    push = materialise.OnlineSink.push
    def dying(self, rows, job):
        changed = push(self, rows, job)
        maybe_die()
        return changed
    materialise.OnlineSink.push = dying
elif sys.argv[3] == "mark":
    replace = durable.replace_file
    def dying(path, text):
        if path.name == "mark":
            path.with_name("mark.new").write_text(text[:20])
            maybe_die()
        replace(path, text)
    durable.replace_file = dying
folder = Path(sys.argv[1])
with online.OnlineStore(folder / "online") as store:
    here.run(store, lake.Parquet(str(folder / "facts.parquet")), slice_rows=2, state=folder / "mark", progress=maybe_die if sys.argv[3] == "progress" else None)
"""


def killed_after(folder: Path, n: int, where: str) -> None:
    arguments = [str(folder), str(n), where, str(Path(__file__).parent)]
    died = subprocess.run([sys.executable, "-c", KILLED, *arguments], timeout=60, check=False)
    assert died.returncode == -9


@pytest.mark.parametrize(
    ("n", "where"), [(0, "push"), (2, "push"), (0, "mark"), (3, "mark"), (1, "progress")]
)
def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path: Path, n: int, where: str) -> None:
    rows = source(tmp_path, ROWS)
    killed_after(tmp_path, n, where)
    with online.OnlineStore(tmp_path / "online") as store:
        done = run(store, rows, slice_rows=2, state=tmp_path / "mark")
        assert held(store) == expected(ROWS)
        assert (done.rows < len(ROWS)) == (n > 0)  # what was marked is not read again
        assert run(store, rows, state=tmp_path / "mark").rows == 1


def test_runs_are_killed_again_and_again_and_end(tmp_path: Path) -> None:
    rows = source(tmp_path, ROWS)
    for _ in range(3):
        killed_after(tmp_path, 1, "progress")
    with online.OnlineStore(tmp_path / "online") as store:
        assert run(store, rows, state=tmp_path / "mark").rows < len(ROWS)
        assert held(store) == expected(ROWS)


def test_a_bad_watermark_or_one_of_another_job_is_refused(tmp_path: Path) -> None:
    store, mark = online.OnlineStore(), tmp_path / "mark"
    rows = source(tmp_path, ROWS)
    run(store, rows, state=mark)
    with pytest.raises(errors.Conflict, match="give each job its own"):
        run(store, source(tmp_path, ROWS, "others"), state=mark)
    text = mark.read_text()
    for bad in (text.replace('"us":', '"us":1'), text[:30], "[]", "{}"):
        mark.write_text(bad)
        with pytest.raises(errors.CorruptArtifact, match="remove it"):
            run(store, rows, state=mark)
    mark.unlink()
    assert run(store, rows, state=mark).rows == len(ROWS)
    assert held(store) == expected(ROWS)


def test_a_full_disk_is_told_and_nothing_is_marked(tmp_path: Path) -> None:
    store, rows = online.OnlineStore(), source(tmp_path, ROWS)
    with reference.full_disk(), pytest.raises(errors.DependencyDown, match="watermark .* cannot be written"):
        run(store, rows, state=tmp_path / "mark")
    assert run(store, rows, state=tmp_path / "mark").rows == len(ROWS)


def test_one_run_at_a_time_holds_a_watermark(tmp_path: Path) -> None:
    store, rows = online.OnlineStore(), source(tmp_path, ROWS)

    def second(_: materialise.Progress) -> None:
        run(store, rows, state=tmp_path / "mark")

    with pytest.raises(errors.Conflict, match="another run holds"):
        run(store, rows, state=tmp_path / "mark", progress=second)
    assert run(store, rows, state=tmp_path / "mark").rows == 1


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda f: f.drop("v"), errors.SchemaMismatch, "no column `v`"),
        (lambda f: f.cast({"v": pl.String}), errors.SchemaMismatch, "`v` of .*String, expected Float64"),
        (lambda f: f.cast({"e": pl.String}), errors.SchemaMismatch, "expected a timestamp"),
        (lambda f: f.cast({"b": pl.Float64}), errors.SchemaMismatch, "`b` of view `facts`"),
        (lambda f: f.with_columns(pl.col("e").dt.offset_by("-80y")), errors.SchemaMismatch, "from 1970 on"),
    ],
)
def test_wrong_rows_are_refused_and_the_watermark_stands(
    tmp_path: Path, change: Any, kind: type[Exception], words: str
) -> None:
    store, mark = online.OnlineStore(), tmp_path / "mark"
    run(store, source(tmp_path, ROWS[:3]), 2, state=mark)
    before = mark.read_text()
    change(reference.facts(ROWS)).write_parquet(tmp_path / "facts.parquet")
    with pytest.raises(kind, match=words):
        run(store, lake.Parquet(str(tmp_path / "facts.parquet")), state=mark, lateness=timedelta(days=40_000))
    assert mark.read_text() == before and held(store)[0] == 2.0


def test_absent_and_damaged_sources_and_a_closed_store_are_told(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match="no Parquet"):
        run(online.OnlineStore(), lake.Parquet(str(tmp_path / "none.parquet")))
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(errors.CorruptArtifact):
        run(online.OnlineStore(), lake.Parquet(str(tmp_path / "cut.parquet")))
    store, rows = online.OnlineStore(tmp_path / "online"), source(tmp_path, ROWS)
    sink = materialise.OnlineSink(store, VIEW)
    store.close()
    until = reference.at(12)
    assert until
    with pytest.raises(errors.DependencyDown, match="closed"):
        materialise.materialise(sink.job(rows, event="e"), sink, until=until, state=tmp_path / "mark")
    assert not (tmp_path / "mark").exists()
