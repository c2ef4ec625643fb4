"""Where two real things plug in: the online feature store, the model runtime, and the ring of keys.

Temporal, MLflow, Feast and Evidently have one implementation each: they get one adapter file and no interface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

FieldType = Literal["float32", "float64", "int64", "bool", "string"]
KeyColumns = Mapping[str, Sequence[str | int]]
#: Of a look: a key that is None has no row.
AskedKeys = Mapping[str, Sequence[str | int | None]]


class FeatureStatus(IntEnum):
    """Why a looked-up row has values, or has none. One byte a row."""

    PRESENT = 0
    NOT_FOUND = 1
    OUTSIDE_MAX_AGE = 2


@dataclass(frozen=True)
class ViewSchema:
    """The shape of one online feature view."""

    name: str
    join_keys: tuple[str, ...]
    fields: tuple[tuple[str, FieldType], ...]
    ttl_seconds: float | None
    """A row whose age is above this is OUTSIDE_MAX_AGE; equal is alive. None: rows never age."""

    @property
    def field_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.fields)


@dataclass(frozen=True)
class OnlineRows:
    """One answer per asked key, in the order asked, duplicates kept.

    Shapes:  values[field] (n,), status (n,) uint8 of FeatureStatus, event_us (n,) int64.
    Missing: a field of a row that is not PRESENT is NaN (floats), 0 (int64), False (bool) or "" (string);
             a null in a PRESENT row likewise, and `valid[field]` tells the two apart.
    """

    values: Mapping[str, NDArray[Any]]
    valid: Mapping[str, NDArray[np.bool_]]
    status: NDArray[np.uint8]
    event_us: NDArray[np.int64]


class OnlineFeatures(Protocol):
    """Newest feature rows by entity key. Implementations are thread-safe."""

    def register(self, view: ViewSchema) -> None:
        """Make `view` known; the same schema again is no change, another one is Conflict."""
        ...

    def views(self) -> tuple[ViewSchema, ...]:
        """Every registered view, by name."""
        ...

    def upsert(
        self,
        view: str,
        keys: KeyColumns,
        *,
        event_us: NDArray[np.int64],
        created_us: NDArray[np.int64],
        columns: Mapping[str, Sequence[Any]],
    ) -> int:
        """Keep the newest row per key by (event time, created time), all of the batch or none of it.

        Times are UTC microseconds. None and NaN are null. Returns how many rows became the newest. On return the
        rows are as durable as the store promises and visible to every reader.
        Errors: NotFound for an unknown view, SchemaMismatch for a wrong key, column, type or length.
        """
        ...

    def read(
        self, view: str, keys: AskedKeys, *, now_us: int, fields: Sequence[str] | None = None
    ) -> OnlineRows:
        """The newest row of each key as of `now_us` under the view's TTL.

        Errors: NotFound for an unknown view or field. An absent entity is data (NOT_FOUND), never an error.
        """
        ...


@dataclass(frozen=True)
class ModelInput:
    """What a Program gives a runtime: dense (n, d) float32 C order, ids (n, k) int32 C order."""

    dense: NDArray[np.float32]
    ids: NDArray[np.int32]

    @property
    def n_rows(self) -> int:
        return int(self.dense.shape[0])


class ModelRuntime(Protocol):
    """Executes one loaded model."""

    @property
    def name(self) -> str:
        """`torch`, `function`, ..."""
        ...

    def predict(self, batch: ModelInput) -> NDArray[np.float32]:
        """Scores (n,) float32 for n rows. Thread-safe. Errors: InvariantViolated if the model broke its contract."""
        ...


class KeyRing(Protocol):
    """Keys that encrypt data keys and never leave their holder. Implementations are thread-safe.

    `context` is what a data key is for: what was wrapped for one is not unwrapped for another. Errors of all: DependencyDown
    or PermissionDenied of a holder elsewhere, Misconfigured for a holder that is not set up.
    """

    def wrap(self, key: bytes, context: str) -> str:
        """`key` encrypted by the newest version."""
        ...

    def unwrap(self, wrapped: str, context: str) -> bytes:
        """Errors: CorruptArtifact for what was changed, or wrapped by another ring or for another context."""
        ...

    def rewrap(self, wrapped: str, context: str) -> str:
        """The same key under the newest version; itself if it is that already. Errors: as :meth:`unwrap`."""
        ...

    def rotate(self) -> str:
        """A new version wraps from now on, all earlier ones unwrap. Returns what it is called."""
        ...
