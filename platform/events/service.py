"""Tell what goes on record, as it happens, to who may read it when it does.

Server-sent events. Each round authenticates and asks the policies anew: who loses a role, or whose token ends, is told nothing
more. The id of an event is its number in the log, and of a heartbeat how far was looked: with the last one seen
(`Last-Event-ID`) a watcher goes on where it was, and misses nothing. Denials are the audit log's alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from mainspring.core import errors
from mainspring.core.contracts import events, training
from mainspring.platform import plane as control_plane
from mainspring.platform import reads
from mainspring.platform.audit import store
from mainspring.platform.endpoints import live
from mainspring.platform.endpoints import service as endpoint_service
from mainspring.platform.runs import outbox
from mainspring.platform.runs import store as run_store

#: How late what another process recorded may be seen, and a run's stage.
LOOK_SECONDS: Final = 1.0
_PAGE_ROWS: Final = 200


@dataclass(frozen=True)
class Wanted:
    """What is told of: a project's, a run's, an endpoint's (and its project's), or all that the actor may read.

    `until_idle`: what there is, and then the end.
    """

    project: str = ""
    run_id: str = ""
    endpoint: str = ""
    until_idle: bool = False
    heartbeat_seconds: float = 15.0


async def watch(
    plane: control_plane.ControlPlane, credential: str, wanted: Wanted, *, after: str
) -> AsyncIterator[bytes]:
    """What happened after the event of that id; empty: from now on.

    Errors: Denied kinds; NotFound for a project, run or endpoint that there is not, or that must not be known of; InvalidRequest for an id
    that is none; Overloaded. All of them before the first byte; later ones end the stream with an event `error`.
    """
    _, head = await _look(plane, credential, wanted, after=None)
    begin = store.position(after, "Last-Event-ID") if after else head
    plane.news.require_room()
    return _told(plane, credential, wanted, begin)


async def _told(
    plane: control_plane.ControlPlane, credential: str, wanted: Wanted, after: int
) -> AsyncIterator[bytes]:
    with plane.news.watching() as woken:
        beats_at, present = time.monotonic() + wanted.heartbeat_seconds, _Present(plane, credential, wanted)
        try:
            while not plane.news.is_closing:
                woken.clear()
                rows, head = await _look(plane, credential, wanted, after)
                for row in rows:
                    yield _record(row)
                is_whole = len(rows) < _PAGE_ROWS
                after = head if is_whole else rows[-1].sequence
                for told in await present.changes():
                    yield told
                if is_whole and wanted.until_idle:
                    return
                if rows:
                    beats_at = time.monotonic() + wanted.heartbeat_seconds
                elif time.monotonic() >= beats_at:
                    yield b"id: %d\n\n" % after
                    beats_at = time.monotonic() + wanted.heartbeat_seconds
                if is_whole:
                    await _wait(woken, min(LOOK_SECONDS, max(0.0, beats_at - time.monotonic())))
        except errors.MainspringError as error:
            yield _event("error", json.dumps(errors.to_wire(error)))


class _Present:
    """The run and the endpoint that are watched, as they are now: told when they are otherwise than was told last."""

    def __init__(self, plane: control_plane.ControlPlane, credential: str, wanted: Wanted) -> None:
        self._plane, self._credential, self._wanted = plane, credential, wanted
        self._stage = self._endpoint = ""
        self._asked_at = -math.inf

    async def changes(self) -> list[bytes]:
        """Errors: NotFound for an endpoint that must not be known of any more."""
        found = []
        if self._wanted.run_id:
            stage = await _stage(self._plane, self._wanted.run_id)
            if stage and stage != self._stage:
                self._stage = stage
                found.append(_event(events.STAGE, stage))
        # Whoever watches is woken by every fact of the platform: serving is not asked as often.
        if self._wanted.endpoint and time.monotonic() - self._asked_at >= LOOK_SECONDS:
            self._asked_at = time.monotonic()
            view = await live.show(self._plane, self._credential, self._wanted.endpoint)
            # How long its traffic is in force is another at each look.
            known = view.model_dump_json(exclude={"stats": {"window_seconds"}})
            if known != self._endpoint:
                self._endpoint = known
                found.append(_event(events.ENDPOINT, view.model_dump_json()))
        return found


async def _look(
    plane: control_plane.ControlPlane, credential: str, wanted: Wanted, after: int | None
) -> tuple[Sequence[sa.Row[Any]], int]:
    """Rows after a number that the actor may read now, and the number of the last row on record, read or not."""
    async with reads.reading(plane, credential, action="audit.read") as reader:
        if wanted.run_id:
            run = await run_store.find(reader.connection, wanted.run_id)
            if not reader.may(run.project):
                raise run_store.unknown(wanted.run_id)
        projects = await reader.projects(wanted.project)
        if wanted.endpoint:
            of = frozenset({await endpoint_service.project_of(reader, wanted.endpoint)})
            projects = of if projects is None else projects & of
        head = await store.last_sequence(reader.connection)
        if after is None or after >= head:
            return (), head
        rows = await store.page(
            reader.connection,
            after=after,
            limit=_PAGE_ROWS,
            projects=projects,
            wanted=store.Wanted(resource=f"run/{wanted.run_id}" if wanted.run_id else ""),
            without=("denied",),
        )
    return rows, head


async def _stage(plane: control_plane.ControlPlane, run_id: str) -> str:
    """Where the run is, as its engine says; empty while that is away."""
    status: training.RunStatus | None = await outbox.live_status(plane, run_id)
    if status is None:
        return ""
    told = events.RunStage(
        run_id=run_id,
        stage=status.stage,
        progress=status.progress,
        message=status.message,
        step_progress=status.step_progress,
    )
    return told.model_dump_json()


async def _wait(woken: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await woken.wait()


def _record(row: sa.Row[Any]) -> bytes:
    return _event(
        events.RECORD, events.EventView.model_validate(row._mapping).model_dump_json(), row.sequence
    )


def _event(name: str, data: str, number: int | None = None) -> bytes:
    """JSON has no line breaks, so each is one `data` line."""
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {name}\ndata: {data}\n\n".encode()
