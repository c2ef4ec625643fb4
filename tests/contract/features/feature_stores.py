"""Every online store that Feast can read here, opened with one view and ended at the end: ours three times, and Feast's own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import uvicorn

from mainspring.bench import redis_server
from mainspring.bench.serving import machine
from mainspring.core import errors, identity, ports, settings
from mainspring.core.client import serving as serving_client
from mainspring.core.contracts.prediction import FeaturePush
from mainspring.core.features import feast_adapter, online
from mainspring.serving import app

# isort: split

from feast import Entity, FeatureStore, FeatureView, FileSource, RepoConfig, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

OURS = "mainspring.core.features.feast_store.MainspringOnlineStore"
FIELDS = (("rate", "float32"), ("trips", "int64"), ("city", "string"), ("on", "bool"), ("exact", "float64"))
TTL = timedelta(hours=1)
_PROTO = {
    "rate": "float_val",
    "trips": "int64_val",
    "city": "string_val",
    "on": "bool_val",
    "exact": "double_val",
}


class Row(Protocol):
    """What is written: an entity, its values (None is null), its times."""

    driver: int
    values: Mapping[str, Any]
    event: datetime
    created: datetime


Write = Callable[[Sequence[Row]], None]


@contextlib.contextmanager
def mainspring(folder: Path) -> Iterator[tuple[FeatureStore, Write]]:
    """Our plug-in, in memory."""
    with _feast(folder, {"type": OURS, "freeze_after_warm_up": False}) as store:
        yield store, _by_feast(store)


@contextlib.contextmanager
def mainspring_file(folder: Path) -> Iterator[tuple[FeatureStore, Write]]:
    """Our plug-in with a file; every write goes through another store object than the one that reads."""
    options = {"type": OURS, "path": "online.db", "refresh_seconds": 0.0, "freeze_after_warm_up": False}
    with _feast(folder, options) as store, _feast(folder, options) as writer:
        yield store, _by_feast(writer)


@contextlib.contextmanager
def mainspring_server(folder: Path) -> Iterator[tuple[FeatureStore, Write]]:
    """Our feature server: written by a push over HTTP, read by Feast's remote client."""
    folder.mkdir(exist_ok=True)
    tokens = identity.ensure_token_file(folder / "tokens.json")
    rows = online.OnlineStore(folder / "online")
    rows.register(ports.ViewSchema("stats", ("driver",), FIELDS, TTL.total_seconds()))
    built = app.create_app(
        settings.load({"MAINSPRING_SERVING_GRPC_PORT": "0"}, directory=folder), online=rows, loader=_NoBundles(), issuer=tokens
    )  # fmt: skip
    with (
        _served(built) as url,
        serving_client.ServingClient(url, token=tokens.token_of("service@local")) as client,
    ):

        def write(given: Sequence[Row]) -> None:
            client.push(
                FeaturePush(
                    view="stats",
                    keys={"driver": [row.driver for row in given]},
                    event_times=[row.event for row in given],
                    created_times=[row.created for row in given],
                    columns={name: [row.values.get(name) for row in given] for name, _ in FIELDS},
                )
            )

        with _feast(folder, {"type": "remote", "path": url}) as store:
            yield store, write
    rows.close()


@contextlib.contextmanager
def feast_sqlite(folder: Path) -> Iterator[tuple[FeatureStore, Write]]:
    """Feast's default."""
    with _feast(folder, {"type": "sqlite", "path": str(folder / "online.db")}) as store:
        yield store, _by_feast(store)


@contextlib.contextmanager
def feast_redis(folder: Path) -> Iterator[tuple[FeatureStore, Write]]:
    """Feast over Redis."""
    (port,) = machine.free_ports(1)
    folder.mkdir(exist_ok=True)
    with redis_server.started(folder, port=port):
        options = {"type": "redis", "connection_string": f"127.0.0.1:{port}"}
        with _feast(folder, options) as store:
            yield store, _by_feast(store)


STORES = {
    "mainspring": mainspring, "mainspring-file": mainspring_file, "mainspring-server": mainspring_server,
    "feast-sqlite": feast_sqlite, "feast-redis": feast_redis,
}  # fmt: skip


class _NoBundles:
    def load(self, digest: str) -> Any:
        raise errors.NotFound("there are no bundles here", resource="bundle", name=digest)


@contextlib.contextmanager
def _feast(folder: Path, online_store: dict[str, Any]) -> Iterator[FeatureStore]:
    folder.mkdir(exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="p", provider="local", repo_path=folder, online_store=online_store, offline_store={"type": "dask"},
            registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}", "cache_ttl_seconds": 600},
            entity_key_serialization_version=3,
        )
    )  # fmt: skip
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    view = FeatureView(
        name="stats", entities=[driver], ttl=TTL,
        schema=[feast_adapter.field("driver", "int64"), *(feast_adapter.field(n, t) for n, t in FIELDS)],
        source=FileSource(name="rows", path="rows.parquet", timestamp_field="event_timestamp"),
    )  # fmt: skip
    if online_store["type"] == "remote":
        # A remote store has no infrastructure of its own to make.
        store.registry.apply_entity(driver, "p")
        store.registry.apply_feature_view(view, "p")
    else:
        store.apply([driver, view])
    store.refresh_registry()
    try:
        yield store
    finally:
        store.registry.write_engine.dispose()


def _by_feast(store: FeatureStore) -> Write:
    def write(given: Sequence[Row]) -> None:
        rows = [
            (
                EntityKey(join_keys=["driver"], entity_values=[Value(int64_val=row.driver)]),
                {
                    name: Value()
                    if row.values.get(name) is None
                    else Value(**{_PROTO[name]: row.values[name]})
                    for name, _ in FIELDS
                },
                row.event.astimezone(UTC).replace(tzinfo=None),
                row.created.astimezone(UTC).replace(tzinfo=None),
            )
            for row in given
        ]
        store._get_provider().online_write_batch(store.config, store.get_feature_view("stats"), rows, None)

    return write


@contextlib.contextmanager
def _served(built: Any) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(built, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()
