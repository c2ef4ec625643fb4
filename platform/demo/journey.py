"""`mainspring demo`, told in order: stack up, project, training run, approval, replay over HTTP, a day as streams, drift, summary."""

from __future__ import annotations

import collections
import functools
import shutil
import time
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import polars as pl

from mainspring.core import errors, identity, projects, settings, workspace
from mainspring.core.client import control as control_client
from mainspring.core.client import serving as serving_client
from mainspring.core.contracts import base, control, training
from mainspring.core.features import frames, schema
from mainspring.core.monitoring import drift, evidently_adapter, skew
from mainspring.platform.demo import drifted, follow, replayed, rollback, scheduled, streamed, summary
from mainspring.platform.stack import parts, stack

PROJECT = "flight-delay"
ENDPOINT = "flight-delay"
#: Both the reference and the current sample of the drift check; more rows move no index by 0.01.
_DRIFT_ROWS = 20_000


class Progress(Protocol):
    """Where the demo tells how it goes."""

    def line(self, text: str) -> None:
        """Something is done."""
        ...

    def stage(self, name: str, fraction: float) -> None:
        """Something is under way; `fraction` 0 to 1, 0 where it cannot tell."""
        ...


def with_own_store(s: settings.Settings) -> settings.Settings:
    """The settings with an online store of the demo's own, and every read of it and every answer on record.

    A replay starts before any fact is known; what was served is asked again offline afterwards.
    """
    own = s.stack.state_dir / "demo"
    update = {
        "online_store": own / "online",
        "reads_dir": own / "reads",
        "record_reads": 1.0,
        "predictions_dir": own / "predictions",
        "log_predictions": 1.0,
    }
    monitor = s.monitor.model_copy(update={"windows_dir": own / "windows"})
    return s.model_copy(update={"serving": s.serving.model_copy(update=update), "monitor": monitor})


def run(
    s: settings.Settings,
    *,
    sample_fraction: float,
    predictions: int,
    progress: Progress,
    timeout_seconds: float = 1800.0,
) -> summary.DemoReport:
    """The whole journey. The stack is up afterwards; whoever called takes it down.

    Errors: those of every step, typed; Conflict if the stack is already up.
    """
    begun = time.monotonic()
    wanted = [make(s) for make in parts.PARTS.values()]
    stack.check_startable(s, wanted)
    # The sums of answers go with the answers: those of another replay are of other questions about the same times.
    for old in (
        s.serving.online_store,
        s.serving.reads_dir,
        s.serving.predictions_dir,
        s.monitor.windows_dir,
    ):
        shutil.rmtree(old, ignore_errors=True)
    s.serving.online_store.parent.mkdir(parents=True, exist_ok=True)
    state = stack.up(s, wanted, progress=progress.line)
    issuer = identity.TokenIssuer.load(s.control.tokens_file)

    def client(actor: str) -> control_client.ControlClient:
        return control_client.ControlClient(s.control_url, issuer.token_of(actor))

    with client("developer@local") as developer, client("approver@local") as approver:
        _ensure_project(developer)
        follow_run = functools.partial(
            follow.follow,
            developer=developer,
            approver=approver,
            timeout_seconds=timeout_seconds,
            on_stage=progress.stage,
            on_step=lambda step: progress.line(_told(step)),
        )
        started = developer.create_run(
            control.RunCreate(project=PROJECT, sample_fraction=sample_fraction, endpoint=ENDPOINT)
        )
        progress.line(f"run {started.run_id} started by {started.requested_by}")
        ended = follow_run(started.run_id)
        result = training.TrainResult.model_validate(ended.result)
        space = workspace.Workspace(s.stack.state_dir, PROJECT, sample_fraction)
        replay_began = base.utc_now()
        asked = _replay(s, issuer, space, predictions, progress)
        replay_ended = base.utc_now()
        day = _stream(s, issuer, space, progress)
        moved = _drift(space)
        skewed = _skew(space, asked, predictions)
        checked = scheduled.check_skew(
            developer, PROJECT, sample_fraction, since=replay_began, at_least=asked.read_rows
        )
        progress.line(
            f"scheduled skew check: {checked.rows} recorded reads, {len(checked.skewed)} skewed features"
        )
        # After the skew check: its callers ask about times of which the store has only newer rows. Before the training, which
        # would take the cores that its latency is compared on.
        lost = _roll_back(s, issuer, space, asked.model_version, predictions, developer, progress)
        drifted.wait_for_log(
            s.serving.predictions_dir, ENDPOINT, since=replay_began, until=replay_ended, at_least=predictions
        )
        alarm = drifted.check(developer, PROJECT, ENDPOINT, sample_fraction)
        progress.line(f"scheduled check of the predictions: {'; '.join(alarm.alarms) or 'no alarm'}")
        retrained = None
        if alarm.run_id:
            progress.line(f"run {alarm.run_id} started for it")
            retrained = follow_run(alarm.run_id)
        audit = developer.verify_audit()
        return summary.DemoReport(
            project=PROJECT,
            run_id=started.run_id,
            sample_fraction=sample_fraction,
            model_version=asked.model_version,
            data_digest=result.data_digest,
            metrics=result.metrics,
            steps=result.steps,
            start_seconds={part.name: part.ready_seconds for part in state.parts},
            predictions=len(asked.scores),
            pushed_rows=asked.pushed_rows,
            latency_p50_ms=asked.latency_ms(50),
            latency_p99_ms=asked.latency_ms(99),
            replay_auc=asked.auc,
            online_offline_max_difference=_offline_difference(space, started.run_id, asked, predictions),
            compared_values=skewed.compared_values,
            skewed_values=skewed.skewed_values,
            recorded_reads=checked.rows,
            recorded_features=checked.features,
            recorded_skewed=[feature.name for feature in checked.skewed],
            streamed_events=day.events,
            streamed_values=day.compared,
            streamed_differences=day.different,
            streamed_seconds=day.seconds,
            rolled_back=lost,
            drifted=drifted.told(alarm, retrained),
            drifted_columns={c.name: c.psi or 0.0 for c in moved.drifted},
            checked_columns=len(moved.columns),
            cost=developer.run(started.run_id).cost,
            currency=s.cost.currency,
            audit_rows=int(audit["rows"]),
            audit_intact=bool(audit["ok"]),
            catalog=_by_kind(item["kind"] for item in developer.search_catalog(project=PROJECT).items),
            came_from=_by_kind(_ancestors(developer, asked.model_version)),
            total_seconds=time.monotonic() - begun,
            urls={part.name: part.url for part in state.parts if part.url},
        )


