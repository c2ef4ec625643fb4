"""What answers used, in whole units by endpoint, bundle, caller and project, told to the control API once a window.

Conserved: a window's records are on disk before they are sent, sent until they are received, and received once by their
keys. Only what a killed process had in its open window is lost. CPU time is kept in nanoseconds and reported in whole
microseconds; what is left over is in the next window.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from mainspring.core import errors, ids
from mainspring.core.contracts import base, metering
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.lineage import spool
from mainspring.serving import observed, traffic
from mainspring.serving.access import guard

__all__ = ["Meter", "Reporter", "Send"]

_LOG: Final = logging.getLogger("mainspring.serving")

#: Takes a batch of one project: all of it or none.
Send: TypeAlias = Callable[[Sequence[metering.ServingUsage]], object]

#: The caller of what shadows use: nobody asked for their answers.
SHADOW: Final = traffic.SHADOW

#: Months of windows of a busy process whose control API is away.
SPOOL_BYTES: Final = 64 << 20
_BATCH: Final = 1000


@dataclass(slots=True)
class _Used:
    requests: int = 0
    rows: int = 0
    cpu_nanos: int = 0


_Key: TypeAlias = tuple[str, str, str, str]


class Meter:
    """Sums of the open window. Thread-safe. Memory: an entry for each endpoint, bundle, caller and project that asked."""

    def __init__(
        self, now: Callable[[], datetime] = base.utc_now, capacity: Capacity = Capacity.ON_DEMAND
    ) -> None:
        """`capacity`: of the nodes that this process runs on."""
        self._now, self._capacity = now, capacity
        self._process = ids.new_id("use")
        self._lock = threading.Lock()
        self._window = 0
        self._began = now()
        self._used: dict[_Key, _Used] = {}
        self._rest_nanos: dict[_Key, int] = {}
        self._bring: Callable[[], None] = lambda: None

    def brings(self, bring: Callable[[], None]) -> None:
        """Call `bring` before each window is closed: it adds what others answered. One caller."""
        self._bring = bring

    def observe(self, scored: observed.Scored) -> None:
        """Count one answer."""
        call = guard.current().caller
        caller, project = (SHADOW, "") if scored.role == traffic.SHADOW else (call.name, call.project)
        key = scored.endpoint, scored.bundle.digest, caller, project or scored.bundle.project
        self._add(key, 1, len(scored.scores), scored.cpu_nanos)

    def add(
        self,
        endpoint: str,
        digest: str,
        caller: str,
        project: str,
        *,
        requests: int,
        rows: int,
        cpu_nanos: int,
    ) -> None:
        """Count answers that `caller` got elsewhere, charged to `project`."""
        self._add((endpoint, digest, caller, project), requests, rows, cpu_nanos)

    def _add(self, key: _Key, requests: int, rows: int, cpu_nanos: int) -> None:
        with self._lock:
            used = self._used.get(key)
            if used is None:
                used = self._used[key] = _Used()
            used.requests += requests
            used.rows += rows
            used.cpu_nanos += cpu_nanos

    def close_window(self) -> list[metering.ServingUsage]:
        """The records of the window that ends now; none where nothing was used."""
        self._bring()
        with self._lock:
            began, self._began = self._began, self._now()
            window, self._window = self._window, self._window + 1
            used, self._used = self._used, {}
            return [self._record(window, began, key, one) for key, one in sorted(used.items())]

    def _record(self, window: int, began: datetime, key: _Key, used: _Used) -> metering.ServingUsage:
        endpoint, digest, caller, project = key
        micros, self._rest_nanos[key] = divmod(used.cpu_nanos + self._rest_nanos.get(key, 0), 1000)
        name = hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]
        return metering.ServingUsage(
            usage_key=f"{self._process}/{window}/{name}",
            project=project,
            endpoint=endpoint,
            model_version=digest,
            caller=caller,
            requests=used.requests,
            predictions=used.rows,
            cpu_microseconds=micros,
            started_at=began,
            ended_at=self._began,
            capacity=self._capacity,
        )


class Reporter:
    """Closes a window every `every_seconds` and sends what is on disk; `close` does so for the last time."""

    def __init__(self, meter: Meter, send: Send, path: Path, *, every_seconds: float) -> None:
        self._meter, self._send, self._every_seconds = meter, send, every_seconds
        self._spool = spool.Lines(path, max_bytes=SPOOL_BYTES)
        self._refused = spool.Lines(
            path.with_name(f"{path.stem}.refused{path.suffix}"), max_bytes=SPOOL_BYTES
        )
        self.sent_records = 0
        self.lost_records = 0
        self._is_away = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.report()

    def report(self) -> None:
        """One window to disk, and everything on disk to the control API. What fails is tried again with the next one."""
        records = self._meter.close_window()
        by_project: dict[str, list[metering.ServingUsage]] = {}
        for record in records:
            by_project.setdefault(record.project, []).append(record)
        try:
            for batch in by_project.values():
                for start in range(0, len(batch), _BATCH):
                    self._keep(batch[start : start + _BATCH])
            self._spool.take(self._sent)
        except OSError as error:
            _LOG.error("usage cannot be kept on disk: %s", error)

    def _run(self) -> None:
        while not self._stop.wait(self._every_seconds):
            self.report()

    def _keep(self, records: Sequence[metering.ServingUsage]) -> None:
        batch = metering.ServingUsageBatch(records=list(records))
        if not self._spool.append(batch.model_dump_json().encode()):
            self.lost_records += len(records)
            _LOG.error(
                "%d usage records are lost: the spool is full and the control API does not answer",
                len(records),
            )

    def _sent(self, line: bytes) -> bool:
        """Whether the line is done with: received, or refused for good, which must not hold up the others."""
        batch = metering.ServingUsageBatch.model_validate_json(line)
        try:
            self._send(batch.records)
        except (errors.Rejected, errors.Denied) as error:
            self.lost_records += len(batch.records)
            self._refused.append(line)
            _LOG.error(
                "%d usage records of project `%s` were refused and are kept beside the spool: %s",
                len(batch.records),
                batch.records[0].project,
                error.message,
            )
            return True
        except errors.MainspringError as error:
            if not self._is_away:
                _LOG.warning("usage waits on disk: %s", error.message)
            self._is_away = True
            return False
        self.sent_records += len(batch.records)
        self._is_away = False
        return True
