"""TrainModel's decisions on a real test server: approve, reject, time out, gates, leaks, deployment, cancellation."""

import asyncio
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment
from training_doubles import BASELINE, Steps, all_activities, train_request
from workflows_doubles import CANDIDATE, QUEUE, STABLE, Endpoint, run

from mainspring.core import errors
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import evaluation, training
from mainspring.core.contracts.training import Decision, Stage
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.training import messages
from mainspring.workflows.training.workflow import TrainModel

WORKFLOWS = [TrainModel, DeployModel]
UNTIL_DEPLOY = [
    *(
        Stage.INGEST,
        Stage.VALIDATE,
        Stage.FEATURES,
        Stage.JOIN,
        Stage.LEAK_CHECK,
        Stage.FIT_PLAN,
        Stage.TRAIN,
    ),
    *(Stage.EVALUATE, Stage.BUNDLE, Stage.REGISTER, Stage.POLICY, Stage.APPROVAL),
]


async def start(client: Client, request: training.TrainRequest) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(TrainModel.run, request, id=request.run_id, task_queue=QUEUE)


async def until(handle: WorkflowHandle[Any, Any], stage: Stage) -> None:
    while (await handle.query(TrainModel.status)).stage is not stage:
        await asyncio.sleep(0)


def train(
    steps: Steps, endpoint: Endpoint, decision: Decision | None, **changes: Any
) -> training.TrainResult:
    """The result of one run; `decision` is given when it is asked for."""

    async def story(client: Client, _: WorkflowEnvironment) -> training.TrainResult:
        handle = await start(client, train_request(**changes))
        if decision is not None:
            await until(handle, Stage.APPROVAL)
            await handle.execute_update(TrainModel.decide, decision)
        result: training.TrainResult = await handle.result()
        assert (await handle.query(TrainModel.status)).stage is result.stage
        return result

    return run(story, WORKFLOWS, all_activities(steps, endpoint))


def fail(
    steps: Steps, endpoint: Endpoint, **changes: Any
) -> tuple[errors.MainspringError, training.RunStatus]:
    async def story(
        client: Client, _: WorkflowEnvironment
    ) -> tuple[errors.MainspringError, training.RunStatus]:
        handle = await start(client, train_request(**changes))
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        return temporal_errors.from_failure(caught.value), await handle.query(TrainModel.status)

    return run(story, WORKFLOWS, all_activities(steps, endpoint))


YES = Decision(approve=True, by="ben", reason="good")


def test_approved_beats_the_baseline_in_its_canary_and_is_champion() -> None:
    steps, endpoint = Steps(), Endpoint(traffic=None)
    result = train(steps, endpoint, YES)
    assert result.stage is Stage.DONE
    assert [s.step for s in result.steps] == [*UNTIL_DEPLOY, Stage.DEPLOY]
    assert result.steps[0].reused
    assert [(t.version, t.stable, t.canary, t.canary_percent) for t in endpoint.history] == [
        (1, BASELINE, None, 0),
        (2, BASELINE, CANDIDATE, 5),
        (3, BASELINE, CANDIDATE, 25),
        (4, BASELINE, CANDIDATE, 50),
        (5, CANDIDATE, None, 0),
    ]
    assert (result.model_name, result.model_version, result.bundle_digest) == ("flight-delay", "3", CANDIDATE)
    assert (result.data_digest, result.traffic_version) == ("rows", 5)
    assert result.metrics["test"].auc == 0.75
    assert [c["percent"] for c in result.steps[-1].detail["canaries"]] == [5, 25, 50]
    assert steps.calls[-1] == messages.SET_CHAMPION
    # Nobody served yet.
    assert messages.COMPARE not in steps.calls
    assert result.evaluation.champion == evaluation.ChampionComparison(
        note="`flight-delay` has no champion yet"
    )


def test_a_candidate_is_held_beside_what_the_endpoint_serves() -> None:
    steps = Steps()
    result = train(steps, Endpoint(), YES)
    assert steps.calls.index(messages.COMPARE) > steps.calls.index(messages.EVALUATE)
    found = result.evaluation.champion
    assert found is not None and (found.bundle_digest, found.auc_gain) == (STABLE, 0.01)
    assert steps.bundled is not None and steps.bundled.evaluation == result.evaluation
    assert steps.bundled.gates == {
        "relaxed": False,
        "min_champion_gain": {"expected": ">= 0.0000", "got": 0.01},
    }
    looked = next(s.detail for s in result.steps if s.step is Stage.EVALUATE)
    assert looked == {"test": 0.75, "test/logistic_regression": 0.72, "auc_gain_over_champion": 0.01}