def _ancestors(developer: control_client.ControlClient, model_version: str) -> list[str]:
    """The kinds of the datasets that a bundle came from; none if its lineage still waits in a worker's spool."""
    try:
        graph = developer.walk_lineage("upstream", PROJECT, "model", version=model_version)
    except errors.NotFound:
        return []
    return [node.kind for node in graph.nodes[1:] if not node.column]


def _by_kind(kinds: Iterable[str]) -> dict[str, int]:
    return dict(sorted(collections.Counter(kinds).items()))


def _ensure_project(developer: control_client.ControlClient) -> None:
    try:
        developer.project(PROJECT)
    except errors.NotFound:
        developer.create_project(
            control.ProjectCreate(name=PROJECT, owner="demo@local", description="The reference project.")
        )


def _told(step: training.StepReport) -> str:
    detail = ", ".join(f"{k} {v}" for k, v in step.detail.items() if isinstance(v, str | int | float))
    reused = " (reused)" if step.reused else ""
    return f"{step.step}{reused}: {step.seconds:.1f} s{'; ' if detail else ''}{detail}"[:160]


def _replay(
    s: settings.Settings,
    issuer: identity.TokenIssuer,
    space: workspace.Workspace,
    predictions: int,
    progress: Progress,
) -> replayed.Replayed:
    replay_set = projects.load_project(PROJECT).replay(space.features, n=predictions)
    with serving_client.ServingClient(s.serving_url, token=issuer.token_of("service@local")) as serving:
        return replayed.ask(
            ENDPOINT,
            replay_set,
            serving,
            on_row=lambda done: progress.stage("predictions", done / replay_set.rows),
        )


def _stream(
    s: settings.Settings, issuer: identity.TokenIssuer, space: workspace.Workspace, progress: Progress
) -> streamed.Streamed:
    """The last day of flights once more, as streams of departures and arrivals."""
    project = projects.load_project(PROJECT)
    assert isinstance(project, projects.Streaming)
    with serving_client.ServingClient(s.serving_url, token=issuer.token_of("service@local")) as serving:
        day = streamed.last_day(project.streams(), project.past_events(space.lake), serving)
    progress.line(f"streamed {day.events} events of a day: {day.rows} rows in {day.seconds:.1f} s")
    return day


