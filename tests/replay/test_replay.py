"""Runs under way survive a new worker: stored histories replay, and mutants of the workflows do not."""

from __future__ import annotations

import asyncio
import json
import sys
import types
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from mainspring.core import traces
from mainspring.core.contracts import (
    access_requests,
    deployment,
    drift_checks,
    erasure,
    idling,
    keys,
    materialising,
    pipelines,
    releasing,
    retention,
    retiring,
    retraining,
    scoring,
    skew,
    training,
    tuning,
)
from mainspring.workflows import tracing
from mainspring.workflows.access import workflow as access_source
from mainspring.workflows.batch_scoring import workflow as score_source
from mainspring.workflows.deployment import workflow as deploy_source
from mainspring.workflows.drift_checks import workflow as drift_check_source
from mainspring.workflows.erasing import workflow as erasing_source
from mainspring.workflows.idling import workflow as idling_source
from mainspring.workflows.key_rotation import workflow as keys_source
from mainspring.workflows.materialising import workflow as materialising_source
from mainspring.workflows.pipelines import workflow as pipelines_source
from mainspring.workflows.queueing import messages as queue_messages
from mainspring.workflows.queueing import workflow as queue_source
from mainspring.workflows.releasing import workflow as release_source
from mainspring.workflows.retention import workflow as retention_source
from mainspring.workflows.retiring import workflow as retire_source
from mainspring.workflows.retraining import workflow as retrain_source
from mainspring.workflows.skew import workflow as skew_source
from mainspring.workflows.training import workflow as train_source
from mainspring.workflows.tuning import workflow as tune_source

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
SOURCES = {
    "DeployModel": deploy_source,
    "DeploymentQueue": queue_source,
    "TrainModel": train_source,
    "CheckSkew": skew_source,
    "RetrainOnDrift": retrain_source,
    "CheckDrift": drift_check_source,
    "BatchScore": score_source,
    "TuneModel": tune_source,
    "EnforceRetention": retention_source,
    "Materialize": materialising_source,
    "ExpireAccess": access_source,
    "RunPipeline": pipelines_source,
    "RetireModel": retire_source,
    "ReleaseEndpoint": release_source,
    "RotateKeys": keys_source,
    "StopIdle": idling_source,
    "EraseSubject": erasing_source,
}


def history(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text())


def workflow_type(path: Path) -> str:
    first = json.loads(path.read_text())["events"][0]
    return str(first["workflowExecutionStartedEventAttributes"]["workflowType"]["name"])


def test_every_workflow_has_a_history() -> None:
    found = {workflow_type(path) for path in HISTORIES}
    assert found == {
        training.TRAIN_WORKFLOW,
        deployment.DEPLOY_WORKFLOW,
        queue_messages.QUEUE_WORKFLOW,
        scoring.SCORE_WORKFLOW,
        skew.SKEW_WORKFLOW,
        retraining.RETRAIN_WORKFLOW,
        drift_checks.CHECK_WORKFLOW,
        tuning.TUNE_WORKFLOW,
        retention.RETENTION_WORKFLOW,
        materialising.MATERIALIZE_WORKFLOW,
        access_requests.EXPIRE_WORKFLOW,
        pipelines.PIPELINE_WORKFLOW,
        retiring.RETIRE_WORKFLOW,
        releasing.RELEASE_WORKFLOW,
        keys.ROTATE_WORKFLOW,
        idling.STOP_IDLE_WORKFLOW,
        erasure.ERASE_WORKFLOW,
    }


