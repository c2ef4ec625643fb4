"""Which rows a prediction came from: of each view of its model, the one that was newest and alive at the moment asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeAlias

import polars as pl

from mainspring.core import errors
from mainspring.core.contracts import lineage
from mainspring.core.features import frames, point_in_time, schema
from mainspring.core.features.windows import CREATED, EVENT

__all__ = ["Entity", "trace"]

Entity: TypeAlias = Mapping[str, str | int | None]


def trace(
    service: schema.FeatureService,
    rows: Mapping[str, pl.LazyFrame],
    versions: Mapping[str, str],
    entity: Entity,
    as_of: datetime,
) -> tuple[lineage.RowOrigin, ...]:
    """The row of each view of `service` that answers for `entity` at `as_of`, as the offline join finds it.

    `rows[view]` are a view's rows, `versions[view]` their digest. What serving answered is the same row as long as
    there is no skew. Values are not told: whoever may see them has the keys and times to find them by.
    Errors: InvalidRequest for a key that is absent or of another type; NotFound for a view without rows.
    """
    found = []
    for view in service.views:
        if view.name not in rows:
            raise errors.NotFound(
                f"view `{view.name}` has no rows here; build the features again",
                resource="view",
                name=view.name,
            )
        keys = {key.name: _key(view, key, entity) for key in view.keys}
        asked = pl.DataFrame(
            {k.name: pl.Series([keys[k.name]], dtype=frames.POLARS_TYPES[k.dtype]) for k in view.keys}
        ).with_columns(pl.lit(as_of).cast(frames.TIME).alias(point_in_time.AS_OF))
        newest = point_in_time.newest(asked, view, rows[view.name], ignore_ttl=True)
        found.append(_origin(view, versions.get(view.name, ""), keys, newest.row(0, named=True), as_of))
    return tuple(found)


def _origin(
    view: schema.FeatureView,
    version: str,
    keys: Mapping[str, str | int | None],
    row: Mapping[str, datetime | None],
    as_of: datetime,
) -> lineage.RowOrigin:
    event = row[EVENT]
    if event is None:
        return lineage.RowOrigin(view=view.name, version=version, keys=dict(keys), status="not_found")
    age = as_of - event
    is_dead = view.ttl_seconds is not None and age > timedelta(seconds=view.ttl_seconds)
    return lineage.RowOrigin(
        view=view.name,
        version=version,
        keys=dict(keys),
        status="outside_max_age" if is_dead else "present",
        event_at=event,
        created_at=row[CREATED],
        age_seconds=age.total_seconds(),
    )


def _key(view: schema.FeatureView, key: schema.Column, entity: Entity) -> str | int | None:
    if key.name not in entity:
        raise errors.InvalidRequest(
            f"view `{view.name}` is looked up by `{key.name}`, which was not sent; add it",
            field=f"entity.{key.name}",
        )
    value = entity[key.name]
    if value is None:
        return None
    try:
        return int(value) if key.dtype == "int64" else str(value)
    except ValueError as error:
        raise errors.InvalidRequest(
            f"key `{key.name}` is `{value}`, expected a whole number", field=f"entity.{key.name}"
        ) from error
