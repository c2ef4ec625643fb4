"""A small real world for serving's tests: one view, a linear model over a real plan column, a loader, a server."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.core import canonical, errors, identity, ports, settings
from mainspring.core.contracts import inputs
from mainspring.core.features import online, schema
from mainspring.core.models import explain
from mainspring.native import front
from mainspring.serving import app, bundles, native_front, server, tls, usage
from mainspring.serving.access import accounts
from mainspring.serving.models import repository
from mainspring.serving.runtimes import function_runtime

HOUR_US = 3_600_000_000
NOW_US = 1_385_900_000_000_000  # 2013-12-01T12:13:20Z
AS_OF = "2013-12-01T12:13:20Z"


def column(name: str, dtype: ports.FieldType) -> schema.Column:
    return schema.Column(name=name, dtype=dtype)


SERVICE = schema.FeatureService(
    name="delays",
    views=(
        schema.FeatureView(
            name="origin_stats",
            keys=(column("origin", "string"),),
            fields=(column("mean_delay", "float32"), column("weather", "string")),
            ttl_seconds=7200,
        ),
        schema.FeatureView(
            name="flight_stats",
            keys=(column("carrier", "string"), column("flight", "int64")),
            fields=(column("mean_delay", "float64"),),
        ),
    ),
)
REQUEST_COLUMNS = (column("distance", "float32"), column("dep_us", "int64"))


def linear(batch: ports.ModelInput) -> NDArray[Any]:
    """A score between 0 and 1 of the mean of the dense columns, missing ones as 0."""
    return 1.0 / (1.0 + np.exp(-np.nan_to_num(batch.dense).mean(axis=1)))


#: The settings under which the same tests must pass.
WAYS: Mapping[str, Mapping[str, object]] = {
    "fast-path": {"front": "off"},
    "fastapi": {"front": "off", "fast_path": False},
    "native-front": {"front": "on"},
}


@dataclasses.dataclass
class World:
    """A bundle that is what serving.bundles.LoadedBundle says. `calls` counts what the plane asked of it."""

    name: str = "delay-linear"
    project: str = "flights-team"
    function: Callable[[ports.ModelInput], NDArray[Any]] = linear
    feature_service: schema.FeatureService = SERVICE
    request_columns: tuple[schema.Column, ...] = REQUEST_COLUMNS
    input_policy: inputs.InputPolicy = dataclasses.field(default_factory=inputs.InputPolicy)
    memory_bytes: int = 1000
    calls: list[str] = dataclasses.field(default_factory=list)
    seen: list[Mapping[str, NDArray[Any]]] = dataclasses.field(default_factory=list)
    input_columns: Mapping[str, ports.FieldType] = dataclasses.field(
        default_factory=lambda: {
            "carrier": "string",
            "origin_stats__mean_delay": "float32",
            "origin_stats__weather": "string",
            "flight_stats__mean_delay": "float32",
            "distance": "float32",
            "distance_km": "float32",
        }
    )

    @property
    def digest(self) -> str:
        return canonical.digest(self.name)

    @property
    def plan_digest(self) -> str:
        return canonical.digest(sorted(self.input_columns))

    @property
    def runtime(self) -> ports.ModelRuntime:
        return function_runtime.FunctionRuntime(self.function)

    def derive(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.calls.append("derive")
        return {"distance_km": columns["distance"] * np.float32(1.609)}

    def prepare(self, columns: Mapping[str, NDArray[Any]]) -> ports.ModelInput:
        self.calls.append("prepare")
        self.seen.append(columns)
        for name, dtype in self.input_columns.items():
            assert columns[name].dtype == column(name, dtype).numpy_dtype, name
        assert set(columns) == set(self.input_columns)
        numbers = [columns[n] for n, d in self.input_columns.items() if d == "float32"]
        return ports.ModelInput(
            np.ascontiguousarray(np.stack(numbers, axis=1)), np.zeros((len(numbers[0]), 1), np.int32)
        )

    def explain(self, batch: ports.ModelInput) -> explain.ByInput:
        raise explain.inexplicable(self.digest, "it is a function", "bundle a model")


@dataclasses.dataclass
class DictLoader:
    """Loads from a dict; counts loads."""

    bundles: dict[str, World]
    loads: list[str] = dataclasses.field(default_factory=list)

    def load(self, digest: str) -> World:
        self.loads.append(digest)
        if digest not in self.bundles:
            raise errors.NotFound(
                f"no bundle `{digest}` in the store; write it first", resource="bundle", name=digest
            )
        return self.bundles[digest]


def filled_store(now_us: int = NOW_US) -> online.OnlineStore:
    """JFK fresh, LGA three hours old (the view's TTL is two), EWR absent; UA 7 known, its weather null."""
    store = online.OnlineStore()
    for view in SERVICE.views:
        store.register(view.online)
    times = np.array([now_us - HOUR_US, now_us - 3 * HOUR_US], np.int64)
    store.upsert(
        "origin_stats",
        {"origin": ["JFK", "LGA"]},
        event_us=times,
        created_us=times,
        columns={"mean_delay": [1.5, 9.0], "weather": [None, "fog"]},
    )
    store.upsert(
        "flight_stats",
        {"carrier": ["UA"], "flight": [7]},
        event_us=times[:1],
        created_us=times[:1],
        columns={"mean_delay": [0.25]},
    )
    return store


def entity(**changes: Any) -> dict[str, Any]:
    return {"origin": "JFK", "carrier": "UA", "flight": 7, "distance": 100.0, "dep_us": NOW_US} | changes


def settings_in(directory: Path, **serving: object) -> settings.Settings:
    chosen = {"grpc_port": 0, **serving}
    environ = {f"MAINSPRING_SERVING_{k.upper()}": str(v) for k, v in chosen.items()}
    return settings.load(environ, directory=directory)


@dataclasses.dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    tokens: identity.TokenIssuer
    online: online.OnlineStore
    loader: DictLoader
    """Of the bundles given; unused where a loader was given."""
    front: native_front.NativeFront


@contextlib.contextmanager
def serve(
    directory: Path,
    *worlds: World,
    models: Mapping[str, repository.ModelFactory] | None = None,
    loaded_by: bundles.BundleLoader | None = None,
    send_usage: usage.Send | None = None,
    introspection: accounts.Introspection | None = None,
    **serving: object,
) -> Iterator[Served]:
    """The real app under real uvicorn on a free loopback port, behind the native front if `front` says so."""
    store, loader = filled_store(), DictLoader({b.digest: b for b in worlds})
    tokens = identity.ensure_token_file(directory / "tokens.json")
    in_force = settings_in(directory, **serving)
    certificates = tls.Certificates.load(in_force.serving)
    before = native_front.NativeFront(in_force.serving)
    built = app.create_app(
        in_force,
        online=store,
        loader=loaded_by or loader,
        issuer=tokens,
        models=models,
        front=before,
        send_usage=send_usage,
        introspection=introspection,
        certificates=certificates,
    )
    listeners = front.listen("127.0.0.1", 0, threads=in_force.serving.front_threads)
    port = listeners[0].getsockname()[1]
    how: dict[str, Any] = {} if certificates is None else certificates.for_uvicorn()
    running = server.Server(built, listeners, before, log_level="warning", lifespan="on", **how)
    started = threading.Event()
    startup = running.startup

    async def tell_when_started(sockets: list[socket.socket] | None = None) -> None:
        await startup(sockets)
        started.set()

    running.startup = tell_when_started  # type: ignore[method-assign]
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    assert started.wait(30), "uvicorn did not start"
    try:
        scheme = "http" if certificates is None else "https"
        yield Served(f"{scheme}://127.0.0.1:{port}", tokens, store, loader, before)
    finally:
        running.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
