"""A batch scoring's side effects, each idempotent: the plan by run and input, the Ray job by run, parts by their names."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any, Final

from temporalio import activity, service

from mainspring.core import canonical, errors, job_logs, projects, settings, workspace
from mainspring.core.contracts import data_reads, scoring, training
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.lineage import emitter
from mainspring.core.models import bundle, signing
from mainspring.core.protection import exporting
from mainspring.core.scoring import outputs, parts, places, scorer
from mainspring.workflows import budgets
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.batch_scoring import lineage, messages
from mainspring.workflows.ray_jobs import attach, books, client, job_files, paying, score_messages, usage
from mainspring.workflows.training import reading, run_folder
from mainspring.workflows.training.data_activities import in_thread

_LOG: Final = logging.getLogger(__name__)

#: Progress is told when it grew by a fiftieth: a run's history holds each of them.
_PROGRESS_STEPS: Final = 50


class ScoringActivities:
    """`in_force` says where state, keys, bundles and Ray are. `tell` None: no lineage is told; `ask` None: nobody is asked whether
    data may be read."""

    def __init__(
        self,
        in_force: settings.Settings,
        tell: emitter.Emitter | None = None,
        *,
        poll_seconds: float = 1.0,
        budget: budgets.Budgets | None = None,
        ask: reading.Ask | None = None,
    ) -> None:
        """`poll_seconds`: between two looks at the Ray job. `budget` None: nothing ends a job for its cost."""
        self._settings = in_force
        self._budget = budget
        self._ask = ask
        self._tell = tell
        self._poll_seconds = poll_seconds

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers, beside the training's `report_usage` and the deployment's `report_event`."""
        return [self.plan, self.score, self.publish]

    @activity.defn(name=messages.PLAN)
    async def plan(self, request: scoring.ScoreRequest) -> messages.Planned:
        """Check all that can be checked before a row is scored, and take the output."""
        return await in_thread(lambda: self._plan(request))

    def _plan(self, request: scoring.ScoreRequest) -> messages.Planned:
        source, target = self._places(request)
        opened = self._open(request)
        folder = self._folder(request)
        features = projects.load_project(request.project).build_features(
            folder.space.lake, folder.space.features
        )
        folder.keep(features)
        service = opened.manifest.service
        scorer.check_service(service, features.service)
        survey = parts.survey(source, request.part_rows)
        scorer.check_columns(
            survey.columns,
            service,
            opened.manifest.request_columns,
            has_time=request.as_of is not None,
            score=outputs.SCORE,
        )
        views = {
            found.view.name: score_messages.ViewFile(
                path=found.path, digest=canonical.digest_file(found.path)
            )
            for found in features.views
            if found.view.name in {view.name for view in service.views}
        }
        self._check_may_read(request, source, survey, features, views)
        detail = _detail(request, survey, views)
        identity = canonical.digest(detail)
        outputs.Output(target, identity).claim(detail)
        spec = score_messages.ScoreSpec(
            project=request.project,
            bundle_dir=self._settings.serving.bundle_dir,
            bundle_digest=request.bundle_digest,
            trusted_keys_dir=self._settings.serving.trusted_keys_dir,
            runtime=self._settings.serving.runtime,
            views=views,
            input=request.input,
            output=request.output,
            identity=identity,
            run_id=request.run_id,
            as_of=request.as_of,
            parts=score_messages.ScoreSpec.of(survey),
            num_workers=request.num_workers,
            progress=folder.root / "score-progress.json",
        )
        path = folder.root / "score-spec.json"
        job_files.write_file(path, spec.model_dump_json().encode())
        return messages.Planned(
            spec_path=str(path),
            identity=identity,
            input_version=survey.version,
            features_digest=features.digest,
            rows=survey.rows,
            parts=len(survey.parts),
        )

    def _check_may_read(
        self,
        request: scoring.ScoreRequest,
        source: places.Place,
        survey: parts.Survey,
        features: projects.FeatureReport,
        views: Collection[str],
    ) -> None:
        """Errors: PolicyDenied; those of the client."""
        if self._ask is None:
            return
        found = parts.declared(source, survey)
        rows = data_reads.ReadDataset(
            name=request.input[:1000],
            version=survey.version,
            columns=list(survey.columns),
            sealed=sorted(found.sealed),
            is_synthetic=found.is_synthetic,
            is_uncatalogued=True,
        )
        asked = data_reads.DataRead(
            environment=request.environment,
            run_id=request.run_id,
            datasets=[rows, *reading.views(features, views)],
        )
        self._ask(request.project, asked)

    @activity.defn(name=messages.SCORE)
    async def score(self, asked: messages.Score) -> messages.Scored:
        """Submit the job, or attach to the one that a worker before us submitted."""
        request = asked.request
        spec_path = Path(asked.planned.spec_path)
        base_id = f"{request.run_id}-score-{attach.family()}"
        book = books.Book(root=spec_path.with_name("score-books"), family=attach.family())
        with temporal_errors.typed():
            spec = score_messages.read_spec(spec_path).model_copy(update={"book": book})
            job_files.write_file(spec_path, spec.model_dump_json().encode())

            def output(k: int) -> Path:
                return spec_path.with_name(f"{base_id}-{k}.json")

            ray = self._settings.ray
            pays = paying.of(
                self._budget, request, book, base_id, "ray-score", "the parts that are there", ray
            )
            work = attach.Work(
                base_id=base_id,
                entrypoint=lambda k: shlex.join(
                    (
                        *(sys.executable, "-m", score_messages.MODULE),
                        *("--spec", str(spec_path), "--out", str(output(k))),
                    )
                ),
                answer=lambda k: score_messages.read_output(output(k)),
                metadata={"run_id": request.run_id, "project": request.project},
                timeout_seconds=ray.job_timeout_seconds,
                step=training.Stage.SCORE,
                told=lambda: score_messages.step_progress(spec),
                kept=job_logs.JobLogs.of(self._settings.stack.state_dir, request.project),
                paying=pays,
            )
            async with client.RayJobs.connect(ray.dashboard_url, ray.token_file) as ray_jobs:
                async with _telling_progress(spec.progress, self._poll_seconds):
                    done = await attach.run_to_end(ray_jobs, work, poll_seconds=self._poll_seconds)
            owed = book.owed(done.job.submission_id) or books.Used(cpu_seconds=done.answer.cpu_seconds)
        return _scored(request, done, owed, paying.capacity_of(pays, ray))

    @activity.defn(name=messages.PUBLISH)
    async def publish(self, asked: messages.Publish) -> messages.Published:
        """Check that every row has its score, and write the manifest."""

        def work() -> messages.Published:
            request, planned = asked.request, asked.planned
            _check_links(request.output)
            spec = score_messages.read_spec(Path(planned.spec_path))
            with emitter.telling(self._tell, lineage.run(request)) as told:
                told.reads += lineage.read(
                    request, planned, self._folder(request).kept(projects.FeatureReport)
                )
                survey = parts.Survey(spec.survey(), {}, planned.input_version)
                output = outputs.Output(places.Place.at(request.output), planned.identity)
                manifest = output.finish(survey, _detail(request, survey, spec.views))
                told.makes.append(lineage.scores(request, manifest))
            return messages.Published(
                rows=manifest.rows, parts=len(manifest.parts), scores_digest=manifest.scores_digest
            )

        return await in_thread(work)

    def _places(self, request: scoring.ScoreRequest) -> tuple[places.Place, places.Place]:
        """Errors: InvalidRequest for a place that is none, or one within the other; PolicyDenied outside of the roots, or behind a link."""
        for uri in (request.input, request.output):
            self._check_root(uri)
        found = places.Place.at(request.input), places.Place.at(request.output)
        _check_links(request.output)
        one, other = (f"{uri.partition('?')[0].rstrip('/')}/" for uri in (request.input, request.output))
        if one.startswith(other) or other.startswith(one):
            raise errors.InvalidRequest(
                f"output `{request.output}` and input `{request.input}` lie one within the other; give the scores a"
                " folder of their own",
                field="output",
            )
        return found

    def _check_root(self, uri: str) -> None:
        roots = [root.strip() for root in self._settings.workflow.score_roots.split(",") if root.strip()]
        if roots and not any(_is_below(uri, root) for root in roots):
            raise errors.PolicyDenied(
                f"`{uri}` lies below none of {roots}, where batch scoring may read and write; move the data, or ask an"
                " operator to widen `workflow.score_roots`",
                rule_id="scoring.roots",
                cause=uri,
            )

    def _open(self, request: scoring.ScoreRequest) -> bundle.Bundle:
        """Errors: those of the store; InvalidRequest for a bundle of another project."""
        opened = bundle.BundleStore(self._settings.serving.bundle_dir).open(
            request.bundle_digest, signing.TrustedKeys.load(self._settings.serving.trusted_keys_dir)
        )
        if opened.manifest.project != request.project:
            raise errors.InvalidRequest(
                f"bundle `{request.bundle_digest}` is of project `{opened.manifest.project}`, not of `{request.project}`;"
                " score it in its own project",
                field="bundle_digest",
            )
        return opened

    def _folder(self, request: scoring.ScoreRequest) -> run_folder.RunFolder:
        space = workspace.Workspace(self._settings.stack.state_dir, request.project, request.sample_fraction)
        return run_folder.RunFolder(space, request.run_id)


