"""The same features in Feast over Redis and in Feast over our store, on loopback and gone at the end."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

# isort: split

# The adapter first: it keeps Feast's metrics folder out of the environment.
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
def redis_server() -> Iterator[int]:
    """A redis-server of this run on a free loopback port. Raises FileNotFoundError where it is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("redis-server")
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait(port)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=10)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextlib.contextmanager
def world(*, entities: int, features: int) -> Iterator[World]:
    """Both stores, filled with the same rows."""
    warnings.simplefilter("ignore")  # Feast's own
    with redis_server() as port, tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
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


def _rows(entities: int, features: int) -> list[Any]:
    values = np.random.default_rng(5).random((entities, features), np.float32).tolist()
    now = datetime.now(UTC)
    return [
        (
            EntityKey(join_keys=["driver"], entity_values=[Value(int64_val=i)]),
            {f"f{j}": Value(float_val=v) for j, v in enumerate(row)},
            now,
            None,
        )
        for i, row in enumerate(values)
    ]
