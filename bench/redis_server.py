"""A redis-server of this run: a peer of the online table and of the feature plug-in."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

START_SECONDS = 10.0


def is_installed() -> bool:
    """Whether there is a `redis-server` to start."""
    return shutil.which("redis-server") is not None


@contextlib.contextmanager
def started(place: pathlib.Path, *, port: int = 0) -> Iterator[pathlib.Path]:
    """The path of its Unix socket; it listens on loopback `port` too, unless that is 0. Ended with the block.

    Errors: FileNotFoundError where it is not installed, TimeoutError where it does not answer.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError(
            "redis-server is not installed; install the Debian package of that name (tools/apt.sh)"
        )
    address = place / "redis.sock"
    options = ["--unixsocket", str(address), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(place)]
    process = subprocess.Popen(
        [program, *options, "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(address)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


def _await(address: pathlib.Path) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(address)) == 0:
                return
        if time.monotonic() > until:
            raise TimeoutError(f"`{address}`: redis-server does not answer")
        time.sleep(0.01)