@pytest.mark.parametrize("path", HISTORIES, ids=lambda p: p.stem)
def test_replays(path: Path) -> None:
    """As the worker runs them: traces stand around each workflow, and a replay makes no span."""
    kept: list[traces.Span] = []
    exporter = types.SimpleNamespace(add=kept.append)
    replayer = Replayer(
        workflows=[
            train_source.TrainModel,
            deploy_source.DeployModel,
            queue_source.DeploymentQueue,
            score_source.BatchScore,
            skew_source.CheckSkew,
            retrain_source.RetrainOnDrift,
            drift_check_source.CheckDrift,
            tune_source.TuneModel,
            retention_source.EnforceRetention,
            materialising_source.Materialize,
            access_source.ExpireAccess,
            pipelines_source.RunPipeline,
            retire_source.RetireModel,
            release_source.ReleaseEndpoint,
            keys_source.RotateKeys,
            idling_source.StopIdle,
            erasing_source.EraseSubject,
        ],
        data_converter=pydantic_data_converter,
        interceptors=[tracing.Tracing(traces.Tracer(exporter, 1.0))],
    )
    asyncio.run(replayer.replay_workflow(history(path)))
    assert kept == []


@pytest.mark.parametrize("path", HISTORIES, ids=lambda p: p.stem)
def test_stored_without_the_machine_that_recorded_it(path: Path) -> None:
    identities = [
        found
        for event in json.loads(path.read_text())["events"]
        for attributes in event.values()
        if isinstance(attributes, dict) and (found := attributes.get("identity"))
    ]
    assert set(identities) == {"recorder"}
    assert "site-packages" not in path.read_text()


def mutant(name: str, old: str, new: str) -> type:
    """The workflow `name` with one place of its source changed."""
    path = SOURCES[name].__file__
    assert path is not None
    source = Path(path).read_text()
    assert source.count(old) == 1, f"{old!r} is not one place of {name}; the mutant changes nothing"
    module = types.ModuleType(f"mutant_of_{name}")
    sys.modules[module.__name__] = module  # annotations are looked up there
    exec(compile(source.replace(old, new), path, "exec"), module.__dict__)
    found: type = getattr(module, name)
    return found


def replay(name: str, story: str, old: str, new: str) -> None:
    replayer = Replayer(
        workflows=[mutant(name, old, new)],
        # The sandbox imports a workflow by its module's name; a mutant is in no file.
        workflow_runner=UnsandboxedWorkflowRunner(),
        data_converter=pydantic_data_converter,
    )
    asyncio.run(replayer.replay_workflow(history(Path(__file__).parent / "histories" / f"{story}.json")))


