"""The `data` of JSON tensors: flat or nested as the shape says, strict about types, in C."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.serving.models import datatypes

_PYTHON: Final[dict[datatypes.Kind, type]] = {"bool": bool, "int": int, "float": float, "bytes": str}

#: Nesting beyond this is refused before it is parsed: msgspec has a decoder for each depth.
MAX_RANK: Final = 16


def read(
    data: msgspec.Raw, datatype: datatypes.Datatype, shape: tuple[int, ...], tensor: str
) -> NDArray[Any]:
    """The elements as an array of `shape`.

    Errors: InvalidRequest naming `tensor` for malformed JSON, another count or nesting than the shape's, values of
    another type, numbers out of the datatype's range, and FP16 and BF16, which have no JSON form.
    """
    if not datatype.has_json:
        raise errors.InvalidRequest(
            f"input `{tensor}` is {datatype.name}, which has no JSON form; send it with `binary_data_size`",
            field=tensor,
        )
    depth = _depth(data, tensor)
    if depth not in (1, len(shape)):
        raise errors.InvalidRequest(
            f"`data` of input `{tensor}` is nested {depth} deep, expected flat or as shape {list(shape)}; send either",
            field=tensor,
        )
    try:
        values = _decoder(_PYTHON[datatype.kind], depth).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error, datatype, tensor) from error
    if depth > 1:
        values = _flat(values, shape, tensor)
    if len(values) != math.prod(shape):
        raise errors.InvalidRequest(
            f"`data` of input `{tensor}` has {len(values)} elements, shape {list(shape)} has {math.prod(shape)};"
            " send one value for each",
            field=tensor,
        )
    return _array(values, datatype, tensor).reshape(shape)


def write(values: NDArray[Any], datatype: datatypes.Datatype, tensor: str) -> NDArray[Any] | list[str]:
    """What orjson writes for `data`: flat, row-major.

    Errors: InvalidRequest for what JSON cannot carry: FP16, BF16, NaN, infinities, BYTES that are not UTF-8.
    """
    if not datatype.has_json:
        raise _ask_binary(tensor, f"is {datatype.name}, which has no JSON form")
    if datatype.kind == "bytes":
        try:
            return [v if isinstance(v, str) else v.decode() for v in values.ravel().tolist()]
        except UnicodeDecodeError:
            raise _ask_binary(tensor, "has bytes that are not UTF-8") from None
    if datatype.kind == "float" and not np.isfinite(values).all():
        raise _ask_binary(tensor, "has values that are not finite, which JSON cannot carry")
    return values.ravel()


def _depth(data: msgspec.Raw, tensor: str) -> int:
    """How many brackets `data` opens with."""
    depth = 0
    for byte in memoryview(data):
        if byte == 0x5B:  # [
            depth += 1
            if depth > MAX_RANK:
                raise errors.InvalidRequest(
                    f"`data` of input `{tensor}` is nested more than {MAX_RANK} deep; send it flat",
                    field=tensor,
                )
        elif byte not in b" \t\r\n":
            break
    if depth == 0:
        raise errors.InvalidRequest(
            f"input `{tensor}` has no `data` list; send `data`, or `binary_data_size` and the bytes",
            field=tensor,
        )
    return depth


@functools.cache
def _decoder(element: type, depth: int) -> msgspec.json.Decoder[list[Any]]:
    kind: Any = element
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _flat(values: list[Any], shape: tuple[int, ...], tensor: str) -> list[Any]:
    for axis, length in enumerate(shape):
        groups = [values] if axis == 0 else values
        if any(len(group) != length for group in groups):
            got = next(len(group) for group in groups if len(group) != length)
            raise errors.InvalidRequest(
                f"`data` of input `{tensor}` has {got} elements in dimension {axis}, shape {list(shape)} has {length};"
                " nest it as the shape says, or send it flat",
                field=tensor,
            )
        values = values if axis == 0 else list(itertools.chain.from_iterable(values))
    return values


def _array(values: list[Any], datatype: datatypes.Datatype, tensor: str) -> NDArray[Any]:
    if datatype.kind == "bytes":
        array = np.empty(len(values), object)
        array[:] = [value.encode() for value in values]
        return array
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, datatype.numpy)
    except OverflowError:
        raise _out_of_range(datatype, tensor) from None
    # JSON has no infinity: one that is there now came from a number too large.
    if datatype.kind == "float" and np.isinf(array).any():
        raise _out_of_range(datatype, tensor)
    return array


def _malformed(error: Exception, datatype: datatypes.Datatype, tensor: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"`data` of input `{tensor}` is not {datatype.name}: {str(error)[:120]}; send a list of"
        f" {_PYTHON[datatype.kind].__name__}",
        field=tensor,
    )


def _out_of_range(datatype: datatypes.Datatype, tensor: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"`data` of input `{tensor}` has a number out of the range of {datatype.name}; send a smaller one",
        field=tensor,
    )


def _ask_binary(tensor: str, why: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"output `{tensor}` {why}; ask for it with `binary_data`", field=tensor)
