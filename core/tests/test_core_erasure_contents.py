"""What steps of pipelines made, in every form: it names the subject, it does not, or nobody can say."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from mainspring.core import errors
from mainspring.core.erasure import contents, erasing
from mainspring.core.erasure.contents import NO_ROWS, UNKNOWN, Answer
from mainspring.core.erasure.matching import BySubject
from mainspring.core.erasure.places import FolderPlace, ObjectsPlace
from mainspring.core.erasure.subjects import Subject
from mainspring.core.pipelines.store import PipelineStore

SUBJECT = BySubject(Subject("tiny", "tailnum", "N102", frozenset({"aircraft"})))
ROWS = pl.DataFrame({"tailnum": ["N101", "N102", "N103", "N102"], "seats": [1, 2, 3, 4]})
OTHERS = ROWS.filter(pl.col("tailnum") != "N102")


def parquet(rows: pl.DataFrame) -> bytes:
    target = io.BytesIO()
    rows.write_parquet(target)
    return target.getvalue()


def arrow(rows: pl.DataFrame) -> bytes:
    target = io.BytesIO()
    rows.write_ipc(target)
    return target.getvalue()


def csv(rows: pl.DataFrame) -> bytes:
    return rows.write_csv().encode()


def semicolons(rows: pl.DataFrame) -> bytes:
    return rows.write_csv(separator=";", quote_style="always").encode()


def lines(rows: pl.DataFrame) -> bytes:
    return rows.write_ndjson().encode()


FORMS = (parquet, arrow, csv, semicolons, lines)


def zipped(*members: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, data in enumerate(members):
            archive.writestr(f"../folder/{i}", data)
    return target.getvalue()


def tarred(*members: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for i, data in enumerate(members):
            told = tarfile.TarInfo(f"{i}")
            told.size = len(data)
            archive.addfile(told, io.BytesIO(data))
    return target.getvalue()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as target:
        target.write(data)
    return sink.getvalue().to_pybytes()


def searched(tmp_path: Path, data: bytes) -> Answer:
    path = tmp_path / "0a1b"
    path.write_bytes(data)
    return contents.search(path, SUBJECT)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "packed", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd, zipped, tarred, lambda d: zipped(gzip.compress(d))]
)  # fmt: skip
def test_every_form_is_searched_in_every_packing(
    tmp_path: Path, form: Callable[[pl.DataFrame], bytes], packed: Callable[[bytes], bytes]
) -> None:
    assert searched(tmp_path, packed(form(ROWS))) == Answer(2, True)
    assert searched(tmp_path, packed(form(OTHERS))) == NO_ROWS
    assert searched(tmp_path, packed(form(ROWS.rename({"tailnum": "aircraft"})))).rows == 2


def test_an_archive_is_all_of_its_members(tmp_path: Path) -> None:
    table = parquet(ROWS)
    assert searched(tmp_path, tarred(b"\x80\x04 a pickle\0", table, csv(ROWS))) == Answer(4, False)
    assert searched(tmp_path, zipped(b"\x80\x04 a pickle\0", parquet(OTHERS))) == UNKNOWN
    assert searched(tmp_path, zipped()) == NO_ROWS
    assert searched(tmp_path, gzip.compress(tarred(lines(ROWS)))) == Answer(2, True)


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b'{"deep": [{"tailnum": ["N101", "N102"]}]}', Answer(1, True)),
        (b'{"name": "N102"}', NO_ROWS),
        (b"", NO_ROWS),
        (b"Dear N102,\nyour seats", UNKNOWN),
        (b"Dear N1023, and XN102", NO_ROWS),
        (b"name,seats\nN102,2\n", UNKNOWN),
        (b"\x80\x04\x95\0pickle", UNKNOWN),
        ("tailnum\né".encode("latin-1"), UNKNOWN),
        (b"PK\x03\x04 no archive\0", UNKNOWN),
        (b"\x1f\x8b no gzip", UNKNOWN),
        (b"ARROW1\0\0 torn", UNKNOWN),
        (zipped(b"PAR1 torn"), UNKNOWN),
        (gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"[]")))), UNKNOWN),
        (b'tailnum,seats\n"N102,2\n', UNKNOWN),
    ],
)
def test_what_nobody_can_say_is_not_said(tmp_path: Path, data: bytes, want: Answer) -> None:
    assert searched(tmp_path, data) == want


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_MOST_BYTES", 1 << 20)
    assert searched(tmp_path, gzip.compress(bytes(1 << 22))) == UNKNOWN
    monkeypatch.setattr(contents, "_MOST_MEMBERS", 3)
    assert searched(tmp_path, zipped(*[csv(ROWS)] * 5)) == Answer(6, False)
    monkeypatch.setattr(contents, "_MOST_TEXT_BYTES", 8)
    assert searched(tmp_path, b'{"tailnum": "N101"}') == UNKNOWN


def test_a_locked_archive_is_not_searched(tmp_path: Path) -> None:
    data = bytearray(zipped(csv(ROWS)))
    for at, flag in ((data.index(b"PK\x03\x04") + 6, 1), (data.index(b"PK\x01\x02") + 8, 1)):
        data[at] |= flag  # says that it is encrypted
    assert searched(tmp_path, bytes(data)) == UNKNOWN


def test_contents_go_whole_and_what_is_not_searched_is_told(tmp_path: Path) -> None:
    store = PipelineStore(tmp_path)
    held = [store.put_bytes(d) for d in (zipped(csv(ROWS)), tarred(parquet(ROWS), b"\0pickle"), lines(ROWS))]
    clean = [store.put_bytes(d) for d in (zipped(csv(OTHERS)), json.dumps({"rows": 3}).encode())]
    model = store.put_bytes(b"\x80\x04\0weights")
    place = ObjectsPlace("pipeline contents", tmp_path / "objects")
    found = place.find(SUBJECT)
    assert (found.rows, found.items) == (6, 3)
    (told,) = found.uncovered
    assert f"1 of a form that nobody can search, such as `{model[7:]}`" in told.what and "N102" not in str(
        told
    )
    assert erasing.erase(place, SUBJECT).items == 3
    for digest in held:
        with pytest.raises(errors.NotFound, match="run the step that made it again"):
            store.open(digest)
    assert all(store.open(digest).is_file() for digest in (*clean, model))
    told_again, uncovered = erasing.prove([place], SUBJECT, [found])
    assert (told_again[0].rows_after, uncovered) == (0, [told])


def test_files_of_a_run_go_but_not_what_they_are_links_to(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere.csv"
    other.write_bytes(csv(ROWS))
    run = tmp_path / "runs" / "run_1" / "step"
    run.mkdir(parents=True)
    (run / "out.zip").write_bytes(zipped(csv(ROWS)))
    (run / "in.csv").symlink_to(other)
    (run / "table.parquet").write_bytes(parquet(ROWS))
    (run / ".new-1").write_bytes(csv(ROWS))
    place = ObjectsPlace("other files", tmp_path / "runs", skip=(".parquet",))
    assert erasing.erase(place, SUBJECT).items == 2
    assert sorted(os.listdir(run)) == ["in.csv", "table.parquet"] and other.exists()


def test_a_table_that_is_torn_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(errors.CorruptArtifact, match="nobody can say whose rows it has"):
        searched(tmp_path, b"PAR1 torn")


def test_folders_tell_of_forms_that_they_do_not_search(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv(ROWS))
    (tmp_path / "b.parquet.new").write_bytes(b"half")
    (tmp_path / "c.rows.arrow").write_bytes(arrow(OTHERS))
    (tmp_path / "notes.md").write_text("no rows")
    (told,) = FolderPlace("offline tables", [tmp_path]).find(SUBJECT).uncovered
    assert "offline tables: 2 of a form" in told.what and "`a.csv`, `b.parquet.new`" in told.what
