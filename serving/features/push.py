"""Takes pushed feature rows from a contract to the online store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.contracts import prediction

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def push(
    online: ports.OnlineFeatures, request: prediction.FeaturePush, *, now_us: int
) -> prediction.FeaturePushResult:
    """Upsert the batch, all or none; rows without created times are created `now_us`.

    Errors: NotFound for an unknown view, SchemaMismatch for a wrong key, column, type or length, InvalidRequest if
    the two lists of times differ in length.
    """
    n = len(request.event_times)
    if request.created_times is not None and len(request.created_times) != n:
        raise errors.InvalidRequest(
            f"`created_times` has {len(request.created_times)} entries and `event_times` {n}; send one for each row",
            field="created_times",
        )
    created = (
        np.full(n, now_us, dtype=np.int64) if request.created_times is None else _us(request.created_times)
    )
    accepted = online.upsert(
        request.view,
        request.keys,
        event_us=_us(request.event_times),
        created_us=created,
        columns=request.columns,
    )
    return prediction.FeaturePushResult(view=request.view, received=n, accepted=accepted)


def to_us(time: datetime) -> int:
    """Exact UTC microseconds since 1970; a float of seconds would lose the last digits."""
    delta = time - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _us(times: list[datetime]) -> NDArray[np.int64]:
    return np.array([to_us(t) for t in times], dtype=np.int64)
