"""Parquet files of feature rows, read lazily and replaced whole: what is wrong with them is said with their name.

Polars' object store reads and writes both local paths and `s3://` (any S3-compatible endpoint), so that there is one
way to the files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl

from mainspring.core import errors
from mainspring.core.features import frames, objects

__all__ = ["File", "Parquet", "Rows", "as_time"]


class Rows(Protocol):
    """Rows to read: files, or what a query makes of files. `uri` is how errors call them."""

    @property
    def uri(self) -> str: ...

    def scan(self) -> pl.LazyFrame:
        """All rows, lazily. Errors: NotFound, CorruptArtifact, SchemaMismatch, InvalidRequest."""
        ...

    def named(self) -> contextlib.AbstractContextManager[None]:
        """What goes wrong inside, while rows are collected, becomes a typed error that names them."""
        ...


@dataclass(frozen=True)
class File:
    """A file or object as it was listed. Another size, time, inode or tag is another one: it was written again, or replaced."""

    name: str
    bytes: int
    modified_ns: int
    inode: int = 0
    """Of a file."""
    tag: str = ""
    """Of an object: the store's digest of its content."""
    place: str = field(default="", compare=False)
    """Where it is read: a path or an `s3://` URI."""


@dataclass(frozen=True)
class Parquet:
    """A Parquet file, or a folder of them, at a local path or an `s3://` URI."""

    uri: str
    storage_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_remote(self) -> bool:
        return "://" in self.uri

    @property
    def is_folder(self) -> bool:
        return self.uri.endswith("/") or (not self.is_remote and Path(self.uri).is_dir())

    def scan(self) -> pl.LazyFrame:
        """All rows, lazily; in a folder the files in order of their names.

        Errors: NotFound; CorruptArtifact for a truncated file; SchemaMismatch when files of a folder disagree; of an
        object store PermissionDenied and DependencyDown, too. What only the data tell comes out of :meth:`collect`, and
        Conflict if an object has been replaced since.
        """
        if self.is_remote:
            return self._scan_objects(self.listed())
        where = self.uri.rstrip("/") + "/**/*.parquet" if self.is_folder else self.uri
        with self.named():
            frame = pl.scan_parquet(where)
            frame.collect_schema()
        return frame

    def scan_files(self, files: Sequence[File]) -> pl.LazyFrame:
        """The rows of these of the listed files. Whether they stay what they are is the caller's to check.

        Errors: as :meth:`scan`, inside of :meth:`named`.
        """
        # Without globs: the names are those of files, whatever is in them.
        places = [file.place for file in files]
        return pl.scan_parquet(places, storage_options=dict(self.storage_options) or None, glob=False)

    def listed(self) -> list[File]:
        """The files as they are now, in the order in which :meth:`scan` reads them.

        Errors: NotFound if there is none; PermissionDenied and DependencyDown of an object store.
        """
        if self.is_remote:
            return self._objects()
        found = self._files()
        if not found:
            raise self._absent()
        return found

    def found_objects(self) -> list[objects.Object]:
        """The objects of a remote source, in the order of :meth:`listed`. Errors: as there."""
        if not self.is_folder:
            return [objects.at(self.uri, self.storage_options)]
        below = objects.below(self.uri, self.storage_options)
        found = [one for one in below if one.key.endswith(".parquet")]
        if not found:
            raise self._absent()
        return found

    def _absent(self) -> errors.NotFound:
        return errors.NotFound(
            f"no Parquet at `{self.uri}`; make the rows, or correct the source's path",
            resource="parquet",
            name=self.uri,
        )

    def _objects(self) -> list[File]:
        prefix = len(self.uri) if self.is_folder else self.uri.rindex("/") + 1
        return [
            File(one.uri[prefix:], one.bytes, one.modified_us * 1000, tag=one.tag, place=one.uri)
            for one in self.found_objects()
        ]

    def _files(self) -> list[File]:
        folder = Path(self.uri)
        below = (path for path in folder.glob("**/*.parquet") if path.is_file())
        paths = sorted(below, key=str) if self.is_folder else [path for path in [folder] if path.is_file()]
        found = []
        for path in paths:
            stat = path.stat()
            name = path.relative_to(folder).as_posix() if self.is_folder else path.name
            found.append(File(name, stat.st_size, stat.st_mtime_ns, stat.st_ino, place=str(path)))
        return found

    def _scan_objects(self, files: list[File]) -> pl.LazyFrame:
        """The rows of exactly these objects: were one replaced between two reads of it, the rows would be of neither."""
        with self.named(), self._unchanged(files):
            rows = self.scan_files(files)
            schema = rows.collect_schema()

        def batches(
            columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            found = rows if n_rows is None else rows.head(n_rows)
            found = found if predicate is None else found.filter(predicate)
            found = found if columns is None else found.select(columns)
            with self.named(), self._unchanged(files):
                yield from found.collect_batches(maintain_order=True)

        return pl.io.plugins.register_io_source(batches, schema=schema)

    @contextlib.contextmanager
    def _unchanged(self, files: list[File]) -> Iterator[None]:
        """Errors: Conflict if the listed files are others by the end, whatever came of reading them."""
        failed: Exception | None = None
        try:
            yield
        except (OSError, pl.exceptions.PolarsError) as error:
            failed = error
        if self.listed() != files:
            raise errors.Conflict(
                f"`{self.uri}` changed while it was read; ask again", resource="parquet", name=self.uri
            ) from failed
        if failed is not None:
            raise failed

    def write(self, rows: pl.DataFrame) -> None:
        """Put `rows` in the place of the file; in a folder beside its files, under a name that sorts last.

        All or nothing for readers: a local file is renamed into place after an fsync, an object is put at once.
        Errors: DependencyDown when the disk or the store refuses, and then the old rows stand.
        """
        target = self.uri
        if self.is_folder:
            target = f"{self.uri.rstrip('/')}/part-{_next_part(self.uri)}-{secrets.token_hex(4)}.parquet"
        try:
            if self.is_remote:
                rows.write_parquet(target, storage_options=dict(self.storage_options) or None)
            else:
                _replace(Path(target), rows)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise errors.DependencyDown(
                f"`{target}` did not take {rows.height} rows: {error}; check the disk or store and write them again",
                name=target,
            ) from error

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """What goes wrong inside becomes a typed error that names these files."""
        try:
            yield
        except FileNotFoundError as error:
            raise self._absent() from error
        except PermissionError as error:
            raise errors.PermissionDenied(
                f"`{self.uri}` may not be read: {_line(error)}; check who may, and the credentials",
                action=f"read {self.uri}",
            ) from error
        except OSError as error:
            raise errors.DependencyDown(
                f"`{self.uri}` cannot be read: {_line(error)}; check the disk or store and ask again",
                name=self.uri,
            ) from error
        except (pl.exceptions.SchemaError, pl.exceptions.ColumnNotFoundError) as error:
            raise errors.SchemaMismatch(
                f"rows of `{self.uri}` do not have one schema: {error}; write them again with the view's columns",
                feature=self.uri,
                expected="one schema in all files",
                got=str(error),
            ) from error
        except pl.exceptions.ComputeError as error:
            if "expanded paths were empty" in str(error):
                raise errors.NotFound(
                    f"no Parquet below `{self.uri}`; make the rows, or correct the source's path",
                    resource="parquet",
                    name=self.uri,
                ) from error
            raise errors.CorruptArtifact(
                f"`{self.uri}` does not read: {error}; write it again from its source",
                artifact=self.uri,
                expected="complete Parquet",
                got=str(error),
            ) from error


def as_time(frame: pl.LazyFrame, column: str, *, what: str) -> pl.Expr:
    """`column` as UTC microseconds: naive times are UTC, finer ones lose what is below a microsecond.

    Errors: SchemaMismatch if the column is absent or not a time.
    """
    found = frame.collect_schema()
    dtype = found.get(column)
    if dtype is None:
        frames.check(found, {column: "a time"}, what=what)
    if not isinstance(dtype, pl.Datetime):
        raise errors.SchemaMismatch(
            f"column `{column}` of {what} has type {dtype}, expected a timestamp; write it as timestamp[us, UTC]",
            feature=column,
            expected="timestamp",
            got=str(dtype),
        )
    expr = pl.col(column)
    if dtype.time_unit != "us":
        expr = expr.dt.cast_time_unit("us")
    if dtype.time_zone is None:
        return expr.dt.replace_time_zone("UTC")
    return expr if dtype.time_zone == "UTC" else expr.dt.convert_time_zone("UTC")


def _line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:300].rstrip()


def _next_part(folder: str) -> str:
    if "://" in folder:
        # No listing without a second library: the clock orders the parts of a remote folder.
        return f"{time.time_ns():020d}"
    return f"{sum(1 for _ in Path(folder).rglob('*.parquet')):020d}"


def _replace(target: Path, rows: pl.DataFrame) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        rows.write_parquet(aside)
        with aside.open("rb") as f:
            os.fsync(f.fileno())
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)
