"""A study's decisions and steps: it draws repeatably, starts one training with the best, and ends typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_project
import tune_job_double
from activity_calls import do, in_execution, refused
from pydantic import ValidationError
from ray_double import TOKEN, RayDouble, serve
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from training_doubles import Steps, all_activities
from tuning_doubles import BEST, Study, trials, tune_request
from workflows_doubles import QUEUE, Endpoint, run

from mainspring.core import errors, projects, settings
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import control, training, tuning
from mainspring.core.contracts.training import Stage
from mainspring.workflows.ray_jobs import tune_messages
from mainspring.workflows.training import data_activities
from mainspring.workflows.training import messages as training_messages
from mainspring.workflows.tuning import activities, draw, messages
from mainspring.workflows.tuning.workflow import TuneModel

SPACE = tuning.SearchSpace(hidden_sizes=((8,), (16, 8)), batch_rows=(64, 128), dropout=(0.1, 0.3))


def study(
    double: Study, steps: Steps | None = None, endpoint: Endpoint | None = None, **changes: Any
) -> tuple[tuning.TuneResult | errors.MainspringError, training.RunStatus]:
    """What a study comes to, and its last status."""

    async def story(
        client: Client, _: WorkflowEnvironment
    ) -> tuple[tuning.TuneResult | errors.MainspringError, training.RunStatus]:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_tuning(tune_request(**changes))
        try:
            return await ours.tuning_result("run_tune"), await ours.status("run_tune")
        except errors.MainspringError as error:
            return error, await ours.status("run_tune")

    acts = [*all_activities(steps or Steps(), endpoint or Endpoint()), *double.activities()]
    return run(story, [TuneModel], acts)


def test_the_best_is_trained_by_one_run_of_its_own() -> None:
    double, endpoint, steps = Study(), Endpoint(), Steps()
    result, status = study(double, steps, endpoint)
    assert isinstance(result, tuning.TuneResult)
    assert (result.stage, result.best, result.parameters) == (Stage.DONE, 1, BEST)
    assert (result.trials, result.training_run_id) == (trials(), "run_of_the_best")
    (started,) = double.started
    assert started.parameters == BEST and "study `run_tune`: trial 1 of 3" in started.cause
    assert [s.step for s in result.steps][-2:] == [Stage.TUNE, Stage.TRAIN]
    assert [u.usage_key for u in steps.usage] == ["run_tune/tune/a/0", "run_tune/tune/a/0/memory"]
    assert endpoint.told == ["run_tune/end"] and status.stage is Stage.DONE


def test_who_wants_the_parameters_only_gets_no_training() -> None:
    double = Study(is_cut_short=True)
    result, status = study(double, train_best=False, max_cpu_hours=0.5)
    assert isinstance(result, tuning.TuneResult)
    assert (double.started, result.training_run_id, result.is_cut_short) == ([], "", True)
    assert "0.5 core-hours ended the study" in status.message


def test_a_study_without_a_result_fails_with_what_its_trials_say() -> None:
    double, endpoint = Study(error=errors.JobFailed("none of 3 trials came to a result")), Endpoint()
    error, status = study(double, endpoint=endpoint)
    assert isinstance(error, errors.JobFailed) and "none of 3" in error.message
    assert (status.stage, double.started) == (Stage.FAILED, [])
    assert endpoint.ended()["stage"] == "failed"


def test_data_that_another_run_replaced_is_no_data_of_this_study() -> None:
    double = Study()
    error, _ = study(double, Steps(features_made_from="another"))
    assert isinstance(error, errors.Conflict) and "ingest" in error.message
    assert not double.begun.is_set()


def test_bad_data_ends_it_before_ray() -> None:
    double = Study()
    bad = errors.DataInvalid("no rows", dataset="lake", failed=("rows",))
    error, _ = study(double, Steps(failing={training_messages.VALIDATE: bad}))
    assert isinstance(error, errors.DataInvalid) and not double.begun.is_set()


def test_cancel_stops_the_job_and_starts_nothing() -> None:
    double, endpoint = Study(for_ever=True), Endpoint()

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_tuning(tune_request())
        await double.begun.wait()
        await ours.cancel("run_tune")
        with pytest.raises(errors.Conflict, match="cancelled"):
            await ours.tuning_result("run_tune")

    run(story, [TuneModel], [*all_activities(Steps(), endpoint), *double.activities()])
    assert double.stopped and double.started == []
    assert endpoint.ended()["stage"] == "cancelled"


def test_the_draw_is_repeatable_within_bounds_and_begins_with_the_projects_own() -> None:
    spec = tiny_project.Tiny().model_spec()
    drawn = draw.draw(spec, SPACE, trials=40, seed=3)
    assert drawn == draw.draw(spec, SPACE, trials=40, seed=3) != draw.draw(spec, SPACE, trials=40, seed=4)
    assert drawn[0] == training.ModelChanges() and len(set(drawn)) == 40
    assert drawn[:10] == draw.draw(spec, SPACE, trials=10, seed=3), "more trials are the same ones and more"
    for one in drawn[1:]:
        assert one.learning_rate is not None and one.dropout is not None and one.weight_decay is not None
        assert spec.learning_rate / 10 <= one.learning_rate <= spec.learning_rate * 10
        assert 0.1 <= one.dropout <= 0.3 and 1e-6 <= one.weight_decay <= 1e-2
        assert one.hidden_sizes in SPACE.hidden_sizes and one.batch_rows in SPACE.batch_rows
    rates = [one.learning_rate / spec.learning_rate for one in drawn[1:] if one.learning_rate]
    assert 10 < sum(rate < 1 for rate in rates) < 30, "as many below the project's own as above"


def test_a_space_that_goes_down_or_has_another_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="give the smaller first"):
        tuning.SearchSpace(dropout=(0.5, 0.1))
    with pytest.raises(ValidationError, match="learning_rates"):
        tuning.TuneOptions.model_validate({"space": {"learning_rates": [1e-4, 1e-3]}})
    assert tuning.TuneOptions().model_dump().keys() <= tuning.TuneRequest.model_fields.keys()


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[RayDouble]:
    token = tmp_path / "state" / "ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN + "\n")
    with serve(RayDouble(execute=tune_job_double.run)) as double:
        yield double


class World:
    """A project whose data steps are done, and a study's activities beside it."""

    def __init__(self, directory: Path, ray_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tiny_project, "PROJECT", tiny_project.Tiny())
        monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
        in_force = settings.load(
            {
                "MAINSPRING_STACK_STATE_DIR": str(directory / "state"),
                "MAINSPRING_RAY_DASHBOARD_URL": ray_url,
                "MAINSPRING_RAY_CAPACITY": "spot",
            },
            directory=directory,
        )
        self.posted: list[dict[str, Any]] = []

        def answer(asked: httpx.Request) -> httpx.Response:
            self.posted.append(json.loads(asked.content))
            view = {"run_id": "run_best", "project": "tiny", "kind": "train", "environment": "dev"}
            more = {"stage": "pending", "requested_by": "service@local", "created_at": "2026-11-29T00:00:00Z"}
            return httpx.Response(201, json={**view, **more})

        control_api = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://control")
        self.tuning = activities.TuningActivities(in_force, control_api, poll_seconds=0.01)
        self.request = tune_request(project="tiny", sample_fraction=0.5, num_workers=1, deploy_to="")
        data = data_activities.DataActivities(in_force.stack.state_dir)
        for name in ("ingest", "validate", "features", "join", "leak_check", "fit_plan"):
            do(getattr(data, name)(messages.data_request(self.request)))


