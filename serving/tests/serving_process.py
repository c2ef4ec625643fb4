"""`python -m mainspring.serving` as a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return int(s.getsockname()[1])


def start(
    directory: Path, *options: str, arguments: tuple[str, ...] = (), **variables: str
) -> subprocess.Popen[str]:
    """`options` are the interpreter's, `arguments` the module's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
    return subprocess.Popen(
        [sys.executable, *options, "-m", "mainspring.serving", *arguments],
        cwd=directory,
        env=kept | {"MAINSPRING_SERVING_GRPC_PORT": "0"} | variables,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
