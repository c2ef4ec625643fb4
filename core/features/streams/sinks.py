"""Where a stream's rows go: the online store of this process, or the serving process that owns one, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mainspring.core import ports
from mainspring.core.client import serving
from mainspring.core.contracts import prediction
from mainspring.core.features.streams.keys import ViewRows

__all__ = ["ServingSink", "Sink", "StoreSink"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Sink(Protocol):
    """Takes rows. On return they are as durable as the store promises, and visible. The same rows again change nothing."""

    def open(self, views: Sequence[ports.ViewSchema]) -> None:
        """Make the views ready. Errors: Conflict if one is there with another schema."""
        ...

    def push(self, rows: ViewRows) -> None:
        """All of the rows or none. Errors: as of the store; Unavailable and Busy are worth trying again."""
        ...


class StoreSink:
    """An online store of this process."""

    def __init__(self, store: ports.OnlineFeatures) -> None:
        self._store = store

    def open(self, views: Sequence[ports.ViewSchema]) -> None:
        for view in views:
            self._store.register(view)

    def push(self, rows: ViewRows) -> None:
        columns: dict[str, Any] = dict(rows.columns)
        self._store.upsert(
            rows.view, rows.keys, event_us=rows.event_us, created_us=rows.created_us, columns=columns
        )


class ServingSink:
    """A serving process, by its push call. Its views are those of its bundles: a push to another one is NotFound."""

    def __init__(self, client: serving.ServingClient, *, max_rows: int = 4096) -> None:
        self._client = client
        self._max_rows = max_rows

    def open(self, views: Sequence[ports.ViewSchema]) -> None:
        """Nothing: serving learns its views from bundles."""

    def push(self, rows: ViewRows) -> None:
        for begin in range(0, len(rows), self._max_rows):
            part = slice(begin, begin + self._max_rows)
            self._client.push(
                prediction.FeaturePush(
                    view=rows.view,
                    keys={name: values[part] for name, values in rows.keys.items()},
                    event_times=_times(rows.event_us[part]),
                    created_times=_times(rows.created_us[part]),
                    columns={name: _plain(values[part]) for name, values in rows.columns.items()},
                )
            )


def _times(us: NDArray[np.int64]) -> list[datetime]:
    return [_EPOCH + timedelta(microseconds=t) for t in us.tolist()]


def _plain(values: NDArray[np.float32]) -> list[float | None]:
    """JSON has no NaN."""
    return [None if value != value else value for value in values.tolist()]
