"""Pipelines as code: what one is when it is built, what starts it, and what it answers.

A pipeline is built on the machine of whoever wrote it: its steps become a static graph, and the graph goes with the
sources of the steps as one *pack*, named by its digest. Workflow type: `mainspring.RunPipeline.v1`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, model_validator

from mainspring.core import canonical
from mainspring.core.contracts.base import Digest, Message, Request, Slug
from mainspring.core.contracts.training import Stage, StepReport

__all__ = [
    "MAX_FAN_OUT",
    "MAX_SOURCE_BYTES",
    "PIPELINE_WORKFLOW",
    "Approval",
    "Input",
    "Node",
    "NodeReport",
    "NodeState",
    "Pack",
    "PackReceipt",
    "PipelineGraph",
    "PipelineOptions",
    "PipelineRequest",
    "PipelineResult",
    "Resources",
    "Retry",
    "Value",
    "ValueKind",
    "resolved",
]

PIPELINE_WORKFLOW: Final = "mainspring.RunPipeline.v1"

#: Sources of a pack: a pipeline is code, and data belongs into files that its steps read.
MAX_SOURCE_BYTES: Final = 512 * 1024
MAX_SOURCES: Final = 200
MAX_NODES: Final = 200
#: Items of one fan-out: the workflow's history holds a few hundred bytes and events of each.
MAX_FAN_OUT: Final = 500
MAX_LITERAL_BYTES: Final = 16 * 1024

_NAME: Final = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
_FUNCTION: Final = re.compile(r"^[A-Za-z_][\w.]{0,200}:[A-Za-z_]\w{0,100}$")


def _file_name(value: str) -> str:
    if "/" in value or "\0" in value or value in (".", ".."):
        raise ValueError(f"{value!r} is no name of a file; leave out its folder")
    return value


class ValueKind(StrEnum):
    """What a step takes or gives. Only grows."""

    JSON = "json"
    FILE = "file"
    TABLE = "table"
    """Rows and columns, as a Parquet file."""
    LIST = "list"
    """Each item is a value of its own, so that a step can be mapped over them."""
    RECORD = "record"
    """A dataclass, each field a value of its own."""


class Value(Message):
    """A reference to what is in the store of the project; the content itself never goes through the workflow."""

    kind: ValueKind
    digest: Digest
    """Of the content; of a list or a record: of what its parts are."""
    bytes: Annotated[int, Field(ge=0)] = 0
    name: Annotated[str, AfterValidator(_file_name)] = ""
    """Of a file: as the step named it."""
    items: tuple[Value, ...] = ()
    fields: dict[str, Value] = {}

    @property
    def identity(self) -> str:
        """What tells two values apart: content and kind, and of a file its name, which a step can see."""
        return canonical.digest([str(self.kind), self.digest, self.name])

    @classmethod
    def of_items(cls, items: Sequence[Value]) -> Value:
        """A list of values that are kept."""
        digest = canonical.digest([one.identity for one in items])
        size = sum(one.bytes for one in items)
        return cls(kind=ValueKind.LIST, digest=digest, bytes=size, items=tuple(items))

    @classmethod
    def of_fields(cls, fields: Mapping[str, Value]) -> Value:
        """A record of values that are kept."""
        digest = canonical.digest({name: one.identity for name, one in fields.items()})
        size = sum(one.bytes for one in fields.values())
        return cls(kind=ValueKind.RECORD, digest=digest, bytes=size, fields=dict(fields))

    def at(self, path: Sequence[str]) -> Value:
        """The part of a record that an input names. Errors: KeyError."""
        found = self
        for name in path:
            found = found.fields[name]
        return found


class Resources(Request):
    """What a step needs of a machine. The scheduler keeps it free; memory is also a limit, gpus and cpus are not."""

    cpus: Annotated[float, Field(ge=0.1, le=256)] = 1.0
    gpus: Annotated[float, Field(ge=0, le=64)] = 0.0
    memory_gib: Annotated[float, Field(gt=0, le=4096)] = 1.0
    """A step that takes more is ended."""
    max_memory_gib: Annotated[float, Field(gt=0, le=4096)] | None = None
    """A step that was ended for its memory is tried again with twice as much, up to this; None: it is not."""
    spot: bool = False
    """On nodes that may be taken away at any moment, at their price; a step whose node was taken is done again."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_memory_gib is not None and self.max_memory_gib < self.memory_gib:
            raise ValueError(
                f"max_memory_gib {self.max_memory_gib} lies below memory_gib {self.memory_gib}; raise it"
            )
        return self


