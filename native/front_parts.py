"""What a native front answers by, and what it tells of its answers. See `mainspring.native.front`, which has these names, too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mainspring.native import formulas, mlp, program, table, trees

__all__ = [
    "LATENCY_EDGES",
    "ROW_EDGES",
    "Bundle",
    "Endpoint",
    "Key",
    "Lookup",
    "Model",
    "ModelCounts",
    "Policy",
    "Predictions",
    "Service",
    "Span",
    "SpanPart",
    "Use",
    "View",
]

#: Upper edges of ModelCounts.latency in seconds, and of row_sizes; the last bucket of each is open.
LATENCY_EDGES: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
ROW_EDGES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)


@dataclass(frozen=True)
class Model:
    """One version of a model: a matrix (rows, width) in, a matrix (rows, outputs) out.

    FP32 in and out; LightGBM's trees take and give FP64.
    """

    name: str
    version: str
    model: mlp.Mlp | trees.Trees
    """An Mlp without ids, or Trees."""
    input: str
    """Name of the input tensor."""
    output: str
    """Name of the output tensor."""
    max_rows: int
    """In a request; more is for the app to refuse."""
    is_default: bool = True
    """Answers requests that name no version."""

    def written(self) -> tuple[str, str, str, str, bool, int, mlp.Mlp | trees.Trees]:
        """As the compiled core takes it."""
        return (
            self.name,
            self.version,
            self.input,
            self.output,
            self.is_default,
            self.max_rows,
            self.model,
        )


@dataclass(frozen=True)
class View:
    """A view of online features: its keys, fields and age are the table's.

    Of bool, int64, float32, float64 and string fields; who asks for others is answered by the app.
    """

    name: str
    table: table.OnlineTable
    """Once it is closed the app answers, as it does without a front."""


@dataclass(frozen=True)
class Service:
    """A name for features of some views, each (view, field), in the order of the answer."""

    name: str
    features: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Key:
    """An API key that counts, `msk_<id>_<secret>`: issued, and not revoked. Of its secret only the hash is known."""

    id: str
    caller: str
    """Whom limits and traces name."""
    secret_sha256: bytes
    may_predict: bool = False
    may_read: bool = False
    expires_us: int = 0
    """Unix microseconds; 0: never."""
    project: str = ""
    """Whom the caller's use is charged to; "": to the bundle's."""


class SpanPart(NamedTuple):
    """What an answer was made of: `look up`, `transform` and `model` of a prediction; `infer`, with the last two beside it where
    an endpoint was asked.
    """

    name: str
    span_id: str
    start_ns: int
    end_ns: int


class Span(NamedTuple):
    """A sampled request that was answered here. Times are Unix nanoseconds, ids hexadecimal."""

    trace_id: str
    parent_id: str
    """"": no client named one."""
    span_id: str
    path: str
    request_id: str
    caller: str
    start_ns: int
    end_ns: int
    model: str
    """The name that the v2 protocol knows it by; "": it was not asked so."""
    bundle: str
    """The digest of the one that ran; "": none."""
    rows: int
    parts: Sequence[SpanPart]
    """In the order of time."""


@dataclass(frozen=True)
class Lookup:
    """A view that a bundle looks up: some of the table's fields, which are called `view__field` then."""

    view: str
    table: table.OnlineTable
    fields: Sequence[str]


@dataclass(frozen=True)
class Policy:
    """Values of a column that the app judges: those outside of `low` to `high`, and missing ones if it refuses them."""

    column: str
    low: float = -math.inf
    high: float = math.inf
    refuses_missing: bool = False


@dataclass(frozen=True)
class Bundle:
    """A model with all that makes its input. Fields are (name, type): float32, float64, int64, bool or string."""

    digest: str
    inputs: Sequence[tuple[str, str]]
    """The program's; what a prediction by row sends."""
    program: program.Program
    """Of float32, int64 and string inputs, with vocabularies of the strings."""
    model: mlp.Mlp | trees.Trees
    """Takes what the program gives; trees take the ids behind the dense columns."""
    output: int = 0
    """Which of the numbers that it gives for a row is the score."""
    entity: Sequence[tuple[str, str]] = ()
    """What a prediction by entity sends, join keys among it; none: such predictions are the app's."""
    keys: Sequence[str] = ()
    """The join keys of all views."""
    lookups: Sequence[Lookup] = ()
    """Their names and fields are those of the answer, and in its order."""
    policies: Sequence[Policy] = ()
    derives: formulas.Formulas | None = None
    """What is derived of predictions by entity, before overrides replace it; None: nothing."""

    def written(self) -> dict[str, Any]:
        """As the compiled core takes it."""
        return {
            "digest": self.digest,
            "entity": list(self.entity),
            "keys": list(self.keys),
            "inputs": list(self.inputs),
            "lookups": [(one.view, one.table.native, list(one.fields)) for one in self.lookups],
            "policies": [(p.column, p.low, p.high, p.refuses_missing) for p in self.policies],
            "program": self.program.native,
            "model": self.model,
            "derives": None if self.derives is None else self.derives.native,
            "output": self.output,
        }


@dataclass(frozen=True)
class Endpoint:
    """Whose questions are answered, and by whom, under one version of its traffic."""

    name: str
    version: int
    max_rows: int
    """In a request; more is for the app to refuse."""
    stable: Bundle
    canary: Bundle | None = None
    canary_percent: int = 0
    infers: bool = False
    """Whether infer requests of the v2 protocol are answered as well, which name it as a model, by column."""

    def written(self) -> dict[str, Any]:
        """As the compiled core takes it."""
        return {
            "name": self.name,
            "version": self.version,
            "max_rows": self.max_rows,
            "stable": self.stable.written(),
            "canary": None if self.canary is None else self.canary.written(),
            "canary_percent": self.canary_percent,
            "infers": self.infers,
        }


class Use(NamedTuple):
    """What one caller used of a bundle."""

    caller: str
    project: str
    """That its key names; "": none, and the bundle's pays."""
    requests: int
    rows: int
    cpu_nanos: int


@dataclass(frozen=True)
class Predictions:
    """What one bundle answered under one version of traffic, in one role, since the last drain."""

    endpoint: str
    version: int
    digest: str
    role: str
    requests: int
    rows: int
    scores_sum: float
    used: Sequence[Use]
    """Each caller and project once; they add up to `requests` and `rows`."""
    latency_seconds: Sequence[float]
    """Of the newest requests, 4,096 of each thread at most: look-up, transform and model."""


@dataclass(frozen=True)
class ModelCounts:
    """What was answered of one model's version since the front began; of reads of features, without name and version.

    Requests passed on are in the app's own book.
    """

    name: str
    version: str
    requests: int
    rows: int
    passed_on: int
    """Requests for it that were wrong, unusual or large, or whose caller was the app's to judge."""
    last_ms: int
    """Unix milliseconds of the newest answer; 0: none."""
    input_nanos: int
    infer_nanos: int
    output_nanos: int
    latency: Sequence[int]
    """Answers by bucket of :data:`LATENCY_EDGES`, from body to answer."""
    row_sizes: Sequence[int]
    """Answers by bucket of :data:`ROW_EDGES`."""
