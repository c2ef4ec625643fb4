"""Logs of a run's jobs: asked of Ray when somebody looks, with the cluster's token; of what Ray has forgotten, as workers kept it.

A job is a run's if Ray has it on record so, or if its log was kept as that run's: names that a caller sends are looked for among
those, or a log of somebody else's run would be read by its name. What looks like a credential is left out, and so is what would
move a terminal's cursor.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from mainspring.core import errors, settings
from mainspring.core import job_logs as kept_logs
from mainspring.core.contracts import run_logs
from mainspring.platform import plane as control_plane
from mainspring.platform import reads
from mainspring.platform.runs import store

__all__ = ["RayLogs", "show"]

#: Ray answers with a log as a whole. More is read where it is.
MAX_LOG_BYTES: Final = 32 << 20
_TIMEOUT_SECONDS: Final = 10.0


async def show(
    plane: control_plane.ControlPlane, credential: str, run_id: str, *, job: str, start: int, limit: int
) -> run_logs.RunLog:
    """`limit` lines from number `start` on; -1: the last ones. Without `job`: of the run's newest.

    Errors: NotFound for the run, or for a job that is not one of it. That Ray is away is part of the answer.
    """
    async with reads.reading(plane, credential, action="run.read") as reader:
        row = await store.find(reader.connection, run_id)
        if not reader.may(row.project):
            raise store.unknown(run_id)
    kept = None if plane.state_dir is None else kept_logs.JobLogs.of(plane.state_dir, row.project)
    stored = () if kept is None else await asyncio.to_thread(kept.jobs, run_id)
    found = await _ask_ray(plane.ray, run_id, job, stored)
    told = run_logs.RunLog(run_id=run_id, jobs=found.jobs, job=found.name, unavailable=found.away)
    if found.text is not None:
        lines, first, total = await asyncio.to_thread(kept_logs.part, found.text, start, limit)
    elif kept is not None and found.name in {one.name for one in stored}:
        lines, first, total = await asyncio.to_thread(kept.part, run_id, found.name, start, limit)
    else:
        return told
    return told.model_copy(update={"lines": lines, "first": first, "total": total})


@dataclass(frozen=True)
class _Found:
    """What there is of a run, and the log that is asked for, where Ray has it."""

    jobs: tuple[run_logs.LogJob, ...]
    name: str
    text: str | None = None
    away: str = ""


async def _ask_ray(
    ray: settings.RaySettings, run_id: str, job: str, stored: tuple[run_logs.LogJob, ...]
) -> _Found:
    """Errors: NotFound for a job that is not one of the run."""
    known: tuple[run_logs.LogJob, ...] = ()
    name = job
    try:
        async with RayLogs(ray) as asked:
            known = await asked.jobs(run_id)
            name = _chosen(run_id, job, _together(known, stored))
            if name in {one.name for one in known}:
                return _Found(_together(known, stored), name, await asked.text(name))
    except (errors.Unavailable, errors.Misconfigured) as error:
        # It may know of a job, and not have its log any more: then that one is as if forgotten.
        known = tuple(one for one in known if one.name != name or name not in {kept.name for kept in stored})
        jobs = _together(known, stored)
        # Without any, who asks for one by its name is told that Ray is away, and not that there is none.
        return _Found(jobs, _chosen(run_id, job, jobs) if jobs else "", away=error.message)
    return _Found(_together(known, stored), name)


def _together(
    known: tuple[run_logs.LogJob, ...], stored: tuple[run_logs.LogJob, ...]
) -> tuple[run_logs.LogJob, ...]:
    """Oldest first; what Ray tells of a job counts."""
    names = {one.name for one in known}
    forgotten = [one.model_copy(update={"is_kept": True}) for one in stored if one.name not in names]
    return tuple(sorted((*forgotten, *known), key=kept_logs.began))


def _chosen(run_id: str, job: str, jobs: tuple[run_logs.LogJob, ...]) -> str:
    if job and job not in {one.name for one in jobs}:
        raise errors.NotFound(
            f"run `{run_id}` has no job `{job}`; ask without it for the newest", resource="job", name=job
        )
    return job or (jobs[-1].name if jobs else "")


class RayLogs:
    """Ray's Jobs API, of which this reads two answers. One event loop.

    Errors of every method: DependencyDown if Ray does not answer, or not as it should; Misconfigured for its token.
    """

    def __init__(
        self, ray: settings.RaySettings, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = ray.dashboard_url
        self._token_file = ray.token_file
        # Proxies of the environment are not for our own services.
        self._http = httpx.AsyncClient(
            base_url=self._url, timeout=_TIMEOUT_SECONDS, trust_env=False, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def jobs(self, run_id: str) -> tuple[run_logs.LogJob, ...]:
        """Those that say that they are of the run, in the order in which they began."""
        found = await self._ask("/api/jobs/")
        ours = [one for one in found if (one.get("metadata") or {}).get("run_id") == run_id]
        return tuple(sorted((_job(one) for one in ours if one.get("submission_id")), key=kept_logs.began))

    async def text(self, name: str) -> str:
        """The log of a job as far as it is written."""
        return str((await self._ask(f"/api/jobs/{quote(name, safe='')}/logs")).get("logs") or "")

    async def _ask(self, path: str) -> Any:
        try:
            token = self._token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise self._down("there is no token of it here") from error
        try:
            async with self._http.stream("GET", path, headers={"Authorization": f"Bearer {token}"}) as answer:
                if answer.status_code in (401, 403):
                    raise errors.Misconfigured(
                        f"ray at `{self._url}` refuses our token; point `ray.token_file` to that cluster's token"
                    )
                if not answer.is_success:
                    raise self._down(f"it answered {answer.status_code}")
                return json.loads(await self._body(answer))
        except (httpx.HTTPError, ValueError) as error:
            raise self._down(type(error).__name__) from error

    async def _body(self, answer: httpx.Response) -> bytes:
        """As far as it is bearable."""
        pieces, size = [], 0
        async for piece in answer.aiter_bytes():
            size += len(piece)
            if size > MAX_LOG_BYTES:
                raise self._down(
                    f"its answer has more than {MAX_LOG_BYTES >> 20} MiB; read it in Ray's dashboard"
                )
            pieces.append(piece)
        return b"".join(pieces)

    def _down(self, why: str) -> errors.DependencyDown:
        return errors.DependencyDown(
            f"ray's jobs at `{self._url}` do not tell of their logs: {why}; see `mainspring status`",
            name="ray",
        )


def _job(told: Any) -> run_logs.LogJob:
    return run_logs.LogJob(
        name=told["submission_id"],
        step=(told.get("metadata") or {}).get("step", ""),
        status=str(told.get("status", "")),
        started_at=_time(told.get("start_time")),
        ended_at=_time(told.get("end_time")),
    )


def _time(millis: Any) -> datetime | None:
    return datetime.fromtimestamp(millis / 1000, UTC) if isinstance(millis, int | float) and millis else None
