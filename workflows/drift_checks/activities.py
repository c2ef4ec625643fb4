"""The check's side effects: it counts logged answers, joins what happened, judges, and puts the report on record."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

import httpx
from temporalio import activity

from mainspring.core import errors, settings
from mainspring.core.contracts import alerts, drift_checks, monitoring
from mainspring.core.monitoring import judging
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat
from mainspring.workflows.drift_checks import messages, watched
from mainspring.workflows.exchange import exchange
from mainspring.workflows.training.data_activities import in_thread

_LOG: Final = logging.getLogger(__name__)

#: Windows back from this one whose days tell how much days differ.
_WINDOWS_BACK: Final = 8


class DriftCheckActivities:
    """`control` is a client with its base URL and the service's credentials set. Predictions are where serving logs them."""

    def __init__(self, in_force: settings.Settings, control: httpx.AsyncClient) -> None:
        self._settings = in_force
        self._control = control

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.check, self.record]

    @activity.defn(name=messages.CHECK)
    async def check(self, request: drift_checks.DriftCheckRequest) -> messages.Checked:
        limits = request.limits
        if limits is None:
            with temporal_errors.typed():
                path = f"/api/v1/projects/{quote(request.project)}/alert-rules"
                answer = await exchange(self._control, "control", "GET", path)
                limits = alerts.RulesView.model_validate(answer).rules.limits
        chosen = limits
        return await in_thread(lambda: self._check(request, chosen))

    def _check(self, request: drift_checks.DriftCheckRequest, limits: monitoring.Limits) -> messages.Checked:
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
            slices=request.slices,
        )
        counted = served.counted()
        store, ends = counted.store, counted.ends
        if ends is None:
            return messages.Checked(
                damaged=counted.damaged, message="no answer of this bundle could be counted; see `damaged`"
            )
        length = timedelta(hours=request.window_hours)
        begins, back = ends - length, ends - _WINDOWS_BACK * length
        served.join(store, since=back, until=ends)
        report = judging.report(
            store.baseline(),
            store.cells(begins, ends),
            store.outcome_cells(back, ends),
            project=request.project,
            endpoint=request.endpoint,
            environment=request.environment,
            begins=begins,
            ends=ends,
            limits=limits,
            ill_timed=store.ill_timed,
        )
        if absent := [name for name in request.slices if name not in store.baseline().slices]:
            told = f"`{'`, `'.join(absent)}` are not told apart: the baseline was made without them, and its sums go by it"
            report = report.model_copy(update={"message": "; ".join(filter(None, (report.message, told)))})
        for finding in report.alarms:
            _LOG.warning(
                "endpoint `%s`, bundle %s: %s", request.endpoint, report.bundle_digest, finding.message
            )
        html = served.html(store.baseline(), begins, ends, rows=report.rows) if request.html else ""
        return messages.Checked(report=report, html_digest=html, damaged=counted.damaged)

    @activity.defn(name=messages.RECORD)
    async def record(self, asked: messages.Record) -> messages.Recorded:
        with temporal_errors.typed():
            async with heartbeat.beating():
                record = alerts.ReportRecord(
                    report=asked.report, made_by=asked.made_by, html_digest=asked.html_digest
                )
                answer = await exchange(
                    self._control, "control", "POST", "/api/v1/monitoring/reports", record.model_dump_json()
                )
        view = alerts.ReportView.model_validate(answer)
        return messages.Recorded(report_id=view.report_id, alerts=view.alerts, retrain=view.retrain)
