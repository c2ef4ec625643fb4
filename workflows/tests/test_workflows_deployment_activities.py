"""Activities rebuild the other room's own error, give back only what is theirs, and probe with recorded requests."""

import asyncio
import dataclasses
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from workflows_doubles import CANDIDATE, STABLE

from mainspring.core import errors, workspace
from mainspring.core.contracts import deployment, prediction, training
from mainspring.core.lineage import emitter, spool
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import options, probes
from mainspring.workflows.deployment import messages
from mainspring.workflows.deployment.activities import DeploymentActivities

PREVIOUS = deployment.TrafficTable(endpoint="flight-delay", version=3, stable=STABLE, set_by="run_before")


def activities(now: deployment.TrafficTable, put: list[deployment.TrafficTable]) -> DeploymentActivities:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            put.append(deployment.TrafficTable.model_validate_json(request.content))
            return httpx.Response(200, json={})
        if request.url.path == "/v1/bundles:load":
            return httpx.Response(
                422, json=errors.to_wire(errors.CorruptArtifact("bad bundle", artifact="x"))
            )
        if request.url.path != "/v1/endpoints/flight-delay":
            return httpx.Response(404, json={})
        view = deployment.EndpointView(endpoint=now.endpoint, traffic=now)
        return httpx.Response(200, json=view.model_dump(mode="json"))

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://serving")
    return DeploymentActivities(http, http, Path("no-state"))


@pytest.mark.parametrize(("set_by", "changed"), [("run_x", True), ("run_other", False)])
def test_restores_only_its_own_traffic(set_by: str, changed: bool) -> None:
    now = deployment.TrafficTable(
        endpoint="flight-delay", version=5, stable=STABLE, canary=CANDIDATE, canary_percent=5, set_by=set_by
    )
    put: list[deployment.TrafficTable] = []
    asked = messages.RestoreTraffic(previous=PREVIOUS, run_id="run_x")
    assert asyncio.run(activities(now, put).restore_traffic(asked)).changed is changed
    assert [(t.version, t.stable, t.canary) for t in put] == ([(6, STABLE, None)] if changed else [])


def test_a_restore_that_was_done_before_its_worker_died_is_a_change_still() -> None:
    now = PREVIOUS.model_copy(update={"version": 6, "set_by": "run_x"})
    put: list[deployment.TrafficTable] = []
    asked = messages.RestoreTraffic(previous=PREVIOUS, run_id="run_x")
    found = asyncio.run(activities(now, put).restore_traffic(asked))
    assert (found.changed, found.version, put) == (True, 6, [])


def afford(**spendings: Any) -> str:
    """Whether it may begin, where the control API says that; the address that was asked."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"currency": "USD", "prices": {}, **spendings})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://control")
    ours = DeploymentActivities(http, http, Path("no-state"))
    asyncio.run(ours.afford(messages.Afford(run_id="run_x", project="flight-delay", environment="prod")))
    return asked[0]


def of_week(environment: str, spent: float) -> dict[str, Any]:
    of = {"project": "flight-delay", "environment": environment, "period": "week"}
    return {**of, "limit": 5.0, "spent": spent}


def test_what_run_and_project_may_spend_is_asked_once_more_after_a_wait() -> None:
    assert afford() == "http://control/api/v1/costs:standing?run=run_x&project=flight-delay"
    afford(budgets=[of_week("dev", 9.0), of_week("all", 4.9)])
    afford(runs={"run_x": {"spent": 9.0}}, projects={"flight-delay": {"limit": 5.0, "spent": 4.9}})
    for scope, spent in (
        ("run", {"runs": {"run_x": {"limit": 5.0, "spent": 5.0}}}),
        ("project", {"projects": {"flight-delay": {"limit": 5.0, "spent": 5.5}}}),
        ("budget", {"budgets": [of_week("all", 5.0)]}),
        ("budget", {"budgets": [of_week("dev", 9.0), of_week("prod", 5.0)]}),
    ):
        with pytest.raises(ApplicationError, match="raise that limit, then deploy again") as caught:
            afford(**spent)
        error = temporal_errors.from_failure(caught.value)
        assert isinstance(error, errors.BudgetExhausted) and (error.scope, error.limit) == (scope, 5.0)


def set_canary(shelf: set[str], stored: set[str]) -> list[str]:
    """Asks a serving that has loaded `shelf`, and could load `stored`, for a canary; what it was asked."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        body = json.loads(request.content)
        wanted = {body["digest"]} if "digest" in body else {body["stable"], body["canary"]}
        if missing := wanted - (stored if "digest" in body else shelf):
            absent = errors.NotFound(f"no bundle `{missing}`", resource="bundle", name=missing.pop())
            return httpx.Response(404, json=errors.to_wire(absent))
        shelf.update(wanted)
        return httpx.Response(200, json={})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://serving")
    table = PREVIOUS.model_copy(update={"version": 4, "canary": CANDIDATE, "canary_percent": 5})
    ours = DeploymentActivities(http, http, Path("no-state"))
    asyncio.run(ours.set_traffic(messages.SetTraffic(table=table)))
    return asked


