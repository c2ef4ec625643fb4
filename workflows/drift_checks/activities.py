"""The check's side effects: it counts logged answers, joins what happened, judges, and puts the report on record."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import polars as pl
from temporalio import activity

from mainspring.core import canonical, durable, errors, projects, settings, workspace
from mainspring.core.contracts import alerts, base, drift_checks, monitoring
from mainspring.core.models import bundle, signing
from mainspring.core.monitoring import (
    baselines,
    judging,
    outcomes,
    prediction_log,
    predictions,
    training_outcomes,
    windows,
)
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat
from mainspring.workflows.drift_checks import messages
from mainspring.workflows.exchange import exchange
from mainspring.workflows.ray_jobs import train_messages
from mainspring.workflows.training.data_activities import in_thread

_LOG: Final = logging.getLogger(__name__)

#: Rows that the model was not fitted to.
_REFERENCE_SPLIT: Final = "valid"
#: Windows back from this one whose days tell how much days differ.
_WINDOWS_BACK: Final = 8
#: Of the window and of the reference, in the full report: Evidently has them in memory.
_HTML_ROWS: Final = 5_000


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
        s = self._settings
        try:
            logged = predictions.scan(s.serving.predictions_dir, endpoint=request.endpoint)
        except errors.NotFound as error:
            return messages.Checked(message=error.message)
        digest = _newest_bundle(logged)
        if not digest:
            return messages.Checked(
                message=f"no stable bundle's predictions of `{request.endpoint}` are logged"
            )
        trust = signing.TrustedKeys.load(s.serving.trusted_keys_dir)
        opened = bundle.BundleStore(s.serving.bundle_dir).open(digest, trust)
        watched = Watched(s, request, opened)
        store = windows.WindowStore.of(s.monitor.windows_dir, request.endpoint, digest)
        try:
            store.baseline()
        except errors.NotFound:
            store.put_baseline(watched.baseline(logged))
        counted = store.ingest(
            s.serving.predictions_dir / request.endpoint / digest.removeprefix("sha256:")[:16]
        )
        ends = store.newest()
        if ends is None:
            return messages.Checked(
                damaged=counted.damaged, message="no answer of this bundle could be counted; see `damaged`"
            )
        length = timedelta(hours=request.window_hours)
        begins, back = ends - length, ends - _WINDOWS_BACK * length
        outcomes.update(store, logged, watched.labels(), since=back, until=ends, now=base.utc_now())
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
        for finding in report.alarms:
            _LOG.warning("endpoint `%s`, bundle %s: %s", request.endpoint, digest, finding.message)
        html = watched.html(logged, store.baseline(), begins, ends) if request.html else ""
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
        return messages.Recorded(report_id=view.report_id, alerts=view.alerts)


class Watched:
    """A bundle that is served, with the training that it came of."""

    def __init__(
        self, s: settings.Settings, request: drift_checks.DriftCheckRequest, opened: bundle.Bundle
    ) -> None:
        self._settings, self._request, self._opened = s, request, opened
        self._project = projects.load_project(request.project)
        self._space = workspace.Workspace(s.stack.state_dir, request.project, request.sample_fraction)

    def baseline(self, logged: pl.LazyFrame) -> monitoring.Baseline:
        """Errors: NotFound without what the training left; DataInvalid if it was made anew since; InvalidRequest for a slice."""
        names = [
            n.removeprefix(prediction_log.FEATURE)
            for n in logged.collect_schema().names()
            if n.startswith(prediction_log.FEATURE)
        ]
        rows, private = self._reference(), training_outcomes.private_columns(self._opened)
        features = [name for name in names if name in rows.columns and name not in private]
        for name in self._request.slices:
            if name not in rows.columns or rows[name].dtype != pl.String or name in private:
                raise errors.InvalidRequest(
                    f"`{name}` cannot be a slice: it is no column of strings of the training set, or tells of a person",
                    field="slices",
                )
        return baselines.make(
            rows,
            bundle_digest=self._opened.digest,
            score="\0score",
            label=self._project.label,
            features=features,
            slices=self._request.slices,
            training_run_id=self._opened.manifest.training_run_id,
        )

    def labels(self) -> outcomes.Labels:
        """What happened, as the project's training set knows it. Errors: those of `training_outcomes.read`."""
        labels = training_outcomes.read(
            self._space.training / "training.parquet",
            self._project,
            self._opened,
            self._settings.serving.token_key,
        )
        return outcomes.Labels(
            labels.drop_nulls(self._project.label),
            keys=[key.name for key in self._opened.manifest.service.keys],
            at=training_outcomes.DUE,
            label=self._project.label,
            horizon=timedelta(seconds=self._project.horizon_seconds),
        )

    def html(
        self, logged: pl.LazyFrame, baseline: monitoring.Baseline, begins: datetime, ends: datetime
    ) -> str:
        """Leave Evidently's report of a sample of the window; answers its digest, by which it is found. Empty: too few rows."""
        from mainspring.core.monitoring import evidently_adapter

        features = [column.name for column in baseline.columns if column.name != monitoring.SCORE]
        there = logged.collect_schema().names()
        chosen = [name for name in features if prediction_log.FEATURE + name in there]
        current = (
            logged.filter(
                pl.col("role") == windows.JUDGED_ROLE,
                pl.col("model_version") == baseline.bundle_digest,
                pl.col("as_of").is_between(begins, ends, closed="left"),
            )
            .select("score", *(pl.col(prediction_log.FEATURE + name).alias(name) for name in chosen))
            .collect()
        )
        reference = self._reference().select(pl.col("\0score").alias("score"), *chosen)
        if min(current.height, reference.height) < evidently_adapter.MIN_ROWS:
            return ""
        sampled = [f.sample(min(f.height, _HTML_ROWS), seed=7) for f in (reference, current)]
        page = evidently_adapter.full_report(*sampled)
        return leave(self._settings.monitor.reports_dir, page)

    def _reference(self) -> pl.DataFrame:
        """The training set's held-out rows, with the scores that they had. In order, as the training left them."""
        run_id = self._opened.manifest.training_run_id
        folder = self._space.run(run_id)
        outputs = list(folder.glob("train-output-*.json"))
        if not outputs:
            raise errors.NotFound(
                f"training `{run_id}` of bundle `{self._opened.digest}` left no predictions in this workspace; check with"
                " its `sample_fraction`, or train anew",
                resource="training output",
                name=run_id,
            )
        output = train_messages.read_output(max(outputs, key=lambda path: path.stat().st_mtime_ns))
        column = "baseline_score" if self._opened.model == output.baseline_architecture else "score"
        spec = folder / "train-spec.json"
        path = (
            train_messages.read_spec(spec).training_set
            if spec.exists()
            else self._space.training / "training.parquet"
        )
        is_reference = pl.col("split") == _REFERENCE_SPLIT
        rows = pl.read_parquet(path).filter(is_reference)
        scored = pl.read_parquet(output.predictions_path).filter(is_reference)
        label = self._project.label
        if (
            rows.height != scored.height
            or not (rows[label].cast(pl.Float64) == scored["label"].cast(pl.Float64)).all()
        ):
            raise errors.DataInvalid(
                f"the training set of run `{run_id}` was made anew since: its rows are not those that were scored; train"
                " the model anew to have a baseline",
                dataset="training set",
            )
        return rows.with_columns(scored[column].alias("\0score"))


def leave(folder: Path, page: str) -> str:
    """Put a report where its digest names it, whole or not at all; the same one is kept once."""
    digest = canonical.digest_bytes(page.encode())
    path = folder / f"{digest.removeprefix('sha256:')}.html"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # its rows are samples of what people sent
        durable.replace_file(path, page)
    return digest


def _newest_bundle(logged: pl.LazyFrame) -> str:
    """The stable bundle that answered last; empty: none did."""
    stable = logged.filter(pl.col("role") == windows.JUDGED_ROLE)
    found = stable.select("time", "model_version").sort("time").tail(1).collect()
    return "" if found.is_empty() else str(found["model_version"][0])