#: What a running history must not meet: another step, one less, one more, another order, another id.
BREAKING = [
    ("DeployModel", "deploy_promoted", "messages.LOAD_BUNDLE,\n", "messages.LOAD_BUNDLE + 'x',\n"),
    ("DeployModel", "deploy_promoted", "            probed = await self._probe(probed)\n", ""),
    (
        "DeployModel",
        "deploy_promoted",
        '        await self._report("endpoint.traffic.set", step,',
        '        table or self._report("endpoint.traffic.set", step,',
    ),
    (
        "DeployModel",
        "deploy_promoted",
        "            if percent >= self._steering.from_percent:\n",
        "            if percent > 5:\n",
    ),
    (
        "DeployModel",
        "deploy_waits_and_rolls_back",
        "await workflow.wait_condition(lambda: self._steering.has_news, timeout=wait)",
        "await asyncio.sleep(0)",
    ),
    ("DeployModel", "deploy_waits_and_rolls_back", "messages.RESTORE_TRAFFIC,\n", "messages.SET_TRAFFIC,\n"),
    (
        "TrainModel",
        "train_approved_and_deployed",
        'await self._data(Stage.LEAK_CHECK, messages.LEAK_CHECK, "perturbing the future")',
        "pass",
    ),
    (
        "TrainModel",
        "train_approved_and_deployed",
        "            if found.view is None:\n",
        "            if found.view is not None:\n",
    ),
    (
        "TrainModel",
        "train_approved_and_deployed",
        'run_id = f"{self._request.run_id}-{suffix}"',
        "run_id = suffix",
    ),
    (
        "TrainModel",
        "train_approved_and_deployed",
        "await self._admit(bundles)\n",
        "await self._admit(bundles)\n        await self._admit(bundles)\n",
    ),
    (
        "TrainModel",
        "train_nobody_decided",
        "lambda: self._decision is not None, timeout=timeout)",
        "lambda: self._decision is not None)",
    ),
    ("TrainModel", "train_gate_failed", "messages.EVALUATE, asked", "messages.BUNDLE, asked"),
    ("TrainModel", "train_worse_than_the_champion", "messages.COMPARE, asked", "messages.BUNDLE, asked"),
    ("TrainModel", "train_beside_the_champion", "if workflow.patched(_COMPARES):", "if not _COMPARES:"),
    ("TrainModel", "train_approved_by_a_person", "if workflow.patched(_COMPARES):", "if _COMPARES:"),
    (
        "DeployModel",
        "deploy_cancelled",
        'await cancellation.through(self._undo("endpoint.restore", why))',
        '""',
    ),
    ("DeployModel", "deploy_steered", "messages.WATCH,\n", "messages.READ_STATS,\n"),
    ("DeployModel", "deploy_steered", "                watching.cancel()\n", "                pass\n"),
    (
        "DeployModel",
        "deploy_aborted",
        'await self._report(f"endpoint.canary.',
        'took or self._report(f"endpoint.canary.',
    ),
    (
        "DeployModel",
        "deploy_breached_while_paused",
        "            if last.verdict is judge.Verdict.BREACH:\n",
        "            if last.verdict is judge.Verdict.PASS:\n",
    ),
    (
        "DeployModel",
        "deploy_shadow_breached",
        "if self._request.shadow_seconds:\n",
        "if not self._previous:\n",
    ),
    ("DeployModel", "deploy_shadow_then_canary", "and (time_is_up or not is_shadow)", ""),
    ("DeployModel", "deploy_queued", "        await self._turn.come()\n", ""),
    (
        "DeployModel",
        "deploy_queued_and_aborted",
        "            await self._record_orders()\n            self._steering.close()\n",
        "            self._steering.close()\n",
    ),
    (
        "DeploymentQueue",
        "deploy_queue",
        "if self._has_news or self._told.get(ticket.execution) == place:",
        "if self._has_news or not ahead:",
    ),
    ("DeploymentQueue", "deploy_queue", "if len(self._line) < 2:", "if len(self._line) < 3:"),
    ("DeploymentQueue", "deploy_queue_looked_at", "messages.FIND_GONE,\n", "messages.JOIN_QUEUE,\n"),
    ("DeployModel", "deploy_looks_again", "not workflow.patched(_LOOKS_AGAIN)", "not _LOOKS_AGAIN"),
    ("TrainModel", "train_rejected", "if not decision.approve:", "if decision.approve:"),
    ("TrainModel", "train_rolled_back", "if deployed.stage is not Stage.DONE:", "if deployed is None:"),
    ("RunPipeline", "pipeline_rejected", "if gate.is_approved:", "if gate:"),
    ("RunPipeline", "pipeline_nobody_decided", "gate.lapse(timeout)", "raise"),
    ("CheckSkew", "skew_found", "messages.CHECK, request", "messages.CHECK + 'x', request"),
    ("Materialize", "materialized", "messages.PUSH, request", "messages.PUSH + 'x', request"),
    ("EnforceRetention", "retention_removed", "messages.REMOVE, request", "messages.REMOVE + 'x', request"),
    ("RetireModel", "retire_replaced", "messages.LOOK, asked", "messages.LOOK + 'x', asked"),
    ("RetireModel", "retire_replaced", "[*moves, *found.shadow_on]", "moves"),
    (
        "RetireModel",
        "retire_replaced",
        "if asked.replace_by is not None else []",
        "if asked.is_revocation else []",
    ),
    (
        "RetireModel",
        "retire_replaced",
        "        if not asked.is_revocation:\n",
        "        if asked.is_revocation:\n",
    ),
    (
        "RetireModel",
        "retire_replaced",
        'await self._report("withdraw", action,',
        '(lambda *_: 0)("withdraw", action,',
    ),
    (
        "RetireModel",
        "retire_revoked",
        "        if asked.is_revocation:\n",
        "        if not asked.is_revocation:\n",
    ),
    (
        "RetireModel",
        "retire_revoked",
        "moves if asked.is_revocation else [*moves, *found.shadow_on]",
        "[*moves, *found.shadow_on]",
    ),
    ("RetireModel", "retire_revoked", "messages.UNREGISTER, asked", "messages.WITHDRAW, asked"),
    ("ReleaseEndpoint", "release_done", "messages.RELEASE,\n", "messages.RELEASE + 'x',\n"),
    ("ReleaseEndpoint", "release_done", "if found.view is None:", "if found.view is not None:"),
    ("StopIdle", "idle_stopped", "messages.LOOK, request", "messages.LOOK + 'x', request"),
    (
        "StopIdle",
        "idle_stopped",
        "                case idle.Verdict.STOP:\n",
        "                case idle.Verdict.BUSY:\n",
    ),
    ("StopIdle", "idle_stopped", "await _note(endpoint, idling.IdleKind.STOP, since, told)", "pass"),
    ("StopIdle", "idle_over_budget", "if one.spent_budget and", "if not one.spent_budget and"),
    ("StopIdle", "idle_over_budget", "releasing_messages.RELEASE,", "releasing_messages.RELEASE + 'x',"),
    ("StopIdle", "idle_over_budget", "if not isinstance(error, errors.Conflict):", "if True:"),
    ("RotateKeys", "keys_rotated", "await self._ask(turn.new)", "pass"),
    ("RotateKeys", "keys_rotated", "messages.SWITCH, turn", "messages.SWITCH + 'x', turn"),
    ("RotateKeys", "keys_rotated", "            await workflow.sleep(overlap)\n", ""),
    ("RotateKeys", "keys_rotated", "                if not done.next:\n", "                if True:\n"),
    ("RotateKeys", "keys_rotated", "        if done.signed:\n", "        if not done.signed:\n"),
    ("RotateKeys", "keys_rotated", "await self._ask(turn.old, is_withdrawn=True)", "pass"),
    ("RotateKeys", "keys_denied", "messages.DENY, asked", "messages.LIST_UNSIGNED, asked"),
    ("RotateKeys", "keys_denied", "await self._ask(denied, is_withdrawn=True)", "pass"),
    ("ExpireAccess", "access_expired", "messages.EXPIRE,\n", "messages.EXPIRE + 'x',\n"),
    (
        "ExpireAccess",
        "access_expired",
        "        await workflow.sleep(max(timedelta(0), request.due_at - workflow.now()))\n",
        "",
    ),
    ("ExpireAccess", "access_expired", "            await workflow.sleep(AGAIN)\n", ""),
    ("ExpireAccess", "access_expired", "if found.state is not request.state:", "if found:"),
    ("RetrainOnDrift", "retrain_started", "messages.CHECK, request", "messages.CHECK + 'x', request"),
    ("RetrainOnDrift", "retrain_started", "if not alarms or", "if alarms or"),
    ("CheckDrift", "drift_found", "messages.CHECK, request", "messages.CHECK + 'x', request"),
    ("CheckDrift", "drift_found", "messages.RECORD,", "messages.RECORD + 'x',"),
    ("CheckDrift", "drift_found", "if not is_scheduled and", "if is_scheduled and"),
    ("CheckDrift", "drift_found", "-retrain", "-again"),
    ("RetrainOnDrift", "retrain_started", "messages.START,", "messages.START + 'x',"),
    ("BatchScore", "score_published", "messages.PLAN, self._request", "messages.PLAN + 'x', self._request"),
    (
        "TuneModel",
        "tune_best_trained",
        "(Stage.FIT_PLAN, training_messages.FIT_PLAN,",
        "(Stage.FIT_PLAN, 'x',",
    ),
    ("TuneModel", "tune_best_trained", "messages.TUNE, self._request", "messages.TUNE + 'x', self._request"),
    ("TuneModel", "tune_best_trained", "if not self._request.train_best:", "if self._request.train_best:"),
    ("TuneModel", "tune_best_trained", "messages.START, asked", "messages.TUNE, asked"),
    (
        "TuneModel",
        "tune_no_trial",
        "Stage.FAILED, why, error))",
        "Stage.FAILED, why, error)) if cancelled else None",
    ),
    (
        "BatchScore",
        "score_published",
        "                messages.PUBLISH,\n",
        "                messages.SCORE,\n",
    ),
    (
        "BatchScore",
        "score_published",
        "                training_messages.REPORT_USAGE,\n",
        "                messages.PUBLISH,\n",
    ),
    (
        "RunPipeline",
        "pipeline_approved",
        "messages.LOAD, self._request",
        "messages.LOAD + 'x', self._request",
    ),
    (
        "RunPipeline",
        "pipeline_approved",
        "await self._do(messages.FIND, asked",
        "await self._do(messages.RUN, asked",
    ),
    (
        "RunPipeline",
        "pipeline_approved",
        "asyncio.Semaphore(request.max_parallel)",
        "asyncio.Semaphore(1)",
    ),
    (
        "RunPipeline",
        "pipeline_approved",
        "lambda: gate.has_news, timeout=left)",
        "lambda: gate.has_news)",
    ),
    (
        "RunPipeline",
        "pipeline_approved",
        'await self._report("approval.decide"',
        'gate or await self._report("approval.decide"',
    ),
    ("RunPipeline", "pipeline_failed", "if tries.pause_seconds:", "if not tries.pause_seconds:"),
    ("RunPipeline", "pipeline_failed", "tries = tries.after(node, ran)", "tries = None"),
    (
        "RunPipeline",
        "pipeline_failed",
        "Stage.FAILED, why, error))",
        "Stage.FAILED, why, error)) if cancelled else None",
    ),
    (
        "BatchScore",
        "score_bad_rows",
        "Stage.FAILED, why, error))",
        "Stage.FAILED, why, error)) if cancelled else None",
    ),
]


