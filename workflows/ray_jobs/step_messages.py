"""What a step's job is told and what it answers: one JSON file each way. Imports no ray.

A step that fails is an answer of its job, not a failure of it: whether it is tried again is for the workflow to say.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

from mainspring.core import settings
from mainspring.core.contracts.base import Digest, Message
from mainspring.core.contracts.pipelines import Value
from mainspring.workflows.ray_jobs import books, job_files

__all__ = [
    "CHILD_MODULE",
    "MODULE",
    "Failure",
    "FailureKind",
    "StepOutput",
    "StepSpec",
    "read_output",
    "read_spec",
]

MODULE: Final = "mainspring.workflows.ray_jobs.step"
CHILD_MODULE: Final = "mainspring.workflows.ray_jobs.step_child"


class StepSpec(Message):
    """One step with its inputs. `store` and `folder` are absolute."""

    store: Path
    pack: Digest
    node: str
    inputs: dict[str, Value] = {}
    folder: Path
    """The job's own; each attempt has another below it."""
    cpus: float = 1.0
    memory_gib: Annotated[float, Field(gt=0)]
    timeout_seconds: Annotated[float, Field(gt=0)]
    project: str = ""
    secrets: dict[str, str] = {}
    """Where each lies that the step may read, by name; never what it is."""
    keeper: settings.SecretSettings | None = None
    """How places are read; None: there are none."""
    book: books.Book | None = None
    """Where each process writes what it has used; None: nowhere."""


class FailureKind(StrEnum):
    EXCEPTION = "exception"
    MEMORY = "memory"
    """It took more than it may, or got no more."""
    TIMEOUT = "timeout"
    DIED = "died"
    """Its process ended without a word: killed, or crashed in native code."""


class Failure(Message):
    """Why there is no answer."""

    kind: FailureKind
    message: str
    classes: tuple[str, ...] = ()
    """Of an exception: the names of its class and of its bases."""
    error: dict[str, Any] = {}
    """`errors.to_wire`, where it is one of ours."""
    trace: str = ""
    """The end of the traceback."""


class StepOutput(Message):
    """The answer or the failure, and what it took."""

    value: Value | None = None
    failure: Failure | None = None
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_gib: float = 0.0


def read_spec(path: Path) -> StepSpec:
    """Errors: those of `job_files.read_spec`."""
    return job_files.read_spec(path, StepSpec, "step")


def read_output(path: Path) -> StepOutput:
    """Errors: those of `job_files.read_output`, the job's own among them."""
    return job_files.read_output(path, StepOutput, "step")
