"""Files with rows: how many are somebody's, and the file again without them, whole or as it was.

A file is written anew beside itself, brought to disk, and renamed into place: a crash in the middle leaves the old one, and who has
it open reads the old one to its end.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mainspring.core import durable, errors
from mainspring.core.erasure.matching import Matcher

__all__ = [
    "SUFFIXES",
    "count",
    "count_parquet",
    "erase",
    "holds",
    "is_parquet",
    "is_told",
    "unreadable",
    "write_rest",
]

#: The files that are searched; others hold no rows of persons that anybody could find.
SUFFIXES: Final = (".parquet", ".jsonl")
_BATCH_ROWS: Final = 1 << 16
_MAGIC: Final = b"PAR1"
_ARROW_SCHEMA: Final = b"ARROW:schema"


def count(path: Path, matcher: Matcher) -> int:
    """How many of the file's rows match; lines of a `.jsonl`. A file that is gone has none.

    Memory is bounded: only the columns that are asked about, some rows at a time.
    Errors: CorruptArtifact for a file that cannot be read: nobody can say what is in it.
    """
    try:
        if path.suffix == ".jsonl":
            return sum(is_told(line, matcher, path) for line in _lines(path))
        if path.suffix == ".arrow":
            return _count_arrow(path, matcher)
        return count_parquet(path, matcher)
    except FileNotFoundError:
        return 0
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def count_parquet(source: Path | BinaryIO, matcher: Matcher, *, called: str = "") -> int:
    """As :func:`count`, of a file that is open as well; `called` is its name then. Errors: CorruptArtifact."""
    try:
        with pq.ParquetFile(source) as file:
            wanted = matcher.columns(file.schema_arrow.names)
            if not wanted:
                return 0
            batches = file.iter_batches(_BATCH_ROWS, columns=wanted)
            kept = file.metadata.metadata
            return sum(int(matcher.rows(batch, kept).sum()) for batch in batches)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise unreadable(called or source, error) from error


def erase(path: Path, matcher: Matcher) -> int:
    """Write the file without the rows that match; how many those were. A file without any is not touched.

    Its metadata, schema, compression, mode and age stay: it is as old as what is still in it.
    One eraser at a time for a file. Errors: as :func:`count`; DependencyDown if the disk refuses, and then the old file stands.
    """
    gone = count(path, matcher)
    if not gone:
        return 0
    before = path.stat()

    def fill(fresh: Path) -> None:
        if path.suffix == ".jsonl":
            with fresh.open("wb") as file:
                file.writelines(line for line in _lines(path) if not is_told(line, matcher, path))
        else:
            write_rest(path, fresh, matcher)
        shutil.copymode(path, fresh)
        os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))

    try:
        durable.place_file(path, fill)
    except pa.ArrowException as error:
        raise unreadable(path, error) from error
    except OSError as error:
        raise errors.DependencyDown(
            f"`{path}` cannot be written again without the rows: {error}; check the disk and who may write there, and"
            " the erasure goes on",
            name="disk",
        ) from error
    return gone


def is_parquet(path: Path) -> bool:
    """By its first bytes: contents that are named by digest have no suffix."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def holds(value: Any, matcher: Matcher) -> bool:
    """Does a JSON value name the subject anywhere: `{"tailnum": "N1"}` and `{"tailnum": ["N1", "N2"]}` alike."""
    if isinstance(value, list):
        return any(holds(item, matcher) for item in value)
    if not isinstance(value, dict):
        return False
    for name in matcher.columns([n for n in value if isinstance(n, str)]):
        found = value[name] if isinstance(value[name], list) else [value[name]]
        if any(matcher.is_key(name, one) for one in found):
            return True
    return any(holds(item, matcher) for item in value.values())


def _count_arrow(path: Path, matcher: Matcher) -> int:
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        batches = (file.get_batch(i) for i in range(file.num_record_batches))
        return sum(int(matcher.rows(batch, None).sum()) for batch in batches)


def write_rest(source: Path | BinaryIO, fresh: Path | BinaryIO, matcher: Matcher) -> None:
    """A Parquet file again without the rows that match. Errors: pa.ArrowException, OSError."""
    with pq.ParquetFile(source) as file:
        described = file.metadata
        # What a file says of itself is beside its schema or in it, by who wrote it.
        kept = {k: v for k, v in (described.metadata or {}).items() if k != _ARROW_SCHEMA}
        schema = file.schema_arrow.with_metadata({**(file.schema_arrow.metadata or {}), **kept} or None)
        groups = described.num_row_groups
        has_chunks = groups and described.num_columns
        compression = described.row_group(0).column(0).compression if has_chunks else "ZSTD"
        with pq.ParquetWriter(fresh, schema, compression=compression) as writer:
            # Row group by row group: readers skip by their statistics, and those are as fine as before.
            for number in range(groups):
                rows = file.read_row_group(number)
                gone = [matcher.rows(batch, kept) for batch in rows.to_batches()]
                rest = rows.filter(pa.array(~np.concatenate(gone))) if gone else rows
                rest = rest.replace_schema_metadata(schema.metadata)
                if rest.num_rows:
                    writer.write_table(rest, row_group_size=rest.num_rows)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def is_told(line: bytes, matcher: Matcher, path: object) -> bool:
    """Does a line of JSON name the subject. Errors: CorruptArtifact, with `path`."""
    if not line.strip():
        return False
    try:
        return holds(json.loads(line), matcher)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, error) from error


def unreadable(path: object, error: Exception) -> errors.CorruptArtifact:
    """What is said of a file in which nobody can look."""
    why = str(error).split("\n", 1)[0][:200]
    return errors.CorruptArtifact(
        f"`{path}` cannot be read, so nobody can say whose rows it has: {why}; restore or remove it, and the erasure goes on",
        artifact=str(path),
        expected="rows",
        got=why,
    )
