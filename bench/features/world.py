"""The same features in Feast over Redis and in Feast over our store, on loopback and gone at the end."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# isort: split

# The adapter first: it keeps Feast's metrics folder out of the environment.
from mainspring.bench import redis_server
from mainspring.bench.serving import machine
from mainspring.core.features import feast_adapter

# isort: split

from feast import Entity, FeatureStore, FeatureView, FileSource, RepoConfig, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

OURS = "mainspring.core.features.feast_store.MainspringOnlineStore"


@dataclass(frozen=True)
class World:
    """Two stores with the same rows: drivers 0 to `entities`, features `f0` to `f{features}`."""

    ours: FeatureStore
    redis: FeatureStore
    port: int
    entities: int
    features: int

    @property
    def refs(self) -> list[str]:
        return [f"stats:f{i}" for i in range(self.features)]


@contextlib.contextmanager
def world(*, entities: int, features: int) -> Iterator[World]:
    """Both stores, filled with the same rows."""
    warnings.simplefilter("ignore")  # Feast's own
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        (port,) = machine.free_ports(1)
        stack.enter_context(redis_server.started(Path(folder), port=port))
        ours = _store(stack, Path(folder) / "ours", {"type": OURS, "path": "online.db"}, features)
        redis = _store(
            stack,
            Path(folder) / "redis",
            {"type": "redis", "connection_string": f"127.0.0.1:{port}"},
            features,
        )
        rows = _rows(entities, features)
        for store in (ours, redis):
            view = store.get_feature_view("stats")
            store._get_provider().online_write_batch(store.config, view, rows, None)
        yield World(ours, redis, port, entities, features)


def _store(stack: contextlib.ExitStack, folder: Path, online: dict[str, Any], features: int) -> FeatureStore:
    folder.mkdir()
    store = FeatureStore(
        config=RepoConfig(
            project="bench", provider="local", repo_path=folder, online_store=online, offline_store={"type": "dask"},
            registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}", "cache_ttl_seconds": 600},
            entity_key_serialization_version=3,
        )
    )  # fmt: skip
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    names = [f"f{i}" for i in range(features)]
    view = FeatureView(
        name="stats", entities=[driver], ttl=timedelta(days=1),
        schema=[feast_adapter.field("driver", "int64"), *(feast_adapter.field(n, "float32") for n in names)],
        source=FileSource(name="rows", path="rows.parquet", timestamp_field="event_timestamp"),
    )  # fmt: skip
    store.apply([driver, view])
    store.refresh_registry()
    stack.callback(store.registry.write_engine.dispose)
    return store


def values(entities: int, features: int) -> NDArray[np.float32]:
    """(entities, features), the same in every process."""
    return np.random.default_rng(5).random((entities, features), np.float32)


def _rows(entities: int, features: int) -> list[Any]:
    now = datetime.now(UTC)
    return [
        (
            EntityKey(join_keys=["driver"], entity_values=[Value(int64_val=i)]),
            {f"f{j}": Value(float_val=v) for j, v in enumerate(row)},
            now,
            None,
        )
        for i, row in enumerate(values(entities, features).tolist())
    ]
