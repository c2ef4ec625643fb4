"""On-demand views, computed by one function for rows that are served and for rows that are joined: equal bits.

Feast runs a view's function over float64 online and over the columns as they are offline, and declares the type of the
answer only online. Here the function gets its declared inputs in their declared types, and its answer is put into the
declared types, in both worlds:

    inputs      the source views' keys, the request's fields, the sources' features as `feature` and `view__feature`
    python      lists of Python's values, None for null (NaN of a float is null); a float32 is the float of that value
    pandas      float32, float64 with NaN for null; Int32, Int64, boolean (nullable), times in UTC, object for text
    singleton   one row's Python values a call

What a function cannot know in both worlds (event times, other views' columns) it does not get in either. It must take
each row by itself: what mixes rows (a mean, a rank) depends on which rows were asked together. So does, in the last bit,
`sum(axis=1)` over eight columns or more: NumPy adds them in an order that depends on the other rows (their number, and
whether one has a null; seen with pandas 2.3, NumPy 2.4). Giving a single row twice mends only the first; write `a + b`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from feast.feature_view import DUMMY_ENTITY_ID
from feast.value_type import ValueType

from mainspring.core import errors
from mainspring.core.features.feast_store import declared

__all__ = ["Input", "View", "define", "run"]

_LIST: Final = ("_LIST", "_SET")


@dataclass(frozen=True)
class Input:
    """A column that the function gets, under each of `names`; `given` is where :func:`run` finds it."""

    names: tuple[str, ...]
    given: str
    kind: ValueType
    is_request: bool = False


@dataclass(frozen=True)
class View:
    """What of one on-demand view was asked, as its definition says. `types` has the asked features' declared types."""

    name: str
    prefix: str
    mode: str
    function: Callable[[Any], Any]
    inputs: tuple[Input, ...]
    types: Mapping[str, ValueType]

    def label(self, feature: str, full_feature_names: bool) -> str:
        return f"{self.prefix}__{feature}" if full_feature_names else feature


def define(view: Any, refs: Iterable[str], sources: Sequence[Any]) -> View:
    """The asked part of a Feast OnDemandFeatureView; `sources` are the views that the question reads, at least its own.

    Errors: InvalidRequest for a mode that is neither `python` nor `pandas`.
    """
    mode = str(getattr(view.mode, "value", view.mode))
    if mode not in _CALLS or view.aggregations or view.feature_transformation is None:
        got = "aggregations" if view.aggregations else f"mode `{mode}`"
        raise errors.InvalidRequest(
            f"on-demand view `{view.name}` has {got}, which would be computed otherwise online than offline;"
            ' write it with mode="python" or mode="pandas"',
            field=view.name,
        )
    prefix = view.projection.name_to_use()
    asked = {feature for name, _, feature in (ref.partition(":") for ref in refs) if name == prefix}
    inputs: dict[str, Input] = {}
    by_name = {source.projection.name_to_use(): source for source in sources}
    for projection in view.source_feature_view_projections.values():
        source = by_name.get(projection.name)
        if source is None:
            continue
        for key in source.entity_columns:
            if key.name != DUMMY_ENTITY_ID:
                name = source.projection.join_key_map.get(key.name, key.name)
                inputs[name] = Input((name,), name, key.dtype.to_value_type())
    for name, kind in view.get_request_data_schema().items():
        inputs[name] = Input((name,), name, kind, is_request=True)
    for projection in view.source_feature_view_projections.values():
        for field in projection.features:
            full = f"{projection.name}__{field.name}"
            inputs[full] = Input((field.name, full), full, field.dtype.to_value_type())
    return View(
        name=view.name,
        prefix=prefix,
        mode="singleton" if mode == "python" and view.singleton else mode,
        function=view.feature_transformation.udf,
        inputs=tuple(inputs.values()),
        types={f.name: f.dtype.to_value_type() for f in view.features if f.name in asked},
    )


