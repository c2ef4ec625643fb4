"""Run one Ray job to its end from an activity, whatever happens to the worker, to the job or to the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

from temporalio import activity

from mainspring.core import errors, job_logs
from mainspring.core.contracts import progress, run_logs
from mainspring.workflows import budgets, heartbeat
from mainspring.workflows.ray_jobs import client, observed, paying

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)
_STOP_SECONDS: Final = 30.0
#: A job that may cost no more ends by itself for so long, where it can do so well; then it is ended.
_GRACE_SECONDS: Final = 3.0
#: One that has answered by then uses nothing any more and goes by itself: Ray would take three seconds to end it.
_LEAVING_SECONDS: Final = 8.0
_LOOK_SECONDS: Final = 0.25


def family() -> str:
    """What the jobs of this execution have in their ids. A run that failed and is started again under its id is another
    execution: its jobs are new ones, and do not meet the errors of the old."""
    execution = activity.info().workflow_run_id if activity.in_activity() else None
    return (execution or "none")[:8]


@dataclass(frozen=True)
class Work(Generic[T]):
    """What is to be done. Attempt k runs as job `<base_id>-<k>`, so that a new worker finds it again by counting."""

    base_id: str
    entrypoint: Callable[[int], str]
    """The shell command of attempt k."""
    answer: Callable[[int], T]
    """What attempt k left, or its typed error; NotFound where it left nothing."""
    metadata: Mapping[str, str]
    timeout_seconds: float
    """Of one attempt, since Ray started it."""
    max_attempts: int = 3
    resources: Mapping[str, Any] = field(default_factory=dict)
    """Of the job itself, in Ray's words; none: it waits for nothing."""
    paying: paying.Paying | None = None
    """Whose budget ends it; None: nobody's."""
    step: str = ""
    """What the run's reports call it."""
    told: Callable[[], progress.StepProgress | None] | None = None
    """How far it is by what its jobs have written down; None: they write nothing of the kind."""
    kept: job_logs.JobLogs | None = None
    """Where the end of what its jobs wrote is kept, however they ended; None: nowhere. `metadata` says whose they are."""


@dataclass(frozen=True)
class Done(Generic[T]):
    """The answer, and the job that gave it."""

    answer: T
    job: client.Job
    attempts: int


async def run_to_end(jobs: client.RayJobs, work: Work[T], *, poll_seconds: float = 1.0) -> Done[T]:
    """Submit the first attempt that has not ended badly, or attach to it, and wait. Call it again after any crash.

    A job that was stopped, lost or killed is followed by the next attempt; one that left a typed error which trying
    again cannot mend is not. Only a cancellation that somebody asked for and a budget that is spent stop the job: at the
    end of a worker, or when Temporal believes it dead, the job runs on and the next worker attaches.
    Errors: the job's own; BudgetExhausted, with what was used on record; JobFailed when the attempts are spent or one took too long; those of `RayJobs`.
    """
    async with heartbeat.beating() as beats:
        job, log = None, ""
        with _watched(work) as watched:
            for k in range(work.max_attempts):
                found = await _follow(jobs, work, k, poll_seconds, watched, beats)
                if found is None:
                    break
                job = found
                await _keep(jobs, work, job)
                if job.status == client.SUCCEEDED:
                    return Done(work.answer(k), job, k + 1)
                if not _is_stopped(work):
                    _raise_what_stays(work, k)
                log = await jobs.log_end(job.submission_id)
        if work.paying is not None and _is_stopped(work):
            raise await work.paying.end(job)
        raise errors.JobFailed(
            f"ray job `{work.base_id}` ended without a result {work.max_attempts} times, at last {job and job.status}:"
            f" {(job and job.message) or log or 'no reason given'}; read its log in Ray's dashboard",
            job_id=job.submission_id if job else work.base_id,
            status=job.status if job else "",
        )


@contextlib.contextmanager
def _watched(work: Work[T]) -> Iterator[budgets.Watched | None]:
    if work.paying is None:
        yield None
        return
    with work.paying.watched() as watched:
        yield watched


def _is_stopped(work: Work[T]) -> bool:
    return work.paying is not None and work.paying.book.is_to_stop


def _raise_what_stays(work: Work[T], k: int) -> None:
    try:
        work.answer(k)
    except errors.NotFound:
        return
    except errors.MainspringError as error:
        if not error.retryable:
            raise


