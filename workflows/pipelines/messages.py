"""What a pipeline's run says to its activities: one message in, one out, by name."""

from __future__ import annotations

from typing import Final

from mainspring.core.contracts.base import Message
from mainspring.core.contracts.pipelines import PipelineRequest, Value

__all__ = ["FIND", "LOAD", "RUN", "Find", "Found", "Graph", "Ran", "RunStep", "Seen"]

LOAD: Final = "mainspring.pipelines.load.v1"
FIND: Final = "mainspring.pipelines.find.v1"
RUN: Final = "mainspring.pipelines.run.v1"


class Graph(Message):
    """The pipeline of a pack as JSON: a worker that does not understand all of it refuses it by itself."""

    graph: str


class Find(Message):
    """Look for the answers of a node in the cache."""

    request: PipelineRequest
    node: str
    inputs: dict[str, Value] = {}
    """Those that other nodes made; of a mapped node with the whole list."""
    is_again: bool = False


class Seen(Message):
    """Of one item: its answer, or why there is none."""

    value: Value | None = None
    why: str = ""


class Found(Message):
    """By item; of a node that is not mapped there is one."""

    items: list[Seen]


class RunStep(Message):
    """Do one item of a node."""

    request: PipelineRequest
    node: str
    inputs: dict[str, Value] = {}
    """Those of the item."""
    index: int | None = None
    """Of the item; None where the node is not mapped."""
    attempt: int = 0
    memory_gib: float


class Ran(Message):
    """An answer, or how the step failed."""

    value: Value | None = None
    failure: str = ""
    """A `FailureKind`; empty: it did not."""
    message: str = ""
    classes: tuple[str, ...] = ()
    error: str = ""
    """`errors.to_wire` as JSON, where the step raised one of ours."""
    job: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_gib: float = 0.0
