"""Whether a workspace's budget lets it go on: an hour of it is kept free ahead, and before the money is gone whoever works there is told.

Told by a file in `work`, which JupyterLab's list of files shows, and in `mainspring notebook list`; for `notebooks.budget_grace_seconds` it goes
on meanwhile, so that JupyterLab, which saves what is open every two minutes, has saved it. Money that comes in time takes the notice back.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from mainspring.core import durable, identity, settings
from mainspring.core.client import allowance, control
from mainspring.core.contracts import budgets
from mainspring.platform.notebooks import metering, workspaces

__all__ = ["NOTICE", "Spending", "as_service", "notice_of"]

#: In `work`.
NOTICE: Final = "THE-BUDGET-IS-SPENT.md"
_TIMEOUT_SECONDS: Final = 3.0


def as_service(s: settings.Settings, timeout_seconds: float) -> control.ControlClient:
    """Errors: Misconfigured, Unauthenticated without a token of the service."""
    token = identity.TokenIssuer.load(s.control.tokens_file).token_of("service@local")
    return control.ControlClient(s.control_url, token, timeout_seconds=timeout_seconds, retries=0)


class Spending:
    """Of one workspace, for its keeper."""

    def __init__(
        self, s: settings.Settings, one: workspaces.Workspace, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._grace = (
            workspaces.folder_of(s, one.notebook_id),
            timedelta(seconds=s.notebooks.budget_grace_seconds),
        )
        self._allowance = allowance.Allowance(
            _Asking(s),
            allowance.Work(one.notebook_id, one.asked.project, metering.ENVIRONMENT),
            patience_seconds=s.workflow.budget_patience_seconds,
            # By whoever let it start.
            kept=metering.units(one.asked.cores, one.asked.memory_gib, min(one.asked.hours, 1.0)),
            now=clock,
        )
        self._ends_at: datetime | None = None

    def look(self, one: workspaces.Workspace, metered: datetime, now: datetime) -> str:
        """Why it is to end now; empty: it is not. `metered`: until when its use is written down."""
        stop = self._allowance.look(self._use(one, metered, now))
        if stop is None:
            self._take_back()
            return ""
        if self._ends_at is None:
            self._ends_at = now + self._grace
            self._tell(stop.message, self._ends_at)
        return f"its budget is spent: {stop.message}" if now >= self._ends_at else ""

    def _use(self, one: workspaces.Workspace, metered: datetime, now: datetime) -> allowance.Use:
        def units(time: timedelta) -> dict[str, float]:
            hours = max(time, timedelta()) / timedelta(hours=1)
            return metering.units(one.asked.cores, one.asked.memory_gib, hours)

        unrecorded = units(now - metered)
        for sku, waiting in metering.waiting(self._folder).items():
            unrecorded[sku] = unrecorded.get(sku, 0.0) + waiting
        return allowance.Use(
            total=units(now - one.started_at),
            unrecorded=unrecorded,
            ahead=units(min(timedelta(hours=1), one.ends_at - now)),
            # Told already, its end is only as far off.
            last=units(self._grace if self._ends_at is None else self._ends_at - now),
        )

    def _tell(self, why: str, at: datetime) -> None:
        print(f"it ends at {at:%H:%M:%S} UTC: {why}", flush=True)
        told = (
            f"# This workspace ends at {at:%H:%M:%S} UTC\n\n{why}.\n\nSave what is open. Files in this folder stay. If there is money again before"
            " then, it goes on and this file goes.\n"
        )
        with contextlib.suppress(OSError):  # a full disk must not keep it at work
            durable.replace_file(self._folder / "notice", f"ends at {at:%H:%M:%S} UTC: its budget is spent")
            durable.replace_file(self._folder / "work" / NOTICE, told)

    def _take_back(self) -> None:
        if self._ends_at is None:
            return
        self._ends_at = None
        print("it goes on: there is money again", flush=True)
        with contextlib.suppress(OSError):
            for path in (self._folder / "notice", self._folder / "work" / NOTICE):
                path.unlink(missing_ok=True)


def notice_of(folder: Path) -> str:
    """What is told of a workspace that is at work; empty: nothing."""
    try:
        return (folder / "notice").read_text()
    except FileNotFoundError:
        return ""


class _Asking:
    """The control API, asked as the service: that there is no token today says nothing of tomorrow."""

    def __init__(self, s: settings.Settings) -> None:
        self._s = s

    def standing(self, *, runs: Sequence[str] = (), projects: Sequence[str] = ()) -> budgets.Standing:
        with as_service(self._s, _TIMEOUT_SECONDS) as client:
            return client.standing(runs=runs, projects=projects)

    def renew_reservation(self, project: str, wanted: budgets.ReservationRenewal) -> budgets.Reservation:
        with as_service(self._s, _TIMEOUT_SECONDS) as client:
            return client.renew_reservation(project, wanted)

    def end_reservation(self, project: str, ended: budgets.ReservationEnd) -> budgets.Reservation:
        with as_service(self._s, _TIMEOUT_SECONDS) as client:
            return client.end_reservation(project, ended)
