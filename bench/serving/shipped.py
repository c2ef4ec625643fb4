"""The shipped process, `python -m mainspring.serving`: how soon it answers, what it takes, and a kill of one of several."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from mainspring.bench.serving import contestants, deployed, forms, machine

#: The network of the bundle over v2, without its plan.
_INFER: Final = "/v2/models/mlp/infer"
_TENSORS: Final = orjson.dumps(
    {
        "inputs": [
            {
                "name": "dense",
                "shape": [1, len(deployed.INPUTS)],
                "datatype": "FP32",
                "data": [0.5] * len(deployed.INPUTS),
            }
        ]
    }
)


def killed_worker(*, seconds: float) -> dict[str, Any]:
    """What 16 callers of two processes on one port see when one of them ends by SIGKILL; over v2, byte by byte."""
    with tempfile.TemporaryDirectory() as folder:
        home = deployed.Home(pathlib.Path(folder))
        with shipped(home, PROCESSES=2) as (started, port):
            _, body = _first_answer(started.poll, port)
            _wait_for_both(home.folder)
            request = forms.http_request(_INFER, _TENSORS, {})

            def kill() -> float:
                before = {pid: machine.cpu_seconds(pid) for pid in machine.family(started.pid)[1:]}
                time.sleep(seconds / 3)
                # The busier one: connections need not be shared evenly.
                machine.tell(
                    max(before, key=lambda pid: machine.cpu_seconds(pid) - before[pid]), machine.KILL
                )
                return 1.0

            seen = deployed.under_load(port, request, {"answers": (body,)}, seconds, kill, key="killed")
    return {"name": "kill-9-worker", "right": body != b"", **seen}


def _wait_for_both(folder: pathlib.Path) -> None:
    """Errors: RuntimeError if the second has not started in time."""
    give_up = time.monotonic() + contestants.START_SECONDS
    while (folder / "log").read_text().count("Application startup complete") < 2:
        if time.monotonic() > give_up:
            raise RuntimeError(f"the second process did not start: {(folder / 'log').read_text()[-500:]}")
        time.sleep(0.05)


def starts() -> list[dict[str, Any]]:
    """Seconds from spawn to the first right answer of the shipped process with one bundle, and its memory then.

    With the native runtime and with torch. The bundle's network is asked as a tensor model, over v2.
    """
    records = []
    for runtime in ("native", "torch"):
        with tempfile.TemporaryDirectory() as folder:
            home = deployed.Home(pathlib.Path(folder))
            began = time.monotonic()
            with shipped(home, RUNTIME=runtime) as (started, port):
                status, _ = _first_answer(started.poll, port)
                records.append(
                    {
                        "name": f"start/{runtime}",
                        "seconds": round(time.monotonic() - began, 3),
                        "resident_mb": round(machine.resident_mb(started.pid), 1),
                        "correct": status == 200,
                    }
                )
    return records


@contextlib.contextmanager
def shipped(home: deployed.Home, **variables: Any) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`python -m mainspring.serving` with one bundle's network as the model `mlp`, and its port. It may not answer yet."""
    # Of a project that is installed: the shipped process knows no other.
    digest = home.write(0, project="flight-delay")
    (port,) = machine.free_ports(1)
    given = {"PORT": port, "GRPC_PORT": 0, "TENSOR_MODELS": f"mlp={digest}", "USAGE_REPORT_SECONDS": 0}
    argv = ["/usr/bin/env", *(f"MAINSPRING_SERVING_{k}={v}" for k, v in (given | variables).items())]
    with contestants.process([*argv, sys.executable, "-m", "mainspring.serving"], home.folder) as started:
        yield started, port


def _first_answer(poll: Callable[[], int | None], port: int) -> tuple[int, bytes]:
    """Its status and body; 0 and nothing if the process ended or took too long."""
    give_up = time.monotonic() + contestants.START_SECONDS
    while time.monotonic() < give_up and poll() is None:
        url = f"http://127.0.0.1:{port}{_INFER}"
        asked = urllib.request.Request(url, _TENSORS, {"content-type": "application/json"})
        with contextlib.suppress(OSError), forms.OPENER.open(asked, timeout=30) as answer:
            return int(answer.status), answer.read()
        time.sleep(0.01)
    return 0, b""