def test_a_study_is_submitted_once_an_execution_and_metered(
    tmp_path: Path, ray: RayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, ray.url, monkeypatch)
    tuned = in_execution("11111111-a", world.tuning.tune, world.request)
    assert tuned == in_execution("11111111-a", world.tuning.tune, world.request)
    assert ray.submitted == ["run_tune-tune-11111111-0"]
    assert tuned.best == max(tuned.trials, key=lambda t: t.parameters.dropout or 0.0).number != 0
    assert tuned.detail["done"] == 3
    assert tuned.usage.usage_key == "run_tune/tune/11111111/0"
    assert tuned.usage.consumed_quantity == pytest.approx(3 * 1.8 / 3600)
    assert tuned.usage.capacity == "spot"
    again = in_execution("22222222-b", world.tuning.tune, world.request)
    assert again.usage.usage_key == "run_tune/tune/22222222/0"


def test_a_study_of_other_trials_does_not_go_on_with_these(
    tmp_path: Path, ray: RayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, ray.url, monkeypatch)

    def name(**changes: Any) -> str:
        in_execution("x" * 8, world.tuning.tune, world.request.model_copy(update=changes))
        (spec,) = (tmp_path / "state").rglob("tune-spec.json")
        return tune_messages.read_spec(spec).base.run_name

    assert name() == name(max_cpu_hours=9.0), "a study that was cut short goes on with more"
    assert len({name(), name(trials=4), name(seed=1), name(grace_epochs=1)}) == 4


def test_the_best_is_started_through_the_control_api_by_one_key(
    tmp_path: Path, ray: RayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, ray.url, monkeypatch)
    asked = messages.Start(request=world.request, parameters=BEST, cause="study")
    assert do(world.tuning.start(asked)).run_id == "run_best"
    wanted = control.RunCreate.model_validate(world.posted[0])
    assert (wanted.kind, wanted.model, wanted.idempotency_key) == (
        control.RunKind.TRAIN,
        BEST,
        "tune-run_tune",
    )
    assert wanted.on_behalf_of == world.request.requested_by != ""


def test_without_its_data_steps_it_says_so(
    tmp_path: Path, ray: RayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, ray.url, monkeypatch)
    error = refused(lambda: do(world.tuning.tune(world.request.model_copy(update={"run_id": "run_new"}))))
    assert isinstance(error, errors.NotFound) and "start the run again" in error.message
