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

from mainspring.core import errors, job_logs
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
    kept: job_logs.JobLogs | None = None,
) -> attach.Done[str]:
    """One call from an activity. `cancel`: sent to it once the job runs."""
    work = attach.Work(
        base_id="run_1-train",
        entrypoint=lambda k: f"python -m train --out out-{k}.json",
        answer=answer,
        metadata={"run_id": "run_1"},
        timeout_seconds=timeout_seconds,
        kept=kept,
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


def test_what_a_job_wrote_is_kept_however_it_ended(ray: RayDouble, tmp_path: Path) -> None:
    kept = job_logs.JobLogs.of(tmp_path, "flight-delay")
    ray.script["run_1-train-0"] = ["RUNNING", "FAILED"]
    ray.logs["run_1-train-0"] = "epoch 1\ntoken=abcdefgh12345678\nout of memory\n"
    run(ray, answer=lambda k: nothing(k) if k == 0 else "second", kept=kept)
    first, second = kept.jobs("run_1")
    assert (first.name, first.status, second.status) == ("run_1-train-0", "FAILED", "SUCCEEDED")
    lines, _, _ = kept.part("run_1", "run_1-train-0", -1, 10)
    assert lines == ("epoch 1", "token=[redacted]", "out of memory")
    ray.jobs.clear()
    ray.running.clear()
    ray.script["run_1-train-0"] = ["RUNNING"]
    ray.logs["run_1-train-0"] = "as far as it came"
    with pytest.raises(asyncio.CancelledError):
        run(ray, cancel=ActivityCancellationDetails(cancel_requested=True), kept=kept)
    assert kept.jobs("run_1")[0].status == "STOPPED"
    assert kept.part("run_1", "run_1-train-0", -1, 10)[0] == ("as far as it came",)
    ray.jobs.clear()
    ray.started_ms = int((time.time() - 61) * 1000)
    ray.logs["run_1-train-0"] = "too slow"
    with pytest.raises(errors.JobFailed):
        run(ray, timeout_seconds=60.0, kept=kept)
    assert kept.part("run_1", "run_1-train-0", -1, 10)[0] == ("too slow",)


def test_a_log_that_cannot_be_kept_is_no_reason_to_fail(
    ray: RayDouble, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ray.logs["run_1-train-0"] = None
    assert run(ray, kept=job_logs.JobLogs.of(tmp_path, "flight-delay")).answer == "answer 0"
    assert "the log of job `run_1-train-0` is not kept" in caplog.text
    (tmp_path / "projects" / "other").mkdir(parents=True)
    (tmp_path / "projects" / "other" / "job_logs").write_text("no folder")
    ray.logs.clear()
    assert run(ray, kept=job_logs.JobLogs.of(tmp_path, "other")).answer == "answer 0"
    assert caplog.text.count("is not kept") == 2


def test_of_a_log_however_long_the_end_is_held(ray: RayDouble) -> None:
    said = "".join(f'line {k} "quoted" \\n and \\\\ é\n' for k in range(20_000))
    asyncio.run(submit_first(ray))

    async def end(text: str, max_bytes: int) -> tuple[str, bool]:
        ray.logs["run_1-train-0"] = text
        async with client.RayJobs(ray.url, TOKEN) as jobs:
            return await jobs.log("run_1-train-0", max_bytes)

    found, is_cut = asyncio.run(end(said, 10_000))
    assert is_cut and 5_000 < len(found) < 20_000
    assert said.endswith("\n" + found) and found.startswith("line ")
    assert asyncio.run(end(said, 10_000_000)) == (said, False)
    assert asyncio.run(end("", 10)) == ("", False)
    assert asyncio.run(end("x" * 50_000, 1_000)) == ("", True), "one line, and no beginning of it"


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
