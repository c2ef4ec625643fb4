"""Predictions that are asked by columns: from what an Arrow stream holds to what a bundle wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.features import schema
from mainspring.core.models import sanitise
from mainspring.serving import admission, bundles

_ROWS: Final = "rows"
_ENTITIES: Final = "entities"


@dataclass(frozen=True)
class Column:
    """`values` (n,): float, int64, bool, or object of `str`; `missing` (n,) bool, None: none is. Missing values are anything."""

    values: NDArray[Any]
    missing: NDArray[np.bool_] | None = None

    def part(self, first: int, end: int) -> Column:
        return Column(self.values[first:end], None if self.missing is None else self.missing[first:end])


@dataclass(frozen=True)
class Columns:
    """Rows of the plan's inputs, or entities with their request columns, each column (n_rows,)."""

    n_rows: int
    by_entity: bool
    columns: Mapping[str, Column]

    @property
    def label(self) -> str:
        return _ENTITIES if self.by_entity else _ROWS

    def part(self, first: int, end: int) -> Columns:
        """Some rows of it."""
        rows = range(self.n_rows)[first:end]
        parts = {name: column.part(rows.start, rows.stop) for name, column in self.columns.items()}
        return Columns(len(rows), self.by_entity, parts)


def admit(bundle: bundles.LoadedBundle, asked: Columns, sanitiser: sanitise.Sanitiser) -> admission.Asked:
    """The columns of the types the bundle wants, sanitised as its policy says; whole numbers do for floats.

    Errors: InvalidRequest for an absent or unknown column or a value out of range, SchemaMismatch for a type, or a missing
    value where the type has none; both name the place as `rows[3].origin`.
    """
    if asked.by_entity:
        wanted = {name: c.dtype for name, c in admission.entity_columns(bundle).items()}
    else:
        wanted = dict(bundle.input_columns)
    if bundle.input_policy.unknown_fields == "refuse":
        admission.check_names(asked.label, asked.columns, wanted)
    typed = {}
    for name, dtype in wanted.items():
        if name not in asked.columns:
            raise errors.InvalidRequest(
                f"column `{name}` is absent; send every column that the bundle asks for",
                field=f"{asked.label}.{name}",
            )
        typed[name] = _typed(asked.columns[name], dtype, name, asked.label)
    sane = sanitiser.apply(
        bundle.digest, bundle.input_policy, typed, lambda name, at: f"{asked.label}[{at}].{name}"
    )
    return admission.Asked(asked.n_rows, asked.by_entity, sane, {})


def key(asked: Columns, bundle: bundles.LoadedBundle) -> str:
    """What sticks a request to stable or canary: as `admission.request_key` of the same rows."""
    names = [k.name for k in bundle.feature_service.keys] if asked.by_entity else list(bundle.input_columns)
    return repr([_plain(asked.columns.get(name)) for name in sorted(names)])


def _plain(column: Column | None) -> list[Any]:
    if column is None:
        return []
    values: list[Any] = column.values.tolist()
    if column.missing is None:
        return values
    return [None if gone else value for value, gone in zip(values, column.missing.tolist(), strict=True)]


def _typed(column: Column, dtype: ports.FieldType, name: str, label: str) -> NDArray[Any]:
    values, missing = column.values, column.missing
    wanted = schema.Column(name=name, dtype=dtype).numpy_dtype
    takes = {"string": "O", "int64": "i", "bool": "b"}.get(dtype, "fi")
    if values.dtype.kind not in takes:
        raise _mismatch(f"`{label}.{name}`", name, dtype, _named(values.dtype))
    if dtype == "string":
        return values if missing is None else np.where(missing, np.array(None), values)
    if dtype in ("int64", "bool"):
        if missing is not None and missing.any():
            raise _mismatch(f"`{label}[{int(missing.argmax())}].{name}`", name, dtype, "null")
        return values
    with np.errstate(over="ignore"):
        made = values.astype(wanted)
    beyond = np.isinf(made) & np.isfinite(values)
    if missing is not None:
        made[missing] = np.nan
        beyond &= ~missing
    if beyond.any():
        place = f"{label}[{int(beyond.argmax())}].{name}"
        raise errors.InvalidRequest(
            f"`{place}` is out of the range of {dtype}; send a smaller number", field=place
        )
    return made


def _named(dtype: np.dtype[Any]) -> str:
    return "string" if dtype.kind == "O" else str(dtype)


def _mismatch(place: str, name: str, expected: str, got: str) -> errors.SchemaMismatch:
    return errors.SchemaMismatch(
        f"{place} is {got}, expected {expected}; send a {expected}", feature=name, expected=expected, got=got
    )
