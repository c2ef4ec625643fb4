"""Sends lineage events, and never fails or holds up the job that tells them.

Where the store is down, an event goes to a spool file, and the spool goes first when it is up again: sending twice is
sending once, because the store knows an event by its content.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final, Literal

import httpx

from mainspring.core import bearer, errors, settings
from mainspring.core.contracts import base
from mainspring.core.lineage import jobs, spool

__all__ = ["PATH", "Emitter", "Send", "Told", "file", "http", "of", "telling", "telling_async"]

_LOG: Final = logging.getLogger(__name__)

#: Where OpenLineage's HTTP transport posts, too.
PATH: Final = "/api/v1/lineage"

#: After a failure events go straight to the spool for so long: a store that is down costs one time limit and no more.
PAUSE_SECONDS: Final = 30.0
#: The spool may hold up one event for so long; the rest of it goes before the next one.
DRAIN_SECONDS: Final = 5.0

#: One event. Errors: Unavailable or Busy (it is tried again later), Rejected or Denied (it never is).
Send = Callable[[bytes], None]


class Emitter:
    """Sends events in the order of :meth:`emit`. Thread-safe; several processes may share a spool."""

    def __init__(self, send: Send | None, waiting: spool.Lines, refused: spool.Lines) -> None:
        """`send` None: events are dropped. `refused` keeps what the store will not take, for people to look at."""
        self._send, self._waiting, self._refused = send, waiting, refused
        self._lock = threading.Lock()
        self._down_until = 0.0

    def emit(self, event: bytes) -> None:
        """Send one event (JSON in one line), or keep it for later. Never raises."""
        if self._send is None:
            return
        with self._lock:
            try:
                if time.monotonic() >= self._down_until and self._drain() and self._deliver(event):
                    return
                if not self._waiting.append(event):
                    _LOG.error("the lineage spool is full: an event is lost; start the lineage store")
            except OSError as error:
                _LOG.error("an event of lineage is lost: %s; check the disk of the spool", error)

    def _drain(self) -> bool:
        """Whether the spool is empty now."""
        deadline = time.monotonic() + DRAIN_SECONDS
        stopped = False

        def use(line: bytes) -> bool:
            nonlocal stopped
            stopped = time.monotonic() >= deadline or not self._deliver(line)
            return not stopped

        sent = self._waiting.take(use)
        if sent:
            _LOG.info("%d lineage events of the spool are sent", sent)
        return not stopped

    def _deliver(self, event: bytes) -> bool:
        """False: the store is down."""
        assert self._send is not None
        try:
            self._send(event)
        except (errors.Unavailable, errors.Busy) as error:
            self._down_until = time.monotonic() + PAUSE_SECONDS
            _LOG.warning("lineage goes to the spool for %.0f s: %s", PAUSE_SECONDS, error)
            return False
        except errors.MainspringError as error:
            _LOG.error("the lineage store refuses an event, it is kept aside: %s", error)
            self._refused.append(event)
        return True


class Told:
    """What a job has said so far of what it read and made."""

    def __init__(self, run: jobs.JobRun) -> None:
        self.run = run
        self.reads: list[jobs.Dataset] = []
        self.makes: list[jobs.Dataset] = []

    def event(self, kind: Literal["START", "COMPLETE", "FAIL"], error: BaseException | None = None) -> bytes:
        """What there is to say now; a run that failed made nothing."""
        from mainspring.core.lineage import openlineage_adapter  # who does not emit need not have it

        return openlineage_adapter.to_json(
            self.run,
            kind,
            at=base.utc_now(),
            reads=self.reads,
            makes=self.makes if kind == "COMPLETE" else (),
            error="" if error is None else str(error) or type(error).__name__,
        )


@contextlib.contextmanager
def telling(emitter: Emitter | None, run: jobs.JobRun) -> Iterator[Told]:
    """Tell that a job starts, and at the end of the block what it read and made, or that it failed.

    Put datasets into what this gives. An error of the block goes on; none of telling does. `emitter` None: nobody asks.
    """
    told = Told(run)
    if emitter is None:
        yield told
        return
    emitter.emit(told.event("START"))
    try:
        yield told
    except BaseException as error:
        emitter.emit(told.event("FAIL", error))
        raise
    emitter.emit(told.event("COMPLETE"))


@contextlib.asynccontextmanager
async def telling_async(emitter: Emitter | None, run: jobs.JobRun) -> AsyncIterator[Told]:
    """As :func:`telling`, for a coroutine: the loop does not wait for the store, only this task does."""
    told = Told(run)
    if emitter is None:
        yield told
        return
    await asyncio.to_thread(emitter.emit, told.event("START"))
    try:
        yield told
    except BaseException as error:
        await asyncio.to_thread(emitter.emit, told.event("FAIL", error))
        raise
    await asyncio.to_thread(emitter.emit, told.event("COMPLETE"))


def http(
    url: str, token: bearer.Token, *, timeout_seconds: float, transport: httpx.BaseTransport | None = None
) -> Send:
    """Posts events to a lineage store: ours, or one that OpenLineage's HTTP transport would post to. `token` may be empty."""
    client = httpx.Client(
        base_url=url,
        headers={"content-type": "application/json"},
        auth=bearer.auth(token),
        timeout=timeout_seconds,
        trust_env=False,  # proxies of the environment are not for our own services
        transport=transport,
    )

    def send(event: bytes) -> None:
        try:
            answer = client.post(PATH, content=event)
        except httpx.HTTPError as error:
            raise errors.DependencyDown(
                f"no lineage store at `{url}`: {error!r}; start it", name="lineage"
            ) from error
        if answer.is_success:
            return
        said = f"the lineage store at `{url}` answered {answer.status_code}: {answer.text[:300]}"
        # A token can be mended, and then the event is welcome: only what is wrong with the event itself is final.
        if answer.status_code in (401, 403, 408, 425, 429) or answer.status_code >= 500:
            raise errors.DependencyDown(f"{said}; see its log, and who may send", name="lineage")
        raise errors.InvalidRequest(f"{said}; correct the event", field="event")

    return send


def file(path: Path) -> Send:
    """Appends events to a file, one a line, as OpenLineage's file transport does."""
    lines = spool.Lines(path, max_bytes=2**63)

    def send(event: bytes) -> None:
        lines.append(event)

    return send


def of(s: settings.LineageSettings, *, control_url: str, token: bearer.Token) -> Emitter:
    """The emitter that the settings describe; `token` is the control API's.

    Errors: InvalidSettings if the token file of another store does not read.
    """
    send: Send | None = None
    if s.transport == "http":
        send = http(
            s.url or control_url,
            _token_of(s.token_file) if s.url else token,
            timeout_seconds=s.timeout_seconds,
        )
    elif s.transport == "file":
        send = file(s.file)
    refused = s.spool.with_name(f"{s.spool.name}.refused")
    return Emitter(
        send,
        spool.Lines(s.spool, max_bytes=s.spool_max_bytes),
        spool.Lines(refused, max_bytes=s.spool_max_bytes),
    )


def _token_of(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InvalidSettings(
            f"`lineage.token_file` does not read: {error}; correct the path or its rights",
            problems=("lineage.token_file",),
        ) from error