@pytest.mark.parametrize(("name", "story", "old", "new"), BREAKING)
def test_a_breaking_mutant_does_not_replay(name: str, story: str, old: str, new: str) -> None:
    with pytest.raises((workflow.NondeterminismError, RuntimeError)) as caught:
        replay(name, story, old, new)
    assert "ondeterminism" in f"{type(caught.value).__name__} {caught.value}"


#: What may change under a running history; it also shows that the mutants above fail for their change alone.
HARMLESS = [
    (
        "RunPipeline",
        "pipeline_approved",
        "messages.Ran, options.LONG)",
        "messages.Ran, options.WORK)",
    ),
    ("DeployModel", "deploy_promoted", '"reading the endpoint"', '"looking at the endpoint"'),
    ("TrainModel", "train_approved_and_deployed", '"signing"', '"sealing"'),
    ("ExpireAccess", "access_expired", "options.UNTIL_DONE", "options.INSIST"),
    ("RotateKeys", "keys_rotated", '"both keys count"', '"both of them count"'),
    ("RetireModel", "retire_replaced", '"withdrawing it"', '"taking it away"'),
    ("TrainModel", "train_gate_failed", "messages.Trained, options.LONG)", "messages.Trained, options.WORK)"),
    (
        "BatchScore",
        "score_published",
        "if self._log.stage is Stage.SCORE:",
        "if self._log.stage is Stage.PLAN:",
    ),
]


@pytest.mark.parametrize(("name", "story", "old", "new"), HARMLESS)
def test_a_harmless_mutant_replays(name: str, story: str, old: str, new: str) -> None:
    replay(name, story, old, new)
