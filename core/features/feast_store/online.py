"""Feast's online store in this process: its calls over `storage`, answered without protobuf."""

from __future__ import annotations

import gc
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from feast import FeatureService, FeatureView, RepoConfig
from feast.feature_view import DUMMY_ENTITY_VAL
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.online_response import OnlineResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel

from mainspring.core import errors
from mainspring.core.features import row_table
from mainspring.core.features.feast_store import declared, on_demand, online_plan, response, values
from mainspring.core.features.feast_store import storage as storages

__all__ = ["MainspringOnlineStore", "MainspringOnlineStoreConfig"]

_TYPE: Final = "mainspring.core.features.feast_store.MainspringOnlineStore"
_PLANS: Final = 512


class MainspringOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """`online_store: {type: mainspring.core.features.feast_store.MainspringOnlineStore, path: data/online.db}`."""

    type: Literal["mainspring.core.features.feast_store.MainspringOnlineStore"] = _TYPE
    path: str | None = None
    """File of the rows, relative to the repository; None keeps them in memory, for as long as the store lives."""
    refresh_seconds: float = 1.0
    """How old the view of what other processes wrote may be."""
    clock_skew_seconds: float = 60.0
    """A row up to this far ahead of this clock is answered; one further ahead is from the future: NOT_FOUND."""
    freeze_after_warm_up: bool = True
    """Take what the first read leaves in memory out of garbage collection: Feast's own objects are its p99."""


