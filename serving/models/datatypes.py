"""The datatypes of the Open Inference Protocol v2: in memory, and as raw little-endian bytes on the wire.

In memory BYTES is an object array of `bytes`, and BF16 is float32, into which it widens exactly; on the way out BF16
is rounded to nearest, ties to even. FP16 and BF16 have no JSON form, as in Triton: they travel binary only.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors

Kind = Literal["bool", "int", "float", "bytes"]

_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True)
class Datatype:
    """One datatype. `numpy` is the type in memory, `size` the bytes of an element on the wire (0: they vary)."""

    name: str
    numpy: np.dtype[Any]
    size: int
    kind: Kind
    config_name: str
    """As Triton's model configuration writes it."""

    @property
    def has_json(self) -> bool:
        return self.name not in ("FP16", "BF16")


def _plain(name: str, numpy: str, kind: Kind) -> Datatype:
    dtype = np.dtype(numpy)
    return Datatype(name, dtype, dtype.itemsize, kind, f"TYPE_{name}")


DATATYPES: Final[Mapping[str, Datatype]] = {
    d.name: d
    for d in (
        _plain("BOOL", "?", "bool"),
        *(_plain(f"UINT{bits}", f"<u{bits // 8}", "int") for bits in (8, 16, 32, 64)),
        *(_plain(f"INT{bits}", f"<i{bits // 8}", "int") for bits in (8, 16, 32, 64)),
        *(_plain(f"FP{bits}", f"<f{bits // 8}", "float") for bits in (16, 32, 64)),
        Datatype("BF16", np.dtype("<f4"), 2, "float", "TYPE_BF16"),
        Datatype("BYTES", np.dtype(object), 0, "bytes", "TYPE_STRING"),
    )
}


def read_raw(raw: bytes | memoryview, datatype: Datatype, count: int, tensor: str) -> NDArray[Any]:
    """`count` elements out of `raw`, flat. What is returned may be a read-only view of `raw`.

    Memory: nothing is allocated before the length of `raw` is known to fit, so `count` may be any number.
    Errors: InvalidRequest naming `tensor` for another length, a BOOL that is neither 0 nor 1, or BYTES whose lengths
    do not add up.
    """
    if datatype.kind == "bytes":
        return _read_bytes(memoryview(raw), count, tensor)
    if len(raw) != count * datatype.size:
        raise errors.InvalidRequest(
            f"input `{tensor}` has {len(raw)} bytes, expected {count * datatype.size}: {count} of {datatype.name};"
            " send data that fits the shape",
            field=tensor,
        )
    if datatype.name == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    if datatype.kind == "bool":
        bits = np.frombuffer(raw, np.uint8)
        if bits.size and bits.max() > 1:
            raise errors.InvalidRequest(
                f"input `{tensor}` has a BOOL byte of {bits.max()}; send 0 or 1", field=tensor
            )
        return bits.view(np.bool_)
    values = np.frombuffer(raw, datatype.numpy)
    # Kernels read whole vectors: a tensor that starts in the middle of a body may lie anywhere.
    return values if values.flags.aligned else values.copy()


def write_raw(values: NDArray[Any], datatype: Datatype) -> bytes:
    """The elements in row-major order as they go on the wire."""
    if datatype.kind == "bytes":
        pieces: list[bytes] = []
        for value in values.ravel().tolist():
            data = value.encode() if isinstance(value, str) else value
            pieces += (_LENGTH.pack(len(data)), data)
        return b"".join(pieces)
    if datatype.name == "BF16":
        return _to_bf16(values).tobytes()
    return values.tobytes()


def _read_bytes(raw: memoryview, count: int, tensor: str) -> NDArray[Any]:
    # Each element has at least its length: a count that could not fit is refused before the array is made.
    if count * _LENGTH.size > len(raw):
        raise _torn(tensor, count, len(raw))
    values = np.empty(count, object)
    at, end = 0, len(raw)
    for i in range(count):
        if at + _LENGTH.size > end:
            raise _torn(tensor, count, end)
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if at + length > end:
            raise _torn(tensor, count, end)
        values[i] = raw[at : at + length].tobytes()
        at += length
    if at != end:
        raise errors.InvalidRequest(
            f"input `{tensor}` has {end - at} bytes after its {count} BYTES elements; send data that fits the shape",
            field=tensor,
        )
    return values


def _torn(tensor: str, count: int, n_bytes: int) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"input `{tensor}` has {n_bytes} bytes, too few for {count} BYTES elements; send each as a 4-byte"
        " little-endian length and its bytes",
        field=tensor,
    )


def _to_bf16(values: NDArray[Any]) -> NDArray[np.uint16]:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding a NaN could carry into an infinity: it keeps its upper bits and stays quiet.
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype("<u2")
