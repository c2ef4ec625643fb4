"""`mainspring serve`: a real data plane on a free port, stopped by a signal, or refused with what to do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from mainspring.core import identity

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

COMMAND = (sys.executable, "-m", "mainspring.platform.cli.main", "serve")


def environment(state: Path, **settings: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
    return {**inherited, "MAINSPRING_STACK_STATE_DIR": str(state), **settings}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    identity.ensure_token_file(tmp_path / "tokens.json")  # as `mainspring up` does
    port = free_port()
    settings = environment(tmp_path, MAINSPRING_SERVING_PORT=str(port), MAINSPRING_SERVING_FRONT="on")
    with subprocess.Popen(COMMAND, env=settings, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline
                try:
                    answer = httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", trust_env=False)
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            assert answer.status_code == 200
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            assert process.returncode == 0
        finally:
            process.kill()


def test_a_bad_setting_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    settings = environment(tmp_path, MAINSPRING_SERVING_PORT="70000")
    done = subprocess.run(COMMAND, env=settings, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    assert "serving.port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