def run(view: View, given: Mapping[str, Any], rows: int) -> dict[str, declared.Column]:
    """The asked features, in the order in which the function gives them; `rows` values each.

    `given` has the keys and the request's fields by name, the sources' features as `view__feature`. Without rows the
    function is not called.

    Errors: InvalidRequest for an absent input, for what the function raises, for an absent feature and one that has not
            a value a row; SchemaMismatch for values that are not of their declared type.
    """
    what = f"on-demand view `{view.name}`"
    columns: dict[str, declared.Column] = {}
    for wanted in view.inputs:
        if wanted.given not in given:
            asked = "which no entity row has; send it" if wanted.is_request else "which was not read"
            raise errors.InvalidRequest(f"{what} needs `{wanted.given}`, {asked}", field=wanted.given)
        values = declared.column(
            given[wanted.given], wanted.kind, name=wanted.given, what=f"inputs of {what}"
        )
        columns |= dict.fromkeys(wanted.names, values)
    if rows == 0:
        return {name: declared.empty(kind) for name, kind in view.types.items()}
    answer = _CALLS[view.mode](view, columns, rows)
    order = {name: full for full in answer for name in (_short(view, full, answer),) if name in view.types}
    found = {}
    for name, full in order.items():
        found[name] = declared.column(answer[full], view.types[name], name=name, what=what)
    if absent := [name for name in view.types if name not in found]:
        raise errors.InvalidRequest(
            f"{what} gives no `{absent[0]}`, it gives {sorted(map(str, answer))}; return what its schema declares",
            field=f"{view.name}.{absent[0]}",
        )
    return found


def _short(view: View, name: str, answer: Mapping[str, Any]) -> str:
    """A function may call its features `view__feature`, too."""
    short = str(name).removeprefix(f"{view.prefix}__")
    return name if short in answer else short


def _called(view: View, inputs: Any) -> Any:
    try:
        return view.function(inputs)
    except Exception as error:  # whatever a user's function raises
        raise errors.InvalidRequest(
            f"on-demand view `{view.name}` failed with {type(error).__name__}: {error};"
            " mend its function (its inputs are declared ones, and null is None or NaN)",
            field=view.name,
        ) from error


def _python(view: View, columns: Mapping[str, declared.Column], rows: int) -> dict[str, Any]:
    answer = _called(view, {name: declared.python(values) for name, values in columns.items()})
    answer = _mapping(view, answer)
    for name in answer:
        if _short(view, name, answer) in view.types:
            _check_rows(view, name, answer[name], rows)
    return answer


def _singleton(view: View, columns: Mapping[str, declared.Column], rows: int) -> dict[str, Any]:
    """By row. A feature may come in a list of one, which Feast takes for the value."""
    values = {name: declared.python(column) for name, column in columns.items()}
    found: dict[str, list[Any]] = {}
    for row in range(rows):
        answer = _called(view, {name: column[row] for name, column in values.items()})
        for name, value in _mapping(view, answer).items():
            short = _short(view, name, answer)
            if short in view.types:
                found.setdefault(short, []).append(_one(value, view.types[short]))
    for name, column in found.items():
        _check_rows(view, name, column, rows)
    return found


def _one(value: Any, kind: ValueType) -> Any:
    is_wrapped = isinstance(value, list) and len(value) == 1
    if is_wrapped and (not kind.name.endswith(_LIST) or isinstance(value[0], list)):
        return value[0]
    return value


def _pandas(view: View, columns: Mapping[str, declared.Column], rows: int) -> dict[str, Any]:
    kinds = {name: wanted.kind for wanted in view.inputs for name in wanted.names}
    answer = _called(view, declared.frame(columns, kinds))
    if not isinstance(answer, pd.DataFrame):
        raise errors.InvalidRequest(
            f"on-demand view `{view.name}` gives a {type(answer).__name__}, expected a DataFrame; return one",
            field=view.name,
        )
    if len(set(answer.columns)) != len(answer.columns):
        raise errors.InvalidRequest(
            f"on-demand view `{view.name}` gives a column twice, of {list(answer.columns)}; drop one",
            field=view.name,
        )
    for name in answer.columns:
        if _short(view, name, answer) in view.types:
            _check_rows(view, name, answer[name], rows)
    return {name: answer[name] for name in answer.columns}


def _mapping(view: View, answer: Any) -> dict[str, Any]:
    if not isinstance(answer, Mapping):
        raise errors.InvalidRequest(
            f"on-demand view `{view.name}` gives a {type(answer).__name__}, expected values by feature; return a dict",
            field=view.name,
        )
    return dict(answer)


def _check_rows(view: View, name: str, values: Any, rows: int) -> None:
    # An array without dimensions has a length that it does not tell; a set has no order.
    is_column = hasattr(values, "__len__") and getattr(values, "ndim", 1) > 0
    is_column = is_column and not isinstance(values, (str, bytes, Mapping, set, frozenset))
    if not is_column or len(values) != rows:
        got = f"{len(values)} values" if is_column else f"a {type(values).__name__}"
        raise errors.InvalidRequest(
            f"on-demand view `{view.name}` gives {got} for `{name}`, expected {rows}; return one a row",
            field=f"{view.name}.{name}",
        )


_CALLS: Final[Mapping[str, Callable[[View, Mapping[str, declared.Column], int], dict[str, Any]]]] = {
    "python": _python,
    "singleton": _singleton,
    "pandas": _pandas,
}
