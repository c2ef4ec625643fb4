"""Feast's protobuf values as plain ones and back: which of our kinds holds a Feast type, and its proto field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type
from feast.value_type import ValueType

from mainspring.core import errors
from mainspring.core.features import row_table

__all__ = [
    "fields",
    "has_key",
    "kept_kind",
    "key_of",
    "key_values",
    "python_type",
    "to_proto",
    "to_python",
    "to_rows",
    "us",
]

#: Types with a plain Python value. All others are kept as their serialised proto, and Feast reads them back.
_PLAIN: Final[Mapping[ValueType, tuple[row_table.Kind, str]]] = {
    ValueType.FLOAT: ("float32", "float_val"),
    ValueType.DOUBLE: ("float64", "double_val"),
    ValueType.INT32: ("int64", "int32_val"),
    ValueType.INT64: ("int64", "int64_val"),
    ValueType.BOOL: ("bool", "bool_val"),
    ValueType.STRING: ("string", "string_val"),
    ValueType.BYTES: ("bytes", "bytes_val"),
}
_EMPTY: Final[Mapping[row_table.Kind, tuple[Any, Any]]] = {
    "float32": (np.nan, np.float32),
    "float64": (np.nan, np.float64),
    "int64": (0, np.int64),
    "bool": (False, np.bool_),
    "string": (None, np.object_),
    "bytes": (None, np.object_),
}
_KEYS: Final[Mapping[ValueType, type]] = {
    ValueType.INT32: int, ValueType.INT64: int, ValueType.STRING: str, ValueType.BYTES: bytes
}  # fmt: skip


def python_type(kind: ValueType | None) -> type | None:
    """The Python type of a key of that Feast type; None where any is taken."""
    return _KEYS.get(kind) if kind else None


def kept_kind(declared: ValueType) -> row_table.Kind:
    """How the table keeps a Feast type."""
    plain = _PLAIN.get(declared)
    return plain[0] if plain else "bytes"


def fields(view: Any) -> tuple[row_table.Field, ...]:
    """The table's fields of a Feast view."""
    return tuple((feature.name, kept_kind(feature.dtype.to_value_type())) for feature in view.features)


def us(time: datetime | None) -> int:
    """UTC microseconds since 1970; naive is UTC, None is 0."""
    if time is None:
        return 0
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    delta = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def has_key(key: EntityKey) -> bool:
    """Whether no value of the key is null."""
    return all(value.WhichOneof("val") for value in key.entity_values)


def key_of(key: EntityKey) -> Any:
    """The table's key: the one value, or the values in the order of the join keys' names."""
    values = [getattr(v, v.WhichOneof("val") or "string_val") for v in key.entity_values]
    if len(values) == 1:
        return values[0]
    return tuple(v for _, v in sorted(zip(key.join_keys, values, strict=True), key=lambda pair: pair[0]))


def key_values(name: str, kind: ValueType | None, values: Any) -> list[Any]:
    """A column of asked keys as plain values of the entity's type; None stays.

    Errors: SchemaMismatch for another type: `"7"` is not 7, and would silently find nothing.
    """
    plain = list(values.val) if hasattr(values, "val") else list(values)
    wanted = _KEYS.get(kind) if kind else None
    kinds = set(map(type, plain))
    if wanted is None or kinds <= {wanted}:
        if Value in kinds:
            return [None if v.WhichOneof("val") is None else getattr(v, v.WhichOneof("val")) for v in plain]
        return plain
    if Value in kinds:
        return key_values(
            name, kind, [getattr(v, v.WhichOneof("val")) if v.WhichOneof("val") else None for v in plain]
        )
    found = []
    for value in plain:
        if isinstance(value, np.generic):
            value = value.item()
        if value is not None and type(value) is not wanted:
            raise errors.SchemaMismatch(
                f"key `{name}` is {wanted.__name__}, got {type(value).__name__} `{value}`; send it as {wanted.__name__}",
                feature=name,
                expected=wanted.__name__,
                got=type(value).__name__,
            )
        found.append(value)
    return found


def to_rows(
    view: Any, data: Sequence[tuple[EntityKey, Mapping[str, Value], datetime, datetime | None]]
) -> row_table.Rows:
    """What Feast gives to `online_write_batch`. Errors: SchemaMismatch for a value of another type than its feature's."""
    n = len(data)
    values, nulls = {}, {}
    for feature in view.features:
        name, dtype = feature.name, feature.dtype.to_value_type()
        cells = [row[1].get(name) for row in data]
        is_null = np.array([c is None or c.WhichOneof("val") is None for c in cells], np.bool_)
        plain = _PLAIN.get(dtype)
        kind: row_table.Kind = plain[0] if plain else "bytes"
        column = np.full(n, *_EMPTY[kind])
        if plain:
            _check(view, name, plain[1], cells)
            column[~is_null] = [
                getattr(c, plain[1]) for c, null in zip(cells, is_null, strict=True) if c and not null
            ]
        else:
            for i in np.nonzero(~is_null)[0]:
                cell = cells[i]
                column[i] = None if cell is None else cell.SerializeToString()
        values[name], nulls[name] = column, is_null
    return row_table.Rows(
        [key_of(row[0]) for row in data],
        np.array([us(row[2]) for row in data], np.int64),
        np.array([us(row[3]) for row in data], np.int64),
        values,
        nulls,
    )


def _check(view: Any, name: str, wanted: str, cells: Sequence[Value | None]) -> None:
    found = {str(c.WhichOneof("val")) for c in cells if c is not None} - {"None", wanted}
    if found:
        got = min(found)
        raise errors.SchemaMismatch(
            f"feature `{name}` of view `{view.name}` is a {wanted}, got {got}; cast it where the data is made",
            feature=name,
            expected=wanted,
            got=got,
        )


def to_python(kind: ValueType) -> Callable[[Any], Any] | None:
    """What turns a kept value into Feast's Python value; None where it is that already."""
    if kind in _PLAIN:
        return None

    def read(data: bytes | None) -> Any:
        return None if data is None else feast_value_type_to_python_type(Value.FromString(data), kind)

    return read


def to_proto(kind: ValueType) -> Callable[[Any], Value]:
    """What turns a kept value into Feast's proto; None is the empty one."""
    plain = _PLAIN.get(kind)
    if plain is None:
        return lambda data: Value() if data is None else Value.FromString(data)
    name = plain[1]
    return lambda value: Value() if value is None else Value(**{name: value})
