"""What stands before an online store: every call is passed on, but for those that a gate does more with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.core import ports

__all__ = ["OnlineGate"]


class OnlineGate:
    """An `ports.OnlineFeatures` over another, as it is: what gates override is theirs to say. As thread-safe as the store."""

    def __init__(self, store: ports.OnlineFeatures) -> None:
        self._store = store

    def register(self, view: ports.ViewSchema) -> None:
        self._store.register(view)

    def views(self) -> tuple[ports.ViewSchema, ...]:
        return self._store.views()

    def read(
        self, view: str, keys: ports.AskedKeys, *, now_us: int, fields: Sequence[str] | None = None
    ) -> ports.OnlineRows:
        return self._store.read(view, keys, now_us=now_us, fields=fields)

    def upsert(
        self,
        view: str,
        keys: ports.KeyColumns,
        *,
        event_us: NDArray[np.int64],
        created_us: NDArray[np.int64],
        columns: Mapping[str, Sequence[Any]],
    ) -> int:
        return self._store.upsert(view, keys, event_us=event_us, created_us=created_us, columns=columns)
