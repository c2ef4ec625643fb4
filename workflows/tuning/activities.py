"""A study's side effects: the Ray job with its trials, and the start of a training with the best of them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from temporalio import activity

from mainspring.core import canonical, errors, job_logs, projects, settings, trainers
from mainspring.core.contracts import control, training, tuning
from mainspring.core.contracts.capacity import Capacity
from mainspring.workflows import budgets, heartbeat
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.exchange import exchange
from mainspring.workflows.ray_jobs import (
    attach,
    books,
    client,
    job_files,
    paying,
    train_messages,
    tune_messages,
    usage,
)
from mainspring.workflows.training import run_folder
from mainspring.workflows.tuning import draw, messages

__all__ = ["TuningActivities"]


class TuningActivities:
    """`control` is a client with its base URL and the service's credentials set."""

    def __init__(
        self,
        in_force: settings.Settings,
        control: httpx.AsyncClient,
        *,
        poll_seconds: float = 1.0,
        budget: budgets.Budgets | None = None,
    ) -> None:
        """`poll_seconds`: between two looks at the Ray job. `budget` None: nothing ends a job for its cost."""
        self._settings, self._control, self._poll_seconds = in_force, control, poll_seconds
        self._budget = budget

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.tune, self.start]

    @activity.defn(name=messages.TUNE)
    async def tune(self, request: tuning.TuneRequest) -> messages.Tuned:
        """Submit the job, or attach to the one that a worker before us submitted."""
        folder = run_folder.RunFolder.of(self._settings.stack.state_dir, messages.data_request(request))
        family = attach.family()
        with temporal_errors.typed():
            book = books.Book(root=folder.root / "tune-books", family=family)
            spec = self._spec(request, folder).model_copy(update={"book": book})
            path = folder.root / "tune-spec.json"
            job_files.write_file(path, spec.model_dump_json(indent=1).encode())

            def output(k: int) -> Path:
                return folder.root / f"tune-output-{family}-{k}.json"

            base_id, ray = f"{request.run_id}-tune-{family}", self._settings.ray
            checkpoint = "its trials, each from its last finished epoch"
            pays = paying.of(self._budget, request, book, base_id, "ray-tune", checkpoint, ray)
            work = attach.Work(
                base_id=base_id,
                entrypoint=lambda k: shlex.join(
                    (
                        *(sys.executable, "-m", tune_messages.MODULE),
                        *("--spec", str(path), "--out", str(output(k))),
                    )
                ),
                answer=lambda k: tune_messages.read_output(output(k)),
                metadata={"run_id": request.run_id, "project": request.project},
                timeout_seconds=ray.job_timeout_seconds,
                step=training.Stage.TUNE,
                told=lambda: train_messages.told(spec.base),
                kept=job_logs.JobLogs.of(self._settings.stack.state_dir, request.project),
                paying=pays,
            )
            async with client.RayJobs.connect(ray.dashboard_url, ray.token_file) as ray_jobs:
                done = await attach.run_to_end(ray_jobs, work, poll_seconds=self._poll_seconds)
            own = folder.metered(family, done.answer.cpu_seconds, goes_on=done.answer.is_resumed)
            owed = book.owed(_usage_key(request, family, done.attempts)) or books.Used(cpu_seconds=own)
        return _tuned(request, done, family, owed, paying.capacity_of(pays, ray))

    def _spec(self, request: tuning.TuneRequest, folder: run_folder.RunFolder) -> tune_messages.TuneSpec:
        project = projects.load_project(request.project)
        if isinstance(project, trainers.Trainer):
            raise errors.InvalidRequest(
                f"project `{request.project}` trains its model itself, and a study draws parameters of our networks only;"
                " search within its `train`",
                field="project",
            )
        model_spec = project.model_spec()
        rows = folder.kept(projects.TrainingSetReport)
        trials = draw.draw(model_spec, request.space, trials=request.trials, seed=request.seed)
        # Trials of other data, model or draw must not be taken for this study's.
        decides = {
            "rows": rows.digest,
            "plan": folder.plan.read_text(),
            "model": model_spec.model_dump(mode="json"),
            "trials": [t.model_dump(mode="json") for t in trials],
            "request": [request.epochs, request.seed, request.grace_epochs],
        }
        name = f"{request.run_id}-{canonical.digest(decides).removeprefix('sha256:')[:12]}"
        return tune_messages.TuneSpec(
            base=train_messages.TrainSpec(
                training_set=rows.path,
                plan=folder.plan,
                label=rows.label,
                model_spec=model_spec,
                num_workers=request.num_workers,
                epochs=request.epochs,
                seed=request.seed,
                run_name=name,
                storage_path=folder.root / "trials",
                out_dir=folder.root / "studies" / name,
                progress=folder.root / "studies" / name / "progress.json",
            ),
            trials=trials,
            grace_epochs=request.grace_epochs,
            max_cpu_seconds=request.max_cpu_hours * 3600,
        )

    @activity.defn(name=messages.START)
    async def start(self, asked: messages.Start) -> messages.Started:
        """By the control API, so that it has a budget, a record and an approval. Once, however often it is asked."""
        request = asked.request
        wanted = control.RunCreate(
            project=request.project,
            environment=request.environment,
            sample_fraction=request.sample_fraction,
            epochs=request.epochs,
            endpoint=request.deploy_to,
            model=asked.parameters,
            cause=asked.cause,
            on_behalf_of=request.requested_by,
            purpose=request.purpose,
            idempotency_key=f"tune-{request.run_id}",
        )
        with temporal_errors.typed():
            async with heartbeat.beating():
                made = control.RunView.model_validate(
                    await exchange(self._control, "control", "POST", "/api/v1/runs", wanted.model_dump_json())
                )
        return messages.Started(run_id=made.run_id)


def _usage_key(request: tuning.TuneRequest, family: str, attempts: int) -> str:
    return f"{request.run_id}/tune/{family}/{attempts - 1}"


def _tuned(
    request: tuning.TuneRequest,
    done: attach.Done[tune_messages.TuneOutput],
    family: str,
    owed: books.Used,
    capacity: Capacity,
) -> messages.Tuned:
    """`owed`: what is this execution's to pay."""
    answer, job = done.answer, done.job
    used, *more = usage.with_memory(
        usage.core_hours(
            request,
            job,
            key=_usage_key(request, family, done.attempts),
            service="ray-tune",
            cpu_seconds=owed.cpu_seconds,
            capacity=capacity,
        ),
        owed.memory_byte_seconds,
    )
    states = [str(trial.state) for trial in answer.trials]
    return messages.Tuned(
        trials=list(answer.trials),
        best=answer.best,
        is_cut_short=answer.is_cut_short,
        detail={
            "job": job.submission_id,
            "best": answer.best,
            "valid_auc": round(answer.trials[answer.best].valid_auc or 0.0, 4),
            **{state: states.count(state) for state in sorted(set(states))},
            "cpu_seconds": round(answer.cpu_seconds, 1),
        },
        usage=used,
        more_usage=more,
    )
