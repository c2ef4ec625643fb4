"""Logs of a run's jobs: asked of Ray when somebody looks, with the cluster's token, and kept nowhere here.

A job is a run's if Ray has it on record so: names that a caller sends are looked for among those, or a log of somebody else's
run would be read by its name. What looks like a credential is left out, and so is what would move a terminal's cursor.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from mainspring.core import errors, logs, settings
from mainspring.core.contracts import run_logs
from mainspring.platform import plane as control_plane
from mainspring.platform import reads
from mainspring.platform.runs import store

__all__ = ["RayLogs", "part", "show"]

#: Ray answers with a log as a whole. More is read where it is.
MAX_LOG_BYTES: Final = 32 << 20
#: Of one line: what is longer is data and no message.
MAX_LINE_CHARACTERS: Final = 4_000
_TIMEOUT_SECONDS: Final = 10.0
#: The longest private key that is looked for; whatever begins one and does not end it hides no more than this.
_KEY_LINES: Final = 250
#: Colours and cursors of terminals, and other characters that are no text.
_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


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
    try:
        async with RayLogs(plane.ray) as ray:
            jobs = await ray.jobs(run_id)
            name = job or (jobs[-1].name if jobs else "")
            if name and name not in {one.name for one in jobs}:
                raise errors.NotFound(
                    f"run `{run_id}` has no job `{job}` in Ray; ask without it for the newest",
                    resource="job",
                    name=job,
                )
            text = await ray.text(name) if name else ""
    except (errors.Unavailable, errors.Misconfigured) as error:
        return run_logs.RunLog(run_id=run_id, unavailable=error.message)
    lines, first, total = await asyncio.to_thread(part, text, start, limit)
    return run_logs.RunLog(run_id=run_id, jobs=jobs, job=name, lines=lines, first=first, total=total)


def part(text: str, start: int, limit: int) -> tuple[tuple[str, ...], int, int]:
    """Lines, the number of the first, and how many there are.

    Only what is told is redacted, line by line: what a job wrote may be long, and is not to keep others waiting.
    """
    whole = _CONTROL.sub("", text).rstrip("\n")
    lines = whole.split("\n") if whole else []
    first = max(0, len(lines) - limit) if start < 0 else min(start, len(lines))
    keys = _of_keys(lines)
    told = (
        logs.HIDDEN if number in keys else logs.redacted(line[:MAX_LINE_CHARACTERS])
        for number, line in enumerate(lines[first : first + limit], start=first)
    )
    return tuple(told), first, len(lines)


def _of_keys(lines: Sequence[str]) -> set[int]:
    """Numbers of the lines that are inside of a private key, which may begin before what is told."""
    found: set[int] = set()
    left = 0
    for number, line in enumerate(lines):
        if left:
            found.add(number)
            left = 0 if "-----END" in line else left - 1
        elif "PRIVATE KEY-----" in line and "-----BEGIN" in line and "-----END" not in line:
            left = _KEY_LINES
    return found


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
        ours = [one for one in ours if one.get("submission_id")]
        # One that waits has begun nothing yet.
        return tuple(_job(one) for one in sorted(ours, key=lambda one: one.get("start_time") or float("inf")))

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
