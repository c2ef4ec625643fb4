"""What a step of a pipeline made, whatever form it has: does it name a subject, and can anybody say.

Tables (Parquet, Arrow, CSV with a header), JSON and lines of it, and archives of these (zip, tar, gzip, bzip2, xz, zstd), in one
another. A text of no such form is searched for the key as a word. Nothing is unpacked to a disk by name.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.csv as pa_csv

from mainspring.core import errors
from mainspring.core.erasure import files
from mainspring.core.erasure.matching import BySubject

__all__ = ["NO_ROWS", "UNKNOWN", "Answer", "names", "search"]

#: An archive in an archive in an archive is looked into, and no deeper.
_DEPTH: Final = 3
_MOST_MEMBERS: Final = 10_000
#: Of one content, unpacked: what is more is a bomb, or nobody's to hold in a temporary file.
_MOST_BYTES: Final = 4 << 30
_MOST_TEXT_BYTES: Final = 64 << 20
_SPOOL_BYTES: Final = 32 << 20
_SAMPLE_BYTES: Final = 64 << 10

_PACKED: Final[tuple[tuple[bytes, Callable[[Any], Any]], ...]] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file, mode="rb")),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
    (b"\x28\xb5\x2f\xfd", lambda file: pa.CompressedInputStream(file, "zstd")),
)
_BROKEN: Final = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, NotImplementedError,
    pa.ArrowException, UnicodeDecodeError, errors.CorruptArtifact,
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """`rows` that name the subject: at least so many, as some is enough to remove the content. `is_known`: all of it was looked at."""

    rows: int
    is_known: bool

    def __add__(self, other: Answer) -> Answer:
        return Answer(self.rows + other.rows, self.is_known and other.is_known)


NO_ROWS: Final = Answer(0, True)
UNKNOWN: Final = Answer(0, False)


class _Budget:
    """What may still be unpacked of one content."""

    def __init__(self) -> None:
        self.members, self.bytes = _MOST_MEMBERS, _MOST_BYTES

    def spool(self, source: Any) -> BinaryIO | None:
        """All of a stream in a file without a name; None: too much of it."""
        self.members -= 1
        with contextlib.ExitStack() as until_whole:
            target: Any = until_whole.enter_context(tempfile.SpooledTemporaryFile(_SPOOL_BYTES))
            while chunk := source.read(1 << 20):
                self.bytes -= len(chunk)
                if self.bytes < 0:
                    return None
                target.write(chunk)
            if self.members < 0:
                return None
            target.seek(0)
            until_whole.pop_all()  # whoever asked closes it
            found: BinaryIO = target
            return found


def search(path: Path, subject: BySubject) -> Answer:
    """Errors: CorruptArtifact for a table that is damaged; OSError."""
    if files.is_parquet(path):
        return Answer(files.count_parquet(path, subject), True)
    with path.open("rb") as file:
        return _search(file, subject, _DEPTH, _Budget())


def _search(file: BinaryIO, subject: BySubject, depth: int, budget: _Budget) -> Answer:
    """What cannot be opened is not known, and is no error: nobody said that it could."""
    head = file.read(_SAMPLE_BYTES)
    file.seek(0)
    try:
        if head.startswith(b"PAR1"):
            return Answer(files.count_parquet(file, subject), True)
        if head.startswith(b"ARROW1"):
            return _arrow(file, subject)
        if zipfile.is_zipfile(file):
            return _members(_zipped(file), subject, depth, budget)
        file.seek(0)
        for magic, opened in _PACKED:
            if head.startswith(magic):
                return _members(iter([opened(file)]), subject, depth, budget)
        if head[257:262] == b"ustar":
            return _members(_tarred(file), subject, depth, budget)
        return _text(file, head, subject)
    except _BROKEN:
        return UNKNOWN


def _members(members: Iterator[Any], subject: BySubject, depth: int, budget: _Budget) -> Answer:
    if not depth:
        return UNKNOWN
    found = NO_ROWS
    for member in members:
        with contextlib.closing(member):
            spooled = budget.spool(member)
        if spooled is None:
            return found + UNKNOWN
        with spooled:
            found += _search(spooled, subject, depth - 1, budget)
    return found


def _zipped(file: BinaryIO) -> Iterator[Any]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield archive.open(member)


def _tarred(file: BinaryIO) -> Iterator[Any]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.isfile() and (opened := archive.extractfile(member)) is not None:
                yield opened


def _arrow(file: BinaryIO, subject: BySubject) -> Answer:
    reader = pa.ipc.open_file(file)
    batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
    return Answer(sum(int(subject.rows(batch, None).sum()) for batch in batches), True)


def _text(file: BinaryIO, head: bytes, subject: BySubject) -> Answer:
    if b"\0" in head:
        return UNKNOWN
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size > _MOST_TEXT_BYTES:
        return UNKNOWN
    text = file.read().decode()
    with contextlib.suppress(ValueError, RecursionError):
        return Answer(int(files.holds(json.loads(text), subject)), True)
    lines = [line for line in text.splitlines() if line.strip()]
    with contextlib.suppress(ValueError, RecursionError):
        return Answer(sum(files.holds(json.loads(line), subject) for line in lines), True)
    if lines and (found := _separated(text.encode(), lines[0], subject)) is not None:
        return found
    # It names no columns: where the key is a word of it, nobody can say whose it is.
    return UNKNOWN if names(text, subject) else NO_ROWS


def names(text: str, subject: BySubject) -> bool:
    """The subject's key is a word of it."""
    return re.search(rf"(?<!\w){re.escape(subject.subject.key)}(?!\w)", text) is not None


def _separated(data: bytes, header: str, subject: BySubject) -> Answer | None:
    """Rows of a CSV whose header names a column of the subject; None: it is none of that kind."""
    for delimiter in ",;\t|":
        names = [name.strip().strip('"') for name in header.split(delimiter)]
        wanted = subject.columns(names)
        if not wanted:
            continue
        read = pa_csv.ReadOptions(column_names=names, skip_rows=1)
        parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        convert = pa_csv.ConvertOptions(
            include_columns=wanted, column_types={name: pa.string() for name in wanted}
        )
        table = pa_csv.read_csv(io.BytesIO(data), read, parse, convert)
        return Answer(sum(int(subject.rows(batch, None).sum()) for batch in table.to_batches()), True)
    return None
