"""Columns in the types that Feast's fields declare: what an on-demand view gets and gives, the same online and offline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.value_type import ValueType

from mainspring.core import errors

__all__ = ["Column", "FromProto", "arrow", "column", "empty", "frame", "kept", "python"]

#: An Arrow array of the declared type; for types that only Feast knows, a list of Feast's Python values, None is null.
Column: TypeAlias = pa.Array | list[Any]

_ARROW: Final[Mapping[ValueType, pa.DataType]] = {
    ValueType.FLOAT: pa.float32(),
    ValueType.DOUBLE: pa.float64(),
    ValueType.INT32: pa.int32(),
    ValueType.INT64: pa.int64(),
    ValueType.BOOL: pa.bool_(),
    ValueType.STRING: pa.string(),
    ValueType.BYTES: pa.binary(),
}
#: Of the types that only Feast knows, those with an Arrow form: inferred, a column of nulls would have another type.
_FEASTS: Final[Mapping[ValueType, pa.DataType]] = {
    ValueType.FLOAT_LIST: pa.list_(pa.float32()),
    ValueType.DOUBLE_LIST: pa.list_(pa.float64()),
    ValueType.INT32_LIST: pa.list_(pa.int32()),
    ValueType.INT64_LIST: pa.list_(pa.int64()),
    ValueType.BOOL_LIST: pa.list_(pa.bool_()),
    ValueType.STRING_LIST: pa.list_(pa.string()),
    ValueType.BYTES_LIST: pa.list_(pa.binary()),
    ValueType.UNIX_TIMESTAMP: pa.timestamp("us", "UTC"),
    ValueType.UNIX_TIMESTAMP_LIST: pa.list_(pa.timestamp("us", "UTC")),
}
_NUMBERS: Final = (int, float, np.integer, np.floating)
#: Python's types of a declared one; a bool is no number here, though Python says so.
_TAKEN: Final[Mapping[pa.DataType, tuple[type, ...]]] = {
    pa.float32(): _NUMBERS,
    pa.float64(): _NUMBERS,
    pa.int32(): _NUMBERS,
    pa.int64(): _NUMBERS,
    pa.bool_(): (bool, np.bool_),
    pa.string(): (str,),
    pa.binary(): (bytes,),
}
#: Whole numbers and booleans keep their bits and their type beside a null, whichever rows are asked together.
_PANDAS: Final[Mapping[pa.DataType, Any]] = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


class FromProto(list[Any]):
    """Values as Feast's proto gave them, with the protos where those are kept.

    They are not put through it a second time: text of a JSON column would be read twice.
    """

    def __init__(self, values: Iterable[Any], protos: Sequence[Value] | None = None) -> None:
        super().__init__(values)
        self.protos = protos


def column(values: Any, kind: ValueType, *, name: str, what: str) -> Column:
    """The values as `kind` declares: floats rounded to its width, whole numbers exact; NaN of a float is null.

    `values` is a Polars or pandas column, an array, or a sequence of Python's values.

    Errors: SchemaMismatch for values of another type, for fractions and for what does not fit in a whole number.
    """
    wanted = _ARROW.get(kind)
    try:
        if wanted is None:
            return _feasts(values, kind)
        if isinstance(values, pl.Series):
            return _fitted(values.to_arrow(compat_level=pl.CompatLevel.oldest()), wanted)
        if hasattr(values, "dtype") and values.dtype != np.object_:
            found = pa.array(values, from_pandas=True)
            return _fitted(found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found, wanted)
        return _from_python(list(values), wanted)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError, AssertionError) as error:
        raise errors.SchemaMismatch(
            f"`{name}` of {what} is declared as {kind.name}: {error}; declare what it is, or cast it",
            feature=name,
            expected=str(kind.name),
            got=str(error),
        ) from error


def empty(kind: ValueType) -> Column:
    """No values of that type."""
    wanted = _ARROW.get(kind)
    return [] if wanted is None else pa.array([], wanted)


def python(values: Column) -> list[Any]:
    """Python's values, None for null; a float32 is the float of the same value."""
    return list(values) if isinstance(values, list) else values.to_pylist()


