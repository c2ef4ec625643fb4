"""Starts contestants, checks their answers, then measures them in interleaved rounds."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from mainspring.bench.serving import load, machine, model, servers

START_SECONDS: Final = 60.0
METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Server:
    """A contestant that runs."""

    name: str
    port: int
    pid: int


@dataclass(frozen=True)
class Form:
    """One way to ask one contestant."""

    contestant: str
    body: str
    """`json`, `binary` or `grpc`."""

    @property
    def name(self) -> str:
        return f"{self.contestant}/{self.body}"


FORMS: Final = (
    Form(servers.ECHO, "json"),
    Form(servers.FASTAPI, "json"),
    Form(servers.OURS, "json"),
    Form(servers.PASSED, "json"),
    Form(servers.FRONT, "json"),
    Form(servers.ECHO, "binary"),
    Form(servers.OURS, "binary"),
    Form(servers.FRONT, "binary"),
    Form(servers.GRPC_ECHO, "grpc"),
    Form(servers.OURS_GRPC, "grpc"),
)


@contextlib.contextmanager
def running(*names: str, cpu: int) -> Iterator[dict[str, Server]]:
    """The contestants, answering; ended by their ids."""
    processes: list[subprocess.Popen[bytes]] = []
    found: dict[str, Server] = {}
    try:
        for name, port in zip(names, machine.free_ports(len(names)), strict=True):
            argv = [sys.executable, "-m", "mainspring.bench.serving.servers", name, str(port)]
            with machine.on_core(cpu):
                processes.append(subprocess.Popen(argv))
            process = processes[-1]
            found[name] = Server(name, port, process.pid)
        for process, server in zip(processes, found.values(), strict=True):
            _wait(process, server)
        yield found
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], server: Server) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise RuntimeError(f"`{server.name}` ended with {process.returncode} before it answered")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"`{server.name}` did not listen within {START_SECONDS:.0f} s")


def http_request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole request as it goes on the wire."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    lines += [f"{k}: {v}" for k, v in headers.items()]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def request_of(form: Form) -> bytes:
    """What the load sends for it."""
    if form.body == "grpc":
        return grpc_message()
    if form.body == "json":
        return http_request("/v2/models/mlp/infer", model.json_body(), {})
    body, length = model.binary_body()
    return http_request("/v2/models/mlp/infer", body, {"inference-header-content-length": str(length)})


def grpc_message() -> bytes:
    """A ModelInferRequest of one row."""
    from mainspring.serving.grpc import schema

    asked = schema.message("ModelInferRequest")(model_name="mlp", raw_input_contents=[model.ROW.tobytes()])
    asked.inputs.add(name="x", datatype="FP32", shape=[1, model.WIDTHS[0]])
    raw: bytes = asked.SerializeToString()
    return raw


def check(server: Server, form: Form) -> str:
    """What is wrong with the contestant's answer, "" if nothing; an echo has to give back what it got."""
    if form.body == "grpc":
        return _check_grpc(server)
    body, length = (model.json_body(), None) if form.body == "json" else model.binary_body()
    headers = {} if length is None else {"inference-header-content-length": str(length)}
    url = f"http://127.0.0.1:{server.port}/v2/models/mlp/infer"
    asked = urllib.request.Request(url, body, {"content-type": "application/json", **headers})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=30) as answer:
        got = answer.read()
        answered = answer.headers["inference-header-content-length"]
    if server.name == servers.ECHO:
        return "" if got == body else "the echo is another body"
    right = model.is_right(got, None if answered is None else int(answered))
    return "" if right else f"wrong answer: {got[:200]!r}"


def _check_grpc(server: Server) -> str:
    import grpc
    import numpy as np

    from mainspring.serving.grpc import schema

    sent = grpc_message()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        got = channel.unary_unary(METHOD)(sent, timeout=30)
    if server.name == servers.GRPC_ECHO:
        return "" if got == sent else "the echo is another message"
    answer = schema.message("ModelInferResponse").FromString(got)
    y = np.frombuffer(answer.raw_output_contents[0], np.float32)
    return "" if np.allclose(y, model.forward(model.ROW).ravel(), rtol=1e-5) else "wrong answer"


def drive(server: Server, request: bytes, cpu: int, **how: Any) -> tuple[load.Seen, float]:
    """What one run of the load saw, and the server's CPU microseconds per answer."""
    asked = load.Load(server.port, base64.b64encode(request).decode(), cpu=cpu, **how)
    before = machine.cpu_seconds(server.pid)
    argv = [sys.executable, "-m", "mainspring.bench.serving.load"]
    done = subprocess.run(
        argv, input=json.dumps(asdict(asked)), capture_output=True, text=True, timeout=120, check=True
    )
    seen = load.Seen(**json.loads(done.stdout))
    return seen, (machine.cpu_seconds(server.pid) - before) / max(1, seen.answers) * 1e6


