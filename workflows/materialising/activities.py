"""The materialisation's side effects: it reads the project's views and pushes rows to serving, slice by slice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, TypeAlias

import polars as pl
from temporalio import activity

from mainspring.core import errors, projects, settings, workspace
from mainspring.core.contracts import base, materialising, prediction
from mainspring.core.features import lake, materialise, windows
from mainspring.workflows.materialising import messages
from mainspring.workflows.training.data_activities import in_thread

__all__ = ["MaterialisingActivities", "Push", "ServingSink"]

#: What pushes rows, and says how many serving took; it blocks.
Push: TypeAlias = Callable[[prediction.FeaturePush], prediction.FeaturePushResult]

#: Some hundred bytes a row: far below what serving takes in one body.
_PUSH_ROWS: Final = 5_000


class ServingSink:
    """A view of serving's online store, over the wire. Errors: those of the push."""

    def __init__(self, view: str, push: Push) -> None:
        self._view, self._push = view, push

    @property
    def name(self) -> str:
        return self._view

    def push(self, rows: pl.DataFrame, job: materialise.Job) -> int:
        """How many rows became the newest of their key. Rows of a push are in the store when it answers."""
        taken = 0
        for part in rows.iter_slices(_PUSH_ROWS):
            answer = self._push(
                prediction.FeaturePush(
                    view=self._view,
                    keys={key: part[key].to_list() for key in job.keys},
                    event_times=part[job.event].to_list(),
                    created_times=None if job.created is None else part[job.created].to_list(),
                    columns={field: part[field].to_list() for field in job.fields},
                )
            )
            taken += answer.accepted
        return taken


class MaterialisingActivities:
    def __init__(self, in_force: settings.Settings, push: Push) -> None:
        self._state_dir, self._push = in_force.stack.state_dir, push

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.push]

    @activity.defn(name=messages.PUSH)
    async def push(self, request: materialising.MaterializeRequest) -> materialising.MaterializeOutcome:
        """A cancelled one ends after the slice that is under way, with its watermark behind it."""
        stop = threading.Event()
        try:
            return await in_thread(lambda: self._materialise(request, stop))
        except asyncio.CancelledError:
            stop.set()
            raise

    def _materialise(
        self, request: materialising.MaterializeRequest, stop: threading.Event
    ) -> materialising.MaterializeOutcome:
        space = workspace.Workspace(self._state_dir, request.project, request.sample_fraction)
        # Made anew only if they are not there as they were: then this is what training would see today.
        features = projects.load_project(request.project).build_features(space.lake, space.features)
        chosen = _chosen(features, request.views)
        until = request.until or base.utc_now()

        def go_on(_: materialise.Progress) -> None:
            if stop.is_set():
                raise _Stopped

        def bring(view: projects.ViewReport) -> materialising.MaterializedView:
            job = materialise.Job(
                source=lake.Parquet(str(view.path)),
                keys=tuple(key.name for key in view.view.keys),
                fields=tuple(field.name for field in view.view.fields),
                event=windows.EVENT,
                created=windows.CREATED,
            )
            done = materialise.materialise(
                job,
                ServingSink(view.view.name, self._push),
                until=until,
                since=request.since,
                state=None
                if request.since is not None
                else space.root / "materialised" / f"{view.view.name}.json",
                lateness=timedelta(minutes=request.lateness_minutes),
                progress=go_on,
            )
            return materialising.MaterializedView(
                name=view.view.name,
                rows=done.rows,
                pushed=done.pushed,
                taken=done.taken or 0,
                watermark=done.watermark,
            )

        return materialising.MaterializeOutcome(
            project=request.project,
            is_backfill=request.since is not None,
            views=tuple(bring(view) for view in chosen),
        )


class _Stopped(Exception):
    """Nobody waits for the answer any more."""


def _chosen(features: projects.FeatureReport, names: Sequence[str]) -> list[projects.ViewReport]:
    """Errors: NotFound for a view that the project has not."""
    known = {view.view.name: view for view in features.views}
    for name in names:
        if name not in known:
            raise errors.NotFound(
                f"the project has no view `{name}`; it has {', '.join(f'`{k}`' for k in sorted(known))}",
                resource="view",
                name=name,
            )
    return [known[name] for name in dict.fromkeys(names or known)]
