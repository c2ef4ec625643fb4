"""The targets, beside what the same run measured. Rows whose part is not built yet stay in, and are not met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mainspring.bench import suite
from mainspring.bench.serving import servers

NOT_BUILT: Final = (
    ("native front, v2 binary, against Triton Inference Server", "ratio", 5.0, "peer not wired in yet"),
    ("native front, v2 binary, against the best Python server", "ratio", 40.0, "peers not wired in yet"),
    ("native front, v2 JSON, against Triton Inference Server", "ratio", 3.0, "peer not wired in yet"),
    ("ASGI fast path against Triton Inference Server", "ratio", 1.3, "peer not wired in yet"),
    ("ASGI fast path against MLServer", "ratio", 10.0, "peer not wired in yet"),
    ("open loop p99 against MLServer, LitServe, BentoML", "ratio", 5.0, "peers not wired in yet"),
    ("high priority p99 under overload", "ratio", 1.2, "no priorities before the native batcher"),
    ("predict by entity, p50 beyond echo", "us", 150.0, "not measured yet"),
    ("overload 3x for 60 s, goodput", "share", 0.9, "in --full, which is not built yet"),
    ("hot reload, canary shift and kill -9 under load, failed requests", "count", 0.0, "not built yet"),
    ("start to ready with one native bundle", "s", 0.5, "no native bundle kind yet"),
)


def judge(
    results: list[dict[str, Any]],
    opened: list[dict[str, Any]],
    overload: Mapping[str, Any],
    start: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """One record a target: value, unit, ratio, peer, target, ok."""
    found = {r["name"]: r for r in results if r["correct"]}
    judged = []
    for body in ("binary", "json"):
        ours = found.get(f"{servers.OURS}/{body}")
        judged.append(
            _cpu(
                f"ASGI fast path, {body}, share of the echo", ours, found.get(f"{servers.ECHO}/{body}"), 0.75
            )
        )
    plain = found.get(f"{servers.FASTAPI}/json")
    for body in ("binary", "json"):
        judged.append(_cpu(f"native front, {body}, times", found.get(f"{servers.FRONT}/{body}"), plain, 20.0))
    ours = found.get(f"{servers.OURS}/json")
    judged.append(_cpu("ASGI fast path, json, times", ours, plain, 5.0))
    judged.append(
        _cpu(
            "gRPC on grpc.aio, share of its echo",
            found.get(f"{servers.OURS_GRPC}/grpc"),
            found.get(f"{servers.GRPC_ECHO}/grpc"),
            0.8,
        )
    )
    judged.append(_open_loop(opened))
    judged.append(
        _record(
            "overload 2x, 20 ms deadlines, goodput",
            overload["goodput"],
            "share",
            None,
            None,
            0.9,
            ok=overload["goodput"] >= 0.9,
        )
    )
    wasted = overload["run_without_answer"]
    judged.append(
        _record("overload 2x, models run for nothing", wasted, "count", None, None, 0, ok=wasted == 0)
    )
    for name, unit, target, why in NOT_BUILT:
        judged.append(_record(name, None, unit, None, None, target, ok=False) | {"why": why})
    judged[-1] |= {"without_a_bundle_seconds": start["seconds"], "resident_mb": start["resident_mb"]}
    return judged


def _cpu(
    what: str, ours: Mapping[str, Any] | None, peer: Mapping[str, Any] | None, target: float
) -> dict[str, Any]:
    """By server CPU per request: on one core it is the inverse of throughput, without the client's share of noise."""
    if ours is None or peer is None:
        return _record(what, None, "us", None, None, target, ok=False) | {
            "why": "no right answer in this run"
        }
    ratio = round(peer["cpu_us_per_request"] / ours["cpu_us_per_request"], 3)
    return _record(
        what, ours["cpu_us_per_request"], "us", ratio, peer["contestant"], target, ok=ratio >= target
    ) | {
        "throughput_ratio": round(ours["requests_per_second"] / peer["requests_per_second"], 3),
    }


def _open_loop(opened: list[dict[str, Any]]) -> dict[str, Any]:
    def best(name: str) -> float:
        return min(float(r["p99_ms"]) for r in opened if r["name"] == f"open-loop/{name}")

    ours, peer = best(servers.OURS), best(servers.FASTAPI)
    ratio = round(peer / ours, 3) if ours else None
    return _record(
        f"open loop {opened[0]['rate']:g}/s, p99",
        ours,
        "ms",
        ratio,
        servers.FASTAPI,
        1.0,
        ok=bool(ratio and ratio >= 1),
    )


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
