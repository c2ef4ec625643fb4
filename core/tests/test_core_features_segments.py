"""Sorted segments: the answers of brute force, what makes them stale, and damage that is named and mended."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import core_join_reference as reference
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core import durable, errors
from mainspring.core.features import lake, matching, segment_file, segment_manifest, segments

ORDER = segment_file.Order(("a", "b"), "e", "c")
#: two keys, ties of event and created time, nulls
FACTS = [
    ("x", 1, 2, 3, 10),
    ("y", 2, 5, 5, 11),
    ("x", 1, 2, 3, 12),
    ("x", 1, 2, None, 13),
    (None, 1, 1, 1, 14),
]
MORE = [("x", 1, 7, 7, 20), ("y", 2, 5, 5, 21), ("x", 1, None, 9, 22)]


def put(folder: Path, part: int, rows: list[Any]) -> Path:
    path = folder / f"part-{part:03d}.parquet"
    reference.facts(rows).write_parquet(path)
    return path


def made(folder: Path, order: segment_file.Order = ORDER, **options: Any) -> segments.Segments:
    source = lake.Parquet(f"{folder / 'source'}/")
    (folder / "source").mkdir(exist_ok=True)
    return segments.Segments(folder / "segments", source, order, **options)


def ask(
    found: segments.Segments, asked: list[Any], *, ttl: int | None = None, known_only: bool = False
) -> list[Any]:
    times = matching.Times("t", "e", "c", None if ttl is None else timedelta(minutes=ttl), known_only)
    keys = list(found.order.keys)
    return found.match(reference.questions(asked), keys=keys, times=times, columns=["v"])["v"].to_list()


ASKED = [("x", 1, 9), ("y", 2, 9), ("x", 1, 2), ("y", 1, 9), (None, 1, 9), ("x", 1, 1)]


@pytest.fixture
def two_files(tmp_path: Path) -> segments.Segments:
    found = made(tmp_path)
    put(tmp_path / "source", 0, FACTS)
    put(tmp_path / "source", 1, MORE)
    found.refresh()
    return found


@settings(max_examples=150, deadline=None)
@given(
    st.lists(reference.ASKED, max_size=12),
    st.lists(st.lists(reference.ROW, max_size=8), min_size=1, max_size=4),
    reference.TTL, st.booleans(), st.booleans(), st.integers(1, 9), st.booleans(),
)  # fmt: skip
def test_it_equals_brute_force(
    asked: Any, files: Any, ttl: int | None, known_only: bool, keyed: bool, max_rows: int, by_steps: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        order = ORDER if keyed else segment_file.Order((), "e", "c")
        found = made(Path(folder), order, max_rows=max_rows)
        for part, rows in enumerate(files):
            put(Path(folder) / "source", part, rows)
            if by_steps:
                found.refresh()
        found.refresh()
        rows = [row for file in files for row in file]
        expected = reference.brute_force(asked, rows, ttl, known_only, keyed)
        assert ask(found, asked, ttl=ttl, known_only=known_only) == expected


def test_files_that_sort_last_are_appended_and_small_segments_merge(tmp_path: Path) -> None:
    found = made(tmp_path)
    put(tmp_path / "source", 0, FACTS * 20)
    first = found.refresh()
    assert (first.rows_read, first.segments, first.reason) == (100, 1, "there were none")
    assert found.refresh() == segments.Refreshed(rows=first.rows, segments=1)
    put(tmp_path / "source", 1, MORE)
    second = found.refresh()
    assert (second.rows_read, second.segments, second.reason) == (3, 2, "")
    assert second.rows == first.rows + 2  # one has no event time
    put(tmp_path / "source", 2, MORE)
    third = found.refresh()
    assert (third.rows_read, third.segments) == (3, 2)  # the two small ones are one
    assert ask(found, ASKED) == [20, 21, 12, None, None, None]
    held = {name for entry in segment_manifest.read(found.folder).segments for name in entry.files}
    assert {p.name for p in found.folder.iterdir()} == held | {"manifest.json", "lock"}
    mapped = Path("/proc/self/maps").read_text()
    assert all(str(found.folder / name) in mapped for name in held if ".rows." in name)
    assert "(deleted)" not in "".join(line for line in mapped.splitlines() if str(found.folder) in line)


def _rewrite(folder: Path) -> None:
    put(folder, 0, FACTS[:1])


def _touch(folder: Path) -> None:
    os.utime(folder / "part-000.parquet", ns=(1, 1))


def _earlier(folder: Path) -> None:
    put(folder, 0, FACTS).rename(folder / "a.parquet")
    put(folder, 0, FACTS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_rewrite, "`part-000.parquet` was written again"),
        (_touch, "`part-000.parquet` was written again"),
        (lambda folder: (folder / "part-000.parquet").unlink(), "`part-000.parquet` is gone"),
        (lambda folder: put(folder, 2, MORE), "`part-002.parquet` is new"),
        (_earlier, "part-000.parquet` was written again"),
    ],
)
def test_stale_segments_are_refused_until_they_are_refreshed(
    two_files: segments.Segments, change: Callable[[Path], object], words: str
) -> None:
    change(Path(two_files.source.uri))
    with pytest.raises(errors.Conflict, match=words):
        ask(two_files, ASKED)
    two_files.refresh()
    expected = matching.match(
        reference.questions(ASKED),
        two_files.source.scan(),
        keys=["a", "b"],
        times=matching.Times("t", "e", "c"),
        columns=["v"],
    )
    assert ask(two_files, ASKED) == expected["v"].to_list()


def test_a_file_that_sorts_before_others_makes_all_segments_anew(two_files: segments.Segments) -> None:
    put(Path(two_files.source.uri), 0, [("y", 2, 5, 5, 99)]).rename(
        Path(two_files.source.uri) / "part-0005.parquet"
    )
    put(Path(two_files.source.uri), 0, FACTS)
    assert "written again" in two_files.refresh().reason
    assert ask(two_files, [("y", 2, 5)]) == [21]  # the row of the last file, as the order of names has it


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("part", ["rows", "keys"])
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_damaged_segment_is_named_and_made_anew(two_files: segments.Segments, part: str, how: str) -> None:
    before = ask(two_files, ASKED)
    (path,) = two_files.folder.glob(f"*.{part}.arrow")
    if how == "flip":
        _flip(path)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()
    with pytest.raises(errors.CorruptArtifact, match=path.name):
        ask(two_files, ASKED)
    mended = two_files.refresh()
    assert mended.rebuilt == (path.name.split(".")[0],) and mended.rows_read == 0
    assert ask(two_files, ASKED) == before


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text.replace('"rows":', '"rows":1'), "digest"),
        (lambda text: text[: len(text) // 2], "does not read"),
        (lambda _: "[]", "does not read"),
    ],
)
def test_a_damaged_manifest_is_refused_and_made_anew(
    two_files: segments.Segments, damage: Callable[[str], str], words: str
) -> None:
    path = two_files.folder / "manifest.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(errors.CorruptArtifact, match=words):
        ask(two_files, ASKED)
    assert two_files.refresh().rows_read == 8
    assert ask(two_files, ASKED) == [20, 21, 12, None, None, None]


def test_absent_segments_and_wrong_questions_are_refused(
    tmp_path: Path, two_files: segments.Segments
) -> None:
    with pytest.raises(errors.NotFound, match="refresh them"):
        ask(segments.Segments(tmp_path / "other", two_files.source, ORDER), ASKED)
    wrong = reference.questions(ASKED).with_columns(pl.col("b").cast(pl.String))
    with pytest.raises(errors.SchemaMismatch, match="`b` of entity rows has type String, expected Int64"):
        two_files.match(wrong, keys=["a", "b"], times=matching.Times("t", "e", "c"), columns=["v"])
    with pytest.raises(errors.SchemaMismatch, match="no column `w`"):
        two_files.match(
            reference.questions(ASKED), keys=["a", "b"], times=matching.Times("t", "e", "c"), columns=["w"]
        )
    by_one_key = segments.Segments(two_files.folder, two_files.source, segment_file.Order(("a",), "e", "c"))
    with pytest.raises(errors.Conflict, match="they are of"):
        ask(by_one_key, ASKED)


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (lambda path: path.write_bytes(b"PAR1 and no more"), errors.CorruptArtifact),
        (lambda path: reference.facts(MORE).drop("c").write_parquet(path), errors.SchemaMismatch),
        (
            lambda path: reference.facts(MORE).cast({"e": pl.String}).write_parquet(path),
            errors.SchemaMismatch,
        ),
    ],
)
def test_a_bad_file_leaves_the_old_segments(
    two_files: segments.Segments, write: Callable[[Path], object], kind: type[Exception]
) -> None:
    path = Path(two_files.source.uri) / "part-002.parquet"
    write(path)
    with pytest.raises(kind):
        two_files.refresh()
    path.unlink()
    assert two_files.refresh().rows_read == 0
    assert ask(two_files, ASKED) == [20, 21, 12, None, None, None]


def test_a_question_lists_the_source_once_and_keeps_what_it_found(
    two_files: segments.Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, listings = lake.Parquet.listed, list[str]()

    def counted(source: lake.Parquet) -> list[lake.File]:
        listings.append(source.uri)
        return listed(source)

    monkeypatch.setattr(lake.Parquet, "listed", counted)
    for refresh in (True, False):
        found = two_files.current(refresh=refresh)
        put(Path(two_files.source.uri), 2, MORE)
        got = found.match(
            reference.questions(ASKED), keys=["a", "b"], times=matching.Times("t", "e", "c"), columns=["v"]
        )
        assert got["v"].to_list() == [20, 21, 12, None, None, None] and len(listings) == 1
        (Path(two_files.source.uri) / "part-002.parquet").unlink()
        listings.clear()


def test_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match="no Parquet"):
        made(tmp_path).refresh()


def test_a_source_that_changes_meanwhile_leaves_the_old_segments(
    two_files: segments.Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(two_files.source.uri)
    put(source, 2, MORE)
    write = segment_file.write

    def and_more(*args: Any, **options: Any) -> segment_file.Entry:
        put(source, 3, MORE)
        return write(*args, **options)

    monkeypatch.setattr(segment_file, "write", and_more)
    with pytest.raises(errors.Conflict, match="changed while its segments were made"):
        two_files.refresh()
    monkeypatch.undo()
    assert two_files.refresh().rows_read == 6


def test_the_files_are_in_the_order_in_which_they_are_read(tmp_path: Path) -> None:
    for number, name in enumerate(["b/1", "a/2", "a-b/1", "a/10", "a.parquet/x", "Z"]):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pl.DataFrame({"n": [number]}).write_parquet(path)
    source = lake.Parquet(f"{tmp_path}/")
    by_files = source.scan_files(source.listed()).collect()
    assert source.scan().collect()["n"].to_list() == by_files["n"].to_list()


@pytest.mark.parametrize("file_bytes", [0, 1000])
def test_a_full_disk_is_told_and_the_old_segments_stand(
    two_files: segments.Segments, file_bytes: int
) -> None:
    part = put(Path(two_files.source.uri), 2, MORE * 20)
    with reference.full_disk(file_bytes), pytest.raises(errors.DependencyDown, match="check the disk"):
        two_files.refresh()
    part.rename(two_files.folder / "aside")
    assert ask(two_files, ASKED) == [20, 21, 12, None, None, None]
    assert two_files.refresh().rows_read == 0


KILLED = """
import os, sys
from mainspring.core import durable
from mainspring.core.features import lake, segment_file, segments
place, left = durable.place_file, int(sys.argv[2])
def dying(path, write):
    global left
    left -= 1
    if left < 0:
        path.with_name(path.name + ".new").write_bytes(b"half")
        os.kill(os.getpid(), 9)
    place(path, write)