def _roll_back(
    s: settings.Settings,
    issuer: identity.TokenIssuer,
    space: workspace.Workspace,
    good: str,
    predictions: int,
    developer: control_client.ControlClient,
    progress: Progress,
) -> summary.RolledBack:
    """A bad candidate is deployed while the replayed flights are asked about again."""
    bad = rollback.make(s, good)
    progress.line(f"deploying a bad candidate, {bad.digest[:23]}")
    asked = rollback.questions(projects.load_project(PROJECT).replay(space.features, n=predictions))
    with serving_client.ServingClient(s.serving_url, token=issuer.token_of("service@local")) as serving:
        lost = rollback.roll_back(
            asked, bad=bad, good=good, endpoint=ENDPOINT, developer=developer, serving=serving
        )
    progress.line(f"{lost.why}; in force for {lost.in_force_seconds:.1f} s")
    return lost


def _questions(space: workspace.Workspace, predictions: int) -> tuple[projects.ReplaySet, pl.DataFrame]:
    """What was asked, in the order asked: what tells one flight from another, and when."""
    replay_set = projects.load_project(PROJECT).replay(space.features, n=predictions)
    who = [*(c.name for c in replay_set.keys), *(c.name for c in replay_set.request_columns), "as_of"]
    return replay_set, pl.read_parquet(replay_set.requests).sort("as_of", maintain_order=True).select(who)


def _offline_difference(
    space: workspace.Workspace, run_id: str, asked: replayed.Replayed, predictions: int
) -> float:
    """Served scores against the scores that the training job gave the same flights from the offline join."""
    _, questions = _questions(space, predictions)
    who = questions.columns
    test = pl.read_parquet(space.training / "training.parquet").filter(pl.col("split") == "test")
    scored = pl.read_parquet(space.run(run_id) / "predictions.parquet").filter(pl.col("split") == "test")
    offline = test.select(who).with_columns(offline=scored["score"])
    both = questions.with_columns(served=pl.Series(np.asarray(asked.scores, np.float32))).join(
        offline, on=who, how="left", nulls_equal=True, maintain_order="left"
    )
    if both.height != len(asked.scores) or both["offline"].null_count():
        raise errors.InvariantViolated(
            "served flights are not the flights of the training set's test split",
            where="platform.demo.journey",
        )
    return float((both["served"] - both["offline"]).abs().max())  # type: ignore[arg-type]


def _skew(space: workspace.Workspace, asked: replayed.Replayed, predictions: int) -> skew.SkewReport:
    """What the online store answered at each question's time against the offline join of the same flights."""
    replay_set, questions = _questions(space, predictions)
    columns = {
        schema.joined_name(view.name, field.name): field
        for view in replay_set.service.views
        for field in view.fields
    }
    training = pl.scan_parquet(space.training / "training.parquet").filter(pl.col("split") == "test")
    rows = questions.join(
        training.select(*questions.columns, *columns).collect(),
        on=questions.columns,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    offline = frames.to_numpy(
        rows, [column.model_copy(update={"name": name}) for name, column in columns.items()]
    )
    served = {
        name: np.array(
            [_missing(columns[name]) if v is None else v for v in values], columns[name].numpy_dtype
        )
        for name, values in asked.vectors.items()
    }
    return skew.compare(served, offline)


def _missing(column: schema.Column) -> Any:
    return None if column.dtype == "string" else np.nan


def _drift(space: workspace.Workspace) -> drift.DriftReport:
    """Inputs of the test split against those of the training split, both sampled evenly."""
    rows = pl.read_parquet(space.training / "training.parquet")
    columns = [c.name for c in projects.load_project(PROJECT).declare_plan().inputs if c.dtype == "float32"]
    reference, current = (
        _sample(rows.filter(pl.col("split") == split), columns) for split in ("train", "test")
    )
    return evidently_adapter.drift_report(reference, current)


def _sample(rows: pl.DataFrame, columns: list[str]) -> dict[str, np.ndarray]:
    every = max(1, rows.height // _DRIFT_ROWS)
    return {name: rows[name].gather_every(every).to_numpy() for name in columns}