class MainspringOnlineStore(OnlineStore):  # type: ignore[misc]
    """The newest row of every entity, by event time, then created time, then order of writing.

    TTL:     applied when read: older than the view's TTL is OUTSIDE_MAX_AGE and null; equal is alive.
    Missing: an entity that was never written is NOT_FOUND; a null of a live row is PRESENT and None.
    Threads: safe. Processes: any number on one host may write and read one `path`; each sees the others' rows
             `refresh_seconds` later at most.
    Errors:  SchemaMismatch for a key or value of another type, InvalidRequest for a missing key, DependencyDown
             if the disk refuses (then nothing of the batch is kept), CorruptArtifact for a file that is not ours.
    """

    def __init__(self) -> None:
        self._memory: storages.Storage | None = None
        self._opened: storages.Storage | None = None
        self._opened_config: Any = None
        self._refresh_seconds = 1.0
        self._skew_us = 0
        self._plans: OrderedDict[Any, online_plan.Plan] = OrderedDict()
        self._plans_lock = threading.Lock()
        self._last: online_plan.Plan | None = None
        self._is_frozen = False

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        return SupportedAsyncMethods(read=True, write=True)

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """All rows of the batch or none; visible and, with a `path`, on disk when it returns.

        Rows with a null in their key are left out: they answer nobody, and Feast's materialisation passes them on.
        """
        keyed = [row for row in data if values.has_key(row[0])]
        if keyed:
            fields = values.fields(table)
            self._storage(config).write(
                online_plan.table_id(config, table), fields, values.to_rows(table, keyed)
            )
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: RepoConfig, table: FeatureView, data: Any, progress: Callable[[int], Any] | None
    ) -> None:
        """As :meth:`online_write_batch`."""
        self.online_write_batch(config, table, data, progress)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Feast's row form, for what reads through it. (time, None) is a row outside its TTL."""
        storage = self._fresh(config)
        found = storage.table(online_plan.table_id(config, table))
        if found is None:
            return [(None, None)] * len(entity_keys)
        held = dict(found.fields)
        types = {f.name: f.dtype.to_value_type() for f in table.features}
        names = [n for n in (requested_features or list(types)) if n in held and n in types]
        groups = found.groups(names)
        keys = [values.key_of(key) for key in entity_keys]
        oldest, newest = self._bounds(online_plan.ttl_us(table))
        answer = found.read(keys, groups, oldest_us=oldest, newest_us=newest)
        output = response.Output("", 0, groups, (), (), {})
        columns = response.Part(output, answer, None).kept()
        protos: dict[str, list[Value]] = {}
        for group, lists in zip(groups, columns, strict=True):
            for name, cells in zip(group.names, lists, strict=True):
                protos[name] = list(map(values.to_proto(types[name]), cells))
        rows: list[tuple[datetime | None, dict[str, Value] | None]] = []
        for i, (status, us) in enumerate(zip(answer.status.tolist(), answer.event_us.tolist(), strict=True)):
            at = None if status == 1 else _EPOCH + timedelta(microseconds=us)
            rows.append((at, {name: cells[i] for name, cells in protos.items()} if status == 0 else None))
        return rows

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """As :meth:`online_read`: memory does not block."""
        return self.online_read(config, table, entity_keys, requested_features)

    def get_online_features(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """Feast's call and answer; the answer is a snapshot and becomes a dict, frame or proto when asked."""
        # Written out: looking a row up is a tenth of what a call costs, the lines here and in Feast's caller are the rest.
        now = time.monotonic()
        storage = self._opened if self._opened_config is config else self._storage(config)
        assert storage is not None
        if now - storage.checked >= self._refresh_seconds:
            storage.refresh(now)
        plan = self._last
        if (
            plan is None
            or (features != plan.refs if plan.service is None else features is not plan.service)
            or plan.registry is not registry
            or plan.created is not registry.cached_registry_proto_created
            or plan.epoch != storage.epoch
            or now >= plan.until
            or plan.project != project
            or plan.full_names is not full_feature_names
        ):
            plan = self._plan(storage, config, features, registry, project, full_feature_names, now)
        if plan.single is not None:
            answer = plan.single.answer(entity_rows, include_feature_view_version_metadata)
            if answer is not None:
                if not self._is_frozen:
                    self._warmed_up(config)
                return answer
        if plan.is_feasts:
            return super().get_online_features(
                config,
                features,
                entity_rows,
                registry,
                project,
                full_feature_names,
                include_feature_view_version_metadata,
            )
        columns = _columns(entity_rows)
        keys: dict[str, list[Any]] = {}
        requested: dict[str, Any] = {}
        rows = -1
        for name, column in columns.items():
            if plan.entity_names:
                name = plan.entity_names.get(name, name)
            if name in plan.key_types:
                wanted = plan.key_python[name]
                if len(column) == 1 and type(column) is list and type(column[0]) is wanted:
                    keys[name] = column = [column[0]]
                else:
                    keys[name] = column = values.key_values(name, plan.key_types[name], column)
            elif name in plan.request_data:
                requested[name] = column
            else:
                continue
            size = len(column)
            if rows not in (-1, size):
                raise errors.InvalidRequest(
                    f"column `{name}` has {size} values, others have {rows}; send one a row", field=name
                )
            rows = size
        newest = time.time_ns() // 1000
        ahead = newest + self._skew_us
        parts = [_read(view, keys, rows, newest, ahead) for view in plan.views]
        if plan.on_demand:
            parts = _on_demand(plan, parts, {**requested, **keys}, max(rows, 0), full_feature_names)
        answer = response.MainspringOnlineResponse(
            keys, plan.key_types, parts, include_feature_view_version_metadata
        )
        if not self._is_frozen:
            self._warmed_up(config)
        return answer

    async def get_online_features_async(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """As :meth:`get_online_features`: memory does not block."""
        return self.get_online_features(
            config,
            features,
            entity_rows,
            registry,
            project,
            full_feature_names,
            include_feature_view_version_metadata,
        )

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Drop deleted views' rows; give kept views their declared fields, with the rows that they have."""
        storage = self._storage(config)
        for view in tables_to_delete:
            storage.drop(online_plan.table_id(config, view))
        for view in tables_to_keep:
            storage.reshape(online_plan.table_id(config, view), values.fields(view))

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Any]) -> None:
        """Drop the rows of these views; the file stays, as other projects may be in it."""
        storage = self._storage(config)
        for view in tables:
            storage.drop(online_plan.table_id(config, view))

    def plan(self, config: RepoConfig, desired_registry_proto: Any) -> list[Any]:
        """No infrastructure beside the file, which the first write makes."""
        return []

    async def initialize(self, config: RepoConfig) -> None:
        """Load the rows before the first request."""
        self._storage(config)

    def _is_versioned_read_supported(self) -> bool:
        return True

    def _storage(self, config: RepoConfig) -> storages.Storage:
        # By the configuration object: its `online_store` is a property that costs more than the look-up of a row.
        if self._opened is not None and self._opened_config is config:
            return self._opened
        options = config.online_store
        path = options.path
        with self._plans_lock:
            if path is None:
                self._memory = self._memory or storages.Storage(None)
                self._opened = self._memory
            else:
                self._opened = storages.shared((Path(config.repo_path or ".") / path).resolve())
            self._refresh_seconds = options.refresh_seconds
            self._skew_us = int(options.clock_skew_seconds * 1e6)
            self._opened_config = config
            return self._opened

    def _fresh(self, config: RepoConfig) -> storages.Storage:
        storage = self._storage(config)
        now = time.monotonic()
        if now - storage.checked >= self._refresh_seconds:
            storage.refresh(now)
        return storage

    def _bounds(self, ttl_us: int | None) -> tuple[int, int]:
        now = time.time_ns() // 1000
        oldest = online_plan.FOREVER if ttl_us is None else now - ttl_us
        return oldest, now + self._skew_us

    def _plan(
        self,
        storage: storages.Storage,
        config: RepoConfig,
        features: Any,
        registry: Any,
        project: str,
        full_names: bool,
        now: float,
    ) -> online_plan.Plan:
        is_service = isinstance(features, FeatureService)
        # By the service object, not its name: two services of one name are two questions.
        key = (id(features) if is_service else tuple(features), project, full_names)
        plan = self._plans.get(key)
        created = getattr(registry, "cached_registry_proto_created", None)
        if (
            plan is None
            or plan.registry is not registry
            or plan.created is not created
            or created is None
            or plan.epoch != storage.epoch
            or (is_service and plan.service is not features)
            or now >= plan.until
        ):
            plan = online_plan.resolve(
                storage, config, features, registry, project, full_names, self._skew_us
            )
            if not online_plan.is_cached(registry):
                return plan
            with self._plans_lock:
                self._plans[key] = plan
                while len(self._plans) > _PLANS:
                    self._plans.popitem(last=False)
        if plan.created is not None:
            self._last = plan
        return plan

    def _warmed_up(self, config: RepoConfig) -> None:
        self._is_frozen = True
        if config.online_store.freeze_after_warm_up:
            gc.collect()
            gc.freeze()


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _columns(entity_rows: Any) -> Mapping[str, Any]:
    if not isinstance(entity_rows, list):
        found: Mapping[str, Any] = entity_rows
        return found
    if not entity_rows:
        raise errors.InvalidRequest("no entity rows; send at least one", field="entity_rows")
    first = entity_rows[0]
    if len(entity_rows) == 1:
        return {name: [value] for name, value in first.items()}
    for row in entity_rows:
        if row.keys() != first.keys():
            raise errors.InvalidRequest(
                f"entity rows have keys {sorted(first)} and {sorted(row)}; send the same in every row",
                field="entity_rows",
            )
    return {name: [row[name] for row in entity_rows] for name in first}


