"""What a runtime is built from: a bundle's model, or a step of an ensemble; and what it will be given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from mainspring.core import ports
from mainspring.core.models import manifest


class ModelSource(Protocol):
    """A verified model: a :class:`mainspring.core.models.bundle.Bundle`, or a :class:`Part` of one."""

    @property
    def digest(self) -> str:
        """Names it in messages."""
        ...

    @property
    def kind(self) -> manifest.Kind: ...

    @property
    def model(self) -> dict[str, Any]:
        """How it is asked."""
        ...

    @property
    def weights(self) -> bytes:
        """What was learned."""
        ...


class PlanOutput(Protocol):
    """Names of what a plan gives, in order: a compiled program, or :class:`Given`."""

    @property
    def dense_names(self) -> tuple[str, ...]: ...

    @property
    def id_names(self) -> tuple[str, ...]: ...

    @property
    def id_sizes(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Part:
    """One step of an ensemble."""

    digest: str
    kind: manifest.Kind
    model: dict[str, Any]
    weights: bytes


@dataclass(frozen=True)
class Given:
    """What a step is given."""

    dense_names: tuple[str, ...]
    id_names: tuple[str, ...]
    id_sizes: tuple[int, ...]


#: Builds the runtime of one model.
ModelFactory: TypeAlias = Callable[[ModelSource, PlanOutput], ports.ModelRuntime]
