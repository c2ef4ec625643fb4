"""One kernel's run on the GPU: how it is launched, what it must have written, how many bytes that moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.bench.gpu.driver import DeviceArray

__all__ = ["NO_BAD_ROW", "Run", "differs"]

#: What `bad_row` says where all is well: 2^63 - 1 from Triton's kernels, all ones from CUDA's.
NO_BAD_ROW = (2**63 - 1, -1)


@dataclass(frozen=True)
class Run:
    """`outputs`: {what: (device memory, the answer)}; it is filled with 0xA5 before the launch that is checked."""

    name: str
    launch: Callable[[], None]
    bytes: int
    outputs: dict[str, tuple[DeviceArray, NDArray[Any]]]
    bad_row: DeviceArray | None = None
    owned: tuple[DeviceArray, ...] = field(default=(), repr=False)  # given back afterwards

    def check(self) -> str | None:
        """What is wrong with a launch's answer, or None. The kernels promise the CPU's bits, so nothing is near enough."""
        for array, _ in self.outputs.values():
            array.fill(0xA5)
        self.launch()
        for what, (array, want) in self.outputs.items():
            if (wrong := differs(what, array.get(), want)) is not None:
                return wrong
        if self.bad_row is not None and (row := int(self.bad_row.get()[0])) not in NO_BAD_ROW:
            return f"row {row} is said to be out of order"
        return None


def differs(what: str, got: NDArray[Any], want: NDArray[Any]) -> str | None:
    """Where two arrays of 32-bit values differ first, and in how many places."""
    different = got.view(np.int32) != want.view(np.int32)
    if want.dtype.kind == "f":
        different &= ~(np.isnan(got) & np.isnan(want))
    if not different.any():
        return None
    at = tuple(int(i) for i in np.argwhere(different)[0])
    return f"`{what}` differs in {int(different.sum())} of {want.size} places, first at {at}: {got[at]} instead of {want[at]}"


def all_owned(arrays: Iterable[Any]) -> tuple[DeviceArray, ...]:
    """Those that are device memory."""
    return tuple(a for a in arrays if isinstance(a, DeviceArray))