def _read(
    view: online_plan.ViewPlan, keys: Mapping[str, list[Any]], rows: int, now_us: int, newest_us: int
) -> response.Part:
    output = view.output
    oldest = online_plan.FOREVER if view.ttl_us is None else now_us - view.ttl_us
    asked: Sequence[Any]
    try:
        if len(view.key_columns) == 1:
            asked = keys[view.key_columns[0]]
        elif view.key_columns:
            asked = list(zip(*(keys[name] for name in view.key_columns), strict=True))
        else:
            asked = [DUMMY_ENTITY_VAL] * max(rows, 0)
    except KeyError as error:
        raise errors.InvalidRequest(
            f"view `{output.view}` is looked up by {list(view.key_columns)}, and {error} was not sent; add it",
            field=str(error.args[0]),
        ) from error
    table = view.table
    if table is None:
        table = row_table.NumpyTable([(name, group.kind) for group in output.groups for name in group.names])
    if len(asked) == 1:
        return response.Part(
            output, None, table.read_one(asked[0], output.groups, oldest_us=oldest, newest_us=newest_us)
        )
    return response.Part(
        output, table.read(asked, output.groups, oldest_us=oldest, newest_us=newest_us), None
    )


def _on_demand(
    plan: online_plan.Plan, parts: Sequence[response.Part], given: dict[str, Any], rows: int, full_names: bool
) -> list[response.Part]:
    """What was asked of `parts`, and the on-demand views over all of them. Errors: those of :func:`on_demand.run`."""
    given = {name: values.key_values(name, None, column) for name, column in given.items()}
    asked = [response.only(part, view.asked) for view, part in zip(plan.views, parts, strict=True)]
    for view, part in zip(plan.views, parts, strict=True):
        for names, columns in zip(part.output.names, part.kept(), strict=True):
            for name, column in zip(names, columns, strict=True):
                read = part.output.readers.get(name)
                full = name if full_names else f"{view.source}__{name}"
                given[full] = column if read is None else declared.FromProto(map(read, column))
    for computed in plan.on_demand:
        found = on_demand.run(computed, given, rows)
        named = {name: computed.label(name, full_names) for name in found}
        shown = {named[name]: column for name, column in found.items()}
        types = {named[name]: computed.types[name] for name in found}
        asked.append(response.computed(shown, types, rows))
    return asked
