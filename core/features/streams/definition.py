"""What a stream is: its topic, what an event looks like, and the windowed views that are kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from mainspring.core import canonical, errors, ports
from mainspring.core.features import windows

__all__ = [
    "AvroFormat",
    "Field",
    "JsonFormat",
    "StreamDefinition",
    "TimeUnit",
    "WindowedView",
    "microseconds",
]

FieldType = Literal["int64", "float64", "bool", "string"]
TimeUnit = Literal["us", "ms"]

_US: Final = timedelta(microseconds=1)
_FIELD_TYPES: Final = ("int64", "float64", "bool", "string")


@dataclass(frozen=True)
class Field:
    """One field of an event. An optional one may be absent or null; fields that are not declared are passed over."""

    name: str
    type: FieldType
    is_required: bool = False


@dataclass(frozen=True)
class JsonFormat:
    """One JSON object an event, in UTF-8."""

    name: Literal["json"] = "json"


@dataclass(frozen=True)
class AvroFormat:
    """Avro binary of one record. `writer_schemas`: JSON texts by registry id.

    With id 0 alone events are bare records; otherwise each begins with a zero byte and its schema's id in four bytes,
    as schema registries frame them. Schemas are part of the definition, so that a stream needs no registry to read.
    """

    writer_schemas: tuple[tuple[int, str], ...]
    name: Literal["avro"] = "avro"


@dataclass(frozen=True)
class WindowedView:
    """An online view of trailing aggregates. Its TTL is its window: with no event for that long there is nothing to tell.

    The aggregates are the batch's own (`core/features/windows.py`), and so is the answer: for each key what
    `windows.trailing(..., hop=stream.hop)` says of the same events.
    """

    name: str
    keys: tuple[str, ...]
    window: timedelta
    aggregates: tuple[windows.Aggregate, ...]

    def schema(self) -> ports.ViewSchema:
        """The view as an online store registers it."""
        return ports.ViewSchema(
            self.name,
            self.keys,
            tuple((a.name, "float32") for a in self.aggregates),
            self.window.total_seconds(),
        )


@dataclass(frozen=True)
class StreamDefinition:
    """A topic of events, all that is checked of them, and the views made of them.

    Raises InvalidRequest, naming the part, if it contradicts itself.
    """

    name: str
    topic: str
    fields: tuple[Field, ...]
    event_time: str
    """The int64 field that says when the event happened, since 1970 UTC."""
    hop: timedelta
    """The width of a tile: an event counts from the next multiple of it on."""
    views: tuple[WindowedView, ...]
    event_id: str | None = None
    """The string or int64 field by which a repeated event is known; None: every event counts."""
    time_unit: TimeUnit = "us"
    allowed_lateness: timedelta = timedelta(minutes=10)
    """How far behind the newest event of its partition an event may be and still count."""
    allowed_lead: timedelta = timedelta(minutes=5)
    """How far an event's time may lie after the time at which the broker took it: one wrong clock must not make
    everybody else late."""
    format: JsonFormat | AvroFormat = field(default_factory=JsonFormat)
    remembered_ids: int = 1 << 20
    """Event ids kept for each partition, 48 bytes each. Where more lie within the lateness, the oldest are forgotten
    and what is as old counts as late: an event is never counted twice."""

    def __post_init__(self) -> None:
        if problem := _problem(self):
            raise errors.InvalidRequest(
                f"stream `{self.name}` {problem}; correct the definition", field="stream"
            )

    @property
    def types(self) -> dict[str, FieldType]:
        return {f.name: f.type for f in self.fields}

    @property
    def hop_us(self) -> int:
        return microseconds(self.hop)

    @property
    def lateness_us(self) -> int:
        return microseconds(self.allowed_lateness)

    @property
    def key_sets(self) -> tuple[tuple[str, ...], ...]:
        """Each combination of key fields once, in the order of the views."""
        return tuple(dict.fromkeys(view.keys for view in self.views))

    def tiles_of(self, view: WindowedView) -> int:
        """How many hops the window of `view` is."""
        return view.window // self.hop

    def digest(self) -> str:
        """Names what state depends on: a changed definition does not go on with the state of another."""
        return canonical.digest(_state_of(self))


def microseconds(span: timedelta) -> int:
    """Exact."""
    return span // _US


def _state_of(stream: StreamDefinition) -> dict[str, Any]:
    return {
        "topic": stream.topic,
        "fields": [[f.name, f.type, f.is_required] for f in stream.fields],
        "event_time": [stream.event_time, stream.time_unit],
        "event_id": stream.event_id,
        "hop_us": stream.hop_us,
        "lateness_us": stream.lateness_us,
        "lead_us": microseconds(stream.allowed_lead),
        "remembered_ids": stream.remembered_ids,
        "views": [
            [v.name, list(v.keys), microseconds(v.window), [[a.name, a.how, a.column] for a in v.aggregates]]
            for v in stream.views
        ],
    }


def _problem(stream: StreamDefinition) -> str:
    types = stream.types
    if not stream.name or not stream.topic or not stream.views:
        return "needs a name, a topic and a view"
    for what, names in (
        ("field", [f.name for f in stream.fields]),
        ("view", [view.name for view in stream.views]),
    ):
        if repeated := _repeated(names):
            return f"names {what} `{repeated}` twice"
    if unknown := [f for f in stream.fields if f.type not in _FIELD_TYPES]:
        return f"has field `{unknown[0].name}` of type `{unknown[0].type}`; types are {list(_FIELD_TYPES)}"
    if types.get(stream.event_time) != "int64":
        return f"has no int64 field `{stream.event_time}` for its event time"
    if stream.event_id is not None and types.get(stream.event_id) not in ("string", "int64"):
        return f"has no string or int64 field `{stream.event_id}` for its event id"
    if (
        stream.hop <= timedelta(0)
        or stream.allowed_lateness < timedelta(0)
        or stream.allowed_lead < timedelta(0)
    ):
        return "has a hop of 0 or less, or a negative lateness or lead"
    if stream.remembered_ids < 16:
        return f"remembers {stream.remembered_ids} ids; give at least 16"
    return next((p for view in stream.views if (p := _view_problem(stream, view))), "")


def _view_problem(stream: StreamDefinition, view: WindowedView) -> str:
    where = f"has view `{view.name}`"
    names = [*view.keys, *(a.name for a in view.aggregates)]
    if not view.name or not view.keys or not view.aggregates:
        return f"{where} without a name, a key or an aggregate"
    if repeated := _repeated(names):
        return f"{where} that names `{repeated}` twice"
    for key in view.keys:
        if stream.types.get(key) not in ("string", "int64"):
            return f"{where} whose key `{key}` is no string or int64 field"
    if view.window <= timedelta(0) or view.window % stream.hop:
        return f"{where} whose window {view.window} is no multiple of the hop {stream.hop}"
    for a in view.aggregates:
        accepted = ("int64", "bool") if a.how in ("mean", "sum") else ("int64", "bool", "float64")
        if a.how not in ("rows", "count") and stream.types.get(a.column) not in accepted:
            return f"{where} whose `{a.how}` needs a field of {list(accepted)}, not `{a.column}`"
        if a.how == "count" and a.column not in stream.types:
            return f"{where} that counts the unknown field `{a.column}`"
    return ""


def _repeated(names: Sequence[str]) -> str:
    return next((name for name in names if names.count(name) > 1), "")
