"""The retraining's side effects: it judges the sums of what was answered and what happened, and starts a training by the control API."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import httpx
from temporalio import activity

from mainspring.core import errors, settings
from mainspring.core.contracts import base, control, retraining, training
from mainspring.core.monitoring import performance
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat
from mainspring.workflows.drift_checks import watched
from mainspring.workflows.exchange import exchange
from mainspring.workflows.retraining import messages
from mainspring.workflows.training.data_activities import in_thread

_LOG: Final = logging.getLogger(__name__)

#: Of a window: sums are by the hour.
_SHORTEST: Final = timedelta(hours=1)
_ENDED: Final = frozenset({"done", "rolled_back", "rejected", "cancelled", "failed"})


class RetrainingActivities:
    """`control` is a client with its base URL and the service's credentials set. Predictions are where serving logs them."""

    def __init__(self, in_force: settings.Settings, control: httpx.AsyncClient) -> None:
        self._settings = in_force
        self._control = control

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.check, self.start]

    @activity.defn(name=messages.CHECK)
    async def check(self, request: retraining.RetrainRequest) -> messages.Checked:
        return await in_thread(lambda: self._check(request))

    def _check(self, request: retraining.RetrainRequest) -> messages.Checked:
        window = timedelta(days=request.window_days)
        if window < _SHORTEST:
            raise errors.InvalidRequest(
                f"`window_days` is {request.window_days:g}, and sums are kept by the hour; take a window of an hour or more",
                field="window_days",
            )
        try:
            logged = watched.logged(self._settings, request.endpoint)
        except errors.NotFound as error:
            return messages.Checked(message=error.message)
        served = watched.Watched(
            self._settings,
            logged,
            project=request.project,
            endpoint=request.endpoint,
            sample_fraction=request.sample_fraction,
        )
        counted = served.counted()
        store, ends = counted.store, counted.ends
        found = messages.Checked(bundle_digest=logged.bundle_digest)
        if ends is None:
            return found.model_copy(
                update={"message": f"{len(counted.damaged)} files of the log cannot be read"}
            )
        since = ends - request.windows * window
        served.join(store, since=since, until=ends)
        report = performance.measure(
            store.baseline(),
            store.score_cells(since, ends),
            store.outcome_cells(since, ends),
            ends=ends,
            window=window,
            windows=request.windows,
            limits=request.limits,
        )
        rows, known = (sum(getattr(w, name) for w in report.windows) for name in ("rows", "known"))
        found = found.model_copy(update={"predictions": rows, "known": known})
        if known < request.limits.min_rows:
            few = f"{known} of {rows} predictions have an outcome, {request.limits.min_rows} are needed"
            return found.model_copy(update={"message": few})
        for alarm in report.alarms:
            _LOG.warning("endpoint `%s`, bundle %s: %s", request.endpoint, logged.bundle_digest, alarm)
        return found.model_copy(update={"report": report})

    @activity.defn(name=messages.START)
    async def start(self, asked: messages.Start) -> messages.Started:
        with temporal_errors.typed():
            async with heartbeat.beating():
                return await self._start(asked)

    async def _start(self, asked: messages.Start) -> messages.Started:
        request = asked.request
        cause = "; ".join((*(f"alert `{alert_id}`" for alert_id in request.alerts), *asked.alarms))
        wanted = control.RunCreate(
            project=request.project,
            environment=request.environment,
            sample_fraction=request.sample_fraction,
            endpoint=request.endpoint,
            cause=cause[:2000],
            on_behalf_of=request.on_behalf_of,
            prompted_by=request.prompted_by,
            split=_split(asked),
            idempotency_key=f"retrain-{asked.key}"[:200],
        )
        waits = await self._on_its_way(request)
        if waits is not None:
            return waits
        made = control.RunView.model_validate(
            await exchange(self._control, "control", "POST", "/api/v1/runs", wanted.model_dump_json())
        )
        return messages.Started(run_id=made.run_id, message=f"training started: {cause}")

    async def _on_its_way(self, request: retraining.RetrainRequest) -> messages.Started | None:
        """A training with a cause that has not ended, or is too new to be followed by another."""
        page = control.Page.model_validate(
            await exchange(
                self._control, "control", "GET", f"/api/v1/runs?project={request.project}&limit=200"
            )
        )
        for run in map(control.RunView.model_validate, page.items):
            if not run.cause or run.kind is not control.RunKind.TRAIN:
                continue
            if run.stage not in _ENDED:
                return messages.Started(run_id=run.run_id, message=f"`{run.run_id}` is on its way")
            again = run.created_at + timedelta(hours=request.cooldown_hours)
            if base.utc_now() < again:
                return messages.Started(
                    message=f"`{run.run_id}` ended as `{run.stage}`; the next is due after {again:%Y-%m-%d %H:%M} UTC"
                )
        return None


def _split(asked: messages.Start) -> training.RollingSplit | None:
    days = asked.request.split
    if days is None or asked.until is None:
        return None
    return training.RollingSplit(**days.model_dump(), until=asked.until)
