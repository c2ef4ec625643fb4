"""`application/vnd.apache.arrow.stream`: rows in as record batches, predictions out as record batches.

Bytes of strangers: nothing is made of them that is larger than they are. Compressed buffers are refused, because they say
themselves how large they will be, and so are nested types; a dictionary's texts are shared by its rows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.serving import columnar, plane

MEDIA_TYPE: Final = "application/vnd.apache.arrow.stream"

_STATUS: Final = pa.array(["present", "not_found", "outside_max_age"])
_WORD: Final = pa.dictionary(pa.int8(), pa.string())

#: Fields of the flatbuffers that an Arrow message's head is (format/Message.fbs).
_HEADER, _COMPRESSION = 2, 3


def parse(body: bytes | bytearray, *, by_entity: bool, max_rows: int) -> columnar.Columns:
    """Every batch of the stream as one, columns by name.

    Missing: nulls; NaN too where a column has floats.
    Errors:  InvalidRequest for bytes that are no such stream, a compressed one, no or too many rows, a name that comes
             twice; SchemaMismatch for a type that no column of a bundle has.
    """
    try:
        return _parsed(pa.py_buffer(bytes(body)), by_entity, max_rows)
    except (pa.ArrowException, struct.error, OSError, IndexError, ValueError, UnicodeDecodeError) as error:
        raise errors.InvalidRequest(
            f"body is no Arrow IPC stream: {str(error)[:200]}; write one with a schema and record batches",
            field="body",
        ) from error


def _parsed(buffer: pa.Buffer, by_entity: bool, max_rows: int) -> columnar.Columns:
    _check_plain(buffer)
    batches = _batches(buffer, max_rows)
    names = batches[0].schema.names
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise errors.InvalidRequest(f"column `{twice}` comes twice; send it once", field=twice)
    columns = {}
    for i, name in enumerate(names):
        parts = [_column(batch.column(i), name) for batch in batches]
        columns[name] = _joined(parts)
    return columnar.Columns(sum(len(b) for b in batches), by_entity, columns)


def _batches(buffer: pa.Buffer, max_rows: int) -> list[pa.RecordBatch]:
    found, rows = [], 0
    with pa.ipc.open_stream(buffer) as stream:
        for field in stream.schema:
            _check_type(field)
        for batch in stream:
            rows += len(batch)
            if rows > max_rows:
                break  # an empty type's rows cost nothing to claim
            batch.validate(full=True)
            found.append(batch)
    if not 1 <= rows <= max_rows:
        count = f"more than {max_rows}" if rows else "0"
        raise errors.InvalidRequest(
            f"the stream has {count} rows, expected 1 to {max_rows}; split the request", field="body"
        )
    return found


def _check_type(field: pa.Field) -> None:
    kind = field.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        is_known = _is_text(kind)
    else:
        is_known = _is_text(kind) or any(
            test(kind)
            for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
        )
    if not is_known:
        raise errors.SchemaMismatch(
            f"column `{field.name}` is {field.type}; send floats, integers, booleans or text (times as int64)",
            feature=field.name,
            expected="a number, a boolean or text",
            got=str(field.type),
        )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _column(array: pa.Array, name: str) -> columnar.Column:
    missing = np.asarray(array.is_null()) if array.null_count else None
    if pa.types.is_dictionary(array.type):
        texts = np.array([*array.dictionary.to_pylist(), None], dtype=object)
        # Null indices are the last, which is None.
        return columnar.Column(
            texts[np.asarray(array.indices.cast(pa.int64()).fill_null(len(texts) - 1))], missing
        )
    if _is_text(array.type):
        return columnar.Column(np.array(array.to_pylist(), dtype=object), missing)
    if pa.types.is_null(array.type):
        return columnar.Column(np.full(len(array), np.nan), np.ones(len(array), np.bool_))
    if pa.types.is_boolean(array.type):
        return columnar.Column(np.asarray(array.fill_null(False)), missing)
    if pa.types.is_integer(array.type):
        try:
            return columnar.Column(np.asarray(array.fill_null(0).cast(pa.int64())), missing)
        except pa.ArrowInvalid as error:
            raise errors.InvalidRequest(
                f"column `{name}` has a value beyond int64; send smaller ones", field=name
            ) from error
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return columnar.Column(values, missing)


def _joined(parts: list[columnar.Column]) -> columnar.Column:
    if len(parts) == 1:
        return parts[0]
    values = np.concatenate([p.values for p in parts])
    if all(p.missing is None for p in parts):
        return columnar.Column(values)
    masks = [np.zeros(len(p.values), np.bool_) if p.missing is None else p.missing for p in parts]
    return columnar.Column(values, np.concatenate(masks))


def to_ipc(given: Iterable[plane.Given]) -> bytes:
    """The predictions, a record batch for each of `given`; at least one.

    Columns: `score` float32, `model_version` and `role`, and by view `<view>__status` and `<view>__age_seconds`, null where
    nothing was found.
    """
    sink = pa.BufferOutputStream()
    writer = None
    for one in given:
        batch = to_batch(one)
        if writer is None:
            writer = pa.ipc.new_stream(
                sink, batch.schema, options=pa.ipc.IpcWriteOptions(unify_dictionaries=True)
            )
        writer.write_batch(batch)
    assert writer is not None
    writer.close()
    return bytes(sink.getvalue())


def to_batch(given: plane.Given) -> pa.RecordBatch:
    """One answer as a record batch."""
    n, looked_up = len(given.answered.scores), given.answered.looked_up
    arrays = [pa.array(given.answered.scores), _same(given.digest, n), _same(given.role, n)]
    names = ["score", "model_version", "role"]
    for view, status in looked_up.status.items():
        is_absent = status == np.uint8(ports.FeatureStatus.NOT_FOUND)
        ages = (given.as_of_us - looked_up.event_us[view]) / 1e6
        arrays += [
            pa.DictionaryArray.from_arrays(pa.array(status.astype(np.int8)), _STATUS),
            pa.array(ages, pa.float64(), mask=is_absent),
        ]
        names += [f"{view}__status", f"{view}__age_seconds"]
    return pa.record_batch(arrays, names)


def _same(word: str, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), pa.array([word]))


def _check_plain(buffer: pa.Buffer) -> None:
    """Errors: InvalidRequest if a message's buffers are compressed."""
    reader = pa.ipc.MessageReader.open_stream(buffer)
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        head = memoryview(message.metadata)
        if message.type in ("record batch", "dictionary") and _is_compressed(head, message.type):
            raise errors.InvalidRequest(
                "the Arrow stream is compressed inside; write it without, and compress the body with gzip if need be",
                field="body",
            )


def _is_compressed(head: memoryview, kind: str) -> bool:
    table: int | None = _table(head, _uint32(head, 0), _HEADER)
    if table is not None and kind == "dictionary":
        table = _table(head, table, 1)  # DictionaryBatch.data
    return table is not None and _field(head, table, _COMPRESSION) is not None


def _table(head: memoryview, table: int, field: int) -> int | None:
    at = _field(head, table, field)
    return None if at is None else at + _uint32(head, at)


def _field(head: memoryview, table: int, field: int) -> int | None:
    """Where a field of a flatbuffers table lies; None where it is not there."""
    vtable = table - struct.unpack_from("<i", head, table)[0]
    size = struct.unpack_from("<H", head, vtable)[0]
    slot = 4 + 2 * field
    if slot + 2 > size:
        return None
    offset: int = struct.unpack_from("<H", head, vtable + slot)[0]
    return table + offset if offset else None


def _uint32(head: memoryview, at: int) -> int:
    value: int = struct.unpack_from("<I", head, at)[0]
    return value
