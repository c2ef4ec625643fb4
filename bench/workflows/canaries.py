"""How often the judge sends a good candidate back on a busy machine, over latencies that were measured on one.

Two bundles of one shape answer on a real serving process while busy loops want ten times a core; a caller asks one request
after the other, as a deployment's own probes do. What it measured is walked through again and again: from a place that a fixed
seed draws, each request goes to canary or stable by the step's share, serving's own book counts it, and the real judge looks at
the book as `DeployModel` does. Both bundles are the same work, so every breach is a false one. The times are the caller's, which
have serving's in them and the caller's own waiting for a core: a harder case than what serving counts.
"""

from __future__ import annotations

import http.client
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mainspring.bench.serving import deployed
from mainspring.bench.workflows import thin_client
from mainspring.core.client import serving as serving_client
from mainspring.core.contracts import deployment
from mainspring.serving import stats
from mainspring.workflows.deployment import judge

__all__ = ["Measured", "measure", "row", "simulate"]

LOAD: Final = 10
SEED: Final = 20261129
_STABLE, _CANDIDATE = ("sha256:" + c * 64 for c in "ab")

#: What passes between two looks beside the probes: two activities and a pause of a twentieth of the step.
_EXCHANGES_SECONDS: Final = 0.1

#: So much slower is a bad candidate, which must be seen all the same.
SLOWER: Final = 5.0


@dataclass(frozen=True)
class Measured:
    """Latencies in the order in which they were asked, and what else was on the machine."""

    seconds: Sequence[float]
    load: int
    wrong: int


def measure(*, seconds: float, load: int = LOAD) -> Measured:
    """Ask a real serving process with a canary at half of its traffic."""
    with tempfile.TemporaryDirectory() as folder:
        home = deployed.Home(Path(folder))
        first, second = home.write(0), home.write(1)
        home.put_traffic(first)
        with deployed.serving(home) as server:
            with serving_client.ServingClient(f"http://127.0.0.1:{server.port}", token=home.token) as us:
                us.load_bundle(second)
                table = {"endpoint": deployed.ENDPOINT, "version": 2, "stable": first}
                us.set_traffic(deployment.TrafficTable(**table, canary=second, canary_percent=50))
            asker = _Asker(server.port)
            for _ in range(200):  # warm
                asker.ask()
            with thin_client.busy(load):
                until, found = time.monotonic() + seconds, []
                while time.monotonic() < until:
                    began = time.perf_counter()
                    asker.ask()
                    found.append(time.perf_counter() - began)
    return Measured(found, load, asker.wrong)


class _Asker:
    """One connection that is kept, as the deployment's activities have."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.wrong = 0

    def ask(self) -> None:
        self._connection.request(
            "POST",
            f"/v1/endpoints/{deployed.ENDPOINT}:predict",
            deployed.BODY,
            {"content-type": "application/json"},
        )
        answer = self._connection.getresponse()
        answer.read()
        self.wrong += answer.status != 200


def simulate(measured: Sequence[float], *, canaries: int, slower: float = 1.0) -> dict[str, Any]:
    """Deployments with the defaults of a request; how many of them end by a breach, or without a sample."""
    random_numbers = random.Random(SEED)
    rolled_back, steps, reasons = 0, 0, []
    for _ in range(canaries):
        at = random_numbers.randrange(len(measured))
        for percent in _request().canary_percents:
            found, at = _step(measured, at, percent, random_numbers, slower)
            steps += 1
            if found.verdict is not judge.Verdict.PASS:
                rolled_back += 1
                reasons.append(f"{percent} %: {found.reason}")
                break
    return {
        "canaries": canaries,
        "steps": steps,
        "rolled_back": rolled_back,
        "share": rolled_back / canaries,
        "reasons": reasons[:5],
    }


def _request() -> deployment.DeployRequest:
    return deployment.DeployRequest(
        run_id="run_bench", project="bench", endpoint="bench", bundle_digest=_CANDIDATE, requested_by="bench"
    )


def _step(
    measured: Sequence[float], at: int, percent: int, random_numbers: random.Random, slower: float
) -> tuple[judge.Judgement, int]:
    """One canary step as `DeployModel._watch` takes it: probe, look, and again until it is sure or time is up."""
    request, book, passed = _request(), stats.StatsBook(lambda: 0.0), 0.0
    pause = max(0.2, request.step_seconds / 20)
    while True:
        seen: dict[str, list[float]] = {"stable": [], "canary": []}
        for _ in range(request.probe_rows):
            is_canary = random_numbers.random() * 100 < percent
            seconds = measured[at] * (slower if is_canary else 1.0)
            seen["canary" if is_canary else "stable"].append(seconds)
            passed, at = passed + seconds, (at + 1) % len(measured)
        for role, latencies in seen.items():
            digest = _CANDIDATE if role == "canary" else _STABLE
            if latencies:
                count = len(latencies)
                book.add(
                    "bench",
                    1,
                    digest,
                    role,
                    requests=count,
                    rows=count,
                    scores_sum=0.0,
                    latency_seconds=latencies,
                )
        passed += _EXCHANGES_SECONDS
        time_is_up = passed >= request.step_seconds
        found = judge.judge(book.view("bench", 1), request, time_is_up=time_is_up)
        if found.verdict is not judge.Verdict.INCONCLUSIVE or time_is_up:
            return found, at
        passed += pause


def row(*, seconds: float, canaries: int) -> dict[str, Any]:
    """The share of good candidates that go back, and of bad ones that do."""
    measured = measure(seconds=seconds)
    p50, p95, p99 = np.percentile(np.array(measured.seconds) * 1e3, (50, 95, 99)).tolist()
    return {
        "name": "false rollbacks",
        "correct": measured.wrong == 0,
        "load": measured.load,
        "samples": len(measured.seconds),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "good": simulate(measured.seconds, canaries=canaries),
        "slower": SLOWER,
        "bad": simulate(measured.seconds, canaries=canaries, slower=SLOWER),
    }