def test_serving_that_was_started_again_gets_its_candidate_once_more() -> None:
    """It loads by itself what its tables name, and the candidate is in none yet."""
    traffic, load = "PUT /v1/endpoints/flight-delay/traffic", "POST /v1/bundles:load"
    assert set_canary({STABLE, CANDIDATE}, set()) == [traffic]
    assert set_canary({STABLE}, {STABLE, CANDIDATE}) == [traffic, load, load, traffic]
    with pytest.raises(ApplicationError) as caught:
        set_canary({STABLE}, {STABLE})
    assert (caught.value.type, caught.value.non_retryable) == ("not_found", True)


@pytest.mark.parametrize(("name", "exchanges"), [("report_event", 1), ("set_traffic", 3)])
def test_a_step_that_must_be_done_beats_all_the_while(tmp_path: Path, name: str, exchanges: int) -> None:
    """Without a beat its worker's death is noticed after half a minute. Serving, the control API and lineage are slow."""
    assert {c.get("heartbeat_timeout") for c in (options.INSIST, options.EXCHANGE)} == {options.HEARTBEAT}
    beats: list[object] = []
    within: list[int] = []

    async def answer(_: httpx.Request) -> httpx.Response:
        before = len(beats)
        await asyncio.sleep(0.5)
        within.append(len(beats) - before)
        return httpx.Response(200, json={})

    def send(_: bytes) -> None:
        before = len(beats)
        time.sleep(0.5)
        within.append(len(beats) - before)

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://room")
    lines = spool.Lines(tmp_path / "spool.jsonl", max_bytes=1 << 20)
    ours = DeploymentActivities(http, http, tmp_path, emitter.Emitter(send, lines, lines))
    table = PREVIOUS.model_copy(update={"version": 4, "canary": CANDIDATE, "canary_percent": 5})
    event = training.RunEvent(event_key="run_x/1", run_id="run_x", action="run.end", actor="ana")
    asked = {
        "report_event": messages.ReportEvent(event=event),
        "set_traffic": messages.SetTraffic(table=table),
    }
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, heartbeat_timeout=timedelta(seconds=0.3))
    environment.on_heartbeat = lambda *_: beats.append(None)
    asyncio.run(environment.run(getattr(ours, name), asked[name]))
    assert len(within) == exchanges and min(within) > 0


def test_an_error_off_the_wire_keeps_its_class_and_an_absent_endpoint_is_none() -> None:
    ours = activities(PREVIOUS, [])
    with pytest.raises(ApplicationError) as caught:
        asyncio.run(ours.load_bundle(messages.LoadBundle(digest=CANDIDATE)))
    assert (caught.value.type, caught.value.non_retryable) == ("corrupt_artifact", True)
    assert asyncio.run(ours.read_endpoint(messages.ReadEndpoint(endpoint="absent"))).view is None


@pytest.mark.parametrize(("environment", "asked_for"), [("dev", "dev"), ("prod", "prod"), ("", "prod")])
def test_nothing_is_loaded_that_may_not_serve_there(environment: str, asked_for: str) -> None:
    """Also by a deployment that is replayed or started by hand: it is asked anew. Who did not say where is asked as `prod`."""
    loaded: list[str] = []
    asked: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        loaded.append(request.url.path)
        return httpx.Response(503, json=errors.to_wire(errors.DependencyDown("no", name="serving")))

    def admit(digest: str, where: str) -> None:
        asked.append((digest, where))
        raise errors.PolicyDenied("rule `supply.builder` denies it: no", rule_id="supply.builder")

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://serving")
    ours = DeploymentActivities(http, http, Path("no-state"), admit=admit)
    with pytest.raises(ApplicationError) as caught:
        asyncio.run(ours.load_bundle(messages.LoadBundle(digest=CANDIDATE, environment=environment)))
    assert (caught.value.type, caught.value.non_retryable) == ("policy_denied", True)
    assert (asked, loaded) == ([(CANDIDATE, asked_for)], [])


