"""Up to where a job has brought the rows of its source, on disk: what lets it go on after a crash, and not start over."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mainspring.core import canonical, durable, errors

__all__ = ["Watermark"]

_VERSION: Final = 1


class Watermark:
    """The watermark in file `path` of the job that `job` (JSON) describes; one run at a time holds it, as a context.

    Errors: Conflict if another run holds it, or if it is another job's; CorruptArtifact if it does not read;
    DependencyDown if the disk refuses.
    """

    def __init__(self, path: Path, job: Mapping[str, Any]) -> None:
        self._path = path
        self._job = json.loads(canonical.dumps(dict(job)))
        self._lock = -1
        self.us: int | None = None
        """Every row with event time before this has been taken, UTC microseconds; None: none has."""

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = self._path.with_name(self._path.name + ".lock")
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._down(error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.us = self._read()
        except BlockingIOError as error:
            self._release()
            raise errors.Conflict(
                f"another run holds watermark `{self._path}`; wait for it, or stop it",
                resource="watermark",
                name=str(self._path),
            ) from error
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def move(self, us: int) -> None:
        """Put the watermark at `us`, never back; on disk when this returns. Errors: DependencyDown."""
        if self.us is not None and us <= self.us:
            return
        value: dict[str, Any] = {"version": _VERSION, "job": self._job, "us": us}
        value["digest"] = canonical.digest(value)
        try:
            durable.replace_file(self._path, canonical.dumps(value).decode())
        except OSError as error:
            raise self._down(error) from error
        self.us = us

    def _read(self) -> int | None:
        try:
            value = json.loads(self._path.read_bytes())
            digest = value.pop("digest")
            if canonical.digest(value) != digest or value["version"] != _VERSION:
                raise ValueError("its digest or version is another")
            job, us = value["job"], int(value["us"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.CorruptArtifact(
                f"watermark `{self._path}` does not read: {error}; remove it, and the job starts over, which is safe",
                artifact=str(self._path),
                expected=f"a watermark, version {_VERSION}",
                got=str(error),
            ) from error
        if job != self._job:
            raise errors.Conflict(
                f"watermark `{self._path}` is of job {job}, not of {self._job}; give each job its own, or remove it to"
                " start over",
                resource="watermark",
                name=str(self._path),
            )
        return us

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _down(self, error: OSError) -> errors.DependencyDown:
        return errors.DependencyDown(
            f"watermark `{self._path}` cannot be written: {error}; check the disk and run the job again",
            name=str(self._path),
        )
