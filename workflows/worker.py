"""`python -m mainspring.workflows.worker --ready-file PATH`: one process of workflows and activities, until SIGTERM.

Exit codes: 0 stopped as asked; 78 misconfigured, with one line on stderr that says what to do; 1 any other error.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
from temporalio import client as temporal
from temporalio import common, runtime, worker

from mainspring.core import bearer, distribution, errors, identity, logs, otlp, settings, traces
from mainspring.core.client import connection
from mainspring.core.client import control as control_client
from mainspring.core.client import serving as serving_client
from mainspring.core.contracts import catalog, protection
from mainspring.core.erasure.online import Forgetful
from mainspring.core.lineage import emitter
from mainspring.core.supply import admission
from mainspring.workflows import budgets, claim_sweeps, options, storing, tracing
from mainspring.workflows.access import activities as access_activities
from mainspring.workflows.access import workflow as access_workflow
from mainspring.workflows.batch_scoring import activities as scoring_activities
from mainspring.workflows.batch_scoring import workflow as scoring_workflow
from mainspring.workflows.deployment import activities as deployment_activities
from mainspring.workflows.deployment import workflow as deployment_workflow
from mainspring.workflows.drift_checks import activities as drift_check_activities
from mainspring.workflows.drift_checks import workflow as drift_check_workflow
from mainspring.workflows.erasing import activities as erasing_activities
from mainspring.workflows.erasing import workflow as erasing_workflow
from mainspring.workflows.idling import activities as idling_activities
from mainspring.workflows.idling import workflow as idling_workflow
from mainspring.workflows.key_rotation import activities as key_activities
from mainspring.workflows.key_rotation import workflow as key_workflow
from mainspring.workflows.materialising import activities as materialising_activities
from mainspring.workflows.materialising import workflow as materialising_workflow
from mainspring.workflows.pipelines import activities as pipelines_activities
from mainspring.workflows.pipelines import workflow as pipelines_workflow
from mainspring.workflows.queueing import activities as queueing_activities
from mainspring.workflows.queueing import workflow as queueing_workflow
from mainspring.workflows.ray_jobs import billing, reaping, unbilled
from mainspring.workflows.releasing import activities as releasing_activities
from mainspring.workflows.releasing import workflow as releasing_workflow
from mainspring.workflows.retention import activities as retention_activities
from mainspring.workflows.retention import workflow as retention_workflow
from mainspring.workflows.retiring import activities as retiring_activities
from mainspring.workflows.retiring import workflow as retiring_workflow
from mainspring.workflows.retraining import activities as retraining_activities
from mainspring.workflows.retraining import workflow as retraining_workflow
from mainspring.workflows.skew import activities as skew_activities
from mainspring.workflows.skew import workflow as skew_workflow
from mainspring.workflows.training import activities as training_activities
from mainspring.workflows.training import catalog as training_catalog
from mainspring.workflows.training import reading
from mainspring.workflows.training import workflow as training_workflow
from mainspring.workflows.tuning import activities as tuning_activities
from mainspring.workflows.tuning import workflow as tuning_workflow

EXIT_MISCONFIGURED: Final = 78  # EX_CONFIG of sysexits.h

#: Activities may end by themselves for this long after SIGTERM. Then they are told; a Ray job goes on without us.
DRAIN: Final = timedelta(seconds=5)

#: A crashed worker's workflows wait this long for it before another takes them; Temporal's default is 10 s.
STICKY: Final = timedelta(seconds=2)

WORKFLOWS: Final = (
    training_workflow.TrainModel,
    deployment_workflow.DeployModel,
    queueing_workflow.DeploymentQueue,
    scoring_workflow.BatchScore,
    skew_workflow.CheckSkew,
    retraining_workflow.RetrainOnDrift,
    drift_check_workflow.CheckDrift,
    tuning_workflow.TuneModel,
    retention_workflow.EnforceRetention,
    materialising_workflow.Materialize,
    access_workflow.ExpireAccess,
    pipelines_workflow.RunPipeline,
    retiring_workflow.RetireModel,
    releasing_workflow.ReleaseEndpoint,
    key_workflow.RotateKeys,
    idling_workflow.StopIdle,
    erasing_workflow.EraseSubject,
)

_LOG: Final = logging.getLogger("mainspring.workflows")


def main(*, around: Sequence[worker.Interceptor] = ()) -> int:
    """Load settings once, connect, poll until told to stop. `around`: what stands around every activity."""
    parser = argparse.ArgumentParser(prog="mainspring.workflows.worker", description=__doc__.splitlines()[0])
    parser.add_argument("--ready-file", type=Path, help="written when the worker polls, removed at its end")
    ready_file: Path | None = parser.parse_args().ready_file
    try:
        in_force, version = settings.load(), distribution.version()
        logs.install(in_force.telemetry.logs, tracing.SERVICE, version, tracing.labels)
        with otlp.told_by(in_force.telemetry, tracing.SERVICE, version) as told:
            asyncio.run(_run(in_force, ready_file, [tracing.Tracing(told.tracer), *around]))
    except errors.MainspringError as error:
        print(f"mainspring.workflows.worker: {error.message}", file=sys.stderr)
        return EXIT_MISCONFIGURED if isinstance(error, errors.Misconfigured) else 1
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
    return 0


async def _run(
    in_force: settings.Settings, ready_file: Path | None, around: Sequence[worker.Interceptor]
) -> None:
    """Errors: DependencyDown where Temporal does not answer; MissingTool without tokens."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tokens = identity.FollowedTokens(in_force.control.tokens_file)

    def token() -> str:
        return tokens.token_of(identity.SERVICE)

    client = await connect(in_force)
    async with _room(in_force.serving_url, token) as serving, _room(in_force.control_url, token) as control:
        tell = emitter.of(in_force.lineage, control_url=in_force.control_url, token=token)
        # Their steps are in threads, so their clients are ones that block.
        with (
            control_client.ControlClient(in_force.control_url, token) as records,
            serving_client.ServingClient(in_force.serving_url, token=token) as rows,
        ):
            polling = build(
                client,
                in_force,
                serving,
                control,
                tell,
                functools.partial(_catalogue, records),
                rows.push,
                rows,
                ask=records.read_data,
                around=around,
            )
            async with polling:
                reaper = asyncio.create_task(reaping.reap(client, in_force.ray))
                claims = unbilled.Unbilled.of(in_force.stack.state_dir)
                biller = asyncio.create_task(
                    billing.bill(client, in_force.ray, claims, _budgets(in_force, control))
                )
                storage = asyncio.create_task(storing.meter(in_force, control))
                sweeper = asyncio.create_task(claim_sweeps.sweep(client, in_force.workflow))
                if ready_file is not None:
                    _write(ready_file)
                where = in_force.workflow
                _LOG.info("polls task queue `%s` of %s", where.task_queue, where.address)
                await stop.wait()
                reaper.cancel()
                biller.cancel()
                storage.cancel()
                sweeper.cancel()
                _LOG.info("stops; what is under way has %.0f s", DRAIN.total_seconds())


