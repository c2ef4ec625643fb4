"""The seam between protocols and what executes: named tensors in, named tensors out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.serving.models import datatypes

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class TensorSpec:
    """One named tensor; -1 in `shape` is a dimension that varies and is at least 1."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def type(self) -> datatypes.Datatype:
        return datatypes.DATATYPES[self.datatype]


@dataclass(frozen=True)
class Signature:
    """What one version of a model takes and gives.

    `max_batch_size` above 0: the first dimension of every tensor is the batch, of 1 to that many rows.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    platform: str
    max_batch_size: int = 0
    inputs_by_name: Mapping[str, TensorSpec] = field(init=False, repr=False, compare=False)
    outputs_by_name: Mapping[str, TensorSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs_by_name", {spec.name: spec for spec in self.inputs})
        object.__setattr__(self, "outputs_by_name", {spec.name: spec for spec in self.outputs})

    def rows(self, inputs: Tensors) -> int:
        """How many rows a request has: what metrics and batches count."""
        if not self.max_batch_size:
            return 1
        return int(inputs[self.inputs[0].name].shape[0])


@dataclass(frozen=True)
class Inferred:
    """An answer: the version that gave it and every output of its signature."""

    version: str
    outputs: Tensors


class TensorModel(Protocol):
    """A model that can be called. Thread-safe; :meth:`infer` may block, so loops run it through the gate."""

    @property
    def name(self) -> str: ...

    def versions(self) -> tuple[str, ...]:
        """What can be asked for, the default first."""
        ...

    def signature(self, version: str) -> Signature:
        """Of one version; "" is the default. Errors: NotFound."""
        ...

    def is_resident(self, version: str) -> bool:
        """Whether :meth:`infer` needs not load anything first."""
        ...

    def infer(self, version: str, inputs: Tensors) -> Inferred:
        """Run one request whose inputs fit the signature; "" lets the model choose the version."""
        ...


def checked(outputs: Tensors, signature: Signature, model: str) -> Tensors:
    """`outputs` if they are what the signature says, else InvariantViolated."""
    for spec in signature.outputs:
        value = outputs.get(spec.name)
        if value is None or value.dtype != spec.type.numpy or not fits(spec.shape, value.shape):
            got = "nothing" if value is None else f"{value.dtype} {value.shape}"
            raise errors.InvariantViolated(
                f"model `{model}` gave {got} for output `{spec.name}`, its signature says {spec.datatype}"
                f" {list(spec.shape)}; correct the model",
                where=f"model.{model}",
            )
    return outputs


def fits(declared: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a shape is one that was declared."""
    if len(declared) != len(shape):
        return False
    for wanted, got in zip(declared, shape, strict=True):  # noqa: SIM110 - a generator costs three times as much
        if wanted != got and wanted != -1:
            return False
    return True
