"""Records the histories that test_replay.py replays. Run it by hand, when a history is replaced on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "workflows" / "tests"))

from pipelines_doubles import Jobs, gate, graph, parts, pipeline_request, raised, step
from retiring_doubles import Retirement, retire_request
from retraining_doubles import REQUEST, alarmed
from scoring_doubles import ScoreSteps, score_request
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from training_doubles import Steps, all_activities, train_request
from tuning_doubles import Study, tune_request
from workflows_doubles import QUEUE, STABLE, Endpoint, deploy_request, run

from mainspring.core import errors
from mainspring.core.contracts import access_requests, materialising, pipelines, retention, skew, training
from mainspring.workflows.access import messages as access_messages
from mainspring.workflows.access.workflow import ExpireAccess
from mainspring.workflows.batch_scoring import messages as scoring_messages
from mainspring.workflows.batch_scoring.workflow import BatchScore
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.materialising import messages as materialising_messages
from mainspring.workflows.materialising.workflow import Materialize
from mainspring.workflows.pipelines.workflow import RunPipeline
from mainspring.workflows.retention import messages as retention_messages
from mainspring.workflows.retention.workflow import EnforceRetention
from mainspring.workflows.retiring.workflow import RetireModel
from mainspring.workflows.retraining.workflow import RetrainOnDrift
from mainspring.workflows.skew import messages as skew_messages
from mainspring.workflows.skew.workflow import CheckSkew
from mainspring.workflows.training import messages
from mainspring.workflows.training.workflow import TrainModel
from mainspring.workflows.tuning.workflow import TuneModel

HISTORIES = Path(__file__).parent / "histories"

#: What tells of the machine, and what stands there instead.
REPLACED = {"identity": "recorder", "stackTrace": ""}

Story = Callable[[Client], Awaitable[WorkflowHandle[Any, Any]]]


async def deploy(client: Client, **changes: Any) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(
        DeployModel.run, deploy_request(**changes), id="run_deploy", task_queue=QUEUE
    )
    await handle.result()
    return handle


async def train(client: Client, **changes: Any) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(
        TrainModel.run, train_request(**changes), id="run_train", task_queue=QUEUE
    )
    with contextlib.suppress(WorkflowFailureError):  # a history like any other
        await handle.result()
    return handle


async def skewed(client: Client) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(
        CheckSkew.run, skew.SkewRequest(project="flight-delay"), id="skew-flight-delay", task_queue=QUEUE
    )
    await handle.result()
    return handle


async def score(client: Client) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(BatchScore.run, score_request(), id="run_score", task_queue=QUEUE)
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def retrained(client: Client) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(
        RetrainOnDrift.run, REQUEST, id="retrain-flight-delay", task_queue=QUEUE
    )
    await handle.result()
    return handle


async def retired(client: Client, **changes: Any) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(
        RetireModel.run, retire_request(**changes), id="run_retire", task_queue=QUEUE
    )
    await handle.result()
    return handle


async def tuned(client: Client) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(TuneModel.run, tune_request(), id="run_tune", task_queue=QUEUE)
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def materialized(client: Client) -> WorkflowHandle[Any, Any]:
    request = materialising.MaterializeRequest(project="flight-delay")
    handle = await client.start_workflow(
        Materialize.run, request, id="materialize-flight-delay", task_queue=QUEUE
    )
    await handle.result()
    return handle


@activity.defn(name=materialising_messages.PUSH)
async def push_rows(request: materialising.MaterializeRequest) -> materialising.MaterializeOutcome:
    """What stands for the real rows."""
    view = materialising.MaterializedView(name="view", rows=10, pushed=8, taken=7)
    return materialising.MaterializeOutcome(project=request.project, is_backfill=False, views=(view,))


async def removed(client: Client) -> WorkflowHandle[Any, Any]:
    request = retention.RetentionRequest(project="flight-delay", skew_reports_days=30)
    handle = await client.start_workflow(
        EnforceRetention.run, request, id="retention-flight-delay", task_queue=QUEUE
    )
    await handle.result()
    return handle


@activity.defn(name=retention_messages.REMOVE)
async def remove_old(request: retention.RetentionRequest) -> retention.RetentionOutcome:
    """What stands for the real removal."""
    one = retention.RemovedKind(kind=retention.KeptKind.SKEW_REPORTS, removed=3, bytes=300, held=1, kept=7)
    return retention.RetentionOutcome(
        project=request.project, is_dry=request.is_dry, kinds=(one,), report_path="report.json"
    )


async def expired(client: Client) -> WorkflowHandle[Any, Any]:
    request = access_requests.ExpireRequest(
        project="flight-delay",
        request_id="access_1",
        state=access_requests.AccessState.ACTIVE,
        due_at=datetime.now(UTC) + timedelta(hours=1),
    )
    handle = await client.start_workflow(
        ExpireAccess.run, request, id=access_requests.expiry_id(request), task_queue=QUEUE
    )
    await handle.result()
    return handle


def late() -> Callable[..., Any]:
    """What stands for the control API: its clock is behind, and at the second look it is due."""
    looks: list[str] = []

    @activity.defn(name=access_messages.EXPIRE)
    async def expire(request: access_requests.ExpireRequest) -> access_requests.ExpireOutcome:
        looks.append(request.request_id)
        state = request.state if len(looks) == 1 else access_requests.AccessState.EXPIRED
        return access_requests.ExpireOutcome(request_id=request.request_id, state=state)

    return expire


@activity.defn(name=skew_messages.CHECK)
async def check_skew(request: skew.SkewRequest) -> skew.SkewOutcome:
    """What stands for the real check."""
    found = skew.SkewedFeature(name="view__field", equal=8, mismatched=1, missing=1, extra=0)
    return skew.SkewOutcome(
        project=request.project, rows=10, later_rows=2, features=3, skewed=(found,), report_path="report.json"
    )


#: What a batch scoring's own steps are in a story; where it has none, they succeed.
SCORES: dict[str, ScoreSteps] = {
    "score_bad_rows": ScoreSteps(
        failing={scoring_messages.SCORE: errors.DataInvalid("infinite", dataset="rows", failed=("x",))}
    )
}

#: The studies, likewise.
STUDIES: dict[str, Study] = {
    "tune_no_trial": Study(error=errors.JobFailed("none of 2 trials came to a result", status="no_trial"))
}

#: The pipelines, likewise.
PIPELINES: dict[str, Jobs] = {
    "pipeline_approved": Jobs(
        graph(
            step("split", is_spread=True),
            step("score", "split", each="a0"),
            step("sum", "score"),
            gate("release", "sum", count=2),
            step("publish", "release"),
        ),
        answers={"split": parts("p", "q", "r")},
    ),
    "pipeline_failed": Jobs(
        graph(
            step("load"),
            step("flaky", "load", retry=pipelines.Retry(times=1, pause_seconds=30.0)),
            step("after", "flaky"),
        ),
        failing={"flaky": [raised("TimeoutError", "OSError")] * 2},
    ),
}


async def piped(client: Client) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(RunPipeline.run, pipeline_request(), id="run_pipe", task_queue=QUEUE)
    for by in ("eva", "kim"):
        while (status := await handle.query(RunPipeline.status)).stage is training.Stage.STEP:
            await asyncio.sleep(0.02)
        if status.stage is not training.Stage.APPROVAL:
            break
        decision = training.Decision(approve=True, by=by, roles=("approver",))
        await handle.execute_update(RunPipeline.decide, decision)
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


#: Name -> endpoint, steps, and what is started with which changes.
STORIES: dict[str, tuple[Endpoint, Steps, Story]] = {
    "deploy_promoted": (Endpoint(), Steps(), deploy),
    "deploy_waits_and_rolls_back": (
        Endpoint(requests=10, errors_at={25: 3}),
        Steps(),
        lambda client: deploy(client, step_seconds=2.0),
    ),
    "train_approved_and_deployed": (
        Endpoint(traffic=None),
        Steps(),
        lambda client: train(client, auto_approve_by="ana"),
    ),
    "train_nobody_decided": (Endpoint(), Steps(), train),
    "skew_found": (Endpoint(), Steps(), skewed),
    "retrain_started": (Endpoint(), Steps(), retrained),
    "materialized": (Endpoint(), Steps(), materialized),
    "retention_removed": (Endpoint(), Steps(), removed),
    "retire_replaced": (Endpoint(), Steps(), lambda client: retired(client, replace_by=STABLE)),
    "retire_revoked": (Endpoint(), Steps(), lambda client: retired(client, is_revocation=True)),
    "access_expired": (Endpoint(), Steps(), expired),
    "tune_best_trained": (Endpoint(), Steps(), tuned),
    "tune_no_trial": (Endpoint(), Steps(), tuned),
    "pipeline_approved": (Endpoint(), Steps(), piped),
    "pipeline_failed": (Endpoint(), Steps(), piped),
    "score_published": (Endpoint(), Steps(), score),
    "score_bad_rows": (Endpoint(), Steps(), score),
    "train_gate_failed": (
        Endpoint(),
        Steps(
            failing={
                messages.EVALUATE: errors.GateFailed("auc too low", gate="min_auc", expected="1", got="0")
            }
        ),
        train,
    ),
}


def record(name: str) -> None:
    endpoint, steps, start = STORIES[name]

    async def story(client: Client, _: WorkflowEnvironment) -> str:
        return (await (await start(client)).fetch_history()).to_json()

    scoring = SCORES.get(name, ScoreSteps()).activities(with_usage=False)
    tuning = STUDIES.get(name, Study()).activities()
    activities = [
        *all_activities(steps, endpoint),
        *scoring,
        check_skew,
        *alarmed().activities(),
        *tuning,
        *PIPELINES.get(name, Jobs(graph(step("load")))).activities(),
        remove_old,
        push_rows,
        late(),
        *Retirement(stable_on=["delay"], shadow_on=["other"]).activities(with_events=False),
    ]
    workflows = [
        TrainModel,
        DeployModel,
        BatchScore,
        CheckSkew,
        RetrainOnDrift,
        TuneModel,
        EnforceRetention,
        Materialize,
        ExpireAccess,
        RunPipeline,
        RetireModel,
    ]
    history = run(story, workflows, activities)
    (HISTORIES / f"{name}.json").write_text(
        json.dumps(without_machine(json.loads(history)), indent=1, sort_keys=True) + "\n"
    )


def without_machine(value: Any) -> Any:
    """Who ran it, where, has no place in a stored history."""
    if isinstance(value, dict):
        return {k: REPLACED.get(k, without_machine(v)) for k, v in value.items()}
    return [without_machine(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    for chosen in sys.argv[1:] or STORIES:
        record(chosen)
    sys.stdout.flush()
    os._exit(0)  # the interpreter's end aborts now and then after a Temporal client was alive
