"""A Ray job is submitted once, found again, followed by the next attempt when it dies, and stopped only when asked."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from ray_double import TOKEN, RayDouble, serve
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from mainspring.core import errors
from mainspring.workflows.ray_jobs import attach, client


@pytest.fixture
def ray() -> Iterator[RayDouble]:
    with serve(RayDouble()) as double:
        yield double


def nothing(k: int) -> str:
    raise errors.NotFound(f"no answer of attempt {k}")


def run(
    ray: RayDouble,
    *,
    answer: Callable[[int], str] = lambda k: f"answer {k}",
    token: str = TOKEN,
    timeout_seconds: float = 3600.0,
    environment: ActivityEnvironment | None = None,
    cancel: ActivityCancellationDetails | None = None,
) -> attach.Done[str]:
    """One call from an activity. `cancel`: sent to it once the job runs."""
    work = attach.Work(
        base_id="run_1-train",
        entrypoint=lambda k: f"python -m train --out out-{k}.json",
        answer=answer,
        metadata={"run_id": "run_1"},
        timeout_seconds=timeout_seconds,
    )
    active = environment or ActivityEnvironment()

    async def main() -> attach.Done[str]:
        async with client.RayJobs(ray.url, token) as jobs:
            task = asyncio.create_task(active.run(attach.run_to_end, jobs, work, poll_seconds=0.005))
            if cancel is not None:
                assert await asyncio.to_thread(ray.running.wait, 10)
                active.cancel(cancel)
            return await task

    return asyncio.run(main())


def test_submits_once_and_waits_for_the_end(ray: RayDouble) -> None:
    ray.script["run_1-train-0"] = ["PENDING", "RUNNING", "SUCCEEDED"]
    done = run(ray)
    assert (done.answer, done.attempts, done.job.submission_id) == ("answer 0", 1, "run_1-train-0")
    assert ray.submitted == ["run_1-train-0"]
    body = ray.jobs["run_1-train-0"]["body"]
    assert body["entrypoint"] == "python -m train --out out-0.json"
    assert body["metadata"] == {"run_id": "run_1"}


def test_a_new_worker_attaches_to_the_running_job(ray: RayDouble) -> None:
    ray.script["run_1-train-0"] = ["RUNNING", "SUCCEEDED"]

    async def submit_twice() -> None:
        async with client.RayJobs(ray.url, TOKEN) as jobs:
            for _ in range(2):  # the second is told "already exists"
                await jobs.submit("run_1-train-0", "x", metadata={})

    asyncio.run(submit_twice())
    assert run(ray).attempts == 1
    assert ray.submitted == ["run_1-train-0"]


@pytest.mark.parametrize("end", ["STOPPED", "FAILED"])
def test_a_job_that_died_is_followed_by_the_next(ray: RayDouble, end: str) -> None:
    ray.script["run_1-train-0"] = ["RUNNING", end]

    def answer(k: int) -> str:
        return nothing(k) if k == 0 else "second"

    done = run(ray, answer=answer)
    assert (done.answer, done.attempts, ray.submitted) == ("second", 2, ["run_1-train-0", "run_1-train-1"])
    # The worker dies now: its successor finds the same end and submits nothing.
    assert run(ray, answer=answer).attempts == 2
    assert len(ray.submitted) == 2


def test_an_error_that_stays_ends_it_and_one_that_may_pass_does_not(ray: RayDouble) -> None:
    ray.script |= {f"run_1-train-{k}": ["FAILED"] for k in range(3)}

    def answer(k: int) -> str:
        if k == 0:
            raise errors.DependencyDown("ray has no places", name="ray")
        raise errors.DataInvalid("split `valid` has no rows", dataset="valid", failed=("rows",))

    with pytest.raises(errors.DataInvalid, match="no rows"):
        run(ray, answer=answer)
    assert ray.submitted == ["run_1-train-0", "run_1-train-1"]


def test_spent_attempts_are_a_typed_end_with_the_last_word_of_the_job(ray: RayDouble) -> None:
    ray.script |= {f"run_1-train-{k}": ["FAILED"] for k in range(3)}
    with pytest.raises(errors.JobFailed) as caught:
        run(ray, answer=nothing)
    assert (caught.value.job_id, caught.value.status) == ("run_1-train-2", "FAILED")
    assert "it is FAILED" in caught.value.message


def test_a_lost_cluster_gets_the_same_job_again(ray: RayDouble) -> None:
    ray.script["run_1-train-0"] = ["RUNNING", "SUCCEEDED"]
    asyncio.run(submit_first(ray))
    ray.lost = True
    assert run(ray).attempts == 1
    assert ray.submitted == ["run_1-train-0", "run_1-train-0"]


async def submit_first(ray: RayDouble) -> None:
    async with client.RayJobs(ray.url, TOKEN) as jobs:
        await jobs.submit("run_1-train-0", "x", metadata={})


def test_only_a_cancellation_that_was_asked_for_stops_the_job(ray: RayDouble) -> None:
    ray.script["run_1-train-0"] = ["RUNNING"]
    for details in (
        ActivityCancellationDetails(worker_shutdown=True),
        ActivityCancellationDetails(timed_out=True),
        ActivityCancellationDetails(not_found=True),
    ):
        with pytest.raises(asyncio.CancelledError):
            run(ray, cancel=details)
        assert ray.stopped == []
    with pytest.raises(asyncio.CancelledError):
        run(ray, cancel=ActivityCancellationDetails(cancel_requested=True))
    assert ray.stopped == ["run_1-train-0"]
    assert ray.submitted == ["run_1-train-0"]


def test_a_job_that_does_not_stop_is_asked_again(ray: RayDouble) -> None:
    ray.script["run_1-train-0"], ray.deaf = ["RUNNING"], 3
    with pytest.raises(asyncio.CancelledError):
        run(ray, cancel=ActivityCancellationDetails(cancel_requested=True))
    assert ray.stopped == ["run_1-train-0"] * 4


def test_a_job_that_takes_too_long_is_stopped(ray: RayDouble) -> None:
    ray.script["run_1-train-0"] = ["RUNNING"]
    ray.started_ms = int((time.time() - 61) * 1000)
    with pytest.raises(errors.JobFailed) as caught:
        run(ray, timeout_seconds=60.0)
    assert (caught.value.status, ray.stopped) == ("timed_out", ["run_1-train-0"])


def test_the_activity_beats_while_it_waits(ray: RayDouble) -> None:
    ray.script["run_1-train-0"] = ["RUNNING", "SUCCEEDED"]
    beats: list[tuple[object, ...]] = []
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, heartbeat_timeout=timedelta(seconds=3))
    environment.on_heartbeat = lambda *details: beats.append(details)
    run(ray, environment=environment)
    assert beats


def test_ray_that_fails_is_tried_again_and_a_wrong_token_is_not(ray: RayDouble) -> None:
    ray.script["run_1-train-0"] = ["RUNNING", "SUCCEEDED"]
    asyncio.run(submit_first(ray))
    ray.broken_looks = 1
    with pytest.raises(errors.DependencyDown, match="no agent"):
        run(ray)
    with pytest.raises(errors.Misconfigured, match="token"):
        run(ray, token="wrong")
    ray.url = "http://127.0.0.1:9"
    with pytest.raises(errors.DependencyDown):
        run(ray)


def test_no_token_file_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(errors.MissingTool, match="mainspring up"):
        client.RayJobs.connect("http://127.0.0.1:9", tmp_path / "auth_token")