def _check_links(output: str) -> None:
    """What was asked about is the name: scores are written where it says, or nowhere. Errors: PolicyDenied."""
    real = exporting.followed(output)
    if not output.startswith("s3://") and real != str(Path(output)):
        raise errors.PolicyDenied(
            f"`{output}` leads to `{real}`, and nobody was asked about that; start again with `--output {real}`",
            rule_id="scoring.links",
            cause=output,
        )


def _is_below(uri: str, root: str) -> bool:
    """A link below a root may lead out of it; and how a store is reached, after `?`, is the operator's to say."""
    place, _, way = uri.partition("?")
    top, _, allowed = root.partition("?")
    real = place if uri.startswith("s3://") else str(Path(uri).resolve())
    return f"{real.rstrip('/')}/".startswith(f"{top.rstrip('/')}/") and (
        way == allowed or not uri.startswith("s3://")
    )


def _detail(
    request: scoring.ScoreRequest, survey: parts.Survey, views: dict[str, score_messages.ViewFile]
) -> dict[str, Any]:
    """All that decides the scores and how they are cut; its digest names the scoring."""
    return {
        "bundle": request.bundle_digest,
        "project": request.project,
        "views": {name: file.digest for name, file in views.items()},
        "input": request.input,
        "input_version": survey.version,
        "as_of": None if request.as_of is None else request.as_of.isoformat(),
        "part_rows": request.part_rows,
    }


