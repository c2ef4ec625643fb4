"""Events from bytes to columns: each record against the declared fields, what does not fit with a reason of its own."""

from __future__ import annotations

import io
import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import fastavro
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.features.streams.definition import AvroFormat, StreamDefinition
from mainspring.core.features.streams.records import DeadLetter, Reason, Records

__all__ = ["Decoder", "Events"]

_ARROW: Final = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "string": pa.string()}
_PYTHON: Final[dict[str, Any]] = {
    "int64": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "float64": float,
    "bool": bool,
    "string": str,
}
_AVRO: Final = {
    "int64": {"int", "long"},
    "float64": {"int", "long", "float", "double"},
    "bool": {"boolean"},
    "string": {"string"},
}
#: The last instant that a datetime can say.
_LAST_US: Final = 253_402_300_799_999_999
_FRAME_BYTES: Final = 5


@dataclass(frozen=True)
class _Parser:
    """`parse` makes an event of a record, or raises one of `_REFUSED`; `getters` read its fields, in their declared order."""

    parse: Callable[[bytes], Any]
    getters: Sequence[Callable[[Any], Any]]


class _Unfit(Exception):
    """A record that is well formed and not of the schema."""


@dataclass(frozen=True)
class Events:
    """The events of a batch that fit: `place` (m,) of each in the batch, `event_us` (m,), and a column a field."""

    place: NDArray[np.intp]
    event_us: NDArray[np.int64]
    columns: dict[str, pa.Array]