def _catalogue(
    records: control_client.ControlClient,
    project: str,
    entries: Sequence[catalog.CatalogEntry],
    found: Sequence[protection.Findings],
) -> None:
    """What was found goes first: the control API holds the catalog against it."""
    for findings in found:
        records.find_classifications(project, findings)
    records.put_catalog(project, entries)


async def connect(in_force: settings.Settings) -> temporal.Client:
    """Errors: DependencyDown where no frontend answers; Misconfigured for a bad file of payload keys."""
    # The core's own lines go to stdout in colours, and its warnings are about servers older than ours.
    quiet = runtime.LoggingConfig(filter=runtime.TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    shown = None
    if address := in_force.telemetry.worker_metrics:
        # Names as Prometheus has them elsewhere: `_total`, and seconds.
        shown = runtime.PrometheusConfig(
            address, counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True
        )
    try:
        within = runtime.Runtime(telemetry=runtime.TelemetryConfig(logging=quiet, metrics=shown))
    except (RuntimeError, ValueError) as error:
        raise errors.Misconfigured(
            f"the worker's metrics cannot be shown at `{in_force.telemetry.worker_metrics}`: {error}; free the port, or"
            " correct `telemetry.worker_metrics`"
        ) from error
    return await connection.connect_by(in_force.workflow, within=within)


def _budgets(in_force: settings.Settings, control: httpx.AsyncClient) -> budgets.Budgets:
    return budgets.Budgets(
        control,
        patience_seconds=in_force.workflow.budget_patience_seconds,
        claims=unbilled.Unbilled.of(in_force.stack.state_dir),
    )


def build(
    client: temporal.Client,
    in_force: settings.Settings,
    serving: httpx.AsyncClient,
    control: httpx.AsyncClient,
    tell: emitter.Emitter | None = None,
    catalogue: training_catalog.Publish | None = None,
    push: materialising_activities.Push | None = None,
    online: Forgetful | None = None,
    *,
    ask: reading.Ask | None = None,
    around: Sequence[worker.Interceptor] = (),
) -> worker.Worker:
    """The worker over its parts; it polls inside `async with`. Without `tell` and `catalogue` nothing is told of
    data; without `push` nothing is materialised, without
    `online` nobody is erased, and without `ask` data are read whatever they tell."""
    budget = _budgets(in_force, control)
    training = training_activities.TrainingActivities(in_force, control, tell, catalogue, budget, ask)
    gate = admission.Admission(in_force)
    deployment = deployment_activities.DeploymentActivities(
        serving, control, in_force.stack.state_dir, tell, gate.require
    )
    scoring = scoring_activities.ScoringActivities(in_force, tell, budget=budget, ask=ask)
    skew = skew_activities.SkewActivities(in_force.stack.state_dir, in_force.serving.reads_dir)
    retraining = retraining_activities.RetrainingActivities(in_force, control)
    drift_checks = drift_check_activities.DriftCheckActivities(in_force, control)
    tuning = tuning_activities.TuningActivities(in_force, control, budget=budget)
    pipelines = pipelines_activities.PipelineActivities(in_force, control, budget=budget)
    retention = retention_activities.RetentionActivities(in_force, serving, control)
    materialising = (
        () if push is None else materialising_activities.MaterialisingActivities(in_force, push).all()
    )
    erasing = () if online is None else erasing_activities.ErasingActivities(in_force, control, online).all()
    return worker.Worker(
        client,
        task_queue=in_force.workflow.task_queue,
        workflows=WORKFLOWS,
        activities=[
            *training.all(),
            *deployment.all(),
            queueing_activities.join_queue,
            queueing_activities.find_gone,
            *scoring.all(),
            *skew.all(),
            *retraining.all(),
            *drift_checks.all(),
            *tuning.all(),
            *retention.all(),
            *pipelines.all(),
            *materialising,
            *erasing,
            *access_activities.AccessActivities(control).all(),
            *retiring_activities.RetiringActivities(in_force, serving, tell).all(),
            *releasing_activities.ReleasingActivities(serving, tell).all(),
            *idling_activities.IdlingActivities(in_force.cost, serving, control).all(),
            *key_activities.KeyActivities(in_force, serving, control, client).all(),
        ],
        interceptors=around,
        max_heartbeat_throttle_interval=options.BEAT_PAUSE,
        sticky_queue_schedule_to_start_timeout=STICKY,
        graceful_shutdown_timeout=DRAIN,
        deployment_config=_deployment(in_force.workflow),
    )


def _deployment(where: settings.WorkflowSettings) -> worker.WorkerDeploymentConfig | None:
    """What is under way moves on to the current version: every workflow replays on the next release's workers."""
    if not where.build_id:
        return None
    return worker.WorkerDeploymentConfig(
        version=common.WorkerDeploymentVersion(where.deployment_name, where.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=common.VersioningBehavior.AUTO_UPGRADE,
    )


def _room(url: str, token: bearer.Token) -> httpx.AsyncClient:
    # Proxies of the environment are not for our own services. The time is below that of an exchange's attempt.
    return httpx.AsyncClient(
        base_url=url,
        auth=bearer.auth(token),
        timeout=25.0,
        trust_env=False,
        event_hooks={"request": [traces.on_request_awaited]},
    )


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(f"{os.getpid()}\n")
    new.rename(path)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: with a client alive, the interpreter's end aborts now and then ("PyGILState_Release").
    os._exit(code)
