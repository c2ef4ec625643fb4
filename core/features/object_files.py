"""Objects as files that DuckDB may open: those that were found when the query began, each pinned to what it was then."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fsspec.spec import AbstractFileSystem

from mainspring.core import errors
from mainspring.core.features import objects

__all__ = ["ObjectFiles"]

_PROTOCOL: Final = "mainspring"


class ObjectFiles(AbstractFileSystem):  # type: ignore[misc]
    """A file system of the objects that were added to it, and of nothing else: read-only, without folders.

    Nothing is copied to a disk, and only what a query reads crosses the network. A read of an object that has been
    replaced meanwhile fails, so that no answer mixes two of them.

    Threads: DuckDB's read at once.
    """

    protocol = _PROTOCOL
    #: Each query has one of its own.
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, tuple[objects.Object, Mapping[str, str]]] = {}
        self.failed: errors.MainspringError | None = None
        """What the store said: DuckDB passes it on as a text."""

    def add(self, found: objects.Object, options: Mapping[str, str]) -> str:
        """Let `found` be opened; its path here."""
        # By number: two stores may have a bucket of one name, and a key may be written as a pattern is.
        path = f"{len(self._held)}.parquet"
        self._held[path] = found, options
        return f"{_PROTOCOL}://{path}"

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        found = self._found(path)
        return {"name": path, "size": found.bytes, "type": "file"}

    def glob(self, path: str, **options: Any) -> list[str]:
        return [path] if self._stripped(path) in self._held else []

    def exists(self, path: str, **options: Any) -> bool:
        return self._stripped(path) in self._held

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(self._found(path).modified_us / 1e6, UTC)

    def open(self, path: str, mode: str = "rb", **options: Any) -> io.RawIOBase:
        """Errors: FileNotFoundError, PermissionError for writing."""
        if mode != "rb":
            raise PermissionError(f"{path} is only read")
        self._found(path)
        return _ObjectFile(self, *self._held[self._stripped(path)])

    def _found(self, path: str) -> objects.Object:
        try:
            return self._held[self._stripped(path)][0]
        except KeyError as error:
            raise FileNotFoundError(path) from error

    @staticmethod
    def _stripped(path: str) -> str:
        return path.removeprefix(f"{_PROTOCOL}://")


class _ObjectFile(io.RawIOBase):
    def __init__(self, files: ObjectFiles, found: objects.Object, options: Mapping[str, str]) -> None:
        super().__init__()
        self._files, self._found, self._options = files, found, options
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._found.bytes}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        rest = max(self._found.bytes - self._at, 0)
        wanted = rest if size < 0 else min(size, rest)
        if not wanted:
            return b""
        try:
            data = objects.read(self._found, self._options, self._at, wanted)
        except errors.MainspringError as error:
            self._files.failed = error
            raise
        self._at += len(data)
        return data
