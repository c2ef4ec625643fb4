"""All activities of a training: its data, its model, and what it reports to the control API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from temporalio import activity

from mainspring.core import settings
from mainspring.core.erasure.erased import ErasedList
from mainspring.core.lineage import emitter
from mainspring.workflows import budgets, heartbeat
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.exchange import exchange
from mainspring.workflows.training import catalog, data_activities, messages, model_activities, reading


class TrainingActivities:
    """`control` is a client with its base URL and the service's credentials set.

    `tell` None: no lineage is told; `catalogue` None: no catalog is published; `budget` None: nothing ends a job for its cost;
    `ask` None: nobody is asked whether data may be read.
    """

    def __init__(
        self,
        in_force: settings.Settings,
        control: httpx.AsyncClient,
        tell: emitter.Emitter | None = None,
        catalogue: catalog.Publish | None = None,
        budget: budgets.Budgets | None = None,
        ask: reading.Ask | None = None,
    ) -> None:
        self._data = data_activities.DataActivities(
            in_force.stack.state_dir, tell, catalogue, ErasedList.of(in_force.protection), ask
        )
        self._model = model_activities.ModelActivities(in_force, tell=tell, budget=budget)
        self._control = control

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers, beside the deployment's activities, of which a training uses some."""
        return [*self._data.all(), *self._model.all(), self.report_usage]

    @activity.defn(name=messages.REPORT_USAGE)
    async def report_usage(self, asked: messages.ReportUsage) -> None:
        with temporal_errors.typed():
            async with heartbeat.beating():
                body = asked.record.model_dump_json()
                await exchange(self._control, "control", "POST", "/api/v1/usage", body)