def frame(columns: Mapping[str, Column], kinds: Mapping[str, ValueType]) -> pd.DataFrame:
    """Floats of their width with NaN for null, nullable whole numbers and booleans, times in UTC, objects for the rest."""
    arrays = {name: arrow(values, kinds[name]) for name, values in columns.items()}
    return pa.table(arrays).to_pandas(types_mapper=_PANDAS.get)


def arrow(values: Column, kind: ValueType) -> pa.Array:
    """The column of an offline answer."""
    return values if isinstance(values, pa.Array) else _plain(values, _FEASTS.get(kind))


def kept(values: Column, kind: ValueType) -> list[Any]:
    """As the online table keeps it: Python's values, serialised protos for types that only Feast knows."""
    if isinstance(values, pa.Array):
        found: list[Any] = values.to_pylist()
        return found
    protos = values.protos if isinstance(values, FromProto) else None
    protos = python_values_to_proto_values(values, kind) if protos is None else protos
    return [p.SerializeToString() if p.WhichOneof("val") else None for p in protos]


def _plain(values: list[Any], dtype: pa.DataType | None) -> pa.Array:
    """Sets and UUIDs have no Arrow type: lists and text, as in Feast's `to_arrow`."""

    def plain(value: Any) -> Any:
        if isinstance(value, (list, set, frozenset)):
            return [plain(v) for v in value]
        return value if value is None or type(value).__name__ not in ("UUID", "Decimal") else str(value)

    return pa.array([plain(v) for v in values], dtype)


def _feasts(values: Any, kind: ValueType) -> FromProto:
    """Through Feast's proto, as the value would come back from the online store."""
    if isinstance(values, FromProto):
        return values
    if isinstance(values, pl.Series):
        values = values.to_list()
    plain = [None if v is pd.NaT or v is pd.NA else v for v in values]
    if kind == ValueType.UNKNOWN or all(v is None for v in plain):
        return FromProto(plain)
    protos: Sequence[Value] = python_values_to_proto_values(plain, kind)
    return FromProto((feast_value_type_to_python_type(p, kind) for p in protos), protos)


def _from_python(values: list[Any], wanted: pa.DataType) -> pa.Array:
    plain = [None if v is None or v is pd.NA or v is pd.NaT or v != v else v for v in values]
    taken = _TAKEN[wanted]
    for kind in set(map(type, plain)) - {type(None)}:
        if not issubclass(kind, taken) or (kind is bool and bool not in taken):
            raise TypeError(f"a value is a {kind.__name__}")
    if pa.types.is_integer(wanted):
        plain = [_whole(v) if isinstance(v, (float, np.floating)) else v for v in plain]
    elif pa.types.is_floating(wanted):
        # Each by way of float64, as columns are: a whole number would else be rounded once, or refused.
        plain = [None if v is None else float(v) for v in plain]
    return pa.array(plain, wanted)


def _whole(value: Any) -> int:
    if value != int(value):
        raise ValueError(f"{value} is no whole number")
    return int(value)


def _fitted(found: pa.Array, wanted: pa.DataType) -> pa.Array:
    got = found.type
    if pa.types.is_dictionary(got):
        return _fitted(found.dictionary_decode(), wanted)
    is_number = pa.types.is_integer(got) or pa.types.is_floating(got)
    if pa.types.is_null(got):
        return found.cast(wanted)
    if pa.types.is_floating(got):
        found = pc.if_else(pc.is_nan(found), pa.scalar(None, got), found)
    if pa.types.is_floating(wanted) and is_number:
        return found.cast(pa.float64(), safe=False).cast(wanted, safe=False)
    if pa.types.is_integer(wanted) and is_number:
        return found.cast(wanted, safe=True)
    texts = pa.types.is_string(got) or pa.types.is_large_string(got) or pa.types.is_string_view(got)
    bytes_ = pa.types.is_binary(got) or pa.types.is_large_binary(got) or pa.types.is_binary_view(got)
    if got == wanted or (pa.types.is_string(wanted) and texts) or (pa.types.is_binary(wanted) and bytes_):
        return found.cast(wanted)
    raise TypeError(f"the values are {got}")
