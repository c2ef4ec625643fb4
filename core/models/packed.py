"""Packed weights that the processes of a host have in memory once, whoever packed them.

Each process packs what it loads by itself, from files whose signature it verified. Then it looks whether another one has the
same bytes in sealed memory, compares all of them with its own, and lets go of its own. So nothing that another process says
is believed, and nothing that goes wrong here costs more than the memory (`docs/adr/0035-processes-share-packed-weights.md`).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.native import status

_LOG: Final = logging.getLogger("mainspring.models")

#: Smaller ones stay with their process: a connection, two files and a mapping each would cost as much.
LEAST_BYTES: Final = 1 << 16


class PackedModel(Protocol):
    """A native model: :class:`mainspring.native.mlp.Mlp`, :class:`mainspring.native.trees.Trees`."""

    @property
    def packed(self) -> NDArray[np.uint8]: ...

    @property
    def is_mapped(self) -> bool: ...

    def sealed(self) -> int: ...

    def over(self, fd: int) -> Self: ...


class Lease(Protocol):
    """Sealed memory, kept for others as well until `close`; what is mapped by then stays mapped."""

    @property
    def fd(self) -> int: ...

    def close(self) -> None: ...


class Exchange(Protocol):
    """Where the processes of a host find what others packed. Thread-safe."""

    def take(self, name: str, make: Callable[[], int]) -> Lease:
        """The memory that goes by `name`; where there is none, what `make` gives (a file that is then the exchange's).

        Errors: DependencyDown if there is nobody to ask; those of `make`.
        """
        ...


@dataclass(frozen=True)
class Size:
    """Bytes of packed weights."""

    own: int = 0
    shared: int = 0
    """In memory that other processes of the host may have, too."""

    def __add__(self, other: Size) -> Size:
        return Size(self.own + other.own, self.shared + other.shared)


@runtime_checkable
class _Packs(Protocol):
    @property
    def packed_size(self) -> Size: ...


def size_of(runtime: ports.ModelRuntime) -> Size:
    """Of what a runtime packed; nothing for those that run on other libraries."""
    return runtime.packed_size if isinstance(runtime, _Packs) else Size()


def size_of_model(model: PackedModel) -> Size:
    """Of one model."""
    bytes_ = model.packed.nbytes
    return Size(shared=bytes_) if model.is_mapped else Size(own=bytes_)


_Model = TypeVar("_Model", bound=PackedModel)
_Runtime = TypeVar("_Runtime")


def over_shared(
    build: Callable[[_Model], _Runtime], model: _Model, exchange: Exchange | None, of: str
) -> _Runtime:
    """What `build` makes of the model over memory that other processes have, too; of the model as it is where there is no
    exchange, or one that fails.

    `of` names it in the log. Others can find the memory for as long as the runtime lives.
    """
    if exchange is None or model.packed.nbytes < LEAST_BYTES:
        return build(model)
    try:
        # The name only finds it: `over` compares every byte.
        lease = exchange.take(hashlib.sha256(model.packed.data).hexdigest(), model.sealed)
    except (errors.DependencyDown, status.NativeError) as error:
        _LOG.warning("weights of `%s` are not shared with other processes: %s", of, error)
        return build(model)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(lease.close)
        try:
            runtime = build(model.over(lease.fd))
        except status.NativeError as error:
            _LOG.error("weights of `%s` are not shared: what another process gave is refused: %s", of, error)
            return build(model)
        on_failure.pop_all()
    weakref.finalize(runtime, lease.close).atexit = False  # an end of the process closes them anyway
    return runtime
