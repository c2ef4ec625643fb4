"""A server that demands keys, with one endpoint and one native model, and what asks it over each protocol."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import serving_tensors as tensors
import serving_world as world
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from mainspring.core.client import serving as client_module
from mainspring.core.contracts.deployment import TrafficTable

PREDICT = "/v1/endpoints/flights:predict"
INFER = "/v2/models/linear/infer"
READ = "/v1/features:read"
ROW = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [1.0] * 8}]}
ASKED = {"entities": [world.entity()], "as_of": world.AS_OF}
FEATURES = {"features": ["origin_stats:mean_delay"], "entities": {"origin": ["JFK"]}, "as_of": world.AS_OF}


@dataclasses.dataclass(frozen=True)
class House:
    served: world.Served
    grpc_port: int
    http: httpx.Client

    def key(self, caller: str, *scopes: str, **more: Any) -> str:
        answer = self.as_admin("POST", "/v1/keys", {"caller": caller, "scopes": list(scopes), **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    def revoke(self, key: str) -> None:
        assert self.as_admin("DELETE", f"/v1/keys/{key.split('_')[1]}").status_code == 200

    def limit(self, *rules: dict[str, Any]) -> None:
        version = self.as_admin("GET", "/v1/limits").json()["version"] + 1
        answer = self.as_admin("PUT", "/v1/limits", {"version": version, "rules": rules})
        assert answer.status_code == 200, answer.text

    def as_admin(self, method: str, path: str, document: Any = None) -> httpx.Response:
        token = self.served.tokens.token_of("admin@local")
        return self.http.request(method, path, json=document, headers={"authorization": f"Bearer {token}"})

    def take(self, table: TrafficTable, *bundles: world.World) -> None:
        """Load the bundles and put the table in force."""
        with client_module.ServingClient(
            self.served.url, token=self.served.tokens.token_of("service@local")
        ) as c:
            for bundle in bundles:
                c.load_bundle(bundle.digest)
            c.set_traffic(table)

    def ask(self, path: str, document: Any, key: str = "") -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return self.http.post(path, json=document, headers=headers)

    def triton(self, key: str = "", model: str = "linear") -> None:
        """One request by NVIDIA's client over HTTP. Errors: InferenceServerException."""
        client = triton_http.InferenceServerClient(self.served.url.removeprefix("http://"))
        try:
            client.infer(model, [filled(triton_http)], headers=bearer(key))
        finally:
            client.close()

    def triton_grpc(self, key: str = "", model: str = "linear") -> None:
        """The same over gRPC."""
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{self.grpc_port}") as client:
            client.infer(model, [filled(triton_grpc)], headers=bearer(key))


def bearer(key: str) -> dict[str, str] | None:
    return {"authorization": f"Bearer {key}"} if key else None


def filled(library: Any) -> Any:
    return library.InferInput("x", [1, 8], "FP32").set_data_from_numpy(np.ones((1, 8), np.float32))


def refused(call: Any) -> InferenceServerException:
    """What the client raises."""
    try:
        call()
    except InferenceServerException as error:
        return error
    raise AssertionError("it was let in")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return int(s.getsockname()[1])


@contextlib.contextmanager
def opened(directory: Path, *bundles: world.World, **serving: object) -> Iterator[House]:
    """Without `bundles` one of them has the traffic; with them it is the caller's to set."""
    bundle, port = world.World(), free_port()
    models = {"linear": tensors.network, "floats": tensors.models()["floats"]}
    loaded = bundles or (bundle,)
    with (
        world.serve(directory, *loaded, models=models, **{"grpc_port": port, **serving}) as served,
        httpx.Client(base_url=served.url, trust_env=False, timeout=30) as http,
    ):
        house = House(served, port, http)
        if not bundles:
            house.take(TrafficTable(endpoint="flights", version=1, stable=bundle.digest), bundle)
        yield house
