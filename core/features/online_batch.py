"""A batch of pushed rows, checked and typed before anything is touched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from mainspring.core import errors, ports

__all__ = ["Batch", "KeyColumn", "check_view", "empty", "parse", "parse_keys"]

KeyColumn = list[str | int | None]

_INT64: Final = (-(2**63), 2**63 - 1)
_EMPTY: Final[Mapping[str, tuple[Any, npt.DTypeLike]]] = {
    "float32": (np.nan, np.float32),
    "float64": (np.nan, np.float64),
    "int64": (0, np.int64),
    "bool": (False, np.bool_),
    "string": ("", np.object_),
}
_ACCEPTED: Final[Mapping[str, tuple[type, ...]]] = {
    "float32": (float, int, np.floating, np.integer),
    "float64": (float, int, np.floating, np.integer),
    "int64": (int, np.integer),
    "bool": (bool, np.bool_),
    "string": (str,),
}


@dataclass(frozen=True)
class Batch:
    """Rows of one view: a column a join key, times and, per field, values with a validity mask (all of one length)."""

    keys: list[KeyColumn]
    key_types: tuple[str, ...]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    valid: Mapping[str, NDArray[np.bool_]]


def empty(kind: ports.FieldType) -> tuple[Any, npt.DTypeLike]:
    """What a missing value of that type is, and its NumPy type."""
    return _EMPTY[kind]


def check_view(view: ports.ViewSchema) -> None:
    """InvalidRequest unless the view has keys and fields, all named once, and a positive TTL or none."""
    names = [*view.join_keys, *view.field_names]
    problem = ""
    if not view.name or not view.join_keys or not view.fields:
        problem = "needs a name, a join key and a field"
    elif len(set(names)) != len(names):
        problem = f"names a column twice: {names}"
    elif unknown := [kind for _, kind in view.fields if kind not in _EMPTY]:
        problem = f"has field type `{unknown[0]}`; types are {sorted(_EMPTY)}"
    elif view.ttl_seconds is not None and not (math.isfinite(view.ttl_seconds) and view.ttl_seconds > 0):
        problem = f"has TTL {view.ttl_seconds}; give seconds above 0, or None for rows that never age"
    if problem:
        raise errors.InvalidRequest(f"view `{view.name}` {problem}; correct the definition", field="view")


def parse(
    view: ports.ViewSchema,
    keys: ports.KeyColumns,
    event_us: NDArray[np.int64],
    created_us: NDArray[np.int64],
    columns: Mapping[str, Sequence[Any]],
) -> Batch:
    """The batch, typed as the view says. Errors: SchemaMismatch, naming the column."""
    key_columns, key_types = parse_keys(view, keys, null_allowed=False)
    n = len(key_columns[0])
    extra = sorted(set(columns) - set(view.field_names))
    if extra:
        raise _mismatch(
            view, extra[0], "one of its fields", "an unknown column", f"it has {list(view.field_names)}"
        )
    parsed: dict[str, NDArray[Any]] = {}
    valid: dict[str, NDArray[np.bool_]] = {}
    for name, kind in view.fields:
        if name not in columns:
            raise _mismatch(view, name, f"{kind} values", "no column", "send nulls where there is no value")
        parsed[name], valid[name] = _column(view, name, kind, columns[name], n)
    return Batch(
        key_columns,
        key_types,
        _times(view, "event_us", event_us, n),
        _times(view, "created_us", created_us, n),
        parsed,
        valid,
    )


def parse_keys(
    view: ports.ViewSchema, keys: ports.AskedKeys, *, null_allowed: bool
) -> tuple[list[KeyColumn], tuple[str, ...]]:
    """A column a join key, and the type of each ("" where no row tells it). Errors: SchemaMismatch."""
    for name in keys:
        if name not in view.join_keys:
            raise _mismatch(view, name, f"keys {list(view.join_keys)}", "another key", "send exactly these")
    parsed: list[KeyColumn] = []
    types: list[str] = []
    for name in view.join_keys:
        if name not in keys:
            raise _mismatch(view, name, f"keys {list(view.join_keys)}", "no such key", "send exactly these")
        values, kind = _key_column(view, name, keys[name], null_allowed=null_allowed)
        if parsed and len(values) != len(parsed[0]):
            raise _mismatch(view, name, f"{len(parsed[0])} values", f"{len(values)}", "send one value a row")
        parsed.append(values)
        types.append(kind)
    return parsed, tuple(types)


def _key_column(
    view: ports.ViewSchema, name: str, values: Any, *, null_allowed: bool
) -> tuple[KeyColumn, str]:
    plain: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    kinds = set(map(type, plain))
    nulls = type(None) in kinds
    kinds.discard(type(None))
    if nulls and not null_allowed:
        raise _mismatch(view, name, "a key", "null", "drop the rows without a key")
    if kinds <= {str, np.str_}:
        return plain, "string" if kinds else ""
    if kinds <= {int, np.int64, np.int32} and all(v is None or _INT64[0] <= v <= _INT64[1] for v in plain):
        return [None if v is None else int(v) for v in plain], "int64"
    got = ", ".join(sorted(k.__name__ for k in kinds))
    raise _mismatch(view, name, "string or int64 keys of one type", got, "cast it")


def _times(view: ports.ViewSchema, name: str, values: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype != np.int64 and not (array.size == 0 == n):
        raise _mismatch(view, name, "int64 UTC microseconds", f"type {array.dtype}", "convert the times")
    if array.shape != (n,):
        raise _mismatch(view, name, f"{n} values", f"shape {array.shape}", "send one time a row")
    if array.size and array.min() < 0:
        raise _mismatch(view, name, "times from 1970 on", f"{array.min()}", "send UTC microseconds")
    return array.astype(np.int64)


def _column(
    view: ports.ViewSchema, name: str, kind: ports.FieldType, values: Any, n: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    fill, dtype = _EMPTY[kind]
    if len(values) != n:
        raise _mismatch(view, name, f"{n} values", f"{len(values)}", "send one value a row")
    if (
        isinstance(values, np.ndarray)
        and kind in ("float32", "float64")
        and values.dtype == dtype
        and values.ndim == 1
    ):
        return values.copy(), ~np.isnan(values)
    plain = list(values)
    present = np.array([v is not None and v == v for v in plain], np.bool_)
    accepted = _ACCEPTED[kind]
    for value, there in zip(plain, present.tolist(), strict=True):
        if there and (not isinstance(value, accepted) or (isinstance(value, bool) and kind != "bool")):
            raise _mismatch(view, name, f"{kind} values", f"{type(value).__name__} `{value}`", "cast it")
    column = np.full(n, fill, dtype)
    try:
        with np.errstate(
            over="ignore"
        ):  # a float64 beyond float32's range becomes an infinity, as a cast does
            column[present] = [v for v in plain if v is not None and v == v]
    except OverflowError as error:
        raise _mismatch(view, name, f"{kind} values", "a number out of range", "clip it") from error
    return column, present


def _mismatch(
    view: ports.ViewSchema, name: str, expected: str, got: str, next_step: str
) -> errors.SchemaMismatch:
    return errors.SchemaMismatch(
        f"`{name}` of view `{view.name}`: expected {expected}, got {got}; {next_step}",
        feature=name,
        expected=expected,
        got=got,
    )
