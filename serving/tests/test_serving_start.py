"""What a process has imported when it is ready with a native bundle: nothing that its first answers do not need."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import httpx
import pytest
import serving_bundles
from serving_process import free_port, start

from mainspring.core import identity

pytestmark = pytest.mark.integration

#: Each is above a hundredth of a second or a megabyte. What comes with an option or a request is imported with it.
LATE = {
    *("fastapi", "prometheus_client", "grpc", "google", "httpx", "joserfc"),
    *("torch", "onnxruntime", "polars", "pyarrow", "pandas", "duckdb", "scipy"),
    *("feast", "mlflow", "ray", "temporalio", "litestar", "sqlalchemy"),
}


def write_state(directory: Path) -> None:
    """A stack's state with one signed network and traffic to it."""
    home = serving_bundles.Home(directory)
    digest = home.write_network(project="flight-delay")  # one that is installed
    state = directory / ".mainspring"
    identity.ensure_token_file(state / "tokens.json")
    shutil.move(directory / "bundles", state / "bundles")
    shutil.move(directory / "trusted", state / "keys" / "trusted")
    (state / "traffic").mkdir()
    table = {"endpoint": "tiny", "version": 1, "stable": digest}
    (state / "traffic" / "tiny.json").write_text(json.dumps(table))


def imported(line: str) -> str:
    """The module that a line of `-X importtime` is about, \"\" if it is none."""
    return line.rpartition("|")[2].strip() if line.startswith("import time:") else ""


def test_at_ready_a_process_has_imported_what_it_needs(tmp_path: Path) -> None:
    write_state(tmp_path)
    port = str(free_port())
    process = start(tmp_path, "-X", "importtime", MAINSPRING_SERVING_PORT=port)
    url = f"http://127.0.0.1:{port}"
    try:
        assert process.stderr is not None
        seen: set[str] = set()
        while "Application startup complete" not in (line := process.stderr.readline()):
            assert line
            seen.add(imported(line))
        for path in ("/v2/health/live", "/v2/health/ready", "/healthz", "/readyz"):
            until = time.monotonic() + 20
            while True:
                try:
                    assert httpx.get(url + path, trust_env=False).status_code == 200
                    break
                except httpx.ConnectError:  # the front starts after the app
                    assert time.monotonic() < until
                    time.sleep(0.01)
        time.sleep(0.3)  # nothing comes late by itself
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
        seen.update(map(imported, rest.splitlines()))
        assert process.returncode == 0
        assert {"numpy", "cryptography", "mainspring.serving.http.probes"} <= seen, (
            "the lines were understood"
        )
        assert {name.partition(".")[0] for name in seen} & LATE == set()
    finally:
        process.kill()
        process.communicate()
