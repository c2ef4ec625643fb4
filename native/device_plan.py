"""A feature program for a GPU: the same spec, checked and compiled by the same code, as one block of bytes.

    >>> from mainspring.native import device_plan
    >>> plan = device_plan.compile({
    ...     "version": 1,
    ...     "inputs": [{"name": "price", "type": "float32"}, {"name": "user", "type": "int64"}],
    ...     "dense": [{"op": "numeric", "source": "price", "fill": 2.0}],
    ...     "ids": [{"op": "hash", "source": "user", "buckets": 1000}],
    ... })
    >>> (plan.width, plan.n_ids, plan.names("int64"))
    (1, 1, ['user'])

The CUDA library (`cuda/program.h`) takes the bytes as they are, and so do the kernels of `triton/program.py`; what is in
them is in `include/mainspring/device_plan.h`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.native import _native, program, status
from mainspring.native import spec as specs

__all__ = ["DevicePlan", "Group", "compile"]

_HEADER: Final = (
    "magic", "version", "bytes", "n_floats", "n_ints", "n_events", "n_windows", "width", "n_ids", "dense_at",
    "windows_at", "ids_at",
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Windows over one event list as seen from one column of moments: by their indices among all windows."""

    events: int
    as_of: int
    windows: tuple[int, ...]


@dataclass(frozen=True)
class DevicePlan:
    """What `compile` makes. Immutable."""

    image: bytes = field(repr=False)
    inputs: tuple[specs.Column, ...]

    def names(self, kind: specs.ColumnType) -> list[str]:
        """The inputs of one type, in the order in which the device wants them."""
        return [c.name for c in self.inputs if c.type == kind]

    @property
    def width(self) -> int:
        """Columns of the dense matrix."""
        return self.header["width"]

    @property
    def n_ids(self) -> int:
        """Id columns."""
        return self.header["n_ids"]

    @functools.cached_property
    def header(self) -> Mapping[str, int]:
        """Counts, and where each table begins, in bytes."""
        return dict(zip(_HEADER, self.words[: len(_HEADER)].tolist(), strict=True))

    @functools.cached_property
    def words(self) -> NDArray[np.int64]:
        """The bytes as 64-bit words, read-only."""
        return np.frombuffer(self.image, "<i8")

    @functools.cached_property
    def groups(self) -> tuple[Group, ...]:
        """The windows, by what they read."""
        at = self.header["windows_at"] // 8
        table = self.words[at : at + 4 * self.header["n_windows"]].reshape(-1, 4)[:, :2].tolist()
        found: dict[tuple[int, int], list[int]] = {}
        for i, (events, as_of) in enumerate(table):
            found.setdefault((events, as_of), []).append(i)
        return tuple(Group(*key, tuple(windows)) for key, windows in found.items())


def compile(spec: Mapping[str, Any]) -> DevicePlan:
    """Check a spec and lay it out.

    Errors: NativeError `bad_spec`, as from `program.Program`, and for inputs of strings or lists, and so for bags: a
    device has no strings, and writes outputs of known sizes only.
    """
    program.Program(spec, target="generic")  # its refusals name the column
    decoded = specs.decode(spec)
    if strings := decoded.names("string"):
        raise status.NativeError(
            "bad_spec", f"a device takes no strings, got `{strings[0]}`; hash it into an int64 column before"
        )
    if decoded.bags:
        op, source = spec["bags"][0]["op"], spec["bags"][0]["source"]
        raise status.NativeError(
            "bad_spec", f"a device takes no bags, got `bags[0]`, a {op} of `{source}`; run them on the CPU"
        )
    if lists := decoded.names("int64_list") + decoded.names("string_list"):
        raise status.NativeError("bad_spec", f"a device takes no lists, got `{lists[0]}`; leave it out")
    floats, ints, events = (decoded.names(kind) for kind in ("float32", "int64", "events"))
    image = _native.device_plan(floats, ints, events, decoded.windows, decoded.dense, decoded.ids)
    return DevicePlan(image, decoded.inputs)
