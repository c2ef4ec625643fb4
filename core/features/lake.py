"""Parquet files of feature rows, read lazily and replaced whole: what is wrong with them is said with their name.

Polars' object store reads and writes both local paths and `s3://` (any S3-compatible endpoint), so that there is one
way to the files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl

from mainspring.core import errors
from mainspring.core.features import frames

__all__ = ["Parquet", "Rows", "as_time"]


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

        Errors: NotFound; CorruptArtifact for a truncated file; SchemaMismatch when files of a folder disagree.
        What only the data tell comes out of :meth:`collect`.
        """
        where = self.uri.rstrip("/") + "/**/*.parquet" if self.is_folder else self.uri
        with self.named():
            frame = pl.scan_parquet(where, storage_options=dict(self.storage_options) or None)
            frame.collect_schema()
        return frame

    def files(self) -> list[Path]:
        """The local files, in the order in which :meth:`scan` reads them.

        Errors: NotFound if there is none; InvalidRequest for files of an object store.
        """
        if self.is_remote:
            raise errors.InvalidRequest(
                f"the files of `{self.uri}` are in an object store, expected local ones; copy them here",
                field="source",
            )
        folder = Path(self.uri)
        below = (path for path in folder.glob("**/*.parquet") if path.is_file())
        found = sorted(below, key=str) if self.is_folder else [folder]
        if not found or not found[0].is_file():
            raise errors.NotFound(
                f"no Parquet at `{self.uri}`; make the rows, or correct the source's path",
                resource="parquet",
                name=self.uri,
            )
        return found

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
            raise errors.NotFound(
                f"no Parquet at `{self.uri}`; make the rows, or correct the source's path",
                resource="parquet",
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
