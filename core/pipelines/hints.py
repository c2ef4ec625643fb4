"""What type hints of steps mean: how a value of a type travels, and whether one type may be given for another."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import types
import typing
from pathlib import Path
from typing import Any, Final

import pydantic

from mainspring.core import errors
from mainspring.core.contracts.pipelines import ValueKind

__all__ = ["adapter", "fits", "item_of", "kind_of", "name_of", "of_function"]

#: By module and name, so that neither is imported to look at a hint.
_TABLES: Final = frozenset({"polars.dataframe.frame.DataFrame", "polars.DataFrame", "pyarrow.lib.Table"})
_LISTS: Final = (list, tuple, collections.abc.Sequence)
_NUMBERS: Final = (bool, int, float)


def of_function(function: Any) -> tuple[dict[str, Any], Any]:
    """The types of a step's parameters by name, and of its answer.

    Errors: InvalidRequest for a parameter or an answer without one, or one that no value can travel as.
    """
    name = getattr(function, "__name__", "step")
    try:
        found = typing.get_type_hints(function)
    except NameError as error:
        raise errors.InvalidRequest(
            f"step `{name}` has a type hint that cannot be resolved: {error}; import it outside of `TYPE_CHECKING`",
            field=name,
        ) from error
    code = function.__code__
    if code.co_flags & 0x0C:  # *args, **kwargs
        raise errors.InvalidRequest(
            f"step `{name}` takes `*` arguments; name each argument, with a type", field=name
        )
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    lacking = [n for n in (*names, "return") if n not in found]
    if lacking:
        raise errors.InvalidRequest(
            f"step `{name}` has no type for `{lacking[0]}`; write one, such as `-> Path` or `rows: int`",
            field=f"{name}.{lacking[0]}",
        )
    for one in (*names, "return"):
        kind_of(found[one], where=f"{name}.{one}")
    return {n: found[n] for n in names}, found["return"]


def kind_of(annotation: Any, *, is_spread: bool = False, where: str = "") -> ValueKind:
    """How a value of this type is kept. Errors: InvalidRequest for a type whose values cannot travel."""
    if annotation is Path:
        return ValueKind.FILE
    if _qualified(annotation) in _TABLES:
        return ValueKind.TABLE
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        for field_type in fields_of(annotation).values():
            kind_of(field_type, where=where)
        return ValueKind.RECORD
    item = item_of(annotation)
    if item is not None and (is_spread or kind_of(item, where=where) is not ValueKind.JSON):
        return ValueKind.LIST
    adapter(annotation, where)
    return ValueKind.JSON


def item_of(annotation: Any) -> Any:
    """Of `list[T]`, `tuple[T, ...]` or `Sequence[T]`, T; of anything else None."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return arguments[0] if len(arguments) == 2 and arguments[1] is ... else None
    return arguments[0] if origin in _LISTS and arguments else None


@functools.cache
def fields_of(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields by name."""
    found = typing.get_type_hints(kind)
    return {field.name: found[field.name] for field in dataclasses.fields(kind)}


def adapter(annotation: Any, where: str = "") -> pydantic.TypeAdapter[Any]:
    """What checks and writes a JSON value of this type. Errors: InvalidRequest."""
    try:
        return pydantic.TypeAdapter(annotation)
    except pydantic.PydanticUserError as error:
        raise errors.InvalidRequest(
            f"`{where}` has type `{name_of(annotation)}`, whose values cannot travel between steps; use JSON types,"
            " a dataclass, a pydantic model, `Path` for a file, or a table of polars or pyarrow",
            field=where,
        ) from error


def fits(given: Any, wanted: Any) -> bool:
    """May a value of type `given` be taken where `wanted` is asked for. Both as hints; `Any` fits everything."""
    if wanted is Any or given is Any or given == wanted:
        return True
    if _is_union(given):
        return all(fits(one, wanted) for one in typing.get_args(given))
    if _is_union(wanted):
        return any(fits(given, one) for one in typing.get_args(wanted))
    if _qualified(given) in _TABLES and _qualified(wanted) in _TABLES:
        return True
    return _item_fits(given, wanted) or _class_fits(given, wanted)


def _item_fits(given: Any, wanted: Any) -> bool:
    given_item, wanted_item = item_of(given), item_of(wanted)
    if given_item is not None and wanted_item is not None:
        return fits(given_item, wanted_item)
    if typing.get_origin(given) is dict and typing.get_origin(wanted) is dict:
        pairs = zip(typing.get_args(given), typing.get_args(wanted), strict=False)
        return all(fits(one, other) for one, other in pairs)
    # Without parameters: `list` takes any list, and the step looks for itself.
    return typing.get_origin(given) is not None and typing.get_origin(given) is wanted


def _class_fits(given: Any, wanted: Any) -> bool:
    if not (isinstance(given, type) and isinstance(wanted, type)):
        return False
    if given in _NUMBERS and wanted in _NUMBERS:
        return _NUMBERS.index(given) <= _NUMBERS.index(wanted)
    return issubclass(given, wanted)


def name_of(annotation: Any) -> str:
    """As people write it."""
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("pathlib.", "")


def _qualified(annotation: Any) -> str:
    return f"{getattr(annotation, '__module__', '')}.{getattr(annotation, '__qualname__', '')}"


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)
