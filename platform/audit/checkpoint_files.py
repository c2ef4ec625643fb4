"""Where checkpoints are kept: a file that only grows, or a bucket in which nothing is written twice, with that file as its copy."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from mainspring.core import errors
from mainspring.core.features import objects

__all__ = ["CheckpointBucket", "CheckpointFile"]

_AT_ONCE: Final = 16


class CheckpointFile:
    """Lines in a file that only grows. A last line without its end, torn by a crash, does not count."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def lines(self) -> list[bytes]:
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [line + b"\n" for line in lines[:-1]]

    def sync(self) -> None:
        """Have what others have written. Here: nothing to do."""

    def append(self, line: bytes, *, size: int) -> bool:
        """Durable when it returns; False, and nothing is written, if the file has not `size` bytes any more."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_size != size:
                return False
            file.truncate(sum(map(len, self.lines())) if size else 0)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        return True


class CheckpointBucket(CheckpointFile):
    """An object for each checkpoint, by its number; the file is a copy, so that a start reads one object and not all.

    A checkpoint counts when it is in the bucket. Each one names the digest of the one before: two places whose last lines
    are the same have the same lines. Blocks; one thread at a time.
    """

    def __init__(
        self, path: Path, url: str, lock: str = "off", options: Mapping[str, str] | None = None
    ) -> None:
        """`url` ends with `/`; `lock`: as `settings.AuditSettings.object_lock`."""
        super().__init__(path)
        self._url, self._lock = url, lock
        # An endpoint without TLS is the operator's choice (`AWS_ENDPOINT_URL`): requests are signed, and checkpoints are no
        # secret. The client looks for this among its options only.
        self._options = {"aws_allow_http": "true", **(options or {})}
        self._counted = (0, 0)
        self._is_compared = self._is_lock_seen = False

    def sync(self) -> None:
        """Bring bucket and file together: what either lacks at its end, it gets.

        Errors: CorruptArtifact if they are not of one log; DependencyDown, PermissionDenied, NotFound for the bucket.
        """
        if not self._is_compared:
            self._compare()
            self._is_compared = True
        while found := self._after(self._count()):
            for line in found:
                super().append(line, size=self.size())
        if self._count():
            self._see_lock(self._count())

    def append(self, line: bytes, *, size: int) -> bool:
        """In the bucket, and then in the file. Errors: those of `sync`; Misconfigured if the bucket does not hold on to it."""
        if self.size() != size:
            return False
        number = self._count() + 1
        try:
            objects.create(self._uri(number), line, self._options)
        except errors.Conflict:
            return False  # another process was quicker
        self._see_lock(number)
        return super().append(line, size=size)

    def download(self) -> Iterable[bytes]:
        """The lines of the bucket alone, in order. Errors: those of `sync`."""
        number = 0
        while found := self._after(number):
            yield from found
            number += len(found)

    def _compare(self) -> None:
        lines = self.lines()
        number = len(lines)
        while number and (theirs := self._get(number)) is None:
            number -= 1
        if number and theirs != lines[number - 1]:
            raise errors.CorruptArtifact(
                f"checkpoint {number} of this machine is not the one at `{self._uri(number)}`; keep both, and find out who"
                " wrote which",
                artifact="audit checkpoints",
            )
        for missing in range(number, len(lines)):
            objects.create(self._uri(missing + 1), lines[missing], self._options)

    def _see_lock(self, number: int) -> None:
        if self._is_lock_seen or self._lock == "off":
            return
        mode = objects.lock_of(self._uri(number), self._options)
        if mode not in (self._lock, "compliance"):
            raise errors.Misconfigured(
                f"`{self._uri(number)}` is held by {f'mode `{mode}`' if mode else 'no object lock'}, `audit.object_lock` is"
                f" `{self._lock}`; give the bucket a default retention of that mode"
            )
        self._is_lock_seen = True

    def _count(self) -> int:
        """Of the file's lines; it is read again only when it has changed."""
        size, count = self._counted
        if size != self.size():
            size, count = self.size(), len(self.lines())
            self._counted = size, count
        return count

    def _after(self, number: int) -> list[bytes]:
        """Some lines after the first `number`; one question where there is none."""
        first = self._get(number + 1)
        if first is None:
            return []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            more = list(pool.map(self._get, range(number + 2, number + 2 + 4 * _AT_ONCE)))
        found = [first]
        for line in more:
            if line is None:
                break
            found.append(line)
        return found

    def _get(self, number: int) -> bytes | None:
        try:
            return objects.whole(self._uri(number), self._options)
        except errors.NotFound:
            return None

    def _uri(self, number: int) -> str:
        return f"{self._url}{number:012d}.json"
