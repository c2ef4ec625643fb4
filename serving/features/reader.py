"""Looks up every view of a feature service for a batch of entities: one read per view, however many rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import ports
from mainspring.core.contracts import prediction
from mainspring.core.features import schema

_STATUS: Final = np.array(
    [
        prediction.LookupStatus.PRESENT,
        prediction.LookupStatus.NOT_FOUND,
        prediction.LookupStatus.OUTSIDE_MAX_AGE,
    ],
    dtype=object,
)


@dataclass(frozen=True)
class LookedUp:
    """What the online store had: columns `view__field` (n,), and status (n,) and event time (n,) by view.

    Missing: NaN in floats, None in strings, whatever the reason; `status` tells the reason.
    """

    columns: Mapping[str, NDArray[Any]]
    status: Mapping[str, NDArray[np.uint8]]
    event_us: Mapping[str, NDArray[np.int64]]

    def status_rows(self, n_rows: int) -> list[dict[str, prediction.LookupStatus]]:
        """By row: view to status."""
        if not self.status:
            return [{} for _ in range(n_rows)]
        words = [_STATUS[status].tolist() for status in self.status.values()]
        return [dict(zip(self.status, row, strict=True)) for row in zip(*words, strict=True)]

    def age_rows(self, n_rows: int, as_of_us: int) -> list[dict[str, float]]:
        """By row: view to age in seconds, for the rows that were found."""
        ages: list[dict[str, float]] = [{} for _ in range(n_rows)]
        for view, status in self.status.items():
            found = np.flatnonzero(status != ports.FeatureStatus.NOT_FOUND)
            seconds = (as_of_us - self.event_us[view][found]) / 1e6
            for i, age in zip(found.tolist(), seconds.tolist(), strict=True):
                ages[i][view] = age
        return ages


def look_up(
    online: ports.OnlineFeatures,
    service: schema.FeatureService,
    keys: Mapping[str, NDArray[Any]],
    as_of_us: int,
) -> LookedUp:
    """Read every view of `service` for `keys` (each (n,)) as of a UTC microsecond.

    Errors: those of the store. An absent entity is data.
    """
    asked = {key.name: keys[key.name].tolist() for key in service.keys}
    columns: dict[str, NDArray[Any]] = {}
    status: dict[str, NDArray[np.uint8]] = {}
    event_us: dict[str, NDArray[np.int64]] = {}
    for view in service.views:
        names = [field.name for field in view.fields]
        rows = online.read(
            view.name, {key.name: asked[key.name] for key in view.keys}, now_us=as_of_us, fields=names
        )
        status[view.name] = rows.status
        event_us[view.name] = rows.event_us
        for field in view.fields:
            columns[schema.joined_name(view.name, field.name)] = _with_missing(rows, field)
    return LookedUp(columns, status, event_us)


def _with_missing(rows: ports.OnlineRows, field: schema.Column) -> NDArray[Any]:
    values, valid = rows.values[field.name], rows.valid[field.name]
    missing: Any = None if field.dtype == "string" else np.nan
    return np.where(valid, values, missing).astype(field.numpy_dtype, copy=False)
