"""A small document on disk that whoever reads it follows: a change is in force within a second, whole or not at all."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from mainspring.core import durable, errors

__all__ = ["Watched"]

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)

#: How old an answer may be when another process changes the document. A look costs some 2 us.
LOOK_SECONDS: Final = 1.0


class Watched(Generic[T]):
    """The newest readable content of one file.

    A file that becomes unreadable changes nothing: the last good content stays in force, the log says so once, and
    `is_stale` is true until it can be read again. Thread-safe; several processes may write, one at a time.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[bytes], T],
        absent: T,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read` turns bytes into content; `absent` is the content where there is no file.

        Errors: Misconfigured if `read` refuses what is there now.
        """
        self._path, self._read, self._absent, self._clock = path, read, absent, clock
        self._lock = threading.Lock()
        self._seen = self._state()
        self._next_look = clock() + LOOK_SECONDS
        self._changed: list[Callable[[], None]] = []
        self.is_stale = False
        try:
            self._content = self._load()
        except (errors.MainspringError, OSError) as error:
            raise errors.Misconfigured(
                f"`{path.name}` cannot be read: {error}; restore it or remove it"
            ) from error

    @property
    def content(self) -> T:
        """The content as it was last seen."""
        return self._content

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every change, in the thread that made or saw it, before that goes on."""
        self._changed.append(changed)

    def look(self) -> None:
        """See now whether another process changed it: for those who keep copies of the content."""
        self._look(at_once=True)

    def get(self) -> T:
        """The content in force, at most `LOOK_SECONDS` old."""
        if self._clock() >= self._next_look:
            self._look()
        return self._content

    def change(self, edit: Callable[[T], tuple[T, bytes]]) -> T:
        """Replace the content by what `edit` makes of it, on disk and here, while no other process does.

        Errors: Overloaded if another process is changing it; those of `edit`, and then nothing has changed; OSError.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._lock:
            try:
                held = durable.hold_folder(self._path.parent)
            except BlockingIOError as error:
                raise errors.Overloaded(
                    f"another process is changing `{self._path.name}`; try again in 1 s",
                    retry_after_seconds=1.0,
                ) from error
            try:
                content, written = edit(self._load())
                durable.replace_file(self._path, written, is_secret=True)
                self._take(content, self._state())
            finally:
                os.close(held)
        self._tell()
        return content

    def _look(self, *, at_once: bool = False) -> None:
        with self._lock:
            if not at_once and self._clock() < self._next_look:
                return  # another thread has just looked
            self._next_look = self._clock() + LOOK_SECONDS
            state = self._state()
            if state == self._seen:
                return
            try:
                self._take(self._load(), state)
            except (errors.MainspringError, OSError) as error:
                self._seen, self.is_stale = state, True
                _LOG.error("`%s` cannot be read, what was in force stays: %s", self._path.name, error)
                return
        self._tell()

    def _tell(self) -> None:
        for changed in self._changed:
            changed()

    def _take(self, content: T, state: tuple[int, int, int] | None) -> None:
        self._content, self._seen, self.is_stale = content, state, False

    def _load(self) -> T:
        try:
            return self._read(self._path.read_bytes())
        except FileNotFoundError:
            return self._absent

    def _state(self) -> tuple[int, int, int] | None:
        """What differs after every replacement of the file."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns
