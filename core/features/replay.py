"""Asking old questions again: requests in time order, and the online rows that were newest when each was asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from mainspring.core import errors, ports, projects
from mainspring.core.features import frames, point_in_time, schema
from mainspring.core.features.windows import CREATED, EVENT

__all__ = ["Pushed", "Step", "push_to", "steps", "updates"]


@dataclass(frozen=True)
class Pushed:
    """Rows of one view that became known since the step before, as `OnlineFeatures.upsert` and a push take them."""

    view: str
    keys: dict[str, list[Any]]
    event_times: list[datetime]
    created_times: list[datetime]
    columns: dict[str, list[Any]]


@dataclass(frozen=True)
class Step:
    """One instant: first push `updates`, then ask for `entities` as of `as_of`; `labels` is what came of them.

    `entities` has the keys and request columns as JSON values, None for a missing key.
    """

    as_of: datetime
    updates: list[Pushed]
    entities: list[dict[str, Any]]
    labels: list[int]


def updates(
    asked: pl.DataFrame, service: schema.FeatureService, views: Mapping[str, pl.DataFrame | pl.LazyFrame]
) -> dict[str, pl.DataFrame]:
    """Per view, the rows that were newest for a key of `asked` at its `as_of`, alive or not, each once, by time.

    Pushed up to any request's `as_of`, they leave that request's newest row newest: of the rows of its key, all
    others here that are not later were newest for an earlier request.
    """
    found = {}
    for view in service.views:
        keys = [key.name for key in view.keys]
        rows = point_in_time.newest(asked, view, views[view.name], ignore_ttl=True)
        known = pl.concat([asked.select(keys), rows], how="horizontal").drop_nulls([*keys, EVENT])
        found[view.name] = known.unique(maintain_order=True).sort(EVENT, CREATED, *keys)
    return found


def steps(replay: projects.ReplaySet) -> Iterator[Step]:
    """The replay's instants in order. Errors: NotFound if its files are gone; SchemaMismatch."""
    columns = (*replay.keys, *replay.request_columns)
    asked = _read(replay.requests)
    wanted = {c.name: frames.POLARS_TYPES[c.dtype] for c in columns}
    frames.check(
        asked.schema, wanted | {point_in_time.AS_OF: frames.TIME, replay.label: pl.Int8()}, what="replay"
    )
    pending = {view.name: _read(replay.updates[view.name]) for view in replay.service.views}
    done = dict.fromkeys(pending, 0)
    rows = asked.sort(point_in_time.AS_OF, maintain_order=True).iter_rows(named=True)
    for as_of, group in itertools.groupby(rows, key=lambda row: row[point_in_time.AS_OF]):
        batch = list(group)
        pushed = []
        for view in replay.service.views:
            known = pending[view.name]
            until = int(known[EVENT].search_sorted(as_of, side="right"))
            if until > done[view.name]:
                pushed.append(_pushed(view, known[done[view.name] : until]))
                done[view.name] = until
        yield Step(
            as_of=as_of,
            updates=pushed,
            entities=[{name: row[name] for name in wanted} for row in batch],
            labels=[int(row[replay.label]) for row in batch],
        )


def push_to(store: ports.OnlineFeatures, step: Step) -> int:
    """Upsert a step's updates; how many rows became the newest."""
    accepted = 0
    for pushed in step.updates:
        times = (
            pl.Series(t, dtype=frames.TIME).to_physical().to_numpy()
            for t in (pushed.event_times, pushed.created_times)
        )
        event_us, created_us = times
        accepted += store.upsert(
            pushed.view, pushed.keys, event_us=event_us, created_us=created_us, columns=pushed.columns
        )
    return accepted


def _pushed(view: schema.FeatureView, rows: pl.DataFrame) -> Pushed:
    return Pushed(
        view=view.name,
        keys={key.name: rows[key.name].to_list() for key in view.keys},
        event_times=rows[EVENT].to_list(),
        created_times=rows[CREATED].to_list(),
        columns={f.name: rows[f.name].to_list() for f in view.fields},
    )


def _read(path: Any) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"replay file `{path}` is gone; make the replay again", resource="replay", name=str(path)
        ) from error
    except pl.exceptions.PolarsError as error:
        raise errors.CorruptArtifact(
            f"replay file `{path}` does not read: {error}; make the replay again",
            artifact=str(path),
            expected="Parquet",
            got=str(error),
        ) from error
