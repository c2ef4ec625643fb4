"""Serving as a process believes the OpenID provider of the settings: over HTTP and gRPC, with the front or without."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import integration_openid as openid
import pytest
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc

from mainspring.core import identity

pytestmark = pytest.mark.integration


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def package() -> Path:
    return openid.package()


@dataclasses.dataclass(frozen=True)
class Process:
    http: httpx.Client
    grpc_port: int

    def read(self, bearer: str = "") -> httpx.Response:
        """A question that needs to be known; no model is asked."""
        return self.http.get("/v1/bundles", headers=_headers(bearer))

    def change(self, bearer: str) -> httpx.Response:
        """What only an admin may."""
        return self.http.get("/v1/keys", headers=_headers(bearer))

    def over_grpc(self, bearer: str = "") -> grpc.StatusCode:
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            metadata = [("authorization", f"Bearer {bearer}")] if bearer else []
            try:
                stub.ServerMetadata(messages.ServerMetadataRequest(), metadata=metadata, timeout=20)
            except grpc.RpcError as error:
                return error.code()  # type: ignore[no-any-return]
            return grpc.StatusCode.OK


def _headers(bearer: str) -> dict[str, str]:
    return {"authorization": f"Bearer {bearer}"} if bearer else {}


def _lives(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx.ConnectError:
        return False


@contextlib.contextmanager
def process(directory: Path, issuer: str, **more: str) -> Iterator[Process]:
    identity.ensure_token_file(directory / ".mainspring" / "tokens.json")
    port, grpc_port = free_port(), free_port()
    variables = {
        "MAINSPRING_SERVING_PORT": str(port),
        "MAINSPRING_SERVING_GRPC_PORT": str(grpc_port),
        "MAINSPRING_SERVING_REQUIRE_TOKEN": "true",
        "MAINSPRING_IDENTITY_ISSUER": issuer,
        "MAINSPRING_IDENTITY_AUDIENCE": "urn:mainspring",
        "MAINSPRING_IDENTITY_LEEWAY_SECONDS": "0",
        **more,
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
    running = subprocess.Popen(
        [sys.executable, "-m", "mainspring.serving"],
        cwd=directory,
        env=kept | variables,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stderr is not None
        while "Application startup complete" not in (line := running.stderr.readline()):
            assert line
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http:
            until = time.monotonic() + 20
            while not _lives(http):  # the front starts after the app
                assert time.monotonic() < until
                time.sleep(0.01)
            yield Process(http, grpc_port)
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)
        assert running.returncode == 0
    finally:
        running.kill()
        running.communicate()


@pytest.mark.parametrize("front", ["on", "off"])
def test_a_real_providers_tokens_are_taken(package: Path, tmp_path: Path, front: str) -> None:
    with (
        openid.provider(package, free_port()) as issuer,
        process(tmp_path, issuer, MAINSPRING_SERVING_FRONT=front) as served,
    ):
        ana, ben = (openid.token(issuer, client) for client in ("ana", "ben"))
        assert (served.over_grpc(ana), served.read(ana).status_code) == (grpc.StatusCode.OK, 200)
        assert served.read(ben).status_code == 200
        refused = served.change(ana)
        assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied"), "no admin"
        for wrong in (
            "",
            openid.token(issuer, "ana", "urn:other"),
            ana[:-6] + "AAAAAA",
            ana.rpartition(".")[0] + ".",
        ):
            assert served.read(wrong).status_code == 401
            assert served.over_grpc(wrong) == grpc.StatusCode.UNAUTHENTICATED
        brief = openid.token(issuer, "ana", "urn:brief")
        time.sleep(1.1)  # the provider's own clock counts
        assert "expired" in served.read(brief).json()["detail"]
        embedded = identity.TokenIssuer.load(tmp_path / ".mainspring" / "tokens.json")
        assert served.change(embedded.token_of("admin@local")).status_code == 200, "services of this machine"


def test_the_embedded_issuer_can_be_switched_off(package: Path, tmp_path: Path) -> None:
    with (
        openid.provider(package, free_port()) as issuer,
        process(tmp_path, issuer, MAINSPRING_IDENTITY_EMBEDDED="false") as served,
    ):
        embedded = identity.TokenIssuer.load(tmp_path / ".mainspring" / "tokens.json")
        assert served.read(embedded.token_of("admin@local")).status_code == 401
        assert served.read(openid.token(issuer, "ana")).status_code == 200


def test_a_provider_that_is_away_is_no_refusal_of_the_token(package: Path, tmp_path: Path) -> None:
    with openid.provider(package, free_port()) as issuer:
        good = openid.token(issuer, "ana")
    with process(tmp_path, issuer) as served:
        away = served.read(good)
        assert (away.status_code, away.json()["details"]) == (503, {"name": "identity"})
        assert served.over_grpc(good) == grpc.StatusCode.UNAVAILABLE
        assert served.http.get("/readyz").status_code == 200


def test_where_no_token_is_demanded_a_provider_that_is_away_turns_nobody_away(
    package: Path, tmp_path: Path
) -> None:
    with openid.provider(package, free_port()) as issuer:
        good = openid.token(issuer, "ana")
    with process(tmp_path, issuer, MAINSPRING_SERVING_REQUIRE_TOKEN="false") as served:
        assert served.read(good).status_code == 200
        assert served.over_grpc(good) == grpc.StatusCode.OK
        assert served.change(good).status_code == 503, "an admin must be known"


def test_a_provider_without_an_audience_is_refused_at_the_start(tmp_path: Path) -> None:
    identity.ensure_token_file(tmp_path / ".mainspring" / "tokens.json")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
    variables = {
        "MAINSPRING_SERVING_PORT": str(free_port()),
        "MAINSPRING_SERVING_GRPC_PORT": "0",
        "MAINSPRING_IDENTITY_ISSUER": "http://127.0.0.1:1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "mainspring.serving"],
        cwd=tmp_path,
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78
    assert "`identity.audience` is empty" in done.stderr and len(done.stderr.splitlines()) == 1
