"""Logs of a run's jobs: of its own jobs alone, as they were kept where Ray has forgotten them, and told of in words where it is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from platform_api import Api, api, empty, launcher

from mainspring.core import errors, settings
from mainspring.core import job_logs as kept_logs
from mainspring.core.contracts import run_logs
from mainspring.platform.runs import job_logs

__all__ = ["api", "empty", "launcher"]  # fixtures

#: As Ray 2.60 answers, of a driver that is no submission too.
JOBS = [
    {"submission_id": "run_b-train-0", "status": "RUNNING", "start_time": 3000, "end_time": None, "metadata": {"run_id": "run_b"}},
    {"submission_id": "run_a-step-1", "status": "PENDING", "start_time": None, "metadata": {"run_id": "run_a", "step": "publish"}},
    {"submission_id": "run_a-step-0", "status": "FAILED", "start_time": 1000, "end_time": 2000, "metadata": {"run_id": "run_a", "step": "load"}},
    {"submission_id": None, "status": "SUCCEEDED", "start_time": 1, "metadata": None},
]  # fmt: skip


def ask(
    tmp_path: Path, answer: Callable[[httpx.Request], httpx.Response], what: Callable[[job_logs.RayLogs], Any]
) -> Any:
    token = tmp_path / "ray-token"
    token.write_text("of-the-cluster\n")
    s = settings.RaySettings(dashboard_url="http://ray", token_file=token)

    async def go() -> Any:
        async with job_logs.RayLogs(s, transport=httpx.MockTransport(answer)) as ray:
            return await what(ray)

    return asyncio.run(go())


def test_a_job_is_a_runs_if_ray_says_so(tmp_path: Path) -> None:
    def answer(asked: httpx.Request) -> httpx.Response:
        assert asked.headers["authorization"] == "Bearer of-the-cluster"
        return httpx.Response(200, json=JOBS)

    found: tuple[run_logs.LogJob, ...] = ask(tmp_path, answer, lambda ray: ray.jobs("run_a"))
    assert [(one.name, one.step, one.status) for one in found] == [
        ("run_a-step-0", "load", "FAILED"),
        ("run_a-step-1", "publish", "PENDING"),
    ]
    assert (
        found[0].started_at is not None
        and found[0].started_at.timestamp() == 1
        and found[1].started_at is None
    )
    assert ask(tmp_path, answer, lambda ray: ray.jobs("run_none")) == ()


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, b"", errors.Misconfigured, "ray.token_file"),
        (500, b"", errors.DependencyDown, "answered 500"),
        (200, b"<html>", errors.DependencyDown, "JSONDecodeError"),
        (200, b"[" + b" " * 64, errors.DependencyDown, "read it in Ray's dashboard"),
    ],
)
def test_what_ray_should_not_answer_is_told_in_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: bytes,
    kind: type[Exception],
    words: str,
) -> None:
    monkeypatch.setattr(job_logs, "MAX_LOG_BYTES", 32)
    with pytest.raises(kind, match=words.replace("[", r"\[")):
        ask(tmp_path, lambda _: httpx.Response(status, content=body), lambda ray: ray.text("x/../y"))


def test_a_name_stays_a_name(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, json={"logs": "one\n"})

    assert ask(tmp_path, answer, lambda ray: ray.text("../../x?y")) == "one\n"
    assert asked == ["/api/jobs/..%2F..%2Fx%3Fy/logs"]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What Ray answers by path, for the route."""
    answers: dict[str, Any] = {}

    async def asked(_: job_logs.RayLogs, path: str) -> Any:
        return json.loads(json.dumps(answers[path]))

    monkeypatch.setattr(job_logs.RayLogs, "_ask", asked)
    yield answers


def test_a_run_tells_of_its_own_jobs_alone(api: Api, ray: dict[str, Any]) -> None:
    run_id = api.run()["run_id"]
    path = f"/api/v1/runs/{run_id}/logs"
    ray["/api/jobs/"] = JOBS
    assert api.call("developer", "GET", path, 200) == {
        "run_id": run_id, "jobs": [], "job": "", "lines": [], "first": 0, "total": 0, "unavailable": "",
    }  # fmt: skip
    told = api.call("developer", "GET", path, 404, job="run_b-train-0")
    assert told["details"]["resource"] == "job"
    ours = [{**one, "metadata": {**one["metadata"], "run_id": run_id}} for one in JOBS[1:3]]
    ray["/api/jobs/"] = [JOBS[0], *ours]
    ray["/api/jobs/run_a-step-1/logs"] = {"logs": None}
    ray["/api/jobs/run_a-step-0/logs"] = {"logs": "a\nb\nc\n"}
    newest = api.call("developer", "GET", path, 200)
    assert (newest["job"], newest["lines"]) == ("run_a-step-1", [])
    named = api.call("approver", "GET", path, 200, job="run_a-step-0", start=1, limit=1)
    assert (named["lines"], named["first"], named["total"]) == (["b"], 1, 3)
    for wrong in ({"start": -2}, {"limit": 0}, {"limit": 5001}):
        api.call("developer", "GET", path, 400, **wrong)
    api.call("developer", "GET", "/api/v1/runs/run_nowhere/logs", 404)


