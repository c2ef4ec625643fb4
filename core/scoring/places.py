"""Where datasets lie: a local folder or `s3://`, read by range and written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self, TypeVar

from pyarrow import fs

from mainspring.core import durable, errors

__all__ = ["File", "Place"]

K = TypeVar("K")
V = TypeVar("V")

#: Requests to an object store at once, each a round trip of some ten milliseconds.
_AT_ONCE: Final = 16

#: What lies beside a file while it is written.
_ASIDE: Final = ".writing-"


@dataclass(frozen=True)
class File:
    """A file as it was found. One that changed meanwhile has another size or time."""

    path: str
    """Below its place; "" if the place is the file."""
    bytes: int
    modified_ns: int


class Place:
    """A folder or a file. Thread-safe, as PyArrow's file systems are.

    Errors of every method: NotFound for what is not there; DependencyDown where the disk or store refuses.
    """

    def __init__(self, uri: str, files: Any, root: str) -> None:
        self.uri = uri
        self._files = files
        self._root = root

    @classmethod
    def at(cls, uri: str) -> Self:
        """An absolute path, or `s3://bucket/key`; credentials are those of the process (`AWS_*`), or its machine's.

        `s3://bucket/key?endpoint_override=HOST:PORT&scheme=http` asks another S3-compatible store.
        Errors: InvalidRequest for anything else.
        """
        if uri.startswith("s3://"):
            try:
                files, root = fs.FileSystem.from_uri(uri)
            except (OSError, ValueError) as error:
                raise errors.InvalidRequest(
                    f"`{uri}` is no place in an object store: {error}; write `s3://bucket/key`", field="uri"
                ) from error
            return cls(uri, files, root.rstrip("/"))
        if not uri.startswith("/") or ".." in PurePosixPath(uri).parts:
            raise errors.InvalidRequest(
                f"`{uri}` is no place that every worker understands; give an absolute path without `..`, or"
                " `s3://bucket/key`",
                field="uri",
            )
        return cls(uri, fs.LocalFileSystem(), uri.rstrip("/") or "/")

    @property
    def is_local(self) -> bool:
        return isinstance(self._files, fs.LocalFileSystem)

    def parquet(self) -> list[File]:
        """The Parquet files, in the order of their paths; names that begin with `.` or `_` are not data.

        Errors: NotFound if there is none.
        """
        with self._named(""):
            here = self._files.get_file_info(self._root)
            if here.type == fs.FileType.File:
                return [self._file("", here)]
            selector = fs.FileSelector(self._root, allow_not_found=True, recursive=True)
            infos = self._files.get_file_info(selector)
        found = [
            self._file(relative, info)
            for info in infos
            if info.type == fs.FileType.File
            and _is_data(relative := info.path.removeprefix(self._root).lstrip("/"))
        ]
        if not found:
            raise errors.NotFound(
                f"no Parquet at `{self.uri}`; correct the place, or give the worker the right to list it",
                resource="dataset",
                name=self.uri,
            )
        return sorted(found, key=lambda file: file.path)

    def files(self) -> list[File]:
        """All files, whatever they are called, in the order of their paths; none is no error."""
        with self._named(""):
            here = self._files.get_file_info(self._root)
            if here.type == fs.FileType.File:
                return [self._file("", here)]
            infos = self._files.get_file_info(
                fs.FileSelector(self._root, allow_not_found=True, recursive=True)
            )
        found = [
            self._file(info.path.removeprefix(self._root).lstrip("/"), info)
            for info in infos
            if info.type == fs.FileType.File
        ]
        return sorted(found, key=lambda file: file.path)

    def replace(self, found: File, data: Any) -> None:
        """As :meth:`put`, in the place of the file that was found. Errors: Conflict if it is another one by now."""
        if self.look(found.path) != found:
            raise errors.Conflict(
                f"`{self.uri.rstrip('/')}/{found.path}` was replaced while it was read; try again",
                resource="file",
                name=found.path,
            )
        self.put(found.path, data)

    def look(self, path: str) -> File | None:
        """The file as it is now, None if there is none."""
        with self._named(path):
            info = self._files.get_file_info(self._full(path))
        return self._file(path, info) if info.type == fs.FileType.File else None

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """A file to read by range, as PyArrow's readers take it."""
        with self._named(path):
            file = self._files.open_input_file(self._full(path))
        with file:
            yield file

    def read(self, path: str) -> bytes:
        """A whole small file."""
        with self.open(path) as file, self._named(path):
            data: bytes = file.read()
        return data

    def put(self, path: str, data: Any) -> None:
        """Write a file whole, in the place of one of that name; on return it is durable. `data`: bytes or a buffer."""
        with self._named(path):
            if self.is_local:
                _replace(Path(self._full(path)), data)
                return
            # An object is there once its upload is complete, and not before.
            with self._files.open_output_stream(self._full(path)) as file:
                file.write(data)

    def names(self) -> list[str]:
        """The files right below, sorted; without those that are being written. No folder: none."""
        with self._named(""):
            infos = self._files.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        names = (info.base_name for info in infos if info.type == fs.FileType.File)
        return sorted(name for name in names if not name.startswith(_ASIDE))

    def each(self, look: Callable[[K], V], names: Iterable[K]) -> list[V]:
        """`look` of every name, in their order; several at once where the answer to each is far away."""
        if self.is_local:
            return [look(name) for name in names]
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            return list(pool.map(look, names))

    def sweep(self) -> None:
        """Remove what a writer that was killed left half written. Nobody may write here meanwhile."""
        if self.is_local:
            for aside in Path(self._root).glob(f"{_ASIDE}*"):
                aside.unlink(missing_ok=True)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _file(self, path: str, info: Any) -> File:
        return File(path, int(info.size), int(info.mtime_ns or 0))

    @contextlib.contextmanager
    def _named(self, path: str) -> Iterator[None]:
        where = f"{self.uri.rstrip('/')}/{path}" if path else self.uri
        try:
            yield
        except FileNotFoundError as error:
            raise errors.NotFound(
                f"no file `{where}`; it was there when the work was planned: plan it again, or put it back",
                resource="file",
                name=where,
            ) from error
        except OSError as error:
            raise errors.DependencyDown(
                f"`{where}` cannot be read or written: {error}; check the disk or store and its credentials",
                name=where,
            ) from error


def _is_data(path: str) -> bool:
    return path.endswith(".parquet") and not any(p.startswith((".", "_")) for p in PurePosixPath(path).parts)


def _replace(target: Path, data: Any) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: Ray may run a part again while a worker that it lost still writes it.
    aside = target.with_name(f"{_ASIDE}{target.name}.{secrets.token_hex(6)}")
    try:
        with aside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    durable.sync_folder(target.parent)
