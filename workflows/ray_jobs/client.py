"""Ray's Jobs API over HTTP, without `import ray`: a poller of 60 MB whose death costs a job nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from pydantic import TypeAdapter, ValidationError

from mainspring.core import errors
from mainspring.core.contracts.base import Message

SUCCEEDED: Final = "SUCCEEDED"
FAILED: Final = "FAILED"
STOPPED: Final = "STOPPED"
ENDED: Final = frozenset({SUCCEEDED, FAILED, STOPPED})

#: The end of a line inside of a JSON string: not a backslash before an `n`.
_LINE_END: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\n")
#: Of a failed job's log that goes into a message.
_LOG_CHARACTERS: Final = 400


class Job(Message):
    """A submitted job as Ray tells of it. Times are Unix milliseconds, None until they come."""

    submission_id: str
    status: str
    """`PENDING`, `RUNNING`, `STOPPED`, `SUCCEEDED` or `FAILED`."""
    message: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    """As it was submitted with."""

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


_JOBS: Final = TypeAdapter(list[Job])


class RayJobs:
    """One Ray cluster. Safe to share between the tasks of one event loop; close it, or use it in `async with`.

    Errors of every method: DependencyDown if Ray does not answer or fails; Misconfigured if it refuses the token.
    """

    def __init__(self, url: str, token: str, *, timeout_seconds: float = 20.0) -> None:
        self._url = url
        # Proxies of the environment are not for our own services.
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
            trust_env=False,
        )

    @classmethod
    def connect(cls, url: str, token_file: Path) -> Self:
        """Reads the token; Ray is asked later. Errors: MissingTool without a token file."""
        try:
            token = token_file.read_text().strip()
        except FileNotFoundError as error:
            raise errors.MissingTool(
                f"no Ray token `{token_file.name}`; run `mainspring up`, which writes it, or set `ray.token_file`",
                tool=token_file.name,
                fix="mainspring up",
            ) from error
        return cls(url, token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def find(self, submission_id: str) -> Job | None:
        """None if this cluster has no such job."""
        answer = await self._send("GET", f"/api/jobs/{submission_id}")
        if answer.status_code == 404:
            return None
        self._check(answer, "look at", submission_id)
        try:
            return Job.model_validate_json(answer.content)
        except ValidationError as error:
            raise self._down(f"it tells of `{submission_id}` in a form we do not know") from error

    async def all(self) -> list[Job]:
        """Every submitted job that this cluster remembers."""
        answer = await self._send("GET", "/api/jobs/")
        self._check(answer, "list", "jobs")
        try:
            # A driver that nobody submitted has no id of a submission.
            return _JOBS.validate_python([one for one in answer.json() if one.get("submission_id")])
        except (ValueError, AttributeError, TypeError) as error:
            raise self._down("it lists jobs in a form we do not know") from error

    async def submit(
        self,
        submission_id: str,
        entrypoint: str,
        *,
        metadata: Mapping[str, str],
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        """Start the job, once: if there is one of that id, nothing happens. Errors: InvalidRequest.

        `resources` of the job itself in Ray's words, such as `entrypoint_num_cpus`: it waits until they are free.
        """
        body = {
            "submission_id": submission_id,
            "entrypoint": entrypoint,
            "metadata": dict(metadata),
            **(resources or {}),
        }
        answer = await self._send("POST", "/api/jobs/", body)
        # Ray 2.60 says so with 500 and a traceback.
        if answer.is_error and "already exists" in answer.text:
            return
        if answer.status_code == 400:
            raise errors.InvalidRequest(
                f"ray refused job `{submission_id}`: {_last_line(answer.text)}; correct the job", field="job"
            )
        self._check(answer, "start", submission_id)

    async def stop(self, submission_id: str) -> None:
        """Ask the job to stop; of one that has ended or is unknown there is nothing to stop."""
        answer = await self._send("POST", f"/api/jobs/{submission_id}/stop")
        if answer.status_code != 404:
            self._check(answer, "stop", submission_id)

    async def log(self, submission_id: str, max_bytes: int) -> tuple[str, bool]:
        """The end of the job's log, of about so many bytes in whole lines, and whether its beginning is missing.

        Ray answers with a log as a whole, however long it is: no more of it than this is ever held.
        """
        end, is_cut = bytearray(), False
        try:
            async with self._http.stream("GET", f"/api/jobs/{submission_id}/logs") as answer:
                if not answer.is_success:
                    raise self._down(f"it has no log of `{submission_id}` ({answer.status_code})")
                async for piece in answer.aiter_bytes():
                    end += piece
                    if len(end) > 2 * max_bytes:
                        is_cut = True
                        del end[:-max_bytes]
        except httpx.TransportError as error:
            raise self._down(repr(error)) from error
        try:
            return _log_in(bytes(end), is_cut), is_cut
        except (ValueError, KeyError, TypeError) as error:
            raise self._down(f"it tells of the log of `{submission_id}` in a form we do not know") from error

    async def log_end(self, submission_id: str) -> str:
        """The last lines of the job's log, for a message; empty if there is none."""
        try:
            found, _ = await self.log(submission_id, 16 * _LOG_CHARACTERS)
        except errors.DependencyDown:
            return ""
        return found.strip()[-_LOG_CHARACTERS:]

    async def _send(self, method: str, path: str, json: Any = None) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, json=json)
        except httpx.TransportError as error:
            raise self._down(repr(error)) from error
        if answer.status_code in (401, 403):
            raise errors.Misconfigured(
                f"ray at `{self._url}` refuses our token; point `ray.token_file` to that cluster's token"
            )
        return answer

    def _check(self, answer: httpx.Response, verb: str, submission_id: str) -> None:
        if not answer.is_success:
            raise self._down(
                f"it could not {verb} `{submission_id}` ({answer.status_code}: {_last_line(answer.text)})"
            )

    def _down(self, why: str) -> errors.DependencyDown:
        return errors.DependencyDown(
            f"ray's jobs at `{self._url}` do not answer as they should: {why}; see `mainspring status`",
            name="ray",
        )


def _log_in(body: bytes, is_cut: bool) -> str:
    """What `{"logs": "..."}` says; of its end alone from the first line on that begins in it."""
    if not is_cut:
        return str(json.loads(body)["logs"] or "")
    begins = _LINE_END.search(body)
    return str(json.loads(b'{"logs": "' + body[begins.end() :])["logs"]) if begins else ""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "no reason given"
