"""`python -m mainspring.serving` as a process: exit codes, one line for what is wrong, a clean stop."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
from serving_process import free_port, start

from mainspring.core import identity
from mainspring.core.client.serving import ServingClient
from mainspring.core.features import online

pytestmark = pytest.mark.integration


def refused(directory: Path, code: int, **variables: str) -> str:
    """The one line of a start that must fail."""
    process = start(directory, **variables)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, ""), err
    (line,) = err.splitlines()
    assert line.startswith("mainspring.serving: ")
    return line


@pytest.fixture
def port(tmp_path: Path) -> str:
    identity.ensure_token_file(tmp_path / ".mainspring" / "tokens.json")
    return str(free_port())


@pytest.mark.parametrize("front", ["on", "off"])
def test_it_serves_until_sigterm_and_lets_go_of_the_store(tmp_path: Path, port: str, front: str) -> None:
    process = start(
        tmp_path, MAINSPRING_SERVING_PORT=port, MAINSPRING_SERVING_FRONT=front, TMPDIR=str(tmp_path)
    )
    try:
        assert process.stderr is not None
        seen = ""
        while "Application startup complete" not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        with ServingClient(f"http://127.0.0.1:{port}") as client:
            assert client.ready() == {"status": "ready", "endpoints": [], "views": []}
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert ("mainspring_front_passed_total 2.0" in metrics) is (front == "on")
        for line in seen.splitlines():
            assert {"@timestamp", "log.level", "log.logger", "message"} <= json.loads(line).keys()
        second = start(tmp_path, MAINSPRING_SERVING_PORT=str(free_port()))
        _, err = second.communicate(timeout=60)
        assert second.returncode == 1, err
        assert len(err.splitlines()) == 1, err
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    online.OnlineStore(tmp_path / ".mainspring" / "online").close()
    assert not list(tmp_path.glob("mainspring-*")), "the folder of the app's socket is gone"


def test_behind_the_front_a_stop_loses_no_request(tmp_path: Path, port: str) -> None:
    process = start(tmp_path, MAINSPRING_SERVING_PORT=port, MAINSPRING_SERVING_FRONT="on")
    assert process.stderr is not None
    while "Application startup complete" not in (line := process.stderr.readline()):
        assert line
    statuses: list[int] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
        closes = False
        while not closes:
            connection.request("GET", "/v2/health/live")
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            closes = answer.headers["connection"] == "close"

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(ask) for _ in range(4)]
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        for asker in askers:
            asker.result(60)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(statuses) == {200}


def test_a_port_in_use_is_said_before_anything_is_written(tmp_path: Path, port: str) -> None:
    with socket.create_server(("127.0.0.1", int(port))):
        line = refused(tmp_path, 78, MAINSPRING_SERVING_PORT=port)
    assert f"port {port} on `127.0.0.1` is in use" in line
    assert "set `serving.port`" in line
    assert [p.name for p in (tmp_path / ".mainspring").iterdir()] == ["tokens.json"]


def test_a_grpc_port_in_use_is_said_as_well(tmp_path: Path, port: str) -> None:
    taken = free_port()
    with socket.create_server(("127.0.0.1", taken)):
        line = refused(tmp_path, 78, MAINSPRING_SERVING_PORT=port, MAINSPRING_SERVING_GRPC_PORT=str(taken))
    assert f"port {taken} on `127.0.0.1` is in use" in line
    assert "set `serving.grpc_port`" in line


def test_an_address_that_is_not_ours(tmp_path: Path, port: str) -> None:
    line = refused(tmp_path, 78, MAINSPRING_SERVING_PORT=port, MAINSPRING_SERVING_HOST="203.0.113.1")
    assert "cannot listen on `203.0.113.1`" in line


def test_a_certificate_that_is_none(tmp_path: Path, port: str) -> None:
    files = {f"MAINSPRING_SERVING_TLS_{name}": str(tmp_path / "absent") for name in ("CERTIFICATE", "KEY")}
    line = refused(tmp_path, 78, MAINSPRING_SERVING_PORT=port, **files)
    assert "are no certificate and its key" in line


def test_an_unknown_setting(tmp_path: Path) -> None:
    line = refused(tmp_path, 78, MAINSPRING_SERVING_PROT="1")
    assert "did you mean `MAINSPRING_SERVING_PORT`" in line


def test_no_token_file(tmp_path: Path) -> None:
    line = refused(tmp_path, 78, MAINSPRING_SERVING_PORT=str(free_port()))
    assert "run `mainspring up`" in line


def test_a_corrupt_traffic_document(tmp_path: Path, port: str) -> None:
    directory = tmp_path / ".mainspring" / "traffic"
    directory.mkdir()
    (directory / "flights.json").write_text("{")
    line = refused(tmp_path, 78, MAINSPRING_SERVING_PORT=port)
    assert "traffic document `flights.json` cannot be read" in line


def test_traffic_to_a_bundle_that_is_gone(tmp_path: Path, port: str) -> None:
    directory = tmp_path / ".mainspring" / "traffic"
    directory.mkdir()
    digest = "sha256:" + "a" * 64
    (directory / "flights.json").write_text(f'{{"endpoint": "flights", "version": 1, "stable": "{digest}"}}')
    line = refused(tmp_path, 78, MAINSPRING_SERVING_PORT=port)
    assert f"endpoint `flights` needs bundle `{digest}`, which does not load" in line
