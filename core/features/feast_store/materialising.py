"""A Feast view materialised by `core.features.materialise`: in slices, resumable, with progress, into any Feast online store."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from feast import FeatureStore, FeatureView
from feast.errors import FeatureViewNotFoundException
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.type_map import python_values_to_proto_values

from mainspring.core import errors
from mainspring.core.features import materialise
from mainspring.core.features.feast_store import sources

__all__ = ["FeastSink", "job_of", "materialise_view"]


class FeastSink:
    """The online store of a Feast project, for one view. Feast's stores of before the newest row must keep it (ours do)."""

    def __init__(self, store: FeatureStore, view: FeatureView) -> None:
        self._store = store
        self._view = view

    @property
    def name(self) -> str:
        return f"{self._store.project}.{self._view.name}"

    def push(self, rows: pl.DataFrame, job: materialise.Job) -> None:
        """Values become what Feast's own materialisation writes, whole numbers without a turn through floats.

        Errors: SchemaMismatch for a value that is not of its feature's type; DependencyDown if the store fails.
        """
        columns = {
            c.name: self._protos(rows, c.name, c.dtype.to_value_type())
            for c in (*self._view.entity_columns, *self._view.features)
        }
        keys = [c.name for c in self._view.entity_columns]
        created = rows[job.created].to_list() if job.created else [None] * rows.height
        data = [
            (
                EntityKey(join_keys=keys, entity_values=[columns[key][i] for key in keys]),
                {f.name: columns[f.name][i] for f in self._view.features},
                event,
                created[i],
            )
            for i, event in enumerate(rows[job.event].to_list())
        ]
        try:
            self._store._get_provider().online_write_batch(self._store.config, self._view, data, None)
        except errors.MainspringError:
            raise
        except Exception as error:  # each of Feast's stores has errors of its own client
            raise errors.DependencyDown(
                f"online store of view `{self.name}` did not take {rows.height} rows: {error};"
                " check it and run the materialisation again",
                name=self.name,
            ) from error

    def _protos(self, rows: pl.DataFrame, name: str, kind: Any) -> list[Any]:
        if name == DUMMY_ENTITY_ID:
            return list(python_values_to_proto_values([DUMMY_ENTITY_VAL] * rows.height, kind))
        try:
            return list(python_values_to_proto_values(rows[name].to_list(), kind))
        except (TypeError, ValueError, AttributeError) as error:
            raise errors.SchemaMismatch(
                f"column `{name}` of view `{self.name}` has type {rows.schema[name]}, expected {kind.name}: {error};"
                " cast it where the data is made",
                feature=name,
                expected=str(kind.name),
                got=str(rows.schema[name]),
            ) from error


def job_of(store: FeatureStore, view: FeatureView) -> materialise.Job:
    """The view's rows as Feast's definitions say. Errors: InvalidRequest for a source that is neither files nor SQL."""
    source = view.batch_source
    return materialise.Job(
        source=sources.rows_of(store.config, source),
        keys=tuple(c.name for c in view.entity_columns if c.name != DUMMY_ENTITY_ID),
        fields=tuple(f.name for f in view.features),
        event=source.timestamp_field,
        created=source.created_timestamp_column or None,
        renamed=dict(source.field_mapping),
    )


def materialise_view(
    store: FeatureStore,
    name: str,
    *,
    until: datetime,
    since: datetime | None = None,
    state: Path | None = None,
    lateness: timedelta = timedelta(0),
    slice_rows: int = materialise.SLICE_ROWS,
    progress: Callable[[materialise.Progress], None] | None = None,
) -> materialise.Progress:
    """As :func:`materialise.materialise` for view `name`; Feast's registry learns of it, so `materialize_incremental` goes on.

    Errors: NotFound for an unknown view, and those of :func:`materialise.materialise`.
    """
    try:
        view = store.get_feature_view(name)
    except FeatureViewNotFoundException as error:
        names = [v.name for v in store.list_feature_views()]
        close = tuple(difflib.get_close_matches(name, names, n=3))
        raise errors.NotFound(
            f"project `{store.project}` has no view `{name}`; its views are {sorted(names)}",
            resource="view",
            name=name,
            did_you_mean=close,
        ) from error
    done = materialise.materialise(
        job_of(store, view), FeastSink(store, view), until=until, since=since, state=state, lateness=lateness,
        slice_rows=slice_rows, progress=progress,
    )  # fmt: skip
    began = view.most_recent_end_time or since or datetime(1970, 1, 1, tzinfo=UTC)
    store.registry.apply_materialization(view, store.project, min(began, until), until)
    return done