class Retry(Request):
    """Which exceptions of a step are worth another try. A lost machine always is; wrong data never is."""

    times: Annotated[int, Field(ge=0, le=20)] = 0
    on: tuple[Annotated[str, Field(max_length=100)], ...] = ("ConnectionError", "TimeoutError")
    """Names of exception classes, of a base class too."""
    pause_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """Before the first of them; twice as long before each that follows."""


class Approval(Request):
    """People of a role say yes before the value goes on."""

    role: Annotated[str, Field(pattern="^(approver|admin)$")] = "approver"
    count: Annotated[int, Field(ge=1, le=20)] = 1
    """So many different people."""
    timeout_seconds: Annotated[float, Field(gt=0, le=2_592_000)] = 86_400.0
    """No decision by then is a rejection."""


class Input(Request):
    """Where an argument comes from: an earlier step, or the pipeline itself."""

    node: str = ""
    """Empty: it is `literal`."""
    path: tuple[str, ...] = ()
    """Fields of the node's record, outermost first."""
    literal: Any = None


class Node(Request):
    """One step or one approval of a built pipeline."""

    name: Annotated[str, Field(pattern=_NAME.pattern)]
    function: str = ""
    """`module:name` of a step's function in the pack; empty: an approval."""
    inputs: dict[str, Input] = {}
    each: str = ""
    """The input that the step is mapped over; its answer is a list then."""
    is_spread: bool = False
    """Somebody is mapped over its answer: a list is stored item by item."""
    resources: Resources = Resources()
    retry: Retry = Retry()
    timeout_seconds: Annotated[float, Field(gt=0, le=604_800)] = 3600.0
    is_cached: bool = True
    version: Annotated[str, Field(max_length=100)] = ""
    """Of what the step does, where its code does not show a change."""
    secrets: Annotated[tuple[Slug, ...], Field(max_length=20)] = ()
    """References of the project that its process may read, by name; what they are is in no graph and no answer."""
    approval: Approval | None = None
    gives: str = ""
    """The type of the answer, for people."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The nodes whose answers it takes."""
        return tuple(dict.fromkeys(i.node for i in self.inputs.values() if i.node))

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.function) == (self.approval is not None):
            raise ValueError(f"node `{self.name}` is either a step with a function or an approval")
        if self.function and not _FUNCTION.match(self.function):
            raise ValueError(f"node `{self.name}`: `{self.function}` is no `module:name`")
        if self.approval is not None and (set(self.inputs) != {"value"} or self.each):
            raise ValueError(f"approval `{self.name}` takes exactly one input, `value`")
        if self.each and self.each not in self.inputs:
            raise ValueError(f"node `{self.name}` is mapped over `{self.each}`, which it does not take")
        for name, one in self.inputs.items():
            if not one.node and len(canonical.dumps(one.literal)) > MAX_LITERAL_BYTES:
                raise ValueError(
                    f"input `{name}` of node `{self.name}` has more than {MAX_LITERAL_BYTES} bytes; let a step read it"
                )
        return self


class PipelineGraph(Request):
    """What a pipeline does, in an order in which each node comes after those that it needs."""

    name: Annotated[str, Field(pattern=_NAME.pattern)]
    nodes: Annotated[tuple[Node, ...], Field(min_length=1, max_length=MAX_NODES)]
    parameters: dict[str, Any] = {}
    """What it was built with."""
    answers: dict[str, Input] = {}
    """What the pipeline gives in the end, by name."""

    @model_validator(mode="after")
    def _acyclic(self) -> Self:
        known: set[str] = set()
        for node in self.nodes:
            if node.name in known:
                raise ValueError(f"there are two nodes `{node.name}`; name one otherwise")
            for needed in node.needs:
                if needed not in known:
                    raise ValueError(f"node `{node.name}` needs `{needed}`, which does not come before it")
            known.add(node.name)
        for name, answer in self.answers.items():
            if answer.node not in known:
                raise ValueError(f"answer `{name}` is of node `{answer.node}`, which there is not")
        return self

    def node(self, name: str) -> Node:
        """Errors: KeyError."""
        return {n.name: n for n in self.nodes}[name]

    def after(self, names: frozenset[str]) -> frozenset[str]:
        """These nodes and all that needs them, at however many removes."""
        found = set(names)
        for node in self.nodes:
            if found & set(node.needs):
                found.add(node.name)
        return frozenset(found)


