"""Events from bytes to columns: each record against the declared fields, what does not fit with a reason of its own."""

from __future__ import annotations

import io
import json
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

#: One record's fields in their declared order. Raises one of `_REFUSED`, or `_Unfit`.
_Parse = Callable[[bytes], Sequence[Any]]


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
        self._names = [f.name for f in stream.fields]
        self._required = {stream.event_time, stream.event_id} | {
            f.name for f in stream.fields if f.is_required
        }
        self._unit_us = {"us": 1, "ms": 1000}[stream.time_unit]
        if isinstance(stream.format, AvroFormat):
            self._parse = _avro(stream, stream.format, self._required)
        else:
            self._parse = _json(stream, self._required)

    def decode(self, batch: Records) -> tuple[Events, list[DeadLetter]]:
        """The events that fit, and a letter for each that does not. Nothing of a batch is lost, nothing raises."""
        places, rows, dead = self._rows(batch)
        columns = dict(
            zip(self._names, zip(*rows, strict=True) if rows else [()] * len(self._names), strict=True)
        )
        arrays = {name: pa.array(columns[name], _ARROW[kind]) for name, kind in self._stream.types.items()}
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

    def _rows(self, batch: Records) -> tuple[Sequence[int], list[Sequence[Any]], list[DeadLetter]]:
        parse = self._parse
        try:
            return range(len(batch)), [parse(value) for value in batch.values], []  # type: ignore[arg-type]
        except _REFUSED:
            pass  # once more, one by one: the batch has at least one record that does not fit
        places, rows, dead = [], [], []
        for i, value in enumerate(batch.values):
            if not value:
                dead.append(batch.dead(i, "empty", "the record has no value"))
                continue
            try:
                rows.append(parse(value))
                places.append(i)
            except _REFUSED as error:
                dead.append(batch.dead(i, _reason(error), str(error)))
        return places, rows, dead


#: What bytes from outside can make a parser raise; fastavro documents no errors of its own for data.
_REFUSED: Final = (
    msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _Unfit, TypeError, EOFError, ValueError, IndexError,
    KeyError, OverflowError, MemoryError,
)  # fmt: skip


def _reason(error: BaseException) -> Reason:
    return "schema_mismatch" if isinstance(error, msgspec.ValidationError | _Unfit) else "malformed"


def _json(stream: StreamDefinition, required: set[str | None]) -> _Parse:
    # Attributes f0, f1, ...: a field may be called what Python cannot.
    fields: list[Any] = [
        (f"f{i}", _PYTHON[f.type]) if f.name in required else (f"f{i}", _PYTHON[f.type] | None, None)
        for i, f in sorted(enumerate(stream.fields), key=lambda place: place[1].name not in required)
    ]
    rename = {f"f{i}": f.name for i, f in enumerate(stream.fields)}
    event = msgspec.defstruct("Event", fields, rename=rename, gc=False)
    order = [name for name, *_ in fields]
    places = [order.index(f"f{i}") for i in range(len(fields))]
    decode, as_tuple = msgspec.json.Decoder(event).decode, msgspec.structs.astuple
    if places == sorted(places):
        return lambda value: as_tuple(decode(value))

    def parse(value: bytes) -> Sequence[Any]:
        found = as_tuple(decode(value))
        return [found[i] for i in places]

    return parse


def _avro(stream: StreamDefinition, form: AvroFormat, required: set[str | None]) -> _Parse:
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

    return parse


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
