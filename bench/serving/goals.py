"""The targets, beside what the same run measured. Rows whose part is not built yet stay in, and are not met."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mainspring.bench import suite
from mainspring.bench.serving import servers
from mainspring.bench.serving.peers import commands

#: Peers in Python; the best of them is what a target against "the best Python server" means.
PYTHON: Final = (commands.MLSERVER, commands.LITSERVE, commands.BENTOML, commands.RAY, servers.FASTAPI)

_CLOSED: Final = (
    # what, ours, body, peers, target
    ("native front, binary, times", servers.FRONT, "binary", (commands.TRITON,), 5.0),
    ("native front, json, times", servers.FRONT, "json", (commands.TRITON,), 3.0),
    ("native front, json, times", servers.FRONT, "json", (servers.FASTAPI,), 20.0),
    ("ASGI fast path, binary, share of the echo", servers.OURS, "binary", (servers.ECHO,), 0.75),
    ("ASGI fast path, json, share of the echo", servers.OURS, "json", (servers.ECHO,), 0.75),
    ("ASGI fast path, json, times", servers.OURS, "json", (servers.FASTAPI,), 5.0),
    ("ASGI fast path, json, times", servers.OURS, "json", (commands.TRITON,), 1.3),
    ("ASGI fast path, json, times", servers.OURS, "json", (commands.MLSERVER,), 10.0),
    ("gRPC in the native front, times", servers.FRONT_GRPC, "grpc", (commands.TRITON,), 1.0),
    ("gRPC on grpc.aio, times", servers.OURS_GRPC, "grpc", (commands.TRITON,), 1.0),
    ("gRPC on grpc.aio, share of its echo", servers.OURS_GRPC, "grpc", (servers.GRPC_ECHO,), 0.8),
)


def judge(
    results: Sequence[Mapping[str, Any]],
    opened: Sequence[Mapping[str, Any]],
    overloads: Sequence[Mapping[str, Any]],
    priorities: Mapping[str, Any],
    as_deployed: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One record a target: value, unit, ratio, peer, target, ok. `as_deployed`: every record of `deployed`."""
    judged = [closed(results, *row) for row in _CLOSED]
    judged.insert(1, best_python(results))
    judged.insert(2, tail(results))
    for peer in (servers.FASTAPI, commands.MLSERVER):
        judged.append(
            closed(results, "with a model of 10 ms, times", servers.OURS, "json", (peer,), 0.9, "slow")
        )
    for ours in (servers.FRONT, servers.OURS):
        for peer in (commands.MLSERVER, commands.LITSERVE, commands.BENTOML, servers.FASTAPI):
            judged.append(_open_loop(opened, ours, peer, 1.0 if peer == servers.FASTAPI else 5.0))
    for overload in overloads:
        judged += _overload(overload)
    ratio = priorities["p99_ms"] / max(1e-9, priorities["alone_p99_ms"])
    flat = "high priority at 2x overload, p99 beside its own alone"
    judged.append(_record(flat, priorities["p99_ms"], "ms", ratio, None, 1.2, ok=0 < ratio <= 1.2))
    for record in as_deployed:
        judged += _DEPLOYED[record["name"].partition("/")[0]](record)
    return judged


def closed(
    results: Iterable[Mapping[str, Any]],
    what: str,
    who: str,
    body: str,
    peers: tuple[str, ...],
    target: float,
    model: str = "mlp",
) -> dict[str, Any]:
    """Throughput against the best form of `peers`: the median ratio of rounds that stood side by side.

    On one core it is the inverse of server CPU a request; that ratio stands beside it, free of the client's share.
    """
    rows = [r for r in results if (r.get("model") == "slow") == (model == "slow")]
    ours = best(rows, (who,), body)
    peer = best(rows, peers, body)
    if ours is None or peer is None:
        return _missing(what, "1/s", peers, target, rows)
    ratio = _ratio(ours["rounds"], peer["rounds"])
    record = _record(
        what, ours["requests_per_second"], "1/s", ratio, peer["contestant"], target, ok=ratio >= target
    )
    cpu = peer["cpu_us_per_request"] / max(0.01, ours["cpu_us_per_request"])
    return record | {"peer_value": peer["requests_per_second"], "cpu_ratio": suite.rounded(cpu)}


