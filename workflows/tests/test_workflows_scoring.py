"""BatchScore's decisions: its steps in order, its progress, and every way in which it ends."""

from __future__ import annotations

import asyncio

import pytest
from scoring_doubles import ScoreSteps, score_request
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, Endpoint, run

from mainspring.core import errors
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import scoring, training
from mainspring.core.contracts.training import Stage
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.batch_scoring import messages
from mainspring.workflows.batch_scoring.workflow import BatchScore
from mainspring.workflows.training import messages as training_messages


def score(steps: ScoreSteps, endpoint: Endpoint) -> tuple[scoring.ScoreResult, training.RunStatus]:
    async def story(client: Client, _: WorkflowEnvironment) -> tuple[scoring.ScoreResult, training.RunStatus]:
        ours = WorkflowClient(client, QUEUE)
        assert await ours.start_scoring(score_request()) == "run_score"
        return await ours.scoring_result("run_score"), await ours.status("run_score")

    return run(story, [BatchScore], [*steps.activities(), *endpoint.activities()])


def fail(steps: ScoreSteps, endpoint: Endpoint) -> tuple[errors.MainspringError, training.RunStatus]:
    async def story(
        client: Client, _: WorkflowEnvironment
    ) -> tuple[errors.MainspringError, training.RunStatus]:
        handle = await client.start_workflow(
            BatchScore.run, score_request(), id="run_score", task_queue=QUEUE
        )
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        return temporal_errors.from_failure(caught.value), await handle.query(BatchScore.status)

    return run(story, [BatchScore], [*steps.activities(), *endpoint.activities()])


def test_planned_scored_metered_published_and_on_record() -> None:
    steps, endpoint = ScoreSteps(holds_memory=True), Endpoint()
    result, status = score(steps, endpoint)
    metered = [training_messages.REPORT_USAGE] * 2
    assert steps.calls == [messages.PLAN, messages.SCORE, *metered, messages.PUBLISH]
    assert (result.stage, result.rows, result.parts, result.output) == (Stage.DONE, 100, 4, "/data/out")
    assert result.scores_digest == "sha256:scores"
    assert [s.step for s in result.steps] == [Stage.PLAN, Stage.SCORE, Stage.PUBLISH]
    assert status.stage is Stage.DONE and status.progress == 1.0
    assert [u.usage_key for u in steps.usage] == ["run_score-score-0", "run_score/memory"]
    assert endpoint.told == ["run_score/end"]
    assert scoring.ScoreResult.model_validate(endpoint.ended()["result"]).scores_digest == "sha256:scores"


def test_progress_is_seen_while_the_job_runs_and_cancel_waits_for_its_end() -> None:
    steps, endpoint = ScoreSteps(scores_for_ever=True), Endpoint()

    async def story(client: Client, _: WorkflowEnvironment) -> training.RunStatus:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_scoring(score_request())
        await steps.scoring_started.wait()
        async for status in ours.watch("run_score", poll_seconds=0.01):
            if status.progress == 0.6:
                seen = status
                break
        await ours.cancel("run_score")
        with pytest.raises(errors.Conflict, match="cancelled"):
            await ours.scoring_result("run_score")
        return seen

    seen = run(story, [BatchScore], [*steps.activities(), *endpoint.activities()])
    assert (seen.stage, seen.message) == (Stage.SCORE, "60 of 100 rows, 2 of 4 parts")
    assert steps.job_stopped
    assert messages.PUBLISH not in steps.calls
    assert endpoint.ended()["stage"] == "cancelled"


@pytest.mark.parametrize("step", [messages.PLAN, messages.SCORE, messages.PUBLISH])
def test_a_step_that_cannot_be_mended_ends_the_run_with_its_error(step: str) -> None:
    refusal = errors.DataInvalid("column `x` is infinite", dataset="entity rows", failed=("x",))
    steps, endpoint = ScoreSteps(failing={step: refusal}), Endpoint()
    error, status = fail(steps, endpoint)
    assert isinstance(error, errors.DataInvalid) and error.failed == ("x",)
    assert (status.stage, status.message) == (Stage.FAILED, "column `x` is infinite")
    assert steps.calls[-1] == step and steps.calls.count(step) == 1
    assert endpoint.ended()["stage"] == "failed"


def test_an_end_that_cannot_be_put_on_record_is_said() -> None:
    endpoint = Endpoint(report_error=errors.NotFound("no run", resource="run", name="run_score"))
    result, _ = score(ScoreSteps(), endpoint)
    assert result.stage is Stage.DONE and "the end is not on record: no run" in result.message


def test_late_progress_says_nothing_any_more() -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> training.RunStatus:
        ours = WorkflowClient(client, QUEUE)
        steps.failing[messages.PUBLISH] = errors.Conflict("other", resource="output", name="out")
        handle = await client.start_workflow(
            BatchScore.run, score_request(), id="run_score", task_queue=QUEUE
        )
        told = scoring.ScoreProgress(parts=4, parts_done=4, rows=100, rows_done=100)
        # Before the step: the workflow is still planning.
        await handle.signal(scoring.PROGRESS_SIGNAL, told)
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(handle.result(), 30)
        return await ours.status("run_score")

    steps = ScoreSteps(progress=())
    status = run(story, [BatchScore], [*steps.activities(), *Endpoint().activities()])
    assert status.message == "other"