class Decoder:
    """Reads the events of one stream. Thread-safe.

    Errors at construction: InvalidRequest if the Avro schema does not hold the declared fields.
    """

    def __init__(self, stream: StreamDefinition) -> None:
        self._stream = stream
        required = {stream.event_time, stream.event_id} | {f.name for f in stream.fields if f.is_required}
        self._unit_us = {"us": 1, "ms": 1000}[stream.time_unit]
        if isinstance(stream.format, AvroFormat):
            self._parser = _avro(stream, stream.format, required)
        else:
            self._parser = _json(stream, required)

    def decode(self, batch: Records) -> tuple[Events, list[DeadLetter]]:
        """The events that fit, and a letter for each that does not. Nothing of a batch is lost, nothing raises."""
        places, parsed, dead = self._parsed(batch)
        # map() over getters reads a column in compiled code; transposing tuples with zip() took ten times as long.
        arrays = {
            name: pa.array(list(map(get, parsed)), _ARROW[kind])
            for get, (name, kind) in zip(self._parser.getters, self._stream.types.items(), strict=True)
        }
        place = np.array(places, np.intp)
        times = arrays[self._stream.event_time].to_numpy()
        fits = (times >= 0) & (times <= _LAST_US // self._unit_us)
        if not fits.all():
            dead += [
                batch.dead(
                    i, "out_of_range", f"`{self._stream.event_time}` is {t}, expected a time of 1970 to 9999"
                )
                for i, t in zip(place[~fits].tolist(), times[~fits].tolist(), strict=True)
            ]
            place, times = place[fits], times[fits]
            arrays = {name: pc.filter(array, pa.array(fits)) for name, array in arrays.items()}
        return Events(place, times * self._unit_us, arrays), dead

    def _parsed(self, batch: Records) -> tuple[Sequence[int], list[Any], list[DeadLetter]]:
        parse = self._parser.parse
        try:
            return range(len(batch)), list(map(parse, batch.values)), []  # type: ignore[arg-type]
        except _REFUSED:
            pass  # once more, one by one: the batch has at least one record that does not fit
        places, parsed, dead = [], [], []
        for i, value in enumerate(batch.values):
            if not value:
                dead.append(batch.dead(i, "empty", "the record has no value"))
                continue
            try:
                parsed.append(parse(value))
                places.append(i)
            except _REFUSED as error:
                # fastavro's end of file says nothing.
                dead.append(
                    batch.dead(i, _reason(error), str(error) or "the record ends before its fields do")
                )
        return places, parsed, dead


#: What bytes from outside can make a parser raise; fastavro documents no errors of its own for data.
_REFUSED: Final = (
    msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _Unfit, TypeError, EOFError, ValueError, IndexError,
    KeyError, OverflowError, MemoryError,
)  # fmt: skip


def _reason(error: BaseException) -> Reason:
    return "schema_mismatch" if isinstance(error, msgspec.ValidationError | _Unfit) else "malformed"


def _json(stream: StreamDefinition, required: set[str | None]) -> _Parser:
    # Attributes f0, f1, ...: a field may be called what Python cannot.
    names = [f"f{i}" for i in range(len(stream.fields))]
    fields: list[Any] = [
        (name, _PYTHON[f.type]) if f.name in required else (name, _PYTHON[f.type] | None, None)
        for name, f in zip(names, stream.fields, strict=True)
    ]
    rename = {name: f.name for name, f in zip(names, stream.fields, strict=True)}
    # gc=False: events hold nothing that could refer to them, and collecting over a batch of them costs.
    event = msgspec.defstruct("Event", fields, rename=rename, gc=False, kw_only=True)
    return _Parser(msgspec.json.Decoder(event).decode, list(map(operator.attrgetter, names)))


def _avro(stream: StreamDefinition, form: AvroFormat, required: set[str | None]) -> _Parser:
    schemas = {number: _avro_schema(stream, text, required) for number, text in form.writer_schemas}
    if not schemas:
        raise _bad_avro(stream, "has no writer schema")
    names = [f.name for f in stream.fields]
    needed = [i for i, name in enumerate(names) if name in required]
    is_framed = set(schemas) != {0}

    def parse(value: bytes) -> Sequence[Any]:
        number = 0
        if is_framed:
            number = int.from_bytes(value[1:_FRAME_BYTES], "big")
            if value[0] != 0 or len(value) < _FRAME_BYTES or number not in schemas:
                raise _Unfit(f"the record is not framed with one of the schemas {sorted(schemas)}")
            value = value[_FRAME_BYTES:]
        reader = io.BytesIO(value)
        found: Any = fastavro.schemaless_reader(reader, schemas[number], None)
        if reader.tell() != len(value):
            raise ValueError(f"{len(value) - reader.tell()} bytes follow the record")
        row = [found.get(name) for name in names]
        for i in needed:
            if row[i] is None:
                raise _Unfit(f"required field `{names[i]}` is null")
        return row

    return _Parser(parse, list(map(operator.itemgetter, range(len(names)))))


def _avro_schema(stream: StreamDefinition, text: str, required: set[str | None]) -> Any:
    """The parsed schema without its logical types: a time stays the number that it is."""
    try:
        bare = _without_logical_types(json.loads(text))
        schema: Any = fastavro.parse_schema(bare)
    except (ValueError, TypeError, KeyError, fastavro.schema.SchemaParseException) as error:
        raise _bad_avro(stream, f"has an Avro schema that does not parse: {error}") from error
    kinds = {f["name"]: _kinds(f["type"]) for f in bare.get("fields", ())} if isinstance(bare, dict) else {}
    for f in stream.fields:
        if f.name not in kinds:
            if f.name in required:
                raise _bad_avro(stream, f"has an Avro schema without the required field `{f.name}`")
        elif not kinds[f.name] - {"null"} <= _AVRO[f.type]:
            raise _bad_avro(
                stream, f"reads `{f.name}` as {f.type}, its Avro schema has {sorted(kinds[f.name])}"
            )
    return schema


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: _without_logical_types(v) for k, v in schema.items() if k != "logicalType"}
    return [_without_logical_types(part) for part in schema] if isinstance(schema, list) else schema


def _kinds(schema: Any) -> set[str]:
    parts = schema if isinstance(schema, list) else [schema]
    return {str(part["type"] if isinstance(part, dict) else part) for part in parts}


def _bad_avro(stream: StreamDefinition, problem: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"stream `{stream.name}` {problem}; correct the definition", field="stream.format"
    )
