"""The only file that imports Feast: its definition language, its registry, and both as plain values.

Projects define entities, views and services with the names re-exported here. Feast's registry keeps them (SQL, on
SQLite: its file registry loses concurrent updates); its stores are not used, because the Polars join and the online
store here answer where Feast's drop rows or ignore the TTL. Importing Feast takes seconds, so nothing that serves does.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

# Before Feast, so that metrics of this process stay in its memory: see _restore_environment.
import prometheus_client as _  # noqa: F401

# isort: split

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast import metrics as _feast_metrics
from feast.errors import FeastError, FeastObjectNotFoundException
from feast.types import Bool, Float32, Float64, Int64, PrimitiveFeastType, String
from pydantic import ValidationError

from mainspring.core import errors, ports
from mainspring.core.catalog import rules
from mainspring.core.contracts import catalog
from mainspring.core.features import folders, schema

__all__ = [
    "Definitions", "Entity", "FeatureService", "FeatureView", "Field", "FileSource", "Resolved", "ValueType",
    "apply", "catalog_of", "describe", "field", "registered", "repo_config", "resolve", "store",
]  # fmt: skip

_TO_FEAST: Final[Mapping[ports.FieldType, PrimitiveFeastType]] = {
    "float32": Float32,
    "float64": Float64,
    "int64": Int64,
    "bool": Bool,
    "string": String,
}
_FROM_FEAST: Final[Mapping[Any, ports.FieldType]] = {feast: ours for ours, feast in _TO_FEAST.items()}


def _restore_environment() -> None:
    """Take back what importing Feast put into the environment.

    It points Prometheus at a temporary folder that goes away with this process; every process started from here would
    inherit that, write its metrics there, and fail once the folder is gone.
    """
    if _feast_metrics._owns_mp_dir:
        for name in ("PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR"):
            if os.environ.get(name) == _feast_metrics._prometheus_mp_dir:
                del os.environ[name]


_restore_environment()


@dataclass(frozen=True)
class Definitions:
    """What a project applies: its entities, its views and the service that its model reads."""

    entities: tuple[Entity, ...]
    views: tuple[FeatureView, ...]
    service: FeatureService


@dataclass(frozen=True)
class Resolved:
    """A feature service without Feast: its schema, and where each view's rows are, relative to the feature folder."""

    service: schema.FeatureService
    paths: Mapping[str, Path]


def field(
    name: str, dtype: ports.FieldType, *, description: str = "", tags: Mapping[str, str] | None = None
) -> Field:
    """A Feast field of one of our types. The catalog reads the tags `pii` and `classification`."""
    return Field(name=name, dtype=_TO_FEAST[dtype], description=description, tags=dict(tags or {}))


def repo_config(folder: Path, project: str) -> RepoConfig:
    """Feast's configuration of a feature folder; paths of file sources are relative to it."""
    return RepoConfig(
        project=project.replace("-", "_"),  # Feast's project names have no hyphen
        provider="local",
        repo_path=folder,
        registry={
            "registry_type": "sql",
            "path": f"sqlite:///{folder / folders.REGISTRY}",
            "cache_ttl_seconds": 0,
        },
        online_store=None,  # ours answers; Feast's would leave a database of empty tables in the folder
        offline_store={"type": "dask"},
        entity_key_serialization_version=3,
    )


@contextmanager
def store(folder: Path, project: str) -> Iterator[FeatureStore]:
    """Feast's own store over a feature folder, closed at the end: for its registry, and as an oracle in tests."""
    opened = FeatureStore(config=repo_config(folder, project))
    try:
        yield opened
    finally:
        engine = getattr(opened.registry, "write_engine", None)
        if engine is not None:
            engine.dispose()


def apply(folder: Path, project: str, definitions: Definitions) -> None:
    """Register the definitions in the folder's registry.

    Errors: InvalidRequest if Feast refuses one of them, or if the catalog's rules do: who owns it, what it is, PII.
    """
    rules.check(catalog_of(definitions), project=project)
    with store(folder, project) as opened:
        try:
            opened.apply([*definitions.entities, *definitions.views, definitions.service])
        except (FeastError, ValueError, TypeError, AssertionError) as error:
            raise errors.InvalidRequest(
                f"feature definitions of project `{project}` are refused: {error}; correct the definition",
                field="definitions",
            ) from error


def resolve(folder: Path, project: str, service: str) -> Resolved:
    """The service called `service` as the registry has it. Errors: NotFound, SchemaMismatch."""
    with store(folder, project) as opened:
        try:
            found = opened.get_feature_service(service)
        except FeastObjectNotFoundException as error:
            names = tuple(sorted(s.name for s in opened.list_feature_services()))
            raise errors.NotFound(
                f"no feature service `{service}` in project `{project}`; registered are {list(names)}",
                resource="feature service",
                name=service,
                did_you_mean=names,
            ) from error
        views = {p.name: opened.get_feature_view(p.name) for p in found.feature_view_projections}
        entities = {name: opened.get_entity(name) for view in views.values() for name in view.entities}
        return _describe(found, views, entities)