def test_that_ray_is_away_is_part_of_the_answer(api: Api) -> None:
    run_id = api.run()["run_id"]
    told = api.call("developer", "GET", f"/api/v1/runs/{run_id}/logs", 200)
    assert told["lines"] == [] and "mainspring status" in told["unavailable"]


def kept(directory: Path, run_id: str, *names: str) -> None:
    """As a worker keeps them, in the state directory of the control API under test."""
    s = settings.load({}, directory=directory)
    logs = kept_logs.JobLogs.of(s.stack.state_dir, "flight-delay")
    for k, name in enumerate(names):
        at = datetime.fromtimestamp(k + 1, UTC)
        job = run_logs.LogJob(name=name, step="load", status="FAILED", started_at=at, ended_at=at)
        logs.keep(run_id, job, "".join(f"{name} says {i}\n" for i in range(5)))


def test_what_ray_has_forgotten_was_kept(api: Api, ray: dict[str, Any], tmp_path: Path) -> None:
    run_id, other = api.run()["run_id"], api.run()["run_id"]
    kept(tmp_path, run_id, "run_a-step-0", "run_a-step-1")
    kept(tmp_path, other, "run_b-step-0")
    path = f"/api/v1/runs/{run_id}/logs"
    ray["/api/jobs/"] = []
    told = api.call("developer", "GET", path, 200, start=1, limit=2)
    assert (told["job"], told["lines"]) == ("run_a-step-1", ["run_a-step-1 says 1", "run_a-step-1 says 2"])
    assert (told["first"], told["total"], told["unavailable"]) == (1, 5, "")
    assert [(one["name"], one["status"], one["is_kept"]) for one in told["jobs"]] == [
        ("run_a-step-0", "FAILED", True),
        ("run_a-step-1", "FAILED", True),
    ]
    assert api.call("approver", "GET", path, 200, job="run_a-step-0")["lines"][0] == "run_a-step-0 says 0"
    for name in ("run_b-step-0", f"../{other}/run_b-step-0"):
        api.call("developer", "GET", path, 404, job=name)
    # What Ray has still is Ray's to tell.
    ray["/api/jobs/"] = [{**JOBS[2], "metadata": {"run_id": run_id, "step": "load"}}]
    ray["/api/jobs/run_a-step-0/logs"] = {"logs": "of ray\n"}
    both = api.call("developer", "GET", path, 200, job="run_a-step-0")
    assert (both["lines"], [one["is_kept"] for one in both["jobs"]]) == (["of ray"], [False, True])


def test_a_job_that_ray_lists_without_its_log_was_kept(
    api: Api, ray: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_id = api.run()["run_id"]
    kept(tmp_path, run_id, "run_a-step-0")
    ray["/api/jobs/"] = [{**JOBS[2], "metadata": {"run_id": run_id, "step": "load"}}]

    async def lost(_: job_logs.RayLogs, name: str) -> str:
        raise errors.DependencyDown(f"the node of `{name}` is gone", name="ray")

    monkeypatch.setattr(job_logs.RayLogs, "text", lost)
    told = api.call("developer", "GET", f"/api/v1/runs/{run_id}/logs", 200)
    assert told["lines"][-1] == "run_a-step-0 says 4" and told["jobs"][0]["is_kept"]
    assert "the node of" in told["unavailable"]


def test_ray_is_away_and_what_was_kept_is_told_all_the_same(api: Api, tmp_path: Path) -> None:
    run_id = api.run()["run_id"]
    kept(tmp_path, run_id, "run_a-train-0")
    path = f"/api/v1/runs/{run_id}/logs"
    told = api.call("developer", "GET", path, 200)
    assert told["lines"][0] == "run_a-train-0 says 0" and "mainspring status" in told["unavailable"]
    api.call("developer", "GET", path, 404, job="run_a-train-7")
