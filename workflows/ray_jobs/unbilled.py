"""Jobs whose use may not be on record yet: written down when a worker begins to follow one, taken out once its run has ended and paid.

A step that comes to its end sends its own record. One that is cancelled, or whose worker dies, sends none: what it used is
in its books, and `billing.py` makes the record. Imports no ray.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from mainspring.core.contracts import training
from mainspring.core.contracts.base import Message
from mainspring.core.contracts.capacity import Capacity
from mainspring.workflows.ray_jobs import books, job_files

__all__ = ["Claim", "Unbilled"]


class Claim(Message):
    """The jobs `base_id` of one execution of a run, and what is sent for them."""

    run_id: str
    project: str
    environment: str
    book: books.Book
    base_id: str
    service: str
    gpus: float = 0.0
    max_cost: float | None = None
    capacity: Capacity = Capacity.ON_DEMAND
    """Of the nodes that the jobs run on."""
    records: tuple[training.UsageRecord, ...] | None = None
    """None: nobody has counted. The same again, whatever is known later."""


@dataclass(frozen=True)
class Unbilled:
    """A folder of claims, one folder a run. Several workers may share it."""

    root: Path

    @classmethod
    def of(cls, state_dir: Path) -> Unbilled:
        return cls(state_dir.absolute() / "unbilled")

    def open(self, claim: Claim) -> Claim:
        """The one that holds: the first. Harmless to repeat, for every worker that follows the job."""
        path = self.root / _name(claim.run_id) / f"{_name(claim.base_id)}.json"
        if path.exists():
            return read(path) or claim
        self.write(path, claim)
        return claim

    def write(self, path: Path, claim: Claim) -> None:
        job_files.write_file(path, claim.model_dump_json(indent=1).encode())

    def runs(self) -> list[Path]:
        """A folder for each run."""
        return sorted(one for one in _listed(self.root) if one.is_dir())

    @contextlib.contextmanager
    def taken(self, run: Path) -> Iterator[dict[Path, Claim]]:
        """The claims of a run, for one worker at a time: for the others there are none meanwhile."""
        try:
            folder = os.open(run, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            yield {}
            return
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield {}
                return
            yield {path: claim for path in _claims(run) if (claim := read(path)) is not None}
        finally:
            os.close(folder)

    def close(self, path: Path) -> None:
        """It is on record."""
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty yet, or gone
            path.parent.rmdir()


def read(path: Path) -> Claim | None:
    """None where somebody else has closed it, or it is damaged: there is nothing to pay by then."""
    try:
        return Claim.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _claims(run: Path) -> list[Path]:
    return sorted(one for one in _listed(run) if one.suffix == ".json" and not one.name.startswith("."))


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _name(of: str) -> str:
    """An id that people choose is no name of a file."""
    return hashlib.sha256(of.encode()).hexdigest()[:32]
