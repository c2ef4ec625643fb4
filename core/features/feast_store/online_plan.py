"""What one request asks of which table, resolved from Feast's registry once and kept while that stays as it is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from feast import FeatureService, RepoConfig, utils
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.online_stores.helpers import compute_table_id
from feast.value_type import ValueType

from mainspring.core.features import row_table
from mainspring.core.features.feast_store import on_demand, response, values
from mainspring.core.features.feast_store import storage as storages

__all__ = ["FOREVER", "Plan", "SingleRow", "ViewPlan", "is_cached", "resolve", "table_id", "ttl_us"]

#: The oldest time that is answered where nothing expires.
FOREVER: Final = -(2**62)


@dataclass(frozen=True)
class ViewPlan:
    source: str
    """What references call the view, and on-demand views their input."""
    asked: frozenset[str]
    """The names in the answer of what was asked, and not only read for an on-demand view."""
    table: row_table.RowTable | None
    output: response.Output
    key_columns: tuple[str, ...]
    ttl_us: int | None


class SingleRow:
    """One row of one view of one key, which is what a request asks most often, in as few steps as there can be."""

    __slots__ = ("_key_types", "_name", "_output", "_read", "_skew_us", "_type")

    def __init__(
        self, view: ViewPlan, name: str, wanted: type, key_types: Mapping[str, ValueType], skew_us: int
    ) -> None:
        assert view.table is not None
        age = 2**62 if view.ttl_us is None else view.ttl_us + skew_us
        self._read = view.table.reader(view.output.groups, age)
        self._name, self._type, self._key_types, self._skew_us = name, wanted, key_types, skew_us
        self._output = view.output

    def answer(self, entity_rows: Any, has_metadata: bool) -> response.MainspringOnlineResponse | None:
        """The answer if that is what is asked, with a key of exactly the declared type; else None."""
        name = self._name
        if type(entity_rows) is list:
            if len(entity_rows) != 1 or len(entity_rows[0]) != 1 or name not in entity_rows[0]:
                return None
            key = entity_rows[0][name]
        else:
            column = entity_rows.get(name) if type(entity_rows) is dict and len(entity_rows) == 1 else None
            if type(column) is not list or len(column) != 1:
                return None
            key = column[0]
        if type(key) is not self._type:
            return None
        one = self._read(key, time.time_ns() // 1000 + self._skew_us)
        part = response.Part(self._output, None, one)
        return response.MainspringOnlineResponse({name: [key]}, self._key_types, (part,), has_metadata)


@dataclass(frozen=True)
class Plan:
    """What one request asks of which table, resolved from the registry once."""

    registry: Any
    created: Any
    epoch: int
    views: tuple[ViewPlan, ...]
    entity_names: Mapping[str, str]
    key_types: Mapping[str, ValueType]
    key_python: Mapping[str, type | None]
    on_demand: Sequence[on_demand.View]
    request_data: frozenset[str]
    is_feasts: bool
    refs: list[str] | None
    """What was asked by name; None: by `service`."""
    service: Any
    project: str
    full_names: bool
    until: float
    """Monotonic time at which the registry's cache, and with it this plan, is stale."""
    single: SingleRow | None


def table_id(config: RepoConfig, view: Any) -> str:
    """The table's name: of project, view and, where Feast has those, version."""
    versioned = getattr(config.registry, "enable_online_feature_view_versioning", False)
    return str(compute_table_id(config.project, view, versioned))


def ttl_us(view: Any) -> int | None:
    """A view's TTL in microseconds, None where nothing expires."""
    ttl = getattr(view, "ttl", None)
    return ttl // timedelta(microseconds=1) if ttl else None


