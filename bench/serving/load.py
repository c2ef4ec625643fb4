"""The load, a process of its own (`src/load.cc`).

Closed loop (`rate` 0): each connection sends its next request when it has its answer; for throughput. Open loop: a
Poisson process says when requests are sent, whatever the answers do, and latency counts from the intended time, so
that a stalled server is charged for everyone it kept waiting. Every answer is compared with those that are right.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mainspring.bench.serving import compiled, machine

#: Beyond `seconds`: what is still under way at the end may take 10.
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Load:
    """What to send. `request` is the whole HTTP request, or one gRPC message."""

    port: int
    request: bytes
    seconds: float
    answers: tuple[bytes, ...] = ()
    """Bodies (gRPC: messages) that are right; none: any is."""
    parts: tuple[bytes, ...] = ()
    """Beside `answers`: a body with one of these in it is right as well, where bodies carry ids or ages."""
    connections: int = 64
    rate: float = 0.0
    grpc_method: str = ""
    cpu: int = -1
    """Core to stay on; -1: any."""
    in_time_ms: float = 0.0
    """An answer counts as good if it is right and came within this time of its intended sending; 0: any time."""
    leave_ms: float = 0.0
    """The caller hangs up on a request that takes longer; 0: never."""
    seed: int = 0


@dataclass(frozen=True)
class Seen:
    """What came back. Latencies are milliseconds; `right_` ones are those of right answers alone."""

    seconds: float
    client_cpu_seconds: float
    sent: int
    answers: int
    good: int
    wrong: int
    """Answers that say 200 and have another body."""
    failed: int
    """Requests whose connection ended under them, other than by leaving."""
    left: int
    unanswered: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    right_p50_ms: float
    right_p95_ms: float
    right_p99_ms: float
    right_p999_ms: float
    first_wrong: str
    statuses: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def started(load: Load) -> Iterator[subprocess.Popen[str]]:
    """The load, running; its stdout is for :func:`result`. It is ended with the block."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        argv = [str(compiled.load()), "--port", str(load.port), "--seconds", str(load.seconds)]
        argv += ["--connections", str(load.connections), "--rate", str(load.rate), "--seed", str(load.seed)]
        argv += ["--in-time-ms", str(load.in_time_ms), "--leave-ms", str(load.leave_ms)]
        argv += ["--grpc", load.grpc_method] if load.grpc_method else []
        files = [("--request", load.request)]
        files += [("--answer", answer) for answer in load.answers] + [("--part", part) for part in load.parts]
        for i, (name, content) in enumerate(files):
            (folder / str(i)).write_bytes(content)
            argv += [name, str(folder / str(i))]
        with machine.on_core(load.cpu):
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def result(process: subprocess.Popen[str], load: Load) -> Seen:
    """Wait for its end. Errors: RuntimeError with its words."""
    out, err = process.communicate(timeout=load.seconds + _TIMEOUT_SECONDS)
    if process.returncode:
        raise RuntimeError(f"the load ended with {process.returncode}: {err.strip()}")
    seen: dict[str, Any] = json.loads(out)
    return Seen(**seen)


def run(load: Load) -> Seen:
    """All of it. Errors: RuntimeError, compiled.NotBuilt."""
    with started(load) as process:
        return result(process, load)
