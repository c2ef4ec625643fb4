"""The data steps: a project's own methods, in threads, each idempotent because its folder is named by its inputs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from temporalio import activity

from mainspring.core import errors, projects, rolling
from mainspring.core.contracts import data_reads, prediction, training
from mainspring.core.erasure.erased import ErasedList
from mainspring.core.erasure.matching import ErasedRows
from mainspring.core.erasure.places import leave_out
from mainspring.core.features import replay
from mainspring.core.lineage import emitter
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat, probes
from mainspring.workflows.ray_jobs import job_files
from mainspring.workflows.training import catalog, examined, lineage, messages, reading, run_folder

T = TypeVar("T")

#: Requests kept for a deployment to ask its candidate: a canary of 5 % sees ten of them at each look.
PROBE_ROWS = 200


async def in_thread(work: Callable[[], T]) -> T:
    """Blocking work of an activity: heartbeats go on beside it, and our errors leave as Temporal's.

    A cancelled activity ends at once; its thread runs on to the step's end, whose folders are whole either way.
    """
    with temporal_errors.typed():
        async with heartbeat.beating():
            return await asyncio.to_thread(work)


class DataActivities:
    """All state is under `state_dir`. Projects are found by name at each call.

    `tell` None: no lineage is told; `catalogue` None: no catalog is published; `erased` None: nobody is left out of lakes; `ask` None:
    nobody is asked whether a lake may be read.
    """

    def __init__(
        self,
        state_dir: Path,
        tell: emitter.Emitter | None = None,
        catalogue: catalog.Publish | None = None,
        erased: ErasedList | None = None,
        ask: reading.Ask | None = None,
    ) -> None:
        self._state_dir = state_dir
        self._ask = ask
        self._erased = erased
        self._tell = tell
        self._catalogue = catalogue

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [
            self.ingest,
            self.validate,
            self.features,
            self.join,
            self.leak_check,
            self.fit_plan,
            self.record_probes,
        ]

    @activity.defn(name=messages.INGEST)
    async def ingest(self, request: training.TrainRequest) -> messages.Done:
        def work() -> messages.Done:
            project, folder = self._find(request)
            with emitter.telling(self._tell, lineage.run(request, messages.INGEST)) as told:
                report = project.ingest(folder.space.lake, sample_fraction=request.sample_fraction)
                if self._leaves_out(request.project, folder.space.lake):
                    # The same lake by its digest of now: what is made of it must not be of the one before.
                    again = project.ingest(folder.space.lake, sample_fraction=request.sample_fraction)
                    report = again.model_copy(update={"reused": report.reused})
                self._check_may_read(request, report, folder.space.lake)
                told.reads.append(lineage.source(report))
                told.makes += lineage.lake(report)
            folder.keep(report)
            detail = {"rows": report.rows, "tables": len(report.tables), "source": report.source}
            return messages.Done(digest=report.digest, detail=detail, reused=report.reused)

        return await in_thread(work)

    def _check_may_read(
        self, request: training.TrainRequest, report: projects.IngestReport, lake: Path
    ) -> None:
        """Each time, though the lake was there: another environment may have made it. Errors: PolicyDenied; those of the client."""
        if self._ask is not None:
            asked = data_reads.DataRead(
                environment=request.environment, run_id=request.run_id, datasets=reading.lake(report, lake)
            )
            self._ask(request.project, asked)

    def _leaves_out(self, project: str, lake: Path) -> int:
        """Rows of subjects that were erased before: a lake that is made anew, of sources that still have them, has none."""
        check = None if self._erased is None else self._erased.of_project(project)
        return 0 if check is None else leave_out(lake, ErasedRows(check.is_erased, check.columns))

    @activity.defn(name=messages.VALIDATE)
    async def validate(self, request: training.TrainRequest) -> messages.Done:
        def work() -> messages.Done:
            project, folder = self._find(request)
            report = project.validate(folder.space.lake)
            folder.keep(report)
            if report.failed:
                raise errors.DataInvalid(
                    f"check `{report.failed[0].name}` expects {report.failed[0].expected}, got"
                    f" {report.failed[0].observed}; mend the source",
                    dataset=request.project,
                    failed=tuple(c.name for c in report.failed),
                )
            detail = {"checks": len(report.checks), "warnings": [c.name for c in report.warnings]}
            return messages.Done(made_from=report.dataset_digest, detail=detail)

        return await in_thread(work)

    @activity.defn(name=messages.FEATURES)
    async def features(self, request: training.TrainRequest) -> messages.Done:
        def work() -> messages.Done:
            project, folder = self._find(request)
            with emitter.telling(self._tell, lineage.run(request, messages.FEATURES)) as told:
                told.reads += lineage.lake(folder.kept(projects.IngestReport))
                report = project.build_features(folder.space.lake, folder.space.features)
                told.makes += lineage.views(report)
            folder.keep(report)
            detail = {"views": len(report.views), "rows": sum(v.rows for v in report.views)}
            return messages.Done(
                digest=report.digest, made_from=report.lake_digest, detail=detail, reused=report.reused
            )

        return await in_thread(work)

    @activity.defn(name=messages.JOIN)
    async def join(self, request: training.TrainRequest) -> messages.Done:
        def work() -> messages.Done:
            project, folder = self._find(request)
            features = folder.kept(projects.FeatureReport)
            with emitter.telling(self._tell, lineage.run(request, messages.JOIN)) as told:
                told.reads += map(lineage.version_of, lineage.views(features))
                report = project.training_set(folder.space.features, folder.space.training)
                if request.split is not None:
                    report = rolling.split(report, request.split, folder.root)
                told.makes.append(lineage.training_set(report, features))
            folder.keep(report)
            detail = {"rows": report.rows, "columns": len(report.columns)}
            return messages.Done(
                digest=report.digest, made_from=report.feature_digest, detail=detail, reused=report.reused
            )

        return await in_thread(work)

    @activity.defn(name=messages.LEAK_CHECK)
    async def leak_check(self, request: training.TrainRequest) -> messages.Done:
        def work() -> messages.Done:
            project, folder = self._find(request)
            report = project.leak_check(folder.space.lake)
            if not report.ok:
                raise errors.LeakDetected(
                    f"{len(report.moved)} features moved when only later values were changed, first"
                    f" `{report.moved[0]}`; compute them from what is known at the prediction's time",
                    features=report.moved,
                    evidence=f"{report.compared_rows} rows at {report.cutoffs} cut-offs",
                )
            folder.keep(report)
            return messages.Done(detail=report.model_dump(mode="json", exclude={"moved"}))

        return await in_thread(work)

    @activity.defn(name=messages.FIT_PLAN)
    async def fit_plan(self, request: training.TrainRequest) -> messages.Done:
        def work() -> messages.Done:
            project, folder = self._find(request)
            made = folder.kept(projects.TrainingSetReport)
            examined.check(project, made)
            with emitter.telling(self._tell, lineage.run(request, messages.FIT_PLAN)) as told:
                told.reads.append(lineage.read_training_set(made))
                rows = pl.scan_parquet(made.path)
                fitted = project.declare_plan().fit(rows.filter(pl.col("split") == "train"))
                job_files.write_file(folder.plan, fitted.to_bytes())
                told.makes.append(lineage.fitted_plan(fitted))
            catalog.publish(self._catalogue, request.project, folder, fitted)
            detail = {"rows": fitted.fit_rows, "dense": len(fitted.dense), "ids": len(fitted.ids)}
            return messages.Done(digest=fitted.digest, detail=detail)

        return await in_thread(work)

    @activity.defn(name=messages.RECORD_PROBES)
    async def record_probes(self, request: training.TrainRequest) -> messages.Done:
        def work() -> messages.Done:
            project, folder = self._find(request)
            n = min(PROBE_ROWS, folder.kept(projects.TrainingSetReport).rows["test"])
            recorded = project.replay(folder.space.features, n=n)
            asked = (
                prediction.PredictRequest(entities=[entity], as_of=step.as_of)
                for step in replay.steps(recorded)
                for entity in step.entities
            )
            return messages.Done(
                digest=recorded.digest, detail={"recorded": probes.write(folder.space.probes, asked)}
            )

        return await in_thread(work)

    def _find(self, request: training.TrainRequest) -> tuple[projects.Project, run_folder.RunFolder]:
        return projects.load_project(request.project), run_folder.RunFolder.of(self._state_dir, request)