async def _follow(
    jobs: client.RayJobs,
    work: Work[T],
    k: int,
    poll_seconds: float,
    watched: budgets.Watched | None,
    beats: heartbeat.Beats,
) -> client.Job | None:
    """The job when it has ended; None where the run may cost no more and it was not begun."""
    submission_id = f"{work.base_id}-{k}"
    submission: asyncio.Future[None] | None = None
    try:
        while True:
            job = await jobs.find(submission_id)
            if job is not None and job.is_ended:
                return job
            await _tell(work, job, beats)
            if work.paying is not None and watched is not None and await work.paying.must_stop(watched):
                return None if job is None else await _wind_down(jobs, work, k, poll_seconds)
            if job is None:
                # New, or its cluster was lost with all that it knew.
                submission = asyncio.ensure_future(
                    jobs.submit(
                        submission_id,
                        observed.command(work.entrypoint(k)),
                        metadata=work.metadata,
                        resources=work.resources,
                    )
                )
                await asyncio.shield(submission)
            elif _runs_for(job) > work.timeout_seconds:
                await _keep(jobs, work, await _stop(jobs, submission_id, poll_seconds))
                raise errors.JobFailed(
                    f"ray job `{submission_id}` was stopped after {work.timeout_seconds:.0f} s; raise"
                    " `ray.job_timeout_seconds` or give it fewer rows",
                    job_id=submission_id,
                    status="timed_out",
                )
            await asyncio.sleep(poll_seconds)
    except asyncio.CancelledError:
        if submission is not None:
            # A submission on its way arrives: stopping before it would stop nothing.
            await asyncio.wait([submission])
        details = activity.cancellation_details() if activity.in_activity() else None
        if details is not None and details.cancel_requested:
            await _keep(jobs, work, await _stop(jobs, submission_id, poll_seconds))
        raise


async def _tell(work: Work[T], job: client.Job | None, beats: heartbeat.Beats) -> None:
    """The heartbeats say how far the work is; before it says so itself, what Ray says of the job, or an earlier attempt said."""
    found = None if work.told is None else await asyncio.to_thread(work.told)
    if found is not None:
        beats.tell(found)
    elif job is not None and (beats.progress is None or not beats.progress.of):
        beats.tell(
            progress.StepProgress(
                step=work.step, message=f"job `{job.submission_id}` is {job.status.lower()}"
            )
        )


async def _wind_down(jobs: client.RayJobs, work: Work[T], k: int, poll_seconds: float) -> client.Job | None:
    """A job that was told to stop, once it has ended: by itself, or because Ray ends it."""
    submission_id, told = f"{work.base_id}-{k}", time.monotonic()
    while (job := await jobs.find(submission_id)) is not None and not job.is_ended:
        late = time.monotonic() - told
        is_leaving = late < _GRACE_SECONDS or (
            late < _LEAVING_SECONDS and await asyncio.to_thread(_has_answered, work, k)
        )
        if not is_leaving:
            return await _stop(jobs, submission_id, poll_seconds)
        await asyncio.sleep(min(poll_seconds, _LOOK_SECONDS))
    return job


def _has_answered(work: Work[T], k: int) -> bool:
    try:
        work.answer(k)
    except errors.NotFound:
        return False
    except errors.MainspringError:
        return True  # that it was stopped, say
    return True


def _runs_for(job: client.Job) -> float:
    return 0.0 if job.start_time is None else time.time() - job.start_time / 1000


async def _stop(jobs: client.RayJobs, submission_id: str, poll_seconds: float) -> client.Job | None:
    """Until Ray says that it has ended, so that whoever waits for the cancellation finds the cluster free; as it is then.

    It is asked again as long as it has not: Ray answers before anything is stopped, and also where it stops nothing.
    """
    job = None
    until = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < until:
        await jobs.stop(submission_id)
        job = await jobs.find(submission_id)
        if job is None or job.is_ended:
            break
        await asyncio.sleep(poll_seconds)
    return job


async def _keep(jobs: client.RayJobs, work: Work[T], job: client.Job | None) -> None:
    """What the job wrote, before Ray forgets it. That it cannot be kept is said, and is no reason for the work to fail."""
    if work.kept is None or job is None:
        return
    told = run_logs.LogJob(
        name=job.submission_id,
        step=work.metadata.get("step", ""),
        status=job.status,
        started_at=_time(job.start_time),
        ended_at=_time(job.end_time),
    )
    try:
        text, is_cut = await jobs.log(job.submission_id, job_logs.MAX_JOB_BYTES)
        await asyncio.to_thread(work.kept.keep, work.metadata["run_id"], told, text, is_cut=is_cut)
    except (errors.MainspringError, OSError) as error:
        _LOG.warning("the log of job `%s` is not kept: %s", job.submission_id, error)


def _time(millis: int | None) -> datetime | None:
    return datetime.fromtimestamp(millis / 1000, UTC) if millis else None