def probe_file(state: Path) -> Path:
    return workspace.Workspace(state, "flight-delay", 0.5).probes


def recorded(state: Path, n: int) -> list[prediction.PredictRequest]:
    requests = [
        prediction.PredictRequest(entities=[{"carrier": "UA", "flight": i, "tailnum": None}])
        for i in range(n)
    ]
    assert probes.write(probe_file(state), requests) == n
    return requests


def probe(
    state: Path, answers: dict[int, httpx.Response], **changes: int
) -> tuple[messages.Probed, list[int]]:
    """What the activity says, and the flights that serving was asked about; `answers`: flight -> another answer."""
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/endpoints/flight-delay:predict"
        flight = prediction.PredictRequest.model_validate_json(request.content).entities[0]["flight"]  # type: ignore[index]
        assert isinstance(flight, int)
        asked.append(flight)
        return answers.get(flight, httpx.Response(200, json={}))

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://serving")
    message = messages.Probe(endpoint="flight-delay", project="flight-delay", **{"rows": 3, **changes})
    return asyncio.run(DeploymentActivities(http, http, state).probe(message)), asked


def test_probes_go_round_the_recorded_requests(tmp_path: Path) -> None:
    recorded(tmp_path, 5)
    assert probe(tmp_path, {}) == (messages.Probed(sent=3, failed=0), [0, 1, 2])
    assert probe(tmp_path, {}, skip=3) == (messages.Probed(sent=3, failed=0), [3, 4, 0])
    assert probe(tmp_path, {}, rows=9, skip=4)[1] == [4, 0, 1, 2, 3]


def test_a_probe_that_the_bundle_fails_is_counted_and_named(tmp_path: Path) -> None:
    recorded(tmp_path, 3)
    broken = httpx.Response(
        500, json=errors.to_wire(errors.InvariantViolated("score is not finite", where="x"))
    )
    found, asked = probe(tmp_path, {1: broken})
    assert (found.sent, found.failed, found.message, asked) == (3, 1, "score is not finite", [0, 1, 2])


def test_a_busy_serving_is_no_failed_probe_but_tried_again(tmp_path: Path) -> None:
    recorded(tmp_path, 3)
    busy = httpx.Response(429, json=errors.to_wire(errors.Overloaded("full", retry_after_seconds=2.0)))
    with pytest.raises(ApplicationError) as caught:
        probe(tmp_path, {1: busy})
    assert (caught.value.type, caught.value.non_retryable) == ("overloaded", False)


def test_no_recorded_requests_is_said_and_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    found, asked = probe(tmp_path, {})
    assert (found.sent, found.failed, asked) == (0, 0, [])
    assert "flight-delay.jsonl" in found.message
    recorded(tmp_path, 1)
    path = probe_file(tmp_path)
    path.write_text(path.read_text() + json.dumps({"entitles": []}) + "\n")
    with pytest.raises(ApplicationError) as caught:
        probe(tmp_path, {})
    assert (caught.value.type, caught.value.non_retryable) == ("corrupt_artifact", True)
    assert "line 2" in caught.value.message


def test_what_is_recorded_is_what_is_asked(tmp_path: Path) -> None:
    requests = recorded(tmp_path, 2)
    lines = probes.read(probe_file(tmp_path), limit=10)
    assert [prediction.PredictRequest.model_validate_json(line) for line in lines] == requests
    assert list((tmp_path / "probes").iterdir()) == [probe_file(tmp_path)]


def test_a_shadow_is_taken_out_again() -> None:
    """Stable and canary are as they were: that alone is not yet a restore that was done before."""
    now = PREVIOUS.model_copy(
        update={"version": 4, "shadow": CANDIDATE, "counts_scores": True, "set_by": "run_x"}
    )
    put: list[deployment.TrafficTable] = []
    asked = messages.RestoreTraffic(previous=PREVIOUS, run_id="run_x")
    assert asyncio.run(activities(now, put).restore_traffic(asked)).changed
    assert [(t.version, t.shadow, t.counts_scores) for t in put] == [(5, None, False)]