def test_a_run_that_deploys_nowhere_has_no_champion() -> None:
    steps = Steps()
    result = train(steps, Endpoint(), YES, deploy_to="")
    assert messages.COMPARE not in steps.calls and result.evaluation.champion is not None
    assert result.evaluation.champion.note == "the run deploys to no endpoint"
    looked = next(s.detail for s in result.steps if s.step is Stage.EVALUATE)
    assert looked["champion"] == "not compared: the run deploys to no endpoint"


def test_a_candidate_that_is_worse_than_the_champion_ends_before_its_bundle() -> None:
    steps = Steps(failing={messages.COMPARE: errors.GateFailed("worse", gate="min_champion_gain")})
    error, status = fail(steps, Endpoint())
    assert isinstance(error, errors.GateFailed) and error.gate == "min_champion_gain"
    assert status.stage is Stage.FAILED and messages.BUNDLE not in steps.calls


def test_what_happened_is_on_record_under_who_did_it() -> None:
    steps, endpoint = Steps(), Endpoint()
    train(steps, endpoint, YES)
    told = [(step, e.actor) for step, e in zip(endpoint.told, endpoint.events, strict=True)]
    assert told[:3] == [
        ("run_train/register", "ana"),
        ("run_train/policy", "ana"),
        ("run_train/approval", "ben"),
    ]
    assert {e.run_id for e in endpoint.events} == {"run_train"}
    assert endpoint.ended()["stage"] == "done"
    assert training.TrainResult.model_validate(endpoint.ended()["result"]).bundle_digest == CANDIDATE
    assert [(u.usage_key, u.consumed_quantity) for u in steps.usage] == [("run_train/train/0", 0.01)]


def test_memory_is_on_record_beside_cpu_time() -> None:
    steps = Steps(holds_memory=True)
    train(steps, Endpoint(), YES)
    assert [u.sku for u in steps.usage] == ["cpu_core_hour", "memory_gib_hour"]
    assert steps.calls.count(messages.REPORT_USAGE) == 2


def test_an_endpoint_with_traffic_gets_no_baseline() -> None:
    endpoint = Endpoint()
    assert train(Steps(), endpoint, YES).stage is Stage.DONE
    assert {t.stable for t in endpoint.history[:-1]} == {STABLE}


def test_rejected_is_registered_and_not_deployed() -> None:
    steps, endpoint = Steps(), Endpoint()
    result = train(steps, endpoint, Decision(approve=False, by="ben", reason="too late in the year"))
    assert result.stage is Stage.REJECTED
    assert "too late in the year" in result.message
    assert (endpoint.history, result.model_version) == ([], "3")
    assert endpoint.ended()["stage"] == "rejected"


def test_nobody_deciding_is_a_rejection() -> None:
    endpoint = Endpoint()
    result = train(Steps(), endpoint, None, approval_timeout_seconds=86_400.0)
    assert result.stage is Stage.REJECTED
    assert "nobody decided" in result.message
    assert result.steps[-1].seconds >= 86_400
    assert result.steps[-1].detail["by"] == "system"


def test_given_with_the_request_and_register_only() -> None:
    endpoint = Endpoint()
    result = train(Steps(), endpoint, None, auto_approve_by="ana", deploy_to="")
    assert result.stage is Stage.DONE
    assert "not deployed" in result.message
    assert endpoint.history == []
    assert result.steps[-1].detail == {"approve": True, "by": "ana", "reason": "given with the request"}


def test_in_prod_the_requester_may_not_approve_and_somebody_else_may() -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> training.TrainResult:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_training(train_request(environment="prod"))
        await until(client.get_workflow_handle("run_train"), Stage.APPROVAL)
        with pytest.raises(errors.PolicyDenied) as caught:
            await ours.decide("run_train", Decision(approve=True, by="ana"))
        assert caught.value.rule_id == "approval.four-eyes"
        assert (await ours.decide("run_train", YES)).message == "approved by `ben`"
        return await ours.training_result("run_train")

    assert run(story, WORKFLOWS, all_activities(Steps(), Endpoint())).stage is Stage.DONE
    error, _ = fail(Steps(), Endpoint(), environment="prod", auto_approve_by="ana")
    assert isinstance(error, errors.PolicyDenied)


def test_in_prod_whoever_put_on_record_what_started_it_may_not_approve_either() -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> training.TrainResult:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_training(
            train_request(environment="prod", requested_by="service@local", on_behalf_of="ana", cause="drift")
        )
        await until(client.get_workflow_handle("run_train"), Stage.APPROVAL)
        with pytest.raises(errors.PolicyDenied, match="somebody else decides") as caught:
            await ours.decide("run_train", Decision(approve=True, by="ana"))
        assert caught.value.rule_id == "approval.four-eyes"
        await ours.decide("run_train", YES)
        return await ours.training_result("run_train")

    assert run(story, WORKFLOWS, all_activities(Steps(), Endpoint())).stage is Stage.DONE


