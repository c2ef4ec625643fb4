"""The as-of join: what each view would have answered at each row's own time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import polars as pl

from mainspring.core import errors
from mainspring.core.features import frames, matching, schema
from mainspring.core.features.windows import CREATED, EVENT

__all__ = ["AS_OF", "join_service", "join_view", "newest"]

#: The entity rows' time column: features may know what was known then, and nothing later.
AS_OF: Final = "as_of"


def join_service(
    entities: pl.DataFrame,
    service: schema.FeatureService,
    views: Mapping[str, pl.DataFrame | pl.LazyFrame],
    *,
    as_of: str = AS_OF,
) -> pl.DataFrame:
    """`entities` with the columns `view__field` of every view of `service`, in its order.

    `views[name]` holds the view's rows: keys, `event_timestamp`, `created_timestamp` and fields. See :func:`join_view`.
    Errors: NotFound if a view has no rows given; SchemaMismatch.
    """
    joined = [entities]
    for view in service.views:
        rows = views.get(view.name)
        if rows is None:
            raise errors.NotFound(
                f"view `{view.name}` of service `{service.name}` has no rows to join; build the features again",
                resource="view",
                name=view.name,
            )
        joined.append(join_view(entities, view, rows, as_of=as_of))
    return pl.concat(joined, how="horizontal")


def join_view(
    entities: pl.DataFrame, view: schema.FeatureView, rows: pl.DataFrame | pl.LazyFrame, *, as_of: str = AS_OF
) -> pl.DataFrame:
    """For each entity row the view's newest row with event time at or before `as_of`, null where none is alive.

    Shapes:  one result row per entity row, in the same order, duplicates kept; columns `view__field`.
    TTL:     a row whose age is exactly the TTL is alive, as it is online; an older newest row is null, and never
             replaced by another, because the store would hold no other.
    Ties:    of one event time the latest created time wins, then the later row.
    Missing: an entity row with a null key, and a view row with a null key, meet nobody.
    Errors:  SchemaMismatch for an absent column, another type, or a null in `as_of`.
    """
    names = [schema.joined_name(view.name, field.name) for field in view.fields]
    found = newest(entities, view, rows, as_of=as_of)
    return found.select(pl.col(f.name).alias(name) for f, name in zip(view.fields, names, strict=True))


def newest(
    entities: pl.DataFrame,
    view: schema.FeatureView,
    rows: pl.DataFrame | pl.LazyFrame,
    *,
    as_of: str = AS_OF,
    ignore_ttl: bool = False,
) -> pl.DataFrame:
    """As :func:`join_view`, with the found row's own columns: times and fields under their bare names."""
    _check_entities(entities, view, as_of)
    wanted = {c.name: frames.POLARS_TYPES[c.dtype] for c in (*view.keys, *view.fields)}
    wanted |= {EVENT: frames.TIME, CREATED: frames.TIME}
    frames.check(rows.lazy().collect_schema(), wanted, what=f"view `{view.name}`")
    ttl = None if ignore_ttl or view.ttl_seconds is None else timedelta(seconds=view.ttl_seconds)
    return matching.match(
        entities,
        rows.lazy(),
        keys=[key.name for key in view.keys],
        times=matching.Times(as_of=as_of, event=EVENT, created=CREATED, ttl=ttl),
        columns=[EVENT, CREATED, *(field.name for field in view.fields)],
    )


def _check_entities(entities: pl.DataFrame, view: schema.FeatureView, as_of: str) -> None:
    keys = {key.name: frames.POLARS_TYPES[key.dtype] for key in view.keys}
    frames.check(entities.schema, {**keys, as_of: frames.TIME}, what="entity rows")
    nulls = entities[as_of].null_count()
    if nulls:
        raise errors.SchemaMismatch(
            f"column `{as_of}` of entity rows has {nulls} nulls, expected a time in every row; drop or date them",
            feature=as_of,
            expected="no null",
            got=f"{nulls} nulls",
        )