durable.place_file = dying
if left == 9:
    durable.replace_file = lambda path, text: os.kill(os.getpid(), 9)
segments.Segments(
    __import__("pathlib").Path(sys.argv[1]) / "segments", lake.Parquet(sys.argv[1] + "/source/"),
    segment_file.Order(("a", "b"), "e", "c"),
).refresh()
"""


@pytest.mark.parametrize("after_files", [0, 1, 2, 9])
def test_a_refresh_that_is_killed_leaves_the_old_segments(
    two_files: segments.Segments, after_files: int
) -> None:
    put(Path(two_files.source.uri), 2, [("x", 1, 8, 8, 30)] * 4)  # enough to be merged with the rest
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(two_files.folder.parent), str(after_files)],
        timeout=60,
        check=False,
    )
    assert died.returncode == -9
    (Path(two_files.source.uri) / "part-002.parquet").rename(two_files.folder / "aside")
    assert ask(two_files, ASKED) == [20, 21, 12, None, None, None]
    (two_files.folder / "aside").rename(Path(two_files.source.uri) / "part-002.parquet")
    assert two_files.refresh().rows_read == 4
    assert ask(two_files, ASKED)[0] == 30
    assert not list(two_files.folder.glob("*.new"))


def test_a_file_is_placed_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.place_file(path, lambda aside: aside.write_text("whole") and None)

    def fails(aside: Path) -> None:
        aside.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        durable.place_file(path, fails)
    assert path.read_text() == "whole" and [p.name for p in tmp_path.iterdir()] == ["file"]