class Pack(Request):
    """A built pipeline with the sources of its steps: all that a worker needs of it."""

    sources: Annotated[dict[str, str], Field(min_length=1, max_length=MAX_SOURCES)]
    """Text by path, relative to the folder that the steps are imported from."""
    graph: PipelineGraph

    @property
    def digest(self) -> str:
        # A field that is at its default says nothing: a newer client names an old pipeline as an older one does.
        return canonical.digest(self.model_dump(mode="json", exclude_defaults=True))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for path in self.sources:
            _check_path(path)
        total = sum(len(text.encode()) for text in self.sources.values())
        if total > MAX_SOURCE_BYTES:
            raise ValueError(
                f"the sources have {total} bytes, allowed are {MAX_SOURCE_BYTES}; put data into files that steps read"
            )
        for node in self.graph.nodes:
            module = node.function.partition(":")[0].replace(".", "/")
            if node.function and not {f"{module}.py", f"{module}/__init__.py"} & set(self.sources):
                raise ValueError(
                    f"step `{node.name}` is in module `{module}`, which is not among the sources"
                )
        return self


def _check_path(path: str) -> None:
    """A plain relative path to a Python file: the folder that it is written to is never left."""
    parts = PurePosixPath(path).parts
    is_plain = "/".join(parts) == path and path.endswith(".py")
    if not is_plain or not all(part.removesuffix(".py").isidentifier() for part in parts):
        raise ValueError(
            f"`{path}` is no source of a pack; write `folder/module.py`, relative, with names of Python"
        )


class PackReceipt(Message):
    """A pack that is kept."""

    project: Slug
    digest: Digest
    pipeline: str
    is_new: bool = False


class PipelineOptions(Request):
    """What whoever starts a pipeline may choose; see `PipelineRequest`."""

    pack: Digest
    resume_of: Annotated[str, Field(max_length=100)] = ""
    again_from: tuple[Annotated[str, Field(max_length=63)], ...] = ()
    use_cache: bool = True


class PipelineRequest(Message):
    """One run of a built pipeline."""

    run_id: str
    """As a training's."""
    project: Slug
    environment: str = "dev"
    requested_by: str
    prompted_by: str = ""
    """Who signed the commit that wants it, where a process requested it; he approves nothing of it either."""
    pack: Digest
    """Its pipeline and sources, as the project keeps them."""
    resume_of: str = ""
    """A run whose answers stand where a step's code and inputs have not changed, of steps without a cache too."""
    again_from: tuple[str, ...] = ()
    """These steps, and what follows them, are done again even if nothing changed."""
    use_cache: bool = True
    max_parallel: Annotated[int, Field(ge=1, le=200)] = 16
    """Jobs of the run at a time."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """As a training's, of all steps together."""


class NodeState(StrEnum):
    """Where a node is. Only grows."""

    WAITING = "waiting"
    RUNNING = "running"
    APPROVAL = "approval"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    """Something that it needs did not come."""


class NodeReport(Message):
    """What became of a node; of one that is mapped, of all its items together."""

    name: str
    state: NodeState = NodeState.WAITING
    items: int = 1
    from_cache: int = 0
    """So many items were not done again."""
    why_not_cached: str = ""
    """What changed since it was last done."""
    tries: int = 0
    """Jobs, those that were repeated included."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    message: str = ""
    approved_by: tuple[str, ...] = ()


class PipelineResult(Message):
    """Answer of the workflow."""

    run_id: str
    stage: Stage
    pipeline: str = ""
    pack: str = ""
    nodes: list[NodeReport] = []
    answers: dict[str, Value] = {}
    steps: list[StepReport] = []
    message: str = ""


def resolved(inputs: Mapping[str, Input], made: Mapping[str, Value]) -> dict[str, Value]:
    """The inputs that come from nodes, out of what those made; literals are not among them."""
    return {name: made[i.node].at(i.path) for name, i in inputs.items() if i.node}
