"""The Jobs client on a real Ray head: one job per id, followed and stopped as Ray itself tells it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from temporalio.testing import ActivityEnvironment

sys.path.insert(0, str(Path(__file__).parents[2] / "serving" / "tests"))
from serving_receiver import Receiver

from mainspring.core import errors, settings, traces
from mainspring.core import job_logs as kept_logs
from mainspring.platform.runs import job_logs
from mainspring.platform.stack import parts, processes, stack
from mainspring.workflows.ray_jobs import attach, client

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(240)]

T = TypeVar("T")


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[settings.Settings]:
    s = settings.load(
        {"MAINSPRING_STACK_PORT_BASE": str(free_base())}, directory=tmp_path_factory.mktemp("ray")
    )
    try:
        stack.up(s, [parts.ray(s)])
        yield s
    finally:
        stack.down(s)


def free_base() -> int:
    """A block of 200 ports whose first 20 nobody has now; below the ephemeral range."""
    for base in range(20_000 + os.getpid() % 50 * 200, 32_000, 200):
        try:
            for port in range(base, base + 20):
                processes.check_port_free(port, "x")
            return base
        except errors.PortInUse:
            continue
    raise AssertionError("no free block of ports")


def shell(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def work(
    name: str,
    *codes: str,
    folder: Path,
    timeout_seconds: float = 120.0,
    kept: kept_logs.JobLogs | None = None,
) -> attach.Work[str]:
    """Attempt k runs codes[k], or the last of them; its answer is what it writes to out-k."""

    def answer(k: int) -> str:
        path = folder / f"out-{k}"
        if not path.exists():
            raise errors.NotFound(f"attempt {k} left nothing")
        return path.read_text()

    return attach.Work(
        base_id=name,
        entrypoint=lambda k: shell(codes[min(k, len(codes) - 1)].replace("OUT", str(folder / f"out-{k}"))),
        answer=answer,
        metadata={"run_id": name},
        timeout_seconds=timeout_seconds,
        kept=kept,
    )


def with_jobs(s: settings.Settings, story: Callable[[client.RayJobs], Awaitable[T]]) -> T:
    async def main() -> T:
        async with client.RayJobs.connect(s.ray.dashboard_url, s.ray.token_file) as jobs:
            return await story(jobs)

    return asyncio.run(main())


WRITES = "open('OUT', 'w').write('done')"


def test_runs_once_and_is_found_again(ray: settings.Settings, tmp_path: Path) -> None:
    one = work("run_a-train", f"open('{tmp_path}/starts', 'a').write('x'); " + WRITES, folder=tmp_path)

    async def story(jobs: client.RayJobs) -> None:
        first = await attach.run_to_end(jobs, one, poll_seconds=0.1)
        again = await attach.run_to_end(jobs, one, poll_seconds=0.1)
        assert (first.answer, first.attempts, again) == ("done", 1, first)
        assert first.job.start_time is not None
        assert first.job.end_time is not None
        # Ray itself refuses the id; for us that is the answer.
        await jobs.submit("run_a-train-0", "false", metadata={})

    with_jobs(ray, story)
    assert (tmp_path / "starts").read_text() == "x"


def test_the_job_is_a_span_of_the_trace_that_started_it(ray: settings.Settings, tmp_path: Path) -> None:
    trace, parent, receiver = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", Receiver()
    code = f"from mainspring.workflows.ray_jobs import observed\nwith observed.job('training'):\n    {WRITES}"
    one = work("run_t-train", code, folder=tmp_path)
    # In a cluster it is in the environment of the nodes.
    where = f"MAINSPRING_TELEMETRY_TRACE_ENDPOINT={receiver.url}"
    told = dataclasses.replace(one, entrypoint=lambda k: f"{where} {one.entrypoint(k)}")

    async def story(jobs: client.RayJobs) -> str:
        with traces.resumed(f"00-{trace}-{parent}-01"):
            return (await attach.run_to_end(jobs, told, poll_seconds=0.1)).answer

    try:
        assert with_jobs(ray, story) == "done"
    finally:
        receiver.close()
    (resource,) = (one for document in receiver.documents for one in document["resourceSpans"])
    named = {a["key"]: a["value"]["stringValue"] for a in resource["resource"]["attributes"]}
    (span,) = (span for scope in resource["scopeSpans"] for span in scope["spans"])
    assert (named["service.name"], span["name"]) == ("mainspring-ray-job", "ray job training")
    assert (span["traceId"], span["parentSpanId"]) == (trace, parent)


def test_a_killed_job_is_followed_by_the_next(ray: settings.Settings, tmp_path: Path) -> None:
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    two = work("run_b-train", killed, WRITES, folder=tmp_path)
    done = with_jobs(ray, lambda jobs: attach.run_to_end(jobs, two, poll_seconds=0.1))
    assert (done.answer, done.attempts, done.job.submission_id) == ("done", 2, "run_b-train-1")


def test_a_job_that_always_fails_ends_with_what_ray_says(ray: settings.Settings, tmp_path: Path) -> None:
    three = work("run_c-train", "raise SystemExit('no such column')", folder=tmp_path)
    with pytest.raises(errors.JobFailed) as caught:
        with_jobs(ray, lambda jobs: attach.run_to_end(jobs, three, poll_seconds=0.1))
    assert (caught.value.job_id, caught.value.status) == ("run_c-train-2", "FAILED")
    assert "no such column" in caught.value.message


def test_a_cancellation_stops_the_job_and_its_process(ray: settings.Settings, tmp_path: Path) -> None:
    sleeps = f"import os, time; open('{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(600)"
    four = work("run_d-train", sleeps, folder=tmp_path)
    environment = ActivityEnvironment()

    async def story(jobs: client.RayJobs) -> client.Job | None:
        task = asyncio.create_task(environment.run(attach.run_to_end, jobs, four, poll_seconds=0.1))
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
            await asyncio.sleep(0.05)
        environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await jobs.find("run_d-train-0")

    job = with_jobs(ray, story)
    assert job is not None
    assert job.status == client.STOPPED
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 30
    while processes.is_alive(pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not processes.is_alive(pid)


@pytest.mark.soak
def test_what_a_job_wrote_is_read_by_its_run(ray: settings.Settings, tmp_path: Path) -> None:
    """As the control API reads it: the runs' own jobs, in their order, and a log without the password that is in it."""
    says = "print('epoch 1'); print('token=abcdefgh12345678'); raise SystemExit(1)"
    kept = kept_logs.JobLogs.of(tmp_path, "flight-delay")
    six = work("run_f-train", says, "print('epoch 2'); " + WRITES, folder=tmp_path, kept=kept)

    async def story(jobs: client.RayJobs) -> None:
        await attach.run_to_end(jobs, six, poll_seconds=0.1)
        async with job_logs.RayLogs(ray.ray) as logs:
            found = await logs.jobs("run_f-train")
            assert [(one.name, one.status) for one in found] == [
                ("run_f-train-0", "FAILED"),
                ("run_f-train-1", "SUCCEEDED"),
            ]
            assert found[0].started_at is not None and found[0].ended_at is not None
            assert await logs.jobs("run_nowhere") == ()
            first, _, _ = kept_logs.part(await logs.text("run_f-train-0"), -1, 500)
            second, _, _ = kept_logs.part(await logs.text("run_f-train-1"), -1, 500)
            # What crashed and what went well is kept as Ray tells of it while it does.
            assert kept.jobs("run_f-train") == found
            assert kept.part("run_f-train", "run_f-train-0", -1, 500)[0] == first
            assert kept.part("run_f-train", "run_f-train-1", -1, 500)[0] == second
            with pytest.raises(errors.DependencyDown, match="answered 404"):
                await logs.text("run_f-train-9")
        assert "epoch 1" in first and "epoch 2" in second
        assert not any("abcdefgh12345678" in line for line in first)

    with_jobs(ray, story)


def test_too_long_is_stopped_and_another_token_is_refused(ray: settings.Settings, tmp_path: Path) -> None:
    five = work("run_e-train", "import time; time.sleep(600)", folder=tmp_path, timeout_seconds=1.0)
    with pytest.raises(errors.JobFailed) as caught:
        with_jobs(ray, lambda jobs: attach.run_to_end(jobs, five, poll_seconds=0.1))
    assert caught.value.status == "timed_out"

    async def stranger() -> None:
        async with client.RayJobs(ray.ray.dashboard_url, "0" * 64) as jobs:
            await jobs.find("run_e-train-0")

    with pytest.raises(errors.Misconfigured, match="token"):
        asyncio.run(stranger())
    # Nothing that this file started is left: what it stopped is stopped in Ray's books, too.
    answer = httpx.get(
        f"{ray.ray.dashboard_url}/api/jobs/",
        headers={"Authorization": f"Bearer {ray.ray.token_file.read_text().strip()}"},
        trust_env=False,
    )
    assert not [j for j in answer.json() if j["status"] in ("PENDING", "RUNNING")]