@contextlib.asynccontextmanager
async def _telling_progress(path: Path, poll_seconds: float) -> AsyncIterator[None]:
    """The workflow is told how far the job is. What cannot be told is only not seen."""
    if not activity.in_activity():
        yield
        return
    task = asyncio.create_task(_tell_progress(path, poll_seconds))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _tell_progress(path: Path, poll_seconds: float) -> None:
    info = activity.info()
    if info.workflow_id is None:
        return
    handle = activity.client().get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
    told = -1
    while True:
        found = await asyncio.to_thread(score_messages.read_progress, path)
        step = 0 if found is None else found.rows_done * _PROGRESS_STEPS // max(found.rows, 1)
        if found is not None and step > told:
            try:
                await handle.signal(scoring.PROGRESS_SIGNAL, found)
                told = step
            except service.RPCError as error:
                _LOG.warning("progress of `%s` was not told: %s", info.workflow_id, error)
        await asyncio.sleep(poll_seconds)


def _scored(
    request: scoring.ScoreRequest,
    done: attach.Done[score_messages.ScoreOutput],
    owed: books.Used,
    capacity: Capacity,
) -> messages.Scored:
    """`owed`: what no record has."""
    answer, job = done.answer, done.job
    used, *more = usage.with_memory(
        usage.core_hours(
            request,
            job,
            key=job.submission_id,
            service="ray-score",
            cpu_seconds=owed.cpu_seconds,
            capacity=capacity,
        ),
        owed.memory_byte_seconds,
    )
    return messages.Scored(
        detail={
            "job": job.submission_id,
            "rows": answer.rows,
            "parts": answer.parts,
            "parts_found": answer.parts_found,
            "job_seconds": round(answer.wall_seconds, 1),
            "cpu_seconds": round(answer.cpu_seconds, 1),
        },
        attempts=done.attempts,
        usage=used,
        more_usage=more,
    )
