"""Measures contestants in interleaved rounds: throughput, latency at a given rate, and what overload leaves."""

from __future__ import annotations

import statistics
import urllib.request
from collections.abc import Sequence
from typing import Any, Final

from mainspring.bench.serving import contestants, forms, load, machine, model, servers
from mainspring.bench.serving.forms import Form

#: Milliseconds beyond the deadline that the client allows for its own side and the loopback.
CLIENT_MS: Final = 5.0
CONNECTIONS: Final = 64
#: With 10 ms a request 64 would only wait longer.
SLOW_CONNECTIONS: Final = 16


def drive(server: contestants.Server, request: bytes, cpu: int, **how: Any) -> tuple[load.Seen, float]:
    """What one run of the load saw, and the server's CPU microseconds per answer. The server is at its turn."""
    before = machine.cpu_seconds(server.pid)
    seen = load.run(load.Load(how.pop("port", server.port), request, cpu=cpu, **how))
    return seen, (machine.cpu_seconds(server.pid) - before) / max(1, seen.answers) * 1e6


def throughput(
    found: contestants.Running, asked: Sequence[Form], *, seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """Closed loop, one server core: a record for each form. Whoever was held still is so but for its turns.

    A form whose contestant is not here, or answers wrongly, has a record that says why and no numbers.
    """
    _, load_cpu = machine.cores()
    present = [form for form in asked if form.contestant in found.servers]
    runs: dict[Form, list[tuple[load.Seen, float]]] = {form: [] for form in asked}
    checked, memory = {form: found[form.contestant].check_in_turn(form) for form in present}, {}
    for round_number in range(rounds + 1):
        for form in present:
            body, wrong = checked[form]
            if wrong:
                continue
            server = found[form.contestant]
            how: dict[str, Any] = {"answers": (body,), "connections": CONNECTIONS}
            if form.body == "grpc":
                how |= {"grpc_method": forms.METHOD, "port": server.port_of(form)}
            if form.model == "slow":
                how["connections"] = SLOW_CONNECTIONS
            # The first round is warm-up.
            how["seconds"] = seconds if round_number else max(0.1, seconds / 4)
            with server.turn():
                run = drive(server, forms.request_of(form), load_cpu, **how)
            if round_number:
                runs[form].append(run)
    for form in present:
        memory[form.contestant] = machine.resident_mb(found[form.contestant].pid)
    return [
        record(
            form, runs[form], checked.get(form, (b"", ""))[1], found.absent.get(form.contestant, ""), memory
        )
        for form in asked
    ]


def record(
    form: Form,
    runs: Sequence[tuple[load.Seen, float]],
    wrong: str,
    absent: str,
    memory: dict[str, float],
) -> dict[str, Any]:
    """Of one form: medians over its rounds. Any answer that was not the checked one makes it wrong."""
    others = sum(seen.wrong for seen, _ in runs)
    if others and not wrong:
        first = next(seen.first_wrong for seen, _ in runs if seen.wrong)
        wrong = f"{others} answers under load were not the one that was checked, as {first[:100]!r}"
    made: dict[str, Any] = {
        "name": form.name,
        "contestant": form.contestant,
        "body": form.body,
        "model": form.model,
        "correct": not wrong,
        "wrong": wrong,
    }
    if absent:
        return made | {"absent": absent}
    if runs:
        made |= {
            "requests_per_second": round(statistics.median(s.answers / s.seconds for s, _ in runs), 1),
            "rounds": [round(s.answers / s.seconds, 1) for s, _ in runs],
            "cpu_us_per_request": round(min(cpu for _, cpu in runs), 2),
            "p50_ms": statistics.median(s.p50_ms for s, _ in runs),
            "p99_ms": statistics.median(s.p99_ms for s, _ in runs),
            "not_200": sum(n for s, _ in runs for status, n in s.statuses.items() if status != "200"),
            "failed": sum(s.failed + s.unanswered for s, _ in runs),
            "client_share": round(max(s.client_cpu_seconds / s.seconds for s, _ in runs), 3),
            "resident_mb": round(memory[form.contestant], 1),
        }
    return made


def open_loop(
    found: contestants.Running, asked: Sequence[Form], *, seconds: float, rate: float, rounds: int
) -> list[dict[str, Any]]:
    """The same absolute Poisson rate on each, the same arrivals in each round; latency from the intended sending."""
    _, load_cpu = machine.cores()
    absent = found.absent
    present = [form for form in asked if form.contestant in found.servers]
    bodies = {form: found[form.contestant].check_in_turn(form)[0] for form in present}
    runs: dict[Form, list[load.Seen]] = {form: [] for form in present}
    for seed in range(rounds + 1):
        for form in present:
            server = found[form.contestant]
            how: dict[str, Any] = {"rate": rate, "seed": seed, "answers": (bodies[form],)}
            how["seconds"] = seconds if seed else min(0.3, seconds / 4)
            with server.turn():
                seen, _ = drive(server, forms.request_of(form), load_cpu, **how)
            if seed:
                runs[form].append(seen)
    records: list[dict[str, Any]] = [
        {"name": f"open-loop/{form.name}", "contestant": form.contestant, "absent": absent[form.contestant]}
        for form in asked
        if form.contestant in absent
    ]
    for form, all_seen in runs.items():
        records.append(
            {
                "name": f"open-loop/{form.name}",
                "contestant": form.contestant,
                "rate": rate,
                "sent": sum(s.sent for s in all_seen),
                "right": sum(s.good for s in all_seen),
                "wrong": sum(s.wrong for s in all_seen),
                "unanswered": sum(s.unanswered + s.failed for s in all_seen),
                "p50_ms": statistics.median(s.p50_ms for s in all_seen),
                "p99_ms": statistics.median(s.p99_ms for s in all_seen),
            }
        )
    return records


def overload(*, seconds: float, deadline_ms: float, times: float) -> dict[str, Any]:
    """Open loop at `times` the capacity of a model that sleeps; how many answers came in time, and what was wasted."""
    server_cpu, load_cpu = machine.cores()
    capacity = servers.OVERLOAD_WORKERS / model.HELD_SECONDS
    headers = {"x-deadline-ms": f"{deadline_ms:g}"}
    request = forms.http_request("/v2/models/held/infer", model.json_body(), headers)
    form = Form(servers.OVERLOADED, "json", "held")
    with contestants.running(servers.OVERLOADED, cpu=server_cpu) as found:
        server = found[servers.OVERLOADED]
        body, wrong = server.check(form)
        limits: dict[str, Any] = {
            "connections": 256,
            "in_time_ms": deadline_ms + CLIENT_MS,
            "answers": (body,),
        }
        alone, _ = drive(
            server, request, load_cpu, seconds=1.0, connections=servers.OVERLOAD_WORKERS, answers=(body,)
        )
        seen, _ = drive(server, request, load_cpu, seconds=seconds, rate=capacity * times, **limits)
        calls = sum(metric(server, f"mainspring_{how}_requests_total") for how in ("threaded", "inline"))
    peak = alone.answers / alone.seconds
    answered = seen.statuses.get("200", 0)
    return {
        "name": f"overload/{times:g}x",
        "capacity_per_second": capacity,
        "peak_per_second": round(peak, 1),
        "seconds": seconds,
        "sent": seen.sent,
        "good": seen.good,
        "wrong": seen.wrong + bool(wrong),
        "unanswered": seen.unanswered + seen.failed,
        "goodput": round(seen.good / seen.seconds / peak, 4),
        "statuses": seen.statuses,
        "p99_ms": seen.p99_ms,
        "accepted_p99_ms": seen.right_p99_ms,
        "alone_p99_ms": alone.p99_ms,
        "run_without_answer": int(calls - 1 - alone.answers - answered),
    }


def priorities(*, seconds: float) -> dict[str, Any]:
    """p99 of a few requests of the highest priority, alone and beside others at twice the capacity; by v2's `priority`."""
    server_cpu, load_cpu = machine.cores()
    capacity = servers.OVERLOAD_WORKERS / model.HELD_SECONDS
    path, form = "/v2/models/held/infer", Form(servers.OVERLOADED, "json", "held")
    with contestants.running(servers.OVERLOADED, cpu=server_cpu) as found:
        port, (body, wrong) = found[servers.OVERLOADED].port, found[servers.OVERLOADED].check(form)
        how: dict[str, Any] = {"seconds": seconds, "answers": (body,), "cpu": load_cpu, "connections": 128}
        urgent = forms.http_request(path, model.json_body(priority=1), {})
        other = forms.http_request(path, model.json_body(priority=9), {"x-deadline-ms": "100"})
        few = load.Load(port, urgent, rate=capacity * 0.2, **how)
        many = load.Load(port, other, rate=capacity * 2, seed=1, **how)
        alone = load.run(few)
        with load.started(many) as beside:
            seen = load.run(few)
            low = load.result(beside, many)
    return {
        "name": "priorities",
        "alone_p99_ms": alone.right_p99_ms,
        "p99_ms": seen.right_p99_ms,
        "sent": seen.sent,
        "good": seen.good,
        "others_good_per_second": round(low.good / low.seconds, 1),
        "wrong": seen.wrong + low.wrong + bool(wrong),
    }


def metric(server: contestants.Server, name: str) -> float:
    """A metric without labels of a server of ours."""
    url = f"http://127.0.0.1:{server.port}/metrics"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))
