"""Deployments as they are shipped, on real servers: how soon a really bad candidate is gone, and what happens to good ones.

Temporal, the control API and the worker are the embedded stack's; serving is the data plane over signed bundles that
`bench/serving/deployed.py` starts. Runs are created through the control API, with the defaults of a request.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from mainspring.bench.serving import deployed
from mainspring.bench.workflows import servers, thin_client
from mainspring.core import identity, settings, workspace
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, deployment, prediction
from mainspring.core.contracts.training import Stage
from mainspring.workflows import probes

__all__ = ["bad_row", "good_row"]

_ENDED: Final = {Stage.DONE, Stage.ROLLED_BACK, Stage.FAILED, Stage.CANCELLED, Stage.REJECTED}
_GIVE_UP_SECONDS: Final = 120.0
_CALLERS: Final = 4

#: Its work is some two hundred times that of the network before it.
_SLOW: Final = (3072, 3072)


@dataclass
class _World:
    """Everything that is up, and who asks for deployments."""

    home: deployed.Home
    developer: control_client.ControlClient
    port: int

    def deploy(self, digest: str) -> deployment.DeployResult:
        """Errors: TimeoutError; RuntimeError with the run's words where it ends in another way than a deployment does."""
        asked = control.RunCreate(
            project=deployed.ENDPOINT,
            kind=control.RunKind.DEPLOY,
            endpoint=deployed.ENDPOINT,
            bundle_digest=digest,
        )
        run_id = self.developer.create_run(asked).run_id
        until = time.monotonic() + _GIVE_UP_SECONDS
        while (run := self.developer.run(run_id)).stage not in _ENDED:
            if time.monotonic() > until:
                raise TimeoutError(
                    f"deployment `{run_id}` is at `{run.stage}` after {_GIVE_UP_SECONDS:.0f} s"
                )
            time.sleep(0.1)
        if run.stage not in (Stage.DONE, Stage.ROLLED_BACK):
            raise RuntimeError(f"deployment `{run_id}` ended as `{run.stage}`: {run.status}")
        return deployment.DeployResult.model_validate(run.result)


@contextlib.contextmanager
def _world(stable_seed: int = 0) -> Iterator[_World]:
    """A bundle is stable; recorded requests are there."""
    with servers.running("temporal", "control", "worker") as s:
        home = deployed.Home(s.stack.state_dir.parent)
        home.put_traffic(home.write(stable_seed))
        _record(s)
        issuer = identity.ensure_token_file(s.control.tokens_file)
        with (
            deployed.serving(home, port=s.serving.port) as server,
            control_client.ControlClient(s.control_url, issuer.token_of("developer@local")) as developer,
        ):
            developer.create_project(control.ProjectCreate(name=deployed.ENDPOINT, owner="bench"))
            yield _World(home, developer, server.port)


def _record(s: settings.Settings) -> None:
    path = workspace.Workspace(s.stack.state_dir, deployed.ENDPOINT, 1.0).probes
    entities = [{"driver": i, "amount": deployed.AMOUNT} for i in range(200)]
    probes.write(path, (prediction.PredictRequest(entities=[entity]) for entity in entities))


@dataclass
class _Caller:
    """Asks as fast as it is answered, and keeps who answered when."""

    port: int
    driver: int
    until: threading.Event
    seen: list[tuple[float, float, str, str]] = field(default_factory=list)
    """Monotonic time, seconds, role, bundle."""
    failed: int = 0

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            number = 0
            while not self.until.is_set():
                number += 1
                self._ask(connection, number)
                time.sleep(0.002)

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> None:
        driver = self.driver + _CALLERS * (number % 200)  # another caller of the sticky share each time
        body = json.dumps({"entities": [{"driver": driver, "amount": deployed.AMOUNT}]})
        began = time.monotonic()
        path = f"/v1/endpoints/{deployed.ENDPOINT}:predict"
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        now = time.monotonic()
        if answer.status == 200:
            told = json.loads(content)
            self.seen.append((now, now - began, told["role"], told["model_version"]))
        else:
            self.failed += 1


@contextlib.contextmanager
def _callers(port: int) -> Iterator[list[_Caller]]:
    ends = threading.Event()
    callers = [_Caller(port, i, ends) for i in range(_CALLERS)]
    threads = [threading.Thread(target=caller.run) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def bad_row(*, times: int) -> dict[str, Any]:
    """Candidates that are far too slow, under live traffic: seconds from the first answer of each to its last."""
    gone, answered, failed, messages, is_right = [], [], 0, [], True
    with _world() as world:
        for number in range(times):
            digest = world.home.write(100 + number, hidden=_SLOW)
            with _callers(world.port) as callers:
                result = world.deploy(digest)
                time.sleep(0.5)  # what would come late would be seen
            seen = sorted(one for caller in callers for one in caller.seen)
            bad = [at for at, _, _, bundle in seen if bundle == digest]
            is_right = is_right and result.stage is Stage.ROLLED_BACK and bool(bad) and seen[-1][0] > bad[-1]
            gone.append(bad[-1] - bad[0] if bad else float("nan"))
            answered.append(len(bad) / len(seen))
            failed += sum(caller.failed for caller in callers)
            messages.append(result.message)
    return {
        "name": "a bad candidate",
        "correct": is_right,
        "deployments": times,
        "gone_seconds": sorted(gone),
        "gone_max_seconds": max(gone),
        "answered_by_it": max(answered),
        "failed_requests": failed,
        "message": messages[0],
    }


def good_row(*, times: int, load: int) -> dict[str, Any]:
    """Candidates that are as good as what is there, beside `load` busy loops: how many go back, and what the judge saw."""
    ratios: list[float] = []
    back: list[str] = []
    seconds = []
    with _world() as world:
        with thin_client.busy(load):
            for number in range(1, times + 1):
                began = time.monotonic()
                result = world.deploy(world.home.write(number))
                seconds.append(time.monotonic() - began)
                steps = [step.detail for step in result.steps if step.step is Stage.CANARY]
                ratios += [d["latency_ratio"] for d in steps if d.get("latency_ratio") is not None]
                if result.stage is Stage.ROLLED_BACK:
                    back.append(result.message)
    return {
        "name": "good candidates under load",
        "correct": True,
        "load": load,
        "deployments": times,
        "rolled_back": len(back),
        "messages": back[:5],
        "p95_ratios": sorted(ratios),
        "seconds": sorted(seconds),
    }
