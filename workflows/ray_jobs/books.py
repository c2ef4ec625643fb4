"""What the processes of a run's Ray jobs have used so far: each writes it down while it works, the worker adds it up.

A folder has one book for each execution of the run, and a book one entry for each process, so that nobody writes what
somebody else has written. What is in the books is what is paid: a record of usage takes what no record had before it.
Imports no ray and no torch.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from mainspring.core import errors
from mainspring.core.contracts.base import Message
from mainspring.workflows.ray_jobs import job_files, memory

__all__ = ["Book", "Paid", "Stop", "Used", "keeping"]

M = TypeVar("M", bound=Message)

#: A process that is killed has used up to so much more than its entry says.
WRITE_SECONDS: Final = 0.5

_STOP: Final = "stop.json"
_PAID: Final = "paid.json"


class Used(Message):
    """By one process, or by several."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    """Each process's own, added up."""
    memory_byte_seconds: int = 0
    """Whole, so that sums are exact; none of a process of a release that did not count them."""


class Stop(Message):
    """Why an execution's jobs were asked to stop; see `errors.BudgetExhausted`."""

    scope: str
    limit: float
    spent: float
    currency: str
    message: str


class Paid(Message):
    """CPU seconds, memory, and seconds by the clock, by the usage record that has them."""

    cpu_seconds: dict[str, float] = {}
    memory_byte_seconds: dict[str, int] = {}
    wall_seconds: dict[str, float] = {}


class Book(Message):
    """Of one execution of a run."""

    root: Path
    """The run's; every process of its jobs can write below it."""
    family: str
    """Names the execution."""

    @contextlib.contextmanager
    def keeping(
        self,
        cpu_seconds: Callable[[], float] = time.process_time,
        byte_seconds: Callable[[], int] | None = None,
    ) -> Iterator[Callable[[], None]]:
        """While the block runs and at its end this process's entry says what `cpu_seconds` and `byte_seconds` do. A thread of
        its own asks; what is yielded writes at once. `byte_seconds` None: of this process's own memory, from now on.

        An entry that cannot be written is not worth the work: its time is neither paid nor counted.
        """
        entry = self._folder / f"{secrets.token_hex(8)}.json"
        begun = time.monotonic()
        held = byte_seconds or memory.Held().byte_seconds
        over, turn, most = threading.Event(), threading.Lock(), 0.0

        def write() -> None:
            nonlocal most
            with contextlib.suppress(OSError), turn:
                # What a process used does not become less when those that it started are gone.
                most = max(most, cpu_seconds())
                new = entry.with_suffix(".new")
                used = Used(
                    cpu_seconds=most, wall_seconds=time.monotonic() - begun, memory_byte_seconds=held()
                )
                new.write_text(used.model_dump_json())
                new.replace(entry)

        def again() -> None:
            while not over.wait(WRITE_SECONDS):
                write()

        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
        thread = threading.Thread(target=again, name="mainspring-book", daemon=True)
        thread.start()
        try:
            yield write
        finally:
            over.set()
            thread.join()
            write()

    def unpaid(self) -> Used:
        """What the run has used and no record has, of earlier executions that failed, too."""
        paid = _read(self.root / _PAID, Paid) or Paid()
        used = _sum(_total(folder) for folder in self._folders())
        return Used(
            cpu_seconds=max(0.0, used.cpu_seconds - sum(paid.cpu_seconds.values())),
            wall_seconds=max(0.0, used.wall_seconds - sum(paid.wall_seconds.values())),
            memory_byte_seconds=max(0, used.memory_byte_seconds - sum(paid.memory_byte_seconds.values())),
        )

    def ask_to_stop(self, why: Stop) -> Stop:
        """From now on its jobs end where they can go on from; the first reason is kept, for whoever attaches later."""
        if (known := self.stop()) is not None:
            return known
        job_files.write_file(self._folder / _STOP, why.model_dump_json().encode())
        return why

    @property
    def is_to_stop(self) -> bool:
        """For the jobs themselves."""
        return (self._folder / _STOP).exists()

    def stop(self) -> Stop | None:
        """Errors: CorruptArtifact."""
        return _read(self._folder / _STOP, Stop)

    def owed(self, key: str) -> Used | None:
        """What the run has used that no record but those of `key` has, earlier executions' too; the same key again is the same.

        Ask when the jobs have ended. None where no process of the run has written anything: they were of a release without
        books. Errors: CorruptArtifact.
        """
        paid = _read(self.root / _PAID, Paid) or Paid()
        if key not in paid.cpu_seconds and not any(_entries(one) for one in self._folders()):
            return None
        own = self.unpaid()
        # Each by itself: older releases have written down CPU time alone, or with memory.
        told = Paid(
            cpu_seconds={key: own.cpu_seconds, **paid.cpu_seconds},
            memory_byte_seconds={key: own.memory_byte_seconds, **paid.memory_byte_seconds},
            wall_seconds={key: own.wall_seconds, **paid.wall_seconds},
        )
        if told != paid:
            self.root.mkdir(parents=True, exist_ok=True)
            job_files.write_file(self.root / _PAID, told.model_dump_json(indent=1).encode())
        return Used(
            cpu_seconds=told.cpu_seconds[key],
            wall_seconds=told.wall_seconds[key],
            memory_byte_seconds=told.memory_byte_seconds[key],
        )

    @property
    def _folder(self) -> Path:
        return self.root / self.family

    def _folders(self) -> list[Path]:
        return [one for one in _listed(self.root) if one.is_dir()]


@contextlib.contextmanager
def keeping(
    book: Book | None,
    cpu_seconds: Callable[[], float] = time.process_time,
    byte_seconds: Callable[[], int] | None = None,
) -> Iterator[Callable[[], None]]:
    """`book.keeping`, for work that may have none."""
    if book is None:
        yield lambda: None
        return
    with book.keeping(cpu_seconds, byte_seconds) as write:
        yield write


def _total(folder: Path) -> Used:
    return _sum(_entry(entry) for entry in _entries(folder))


def _sum(used: Iterable[Used]) -> Used:
    found = list(used)
    return Used(
        cpu_seconds=sum(one.cpu_seconds for one in found),
        wall_seconds=sum(one.wall_seconds for one in found),
        memory_byte_seconds=sum(one.memory_byte_seconds for one in found),
    )


def _entry(path: Path) -> Used:
    # Whole, or gone with its folder; what a disk has damaged counts for nothing.
    try:
        return Used.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return Used()


def _entries(folder: Path) -> list[Path]:
    return [one for one in _listed(folder) if one.suffix == ".json" and one.name != _STOP]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _read(path: Path, kind: type[M]) -> M | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise errors.CorruptArtifact(
            f"`{path}` cannot be read: {error}; what the run used is not known: look at the disk, then resume the run",
            artifact=str(path),
            expected=kind.__name__,
            got=str(error),
        ) from error