def throughput(*, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Closed loop, 64 connections, one server core: a record for each form. The CPU column is the steadier one."""
    server_cpu, load_cpu = machine.cores()
    names = dict.fromkeys(form.contestant for form in FORMS)
    runs: dict[Form, list[tuple[load.Seen, float]]] = {form: [] for form in FORMS}
    with running(*names, cpu=server_cpu) as found:
        wrong = {form: check(found[form.contestant], form) for form in FORMS}
        for round_number in range(rounds + 1):
            for form in FORMS:
                if wrong[form]:
                    continue
                how = {"grpc_method": METHOD} if form.body == "grpc" else {}
                run = drive(
                    found[form.contestant],
                    request_of(form),
                    load_cpu,
                    seconds=seconds if round_number else seconds / 4,  # the first round is warm-up
                    **how,
                )
                if round_number:
                    runs[form].append(run)
        memory = {name: machine.resident_mb(server.pid) for name, server in found.items()}
    return [_record(form, runs[form], wrong[form], memory[form.contestant]) for form in FORMS]


def _record(form: Form, runs: list[tuple[load.Seen, float]], wrong: str, memory: float) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": form.name,
        "contestant": form.contestant,
        "body": form.body,
        "correct": not wrong,
        "wrong": wrong,
    }
    if runs:
        record |= {
            "requests_per_second": round(statistics.median(s.answers / s.seconds for s, _ in runs), 1),
            "cpu_us_per_request": round(min(cpu for _, cpu in runs), 2),
            "p50_ms": statistics.median(s.p50_ms for s, _ in runs),
            "p99_ms": statistics.median(s.p99_ms for s, _ in runs),
            "not_200": sum(n for s, _ in runs for status, n in s.statuses.items() if status != "200"),
            "resident_mb": round(memory, 1),
        }
    return record


def open_loop(*, seconds: float, rate: float) -> list[dict[str, Any]]:
    """The same absolute Poisson rate on ours and on plain FastAPI; latency from the intended sending."""
    server_cpu, load_cpu = machine.cores()
    records = []
    with running(servers.OURS, servers.FASTAPI, cpu=server_cpu) as found:
        for name in (servers.OURS, servers.FASTAPI) * 2:
            form = Form(name, "json")
            seen, _ = drive(found[name], request_of(form), load_cpu, seconds=seconds, rate=rate)
            records.append(
                {
                    "name": f"open-loop/{name}",
                    "rate": rate,
                    "sent": seen.sent,
                    "answers": seen.answers,
                    "p50_ms": seen.p50_ms,
                    "p99_ms": seen.p99_ms,
                }
            )
    return records


def overload(*, seconds: float, deadline_ms: float, times: float) -> dict[str, Any]:
    """Open loop at `times` the capacity of a model that sleeps; how many answers came in time, and what was wasted."""
    server_cpu, load_cpu = machine.cores()
    capacity = servers.OVERLOAD_WORKERS / model.HELD_SECONDS
    headers = {"x-deadline-ms": f"{deadline_ms:g}"}
    request = http_request("/v2/models/held/infer", model.json_body(), headers)
    with running(servers.OVERLOADED, cpu=server_cpu) as found:
        server = found[servers.OVERLOADED]
        limits = {"connections": 256, "in_time_ms": deadline_ms + CLIENT_MS}
        alone, _ = drive(server, request, load_cpu, seconds=1.0, connections=servers.OVERLOAD_WORKERS)
        seen, _ = drive(server, request, load_cpu, seconds=seconds, rate=capacity * times, **limits)
        calls = sum(metric(server, f"mainspring_{how}_requests_total") for how in ("threaded", "inline"))
    peak = alone.answers / alone.seconds
    answered = seen.statuses.get("200", 0)
    return {
        "name": f"overload/{times:g}x",
        "capacity_per_second": capacity,
        "peak_per_second": round(peak, 1),
        "sent": seen.sent,
        "good": seen.good,
        "goodput": round(seen.good / seen.seconds / peak, 4),
        "statuses": seen.statuses,
        "p99_ms": seen.p99_ms,
        "run_without_answer": int(calls - alone.answers - answered),
    }


#: Milliseconds beyond the deadline that the client allows for its own side and the loopback.
CLIENT_MS: Final = 5.0


def metric(server: Server, name: str) -> float:
    """A metric without labels of a server of ours."""
    url = f"http://127.0.0.1:{server.port}/metrics"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))


def start() -> dict[str, Any]:
    """Seconds from spawn to the first answer of the serving app with the NumPy model, and its memory."""
    server_cpu, _ = machine.cores()
    began = time.monotonic()
    with running(servers.OURS, cpu=server_cpu) as found:
        server = found[servers.OURS]
        wrong = check(server, Form(servers.OURS, "json"))
        seconds = time.monotonic() - began
        return {
            "name": "start",
            "seconds": round(seconds, 3),
            "resident_mb": round(machine.resident_mb(server.pid), 1),
            "wrong": wrong,
        }