def test_the_same_intent_is_the_same_decision_also_after_the_end() -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> training.TrainResult:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_training(train_request(deploy_to=""))
        await until(client.get_workflow_handle("run_train"), Stage.APPROVAL)
        first = await ours.decide("run_train", YES, intent_id="intent_1")
        result = await ours.training_result("run_train")
        assert await ours.decide("run_train", YES, intent_id="intent_1") == first
        with pytest.raises(errors.MainspringError):
            await ours.decide("run_train", YES, intent_id="intent_2")
        return result

    assert run(story, WORKFLOWS, all_activities(Steps(), Endpoint())).stage is Stage.DONE


def test_a_decision_is_taken_once_and_only_when_it_is_asked_for() -> None:
    steps = Steps(trains_for_ever=True)

    async def story(client: Client, _: WorkflowEnvironment) -> training.TrainResult:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_training(train_request(deploy_to=""))
        await steps.training_started.wait()
        with pytest.raises(errors.Conflict, match="at `train`"):
            await ours.decide("run_train", YES)
        steps.trains_for_ever = False
        await until(client.get_workflow_handle("run_train"), Stage.APPROVAL)
        answers = await asyncio.gather(
            *(ours.decide("run_train", YES) for _ in range(3)), return_exceptions=True
        )
        assert sorted(type(a).__name__ for a in answers) == ["Conflict", "Conflict", "RunStatus"]
        return await ours.training_result("run_train")

    assert run(story, WORKFLOWS, all_activities(steps, Endpoint())).stage is Stage.DONE


@pytest.mark.parametrize(
    ("name", "error", "stages"),
    [
        (
            messages.LEAK_CHECK,
            errors.LeakDetected("a feature moved", features=("dep_delay",), evidence="12 rows"),
            UNTIL_DEPLOY[:4],
        ),
        (
            messages.EVALUATE,
            errors.GateFailed("auc too low", gate="min_auc", expected=">= 0.75", got="0.70"),
            UNTIL_DEPLOY[:7],
        ),
        (messages.ADMIT, errors.PolicyDenied("not signed", rule_id="bundle.signed"), UNTIL_DEPLOY[:10]),
    ],
)
def test_what_must_not_serve_ends_the_run_with_its_reason(
    name: str, error: errors.MainspringError, stages: list[Stage]
) -> None:
    steps, endpoint = Steps(failing={name: error}), Endpoint()
    found, status = fail(steps, endpoint)
    assert type(found) is type(error)
    assert found.details == error.details
    assert (status.stage, status.error) == (Stage.FAILED, errors.to_wire(error))
    assert [s.step for s in status.steps] == stages
    assert endpoint.history == []
    assert (endpoint.ended()["stage"], endpoint.ended()["message"]) == ("failed", error.message)
    assert steps.calls.count(name) == 1


def test_a_candidate_that_goes_back_ends_the_run_so_and_is_no_champion() -> None:
    steps, endpoint = Steps(), Endpoint(errors_at={25: 9})
    result = train(steps, endpoint, YES)
    assert result.stage is Stage.ROLLED_BACK
    assert "error rate 0.0900" in result.message
    assert endpoint.traffic is not None
    assert (endpoint.traffic.stable, endpoint.traffic.canary) == (STABLE, None)
    assert messages.SET_CHAMPION not in steps.calls
    assert endpoint.ended()["stage"] == "rolled_back"


def test_a_deployment_that_fails_fails_the_run_with_its_own_error() -> None:
    endpoint = Endpoint(load_error=errors.CorruptArtifact("bundle is not what its digest says", artifact="x"))
    error, status = fail(Steps(), endpoint, auto_approve_by="ana")
    assert isinstance(error, errors.CorruptArtifact)
    assert status.stage is Stage.FAILED
    assert status.error["details"]["artifact"] == "x"


def test_features_of_another_lake_are_not_trained_on() -> None:
    steps = Steps(features_made_from="another lake")
    error, _ = fail(steps, Endpoint())
    assert isinstance(error, errors.Conflict)
    assert "lake" in error.message
    assert messages.TRAIN not in steps.calls


def test_cancel_in_training_waits_until_the_job_has_stopped() -> None:
    steps, endpoint = Steps(trains_for_ever=True), Endpoint()

    async def story(client: Client, _: WorkflowEnvironment) -> training.RunStatus:
        handle = await start(client, train_request())
        await steps.training_started.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, CancelledError)
        assert steps.job_stopped
        return await handle.query(TrainModel.status)

    status = run(story, WORKFLOWS, all_activities(steps, endpoint))
    assert status.stage is Stage.CANCELLED
    assert endpoint.ended()["stage"] == "cancelled"
    assert messages.EVALUATE not in steps.calls