def best_python(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The front's binary form against whichever Python server answers most; they have JSON alone."""
    what, target = "native front, binary, times the best Python server", 40.0
    results = [r for r in results if r.get("model") != "slow"]
    ours, peer = best(results, (servers.FRONT,), "binary"), best(results, PYTHON, "json")
    if ours is None or peer is None:
        return _missing(what, "1/s", PYTHON, target, results)
    ratio = _ratio(ours["rounds"], peer["rounds"])
    record = _record(
        what, ours["requests_per_second"], "1/s", ratio, peer["contestant"], target, ok=ratio >= target
    )
    heard = sorted({r["contestant"] for r in results if r["contestant"] in PYTHON and "rounds" in r})
    return record | {"peer_value": peer["requests_per_second"], "among": heard}


def tail(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """p99 of the front's binary form as a share of Triton's at the same number of connections."""
    what, target = "native front, binary, p99 as a share", 0.3333
    ours, peer = best(results, (servers.FRONT,), "binary"), best(results, (commands.TRITON,), "binary")
    if ours is None or peer is None:
        return _missing(what, "ms", (commands.TRITON,), target, results)
    ratio = ours["p99_ms"] / peer["p99_ms"]
    record = _record(what, ours["p99_ms"], "ms", ratio, peer["contestant"], target, ok=ratio <= target)
    return record | {"peer_value": peer["p99_ms"]}


def best(results: Iterable[Mapping[str, Any]], who: tuple[str, ...], body: str) -> Mapping[str, Any] | None:
    """The right one of these rows that answers most, batching or not; None if there is none."""
    found = [
        r
        for r in results
        if r["contestant"] in who and r["body"] == body and r["correct"] and r.get("rounds")
    ]
    return max(found, key=lambda r: float(r["requests_per_second"]), default=None)


def _ratio(ours: Sequence[float], peers: Sequence[float]) -> float:
    return round(statistics.median(a / max(b, 1e-9) for a, b in zip(ours, peers, strict=False)), 3)


def _open_loop(opened: Sequence[Mapping[str, Any]], who: str, peer: str, target: float) -> dict[str, Any]:
    found = {r["contestant"]: r for r in opened if "p99_ms" in r}
    rate = next((r["rate"] for r in opened if "rate" in r), 0.0)
    what = f"open loop {rate:g}/s, {who}, times lower p99"
    if who not in found or peer not in found:
        return _missing(what, "ms", (peer,), target, opened)
    ours, theirs = found[who]["p99_ms"], found[peer]["p99_ms"]
    ratio = theirs / max(ours, 1e-9)
    record = _record(what, ours, "ms", ratio, peer, target, ok=ratio >= target)
    return record | {"peer_value": theirs}


def _overload(overload: Mapping[str, Any]) -> list[dict[str, Any]]:
    name = f"{overload['name'].replace('/', ' ')} for {overload['seconds']:g} s, 20 ms deadlines"
    good, wasted = overload["goodput"], overload["run_without_answer"]
    unclear = overload["wrong"] + overload["unanswered"]
    # Answers wait for their turn by design; what counts is that those accepted keep to their deadline.
    late = overload["accepted_p99_ms"] / max(1e-9, 20.0)
    return [
        _record(f"{name}, goodput", good, "share", None, None, 0.9, ok=good >= 0.9),
        _record(f"{name}, models run for nothing", wasted, "count", None, None, 0, ok=wasted == 0),
        _record(f"{name}, neither right nor refused", unclear, "count", None, None, 0, ok=unclear == 0),
        _record(f"{name}, p99 of accepted to the deadline", late, "share", None, None, 2.0, ok=late <= 2),
    ]


def _by_entity(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    beyond = record["p50_us"] - record["echo_p50_us"]
    name = "predict by entity, p50 beyond an echo of the same bytes"
    made = _record(name, beyond, "us", None, None, 150.0, ok=record["correct"] and beyond <= 150)
    return [made | {"p50_us": record["p50_us"], "echo_p50_us": record["echo_p50_us"]}]


def _changed(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    what = "hot reload and canary shift under load"
    failed = record["failed"] + record["not_200"]
    right = record["right"] and record["answers"] > 0
    return [
        _record(
            f"{what}, wrong answers",
            record["wrong"],
            "count",
            None,
            None,
            0,
            ok=right and record["wrong"] == 0,
        ),
        _record(f"{what}, failed requests", failed, "count", None, None, 0, ok=right and failed == 0),
    ]


def _killed(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    right = record["right"] and record["answers"] > 0 and record["wrong"] == 0
    made = _record("kill -9 under load, wrong answers", record["wrong"], "count", None, None, 0, ok=right)
    return [made | {"failed": record["failed"], "seconds_away": record["seconds_away"]}]


def _killed_worker(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    right = record["right"] and record["answers"] > 0
    name = "kill -9 of one of two processes under load"
    ok = right and record["wrong"] == 0 and record["not_200"] == 0
    wrong = record["wrong"] + record["not_200"]
    # Each of 16 connections may have had one request under way with the process that went.
    rows = [_record(f"{name}, not the right answer", wrong, "count", None, None, 0, ok=ok)]
    failed = record["failed"]
    rows.append(
        _record(f"{name}, connections lost", failed, "count", None, None, 16, ok=right and failed <= 16)
    )
    return rows


def _started(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    runtime = record["name"].partition("/")[2]
    seconds, megabytes = (0.5, 60.0) if runtime == "native" else (6.0, None)
    name = f"start to the first answer with one bundle, {runtime}"
    ok = record["correct"] and record["seconds"] <= seconds
    rows = [_record(name, record["seconds"], "s", None, None, seconds, ok=ok)]
    if megabytes is not None:
        resident = record["resident_mb"]
        ok = record["correct"] and resident <= megabytes
        rows.append(
            _record(f"memory with one bundle, {runtime}", resident, "MB", None, None, megabytes, ok=ok)
        )
    return rows


_DEPLOYED: Final = {
    "predict-by-entity": _by_entity,
    "reload-and-shift": _changed,
    "kill-9": _killed,
    "kill-9-worker": _killed_worker,
    "start": _started,
}


def _missing(
    what: str, unit: str, peers: Sequence[str], target: float, rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """A row without numbers, and why: the peer's own reason where there is one."""
    reasons = {r["contestant"]: r["absent"] for r in rows if r.get("absent") and r["contestant"] in peers}
    why = "; ".join(f"{peer}: {reason}" for peer, reason in reasons.items())
    peer = peers[0] if len(peers) == 1 else None
    return _record(what, None, unit, None, peer, target, ok=False) | {"why": why or "not in this run"}


def _record(
    name: str,
    value: float | None,
    unit: str,
    ratio: float | None,
    peer: str | None,
    target: float,
    *,
    ok: bool,
) -> dict[str, Any]:
    return suite.goal(f"{name} against {peer}" if peer else name, value, unit, ratio, peer, target, ok=ok)
