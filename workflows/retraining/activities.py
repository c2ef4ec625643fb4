"""The retraining's side effects: it reads logged predictions and what happened, and starts a training by the control API."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import polars as pl
from temporalio import activity

from mainspring.core import errors, projects, settings, workspace
from mainspring.core.contracts import base, control, retraining, training
from mainspring.core.models import bundle, signing
from mainspring.core.monitoring import performance, prediction_log, predictions, training_outcomes
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat
from mainspring.workflows.exchange import exchange
from mainspring.workflows.ray_jobs import train_messages
from mainspring.workflows.retraining import messages
from mainspring.workflows.training.data_activities import in_thread

_LOG: Final = logging.getLogger(__name__)

#: Rows that the model was not fitted to.
_REFERENCE_SPLIT: Final = "valid"
#: A canary and a shadow are judged by their deployment; whoever chose his answerer did not ask what is served.
_JUDGED_ROLE: Final = "stable"
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
        project = projects.load_project(request.project)
        space = workspace.Workspace(self._settings.stack.state_dir, request.project, request.sample_fraction)
        try:
            logged = predictions.scan(self._settings.serving.predictions_dir, endpoint=request.endpoint)
        except errors.NotFound as error:
            return messages.Checked(message=error.message)
        logged = logged.filter(pl.col("role") == _JUDGED_ROLE)
        if (newest := _newest(logged)) is None:
            return messages.Checked(
                message=f"no stable bundle's predictions of `{request.endpoint}` are logged"
            )
        window = timedelta(days=request.window_days)
        last, digest = newest
        trust = signing.TrustedKeys.load(self._settings.serving.trusted_keys_dir)
        opened = bundle.BundleStore(self._settings.serving.bundle_dir).open(digest, trust)
        recent = logged.filter(
            pl.col("model_version") == digest, pl.col("as_of") > last - request.windows * window
        )
        asked = self._outcomes(_once(recent, opened), opened, project, space)
        known = asked.height - asked[performance.LABEL].null_count()
        found = messages.Checked(bundle_digest=digest, predictions=asked.height, known=known)
        if known < request.limits.min_rows:
            few = (
                f"{known} of {asked.height} predictions have an outcome, {request.limits.min_rows} are needed"
            )
            return found.model_copy(update={"message": few})
        report = performance.measure(asked, _reference(opened, space), window=window, limits=request.limits)
        for alarm in report.alarms:
            _LOG.warning("endpoint `%s`, bundle %s: %s", request.endpoint, digest, alarm)
        return found.model_copy(update={"report": report})

    def _outcomes(
        self,
        logged: pl.LazyFrame,
        opened: bundle.Bundle,
        project: projects.Project,
        space: workspace.Workspace,
    ) -> pl.DataFrame:
        """Predictions with what happened, as `performance.measure` takes them. Errors: those of `training_outcomes.read`."""
        labels = training_outcomes.read(
            space.training / "training.parquet", project, opened, self._settings.serving.token_key
        )
        joined = predictions.join_labels(
            logged,
            labels,
            keys=[key.name for key in opened.manifest.service.keys],
            label=project.label,
            label_time=training_outcomes.DUE,
            horizon=timedelta(seconds=project.horizon_seconds),
            now=base.utc_now(),
        )
        return joined.select(
            pl.col("as_of").alias(performance.AT),
            pl.col("score").alias(performance.SCORE),
            pl.col(predictions.LABEL).alias(performance.LABEL),
        ).collect()

    @activity.defn(name=messages.START)
    async def start(self, asked: messages.Start) -> messages.Started:
        with temporal_errors.typed():
            async with heartbeat.beating():
                return await self._start(asked)

    async def _start(self, asked: messages.Start) -> messages.Started:
        request = asked.request
        cause = "; ".join(asked.alarms)
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


def _newest(logged: pl.LazyFrame) -> tuple[datetime, str] | None:
    """When the newest prediction is about, and which bundle gave it; None without one."""
    found = logged.select("as_of", "time", "model_version").sort("as_of", "time").tail(1).collect()
    return None if found.is_empty() else (found["as_of"][0].astimezone(UTC), str(found["model_version"][0]))


def _once(logged: pl.LazyFrame, opened: bundle.Bundle) -> pl.LazyFrame:
    """What was asked again about the same entity and moment counts once, as it was answered first.

    A deployment probes its endpoint with recorded requests, round and round, long after their features were the newest.
    """
    entity = [prediction_log.KEY + key.name for key in opened.manifest.service.keys]
    again = pl.struct(*entity, "as_of").is_first_distinct()
    return logged.sort("time", maintain_order=True).filter(~pl.col("by_entity") | again)


def _split(asked: messages.Start) -> training.RollingSplit | None:
    days = asked.request.split
    if days is None or asked.until is None:
        return None
    return training.RollingSplit(**days.model_dump(), until=asked.until)


def _reference(opened: bundle.Bundle, space: workspace.Workspace) -> pl.DataFrame:
    """The scores and labels on which the bundle was chosen. Errors: NotFound without its training's predictions."""
    run_id = opened.manifest.training_run_id
    outputs = list(space.run(run_id).glob("train-output-*.json"))
    if not outputs:
        raise errors.NotFound(
            f"training `{run_id}` of bundle `{opened.digest}` left no predictions in this workspace; check with its"
            " `sample_fraction`, or train anew",
            resource="training output",
            name=run_id,
        )
    # The last one is that of the execution which made the bundle: earlier ones may have ended with an error.
    output = train_messages.read_output(max(outputs, key=lambda path: path.stat().st_mtime_ns))
    score = "baseline_score" if opened.model == output.baseline_architecture else "score"
    chosen = pl.read_parquet(output.predictions_path).filter(pl.col("split") == _REFERENCE_SPLIT)
    return chosen.select(pl.col(score).alias(performance.SCORE), pl.col("label").alias(performance.LABEL))