def describe(definitions: Definitions) -> Resolved:
    """The definitions' service as :func:`resolve` would give it, without a registry."""
    views = {view.name: view for view in definitions.views}
    return _describe(definitions.service, views, {entity.name: entity for entity in definitions.entities})


def catalog_of(definitions: Definitions) -> tuple[catalog.CatalogEntry, ...]:
    """The views and the service as the catalog has them. Errors: InvalidRequest for a tag that it does not know."""
    entities = {entity.name: entity for entity in definitions.entities}
    return _entries(definitions.views, (definitions.service,), entities)


def registered(folder: Path, project: str) -> tuple[catalog.CatalogEntry, ...]:
    """The views and services that are in the folder's registry, as the catalog has them."""
    with store(folder, project) as opened:
        views, services = opened.list_feature_views(), opened.list_feature_services()
        return _entries(views, services, {entity.name: entity for entity in opened.list_entities()})


def _entries(
    views: Iterable[FeatureView], services: Iterable[FeatureService], entities: Mapping[str, Entity]
) -> tuple[catalog.CatalogEntry, ...]:
    made = [(view.name, functools.partial(_view_entry, view, entities)) for view in views]
    made += [(service.name, functools.partial(_service_entry, service)) for service in services]
    entries = []
    for name, make in made:
        try:
            entries.append(make())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise errors.InvalidRequest(
                f"`{where}` of `{name}` does not fit the catalog: {first['msg'].lower()}; correct the definition",
                field=where,
            ) from error
    return tuple(entries)


def _service_entry(service: FeatureService) -> catalog.CatalogEntry:
    return catalog.CatalogEntry(
        kind="service",
        name=f"service.{service.name}",
        owner=service.owner,
        description=service.description,
        tags=dict(service.tags),
        classification=rules.classification(service.tags, where=service.name),
        reads=tuple(f"view.{p.name}" for p in service.feature_view_projections),
    )


def _view_entry(view: FeatureView, entities: Mapping[str, Entity]) -> catalog.CatalogEntry:
    said = rules.classification(view.tags, where=view.name)
    keys = {entities[name].join_key: entities[name] for name in view.entities}
    tags = {column.name: column.tags for column in (*view.entity_columns, *view.features)}
    columns = []
    for column in (*view.entity_columns, *view.features):
        where = f"{view.name}.{column.name}"
        key = keys.get(column.name)
        # An entity that tells of a person does so in every view that it keys.
        told = {**(key.tags if key else {}), **tags[column.name]}
        columns.append(
            catalog.CatalogColumn(
                name=column.name,
                dtype=_FROM_FEAST.get(column.dtype, str(column.dtype)),
                description=column.description or (key.description if key else ""),
                is_key=key is not None,
                is_pii=rules.is_pii(told, where=where),
                # What nobody classified by itself is what its view is.
                classification=rules.classification(told, where=where) or said,
            )
        )
    return catalog.CatalogEntry(
        kind="view",
        name=f"view.{view.name}",
        owner=view.owner,
        description=view.description,
        tags=dict(view.tags),
        classification=said,
        columns=tuple(columns),
        ttl_seconds=_ttl_seconds(view.name, view.ttl),
    )


def _describe(
    service: FeatureService, views: Mapping[str, FeatureView], entities: Mapping[str, Entity]
) -> Resolved:
    described = []
    paths = {}
    for projection in service.feature_view_projections:
        view = views[projection.name]
        types = {column.name: column.dtype for column in view.entity_columns}
        keys = [entities[name].join_key for name in view.entities]
        described.append(
            schema.FeatureView(
                name=projection.name,
                keys=tuple(_column(view.name, key, types.get(key)) for key in keys),
                fields=tuple(_column(view.name, f.name, f.dtype) for f in projection.features),
                ttl_seconds=_ttl_seconds(view.name, view.ttl),
            )
        )
        paths[projection.name] = Path(view.batch_source.path)
    return Resolved(schema.FeatureService(name=service.name, views=tuple(described)), paths)


def _column(view: str, name: str, dtype: Any) -> schema.Column:
    ours = _FROM_FEAST.get(dtype)
    if ours is None:
        raise errors.SchemaMismatch(
            f"column `{name}` of view `{view}` has Feast type {dtype}, expected one of {sorted(_TO_FEAST)};"
            " give it in the view's schema, keys included",
            feature=name,
            expected=str(sorted(_TO_FEAST)),
            got=str(dtype),
        )
    return schema.Column(name=name, dtype=ours)


def _ttl_seconds(view: str, ttl: timedelta | None) -> int | None:
    # Feast writes "never expires" as zero.
    if not ttl:
        return None
    if ttl % timedelta(seconds=1):
        raise errors.InvalidRequest(f"TTL {ttl} of view `{view}` is not whole seconds; round it", field="ttl")
    return int(ttl.total_seconds())
