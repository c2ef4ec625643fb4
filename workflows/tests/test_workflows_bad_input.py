"""Bad input of a training, from the step that finds it to the end of the run: typed, with the next step, nothing registered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_project
from activity_calls import do, refused
from temporalio.client import Client as Temporal
from temporalio.client import WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from training_doubles import Steps, all_activities, train_request
from tuning_doubles import tune_request
from workflows_doubles import QUEUE, Endpoint, run

from mainspring.core import errors, projects, settings
from mainspring.core.contracts import training
from mainspring.core.contracts.training import Stage
from mainspring.core.features import ops, plan
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.ray_jobs import client, usage
from mainspring.workflows.training import data_activities, messages
from mainspring.workflows.training.workflow import TrainModel
from mainspring.workflows.tuning import activities as tuning_activities
from mainspring.workflows.tuning import messages as tuning_messages

#: Activities that leave something behind for others.
PUBLISHING = {messages.BUNDLE, messages.REGISTER, messages.ADMIT, messages.SET_CHAMPION}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> tiny_project.Tiny:
    project = tiny_project.Tiny()
    monkeypatch.setattr(tiny_project, "PROJECT", project)
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    return project


class Data:
    """The real data steps of the tiny project."""

    def __init__(self, directory: Path) -> None:
        self._activities = data_activities.DataActivities(directory)
        self._request = training.TrainRequest(run_id="run_1", project="tiny", requested_by="ana")

    def up_to(self, last: str) -> Any:
        """Each step until `last`, whose answer or failure it is."""
        for name in ("ingest", "validate", "features", "join", "leak_check", "fit_plan"):
            if name == last:
                return do(getattr(self._activities, name)(self._request))
            do(getattr(self._activities, name)(self._request))
        raise AssertionError(last)


def wrong_plan(columns: tuple[plan.PlanColumn, ...]) -> plan.TransformPlan:
    return plan.TransformPlan(name="tiny", columns=columns)


@pytest.mark.parametrize(
    ("column", "feature", "says"),
    [
        (plan.dense("nosuch", ops.Impute(), ops.Standardise()), "nosuch", "nosuch"),
        (plan.dense("carrier", ops.Impute(), ops.Standardise()), "carrier", "string"),
    ],
)
def test_a_plan_of_other_columns_than_there_are_names_the_column(
    tmp_path: Path,
    tiny: tiny_project.Tiny,
    monkeypatch: pytest.MonkeyPatch,
    column: plan.PlanColumn,
    feature: str,
    says: str,
) -> None:
    monkeypatch.setattr(tiny, "declare_plan", lambda: wrong_plan((column,)))
    error = refused(lambda: Data(tmp_path).up_to("fit_plan"))
    assert isinstance(error, errors.SchemaMismatch) and not error.retryable
    assert error.feature == feature and says in error.message.lower()


def test_data_that_is_gone_or_wrong_is_said_before_anything_is_learned(
    tmp_path: Path, tiny: tiny_project.Tiny
) -> None:
    data = Data(tmp_path)
    data.up_to("ingest")
    tiny.bad_rows = True
    error = refused(lambda: data.up_to("validate"))
    assert isinstance(error, errors.DataInvalid) and error.failed == ("labels",) and not error.retryable
    fresh = data_activities.DataActivities(tmp_path / "elsewhere")
    request = training.TrainRequest(run_id="run_1", project="tiny", requested_by="ana")
    error = refused(lambda: do(fresh.validate(request)))
    assert isinstance(error, errors.NotFound) and ";" in error.message, "what to do next is behind it"


ENDS = [
    (messages.INGEST, errors.NotFound("no `flights.csv`; install the data", resource="source", name="x")),
    (messages.VALIDATE, errors.DataInvalid("2 checks failed; mend them", dataset="lake", failed=("labels",))),
    (messages.FIT_PLAN, errors.SchemaMismatch("no column `age`; mend the plan", feature="age")),
    (messages.TRAIN, errors.JobFailed("loss became nan; lower `learning_rate`", status="diverged")),
    (messages.TRAIN, errors.JobFailed("rank 0 died; give it more memory", status="workers_failed")),
    (messages.EVALUATE, errors.GateFailed("auc; train again", gate="min_auc", expected="0.75", got="0.7")),
]


@pytest.mark.parametrize(("step", "error"), ENDS, ids=lambda value: getattr(value, "code", str(value)))
def test_it_ends_the_run_with_its_own_words_and_leaves_nothing_for_others(
    step: str, error: errors.MainspringError
) -> None:
    steps, endpoint = Steps(failing={step: error}), Endpoint()

    async def story(
        server: Temporal, _: WorkflowEnvironment
    ) -> tuple[errors.MainspringError, training.RunStatus]:
        handle = await server.start_workflow(
            TrainModel.run, train_request(), id="run_train", task_queue=QUEUE
        )
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        return temporal_errors.from_failure(caught.value), await handle.query(TrainModel.status)

    found, status = run(story, [TrainModel], all_activities(steps, endpoint))
    assert (type(found), found.message, found.details) == (type(error), error.message, error.details)
    assert (status.stage, status.error) == (Stage.FAILED, errors.to_wire(error))
    assert steps.calls.count(step) == 1 and not PUBLISHING & set(steps.calls)
    assert endpoint.history == [] and endpoint.traffic is not None
    assert (endpoint.ended()["stage"], endpoint.ended()["message"]) == ("failed", error.message)


@pytest.mark.parametrize("seconds", [-3600, 0, 3600])
def test_what_a_job_costs_is_its_cpu_time_whatever_its_clock_says(seconds: int) -> None:
    """A host whose clock is set back while a job runs ends it before it began."""
    began = 1_700_000_000_000
    job = client.Job(submission_id="j", status="SUCCEEDED", start_time=began, end_time=began + seconds * 1000)
    used = usage.core_hours(train_request(), job, key="k", service="ray-train", cpu_seconds=1800.0)
    assert (used.consumed_quantity, used.sku) == (0.5, "cpu_core_hour")
    assert (used.ended_at - used.started_at).total_seconds() == seconds


def test_a_budget_that_ran_out_under_a_study_ends_it_and_starts_no_training(tmp_path: Path) -> None:
    refusal = errors.BudgetExceeded(
        "the month's budget 1.0 is spent (1.2); raise it", project="tiny", limit_usd=1.0, needed_usd=1.2
    )
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        document = {**errors.to_wire(refusal), "status": 403}
        kind = {"content-type": "application/problem+json"}
        return httpx.Response(403, content=json.dumps(document), headers=kind)

    control = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://control")
    tuning = tuning_activities.TuningActivities(settings.load({}, directory=tmp_path), control)
    start = tuning_messages.Start(
        request=tune_request(), parameters=training.ModelChanges(dropout=0.2), cause="study"
    )
    error = refused(lambda: do(tuning.start(start)))
    assert isinstance(error, errors.BudgetExceeded) and "raise it" in error.message and not error.retryable
    assert asked == ["/api/v1/runs"], "asked once, and not again"