def resolve(
    storage: storages.Storage,
    config: RepoConfig,
    features: Any,
    registry: Any,
    project: str,
    full_names: bool,
    skew_us: int,
) -> Plan:
    """Errors: Feast's own for what the registry does not know; those of :func:`on_demand.define`."""
    (refs, computed, entity_names, key_types, join_keys, grouped, _, request_data, _) = (
        utils._get_online_request_context(registry, project, features, full_names)
    )
    views = []
    for view, names in grouped:
        views.append(_view_plan(storage, config, view, names, full_names, refs))
        if _is_written(view):
            # Feast's map has the keys of its sources' views only.
            key_types = {c.name: c.dtype.to_value_type() for c in view.entity_columns} | key_types
    is_feasts = bool(getattr(features, "precompute_online", False) and not computed)
    computed = [view for view in computed if not _is_written(view)]
    is_service = isinstance(features, FeatureService)
    renamed = {n: k for n, k in entity_names.items() if n != k and n not in join_keys}
    types = {n: key_types.get(n, ValueType.UNKNOWN) for n in join_keys if n != DUMMY_ENTITY_ID}
    single = None
    # A key under its entity's name goes the longer way.
    if not (is_feasts or computed or request_data or renamed.keys() & types.keys()):
        single = _single(views, types, skew_us)
    return Plan(
        registry=registry,
        created=getattr(registry, "cached_registry_proto_created", None),
        epoch=storage.epoch,
        views=tuple(views),
        entity_names=renamed,
        key_types=types,
        key_python={n: values.python_type(key_types.get(n)) for n in join_keys},
        on_demand=()
        if is_feasts
        else tuple(on_demand.define(view, refs, [v for v, _ in grouped]) for view in computed),
        request_data=frozenset(request_data),
        is_feasts=is_feasts,
        refs=None if is_service else list(features),
        service=features if is_service else None,
        project=project,
        full_names=full_names,
        until=time.monotonic() + _cache_seconds(registry),
        single=single,
    )


def _is_written(view: Any) -> bool:
    """Whether it is an on-demand view whose features are kept, and read as any view's."""
    return bool(getattr(view, "write_to_online_store", False))


def _single(views: Sequence[ViewPlan], types: Mapping[str, ValueType], skew_us: int) -> SingleRow | None:
    if len(views) != 1 or views[0].table is None or len(views[0].key_columns) != 1:
        return None
    (name,) = views[0].key_columns
    wanted = values.python_type(types.get(name))
    return None if wanted is None else SingleRow(views[0], name, wanted, types, skew_us)


def is_cached(registry: Any) -> bool:
    check = getattr(registry, "is_cache_valid", None)
    return bool(check and check())


def _cache_seconds(registry: Any) -> float:
    """How long the registry's cache is still valid; Feast writes "until it is refreshed" as zero."""
    ttl = getattr(registry, "cached_registry_proto_ttl", timedelta(0)).total_seconds()
    created = getattr(registry, "cached_registry_proto_created", None)
    if ttl <= 0 or created is None:
        return float("inf")
    aware = created.replace(tzinfo=UTC) if created.tzinfo is None else created
    return float(max(0.0, ttl - (datetime.now(UTC) - aware).total_seconds()))


def _view_plan(
    storage: storages.Storage,
    config: RepoConfig,
    view: Any,
    names: Sequence[str],
    full: bool,
    refs: Sequence[str],
) -> ViewPlan:
    source = view.projection.name_to_use()
    types = {f.name: f.dtype.to_value_type() for f in view.features}
    fields = values.fields(view)
    table = storage.table(table_id(config, view))
    if table is not None and not {f for f in fields if f[0] in names} <= set(table.fields):
        table = storage.reshape(table_id(config, view), fields)
    wanted = [n for n in types if n in names]
    groups = row_table.grouped(wanted, fields) if table is None else table.groups(wanted)
    prefix = f"{source}__" if full else ""
    alias = view.projection.join_key_map
    keys = sorted(k for k in (c.name for c in view.entity_columns) if k != DUMMY_ENTITY_ID)
    readers = {
        prefix + n: read for g in groups for n in g.names if (read := values.to_python(types[n])) is not None
    }
    return ViewPlan(
        source,
        frozenset(prefix + name for name in wanted if f"{source}:{name}" in refs),
        table,
        response.Output(
            view=view.projection.name_alias or view.projection.name,
            version=getattr(view, "current_version_number", 0) or 0,
            groups=groups,
            names=tuple(tuple(prefix + n for n in g.names) for g in groups),
            types=tuple(tuple(types[n] for n in g.names) for g in groups),
            readers=readers,
        ),
        tuple(alias.get(k, k) for k in keys),
        ttl_us(view),
    )
