"""From what a caller sent to typed columns, refusing what the bundle does not ask for.

Rows become columns once, here, by C-level passes over the list of rows; nothing later in serving sees a row.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.contracts import prediction
from mainspring.core.features import schema
from mainspring.core.models import sanitise
from mainspring.serving import bundles

_NONE: Final = type(None)
_ACCEPTED: Final[Mapping[str, frozenset[type]]] = {
    "float32": frozenset({int, float, _NONE}),
    "float64": frozenset({int, float, _NONE}),
    "int64": frozenset({int}),
    "bool": frozenset({bool}),
    "string": frozenset({str, _NONE}),
}
_JSON_NAMES: Final[Mapping[type, str]] = {
    str: "string",
    int: "int64",
    float: "float64",
    bool: "bool",
    _NONE: "null",
}


@dataclass(frozen=True)
class Asked:
    """A request as columns, each (n_rows,).

    `columns`: by entity, join keys and request columns; by row, the plan's input columns.
    Missing: NaN in float columns, None in string columns, keys included: an entity without a key is not found.
    """

    n_rows: int
    by_entity: bool
    columns: Mapping[str, NDArray[Any]]
    overrides: Mapping[str, NDArray[Any]]


def entity_columns(bundle: bundles.LoadedBundle) -> dict[str, schema.Column]:
    """The fields of one entity: join keys and request columns, by name."""
    return {c.name: c for c in (*bundle.feature_service.keys, *bundle.request_columns)}


def admit(
    bundle: bundles.LoadedBundle, request: prediction.PredictRequest, sanitiser: sanitise.Sanitiser
) -> Asked:
    """The request as columns of the types the bundle wants, sanitised as its policy says.

    Errors: InvalidRequest for an absent or unknown field or a value out of range, SchemaMismatch for a wrong type;
    both name the field as `entities[3].origin`.
    """
    policy = bundle.input_policy
    if request.entities is not None:
        rows, label = request.entities, "entities"
        wanted = {name: c.dtype for name, c in entity_columns(bundle).items()}
    else:
        rows, label = request.rows or [], "rows"
        wanted = dict(bundle.input_columns)
    if policy.unknown_fields == "refuse":
        check_names(label, itertools.chain.from_iterable(rows), wanted)
    columns = {
        name: typed(_pick(label, rows, name), dtype, name=name, label=label) for name, dtype in wanted.items()
    }
    return Asked(
        len(rows),
        request.entities is not None,
        sanitiser.apply(bundle.digest, policy, columns, lambda name, at: _place(label, at, name)),
        sanitiser.apply(
            bundle.digest,
            policy,
            _overrides(bundle, request),
            lambda name, at: _place("overrides", at, name),
        ),
    )


def admit_columns(
    bundle: bundles.LoadedBundle, columns: Mapping[str, NDArray[Any]], sanitiser: sanitise.Sanitiser
) -> Asked:
    """Typed columns, each (n,), as a request by row, sanitised as the bundle's policy says.

    Errors: InvalidRequest for an absent or unknown column, another length or a value out of range, SchemaMismatch for a
    type.
    """
    wanted = bundle.input_columns
    if bundle.input_policy.unknown_fields == "ignore":
        columns = {name: column for name, column in columns.items() if name in wanted}
    check_names("rows", columns, wanted)
    n_rows = len(next(iter(columns.values()), ()))
    for name, dtype in wanted.items():
        column = columns.get(name)
        if column is None or column.shape != (n_rows,):
            got = "absent" if column is None else f"of shape {list(column.shape)}, expected [{n_rows}]"
            raise errors.InvalidRequest(f"`{name}` is {got}; send every column for every row", field=name)
        expected = schema.Column(name=name, dtype=dtype).numpy_dtype
        if column.dtype != expected:
            raise errors.SchemaMismatch(
                f"`{name}` is {column.dtype}, expected {dtype}; send a {dtype}",
                feature=name,
                expected=dtype,
                got=str(column.dtype),
            )
    sane = sanitiser.apply(bundle.digest, bundle.input_policy, columns, lambda name, at: f"{name}[{at}]")
    return Asked(n_rows, False, sane, {})


def columns_key(columns: Mapping[str, NDArray[Any]]) -> str:
    """What sticks typed columns to stable or canary: all their values, sorted by name."""
    return repr([columns[name].tolist() for name in sorted(columns)])


def request_key(request: prediction.PredictRequest, bundle: bundles.LoadedBundle) -> str:
    """The text that sticks a request to stable or canary: its join keys, or its whole rows, sorted by name."""
    rows: Sequence[Mapping[str, prediction.Scalar]]
    if request.entities is not None:
        names, rows = sorted(k.name for k in bundle.feature_service.keys), request.entities
    else:
        names, rows = sorted(bundle.input_columns), request.rows or []
    return repr([[row.get(name) for row in rows] for name in names])


def typed(values: list[Any], dtype: ports.FieldType, *, name: str, label: str) -> NDArray[Any]:
    """`values` as one array of the column's type, (n,); null is NaN in floats and None in strings.

    Errors: SchemaMismatch for a wrong type, InvalidRequest for a number the type cannot hold.
    """
    accepted = _ACCEPTED[dtype]
    if not accepted.issuperset(map(type, values)):
        at = next(i for i, v in enumerate(values) if type(v) not in accepted)
        got = _JSON_NAMES.get(type(values[at]), type(values[at]).__name__)
        raise errors.SchemaMismatch(
            f"`{_place(label, at, name)}` is {got}, expected {dtype}; send a {dtype}"
            + (" or null" if _NONE in accepted else ""),
            feature=name,
            expected=dtype,
            got=got,
        )
    try:
        with np.errstate(over="ignore"):
            column = np.array(values, dtype=schema.Column(name=name, dtype=dtype).numpy_dtype)
    except OverflowError as error:
        raise _out_of_range(_place(label, 0, name), dtype) from error
    if dtype in ("float32", "float64") and np.isinf(column).any():
        raise _out_of_range(_place(label, int(np.isinf(column).argmax()), name), dtype)
    return column


def _overrides(bundle: bundles.LoadedBundle, request: prediction.PredictRequest) -> dict[str, NDArray[Any]]:
    wanted: dict[str, ports.FieldType] = dict(bundle.input_columns)
    wanted |= {c.name: c.dtype for c in (*bundle.request_columns, *bundle.feature_service.columns)}
    for key in bundle.feature_service.keys:
        # A key that is overridden after the look-up would disagree with what was looked up.
        wanted.pop(key.name, None)
    if bundle.input_policy.unknown_fields == "refuse":
        check_names("overrides", request.overrides, wanted)
    return {
        name: np.repeat(typed([value], wanted[name], name=name, label="overrides"), request.n_rows)
        for name, value in request.overrides.items()
        if name in wanted
    }


def check_names(label: str, given: Iterable[str], wanted: Iterable[str]) -> None:
    """Errors: InvalidRequest for a name that nobody asked for, with a close one."""
    known = set(wanted)
    unknown = sorted(set(given) - known)
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean `{close[0]}`" if close else f"fields are {', '.join(sorted(known))}"
        raise errors.InvalidRequest(
            f"unknown field `{unknown[0]}` in `{label}`; {hint}", field=f"{label}.{unknown[0]}"
        )


def _pick(label: str, rows: list[dict[str, prediction.Scalar]], name: str) -> list[Any]:
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        at = next(i for i, row in enumerate(rows) if name not in row)
        place = _place(label, at, name)
        raise errors.InvalidRequest(f"`{place}` is absent; every row sends it", field=place) from None


def _place(label: str, at: int, name: str) -> str:
    return f"{label}.{name}" if label == "overrides" else f"{label}[{at}].{name}"


def _out_of_range(place: str, dtype: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"`{place}` is out of the range of {dtype}; send a smaller number", field=place
    )
