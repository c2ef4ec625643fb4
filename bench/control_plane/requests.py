"""The control API as a process of its own, asked over HTTP by one client: latencies from send to answer."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control


def latencies(folder: Path, *, reads: int, writes: int) -> dict[str, list[float]]:
    """Seconds of each request: a project shown, and one created (durable, with its audit row). Closed loop."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    s = settings.load({"MAINSPRING_CONTROL_PORT": str(port)}, directory=folder)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    server = subprocess.Popen(
        [sys.executable, "-m", "mainspring.platform"],
        cwd=folder,
        env=settings.child_environment(s, {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with control_client.ControlClient(s.control_url, issuer.token_of("developer@local")) as client:
            while not client.is_ready():
                assert server.poll() is None, "the control API ended"
                time.sleep(0.05)

            def create(i: int) -> object:
                return client.create_project(control.ProjectCreate(name=f"project-{i}", owner="bench"))

            found = {"write": _timed(create, writes)}
            _timed(lambda _: client.project("project-0"), 20)  # warm
            found["read"] = _timed(lambda _: client.project("project-0"), reads)
            verified = client.verify_audit()
            assert verified["ok"] and verified["rows"] == writes
            return found
    finally:
        server.terminate()
        server.wait(30)


def _timed(call: Callable[[int], object], count: int) -> list[float]:
    seconds = []
    for i in range(count):
        begun = time.perf_counter()
        call(i)
        seconds.append(time.perf_counter() - begun)
    return seconds
