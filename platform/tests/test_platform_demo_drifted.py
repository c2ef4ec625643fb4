"""The demo's drift: a check is put on the clock and run, its failure is its own, and what came of it is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mainspring.core import errors
from mainspring.core.contracts import control, retraining, schedules, training
from mainspring.platform.demo import drifted, scheduled

METRICS = training.Metrics(
    rows=252,
    base_rate=0.3,
    auc=0.65,
    average_precision=0.45,
    brier=0.2,
    log_loss=0.6,
    calibration_error=0.04,
)
ALARM = "scores: population stability index 0.29 against the accepted model's"
FOUND = retraining.RetrainOutcome(
    project="flight-delay",
    endpoint="delay",
    bundle_digest="sha256:" + "a" * 64,
    predictions=995,
    known=990,
    alarms=(ALARM,),
    run_id="run_new",
    message="training started",
)


class Developer:
    """The control API's schedules: `outcomes` are what each look at a run answers."""

    def __init__(self, *outcomes: schedules.ScheduledOutcome) -> None:
        self._outcomes = list(outcomes)
        self.put: list[tuple[str, schedules.Process, schedules.ScheduleCreate]] = []

    def schedule(self, project: str, process: schedules.Process) -> schedules.ScheduleView:
        if not self.put:
            raise schedules.missing(project, process)
        asked = self.put[-1][2]
        view = schedules.ScheduleView(
            project=project,
            process=process,
            every_minutes=asked.every_minutes,
            is_paused=asked.is_paused,
            request=asked.request,
        )
        return schedules.versioned(view)

    def put_schedule(
        self, project: str, process: schedules.Process, asked: schedules.ScheduleCreate, *, version: str
    ) -> None:
        schedules.request_of(process, project, asked.request)
        current = self.schedule(project, process).version if self.put else ""
        if version != current:
            raise schedules.changed(project, process, current)
        self.put.append((project, process, asked))

    def run_schedule(self, project: str, process: schedules.Process) -> schedules.ScheduledOutcome:
        assert self.put[-1][:2] == (project, process)
        return schedules.ScheduledOutcome(run_id="now-1", state="running")

    def scheduled_run(
        self, project: str, process: schedules.Process, run_id: str
    ) -> schedules.ScheduledOutcome:
        assert run_id == "now-1"
        return self._outcomes.pop(0)


def outcome(state: Any, **fields: Any) -> schedules.ScheduledOutcome:
    return schedules.ScheduledOutcome(run_id="now-1", state=state, **fields)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduled, "_POLL_SECONDS", 0.0)


def test_it_is_put_on_the_clock_by_months_and_split_up_to_the_alarm() -> None:
    api: Any = Developer(outcome("running"), outcome("done", result=FOUND.model_dump(mode="json")))
    assert drifted.check(api, "flight-delay", "delay", 0.02) == FOUND
    ((_, process, asked),) = api.put
    assert process is schedules.Process.RETRAIN
    request = schedules.request_of(process, "flight-delay", asked.request)
    assert isinstance(request, retraining.RetrainRequest)
    assert (request.endpoint, request.sample_fraction, request.window_days) == ("delay", 0.02, 30.5)
    assert request.split == training.RollingDays(test_days=14, valid_days=14)


def test_again_it_is_put_over_the_schedule_that_is_there() -> None:
    done = outcome("done", result=FOUND.model_dump(mode="json"))
    api: Any = Developer(done, done)
    drifted.check(api, "flight-delay", "delay", 0.02)
    assert drifted.check(api, "flight-delay", "delay", 0.5) == FOUND
    assert [asked.request["sample_fraction"] for _, _, asked in api.put] == [0.02, 0.5]


def test_a_check_that_fails_is_its_own_error() -> None:
    wire = errors.to_wire(errors.NotFound("no training set; train first", resource="training set", name="x"))
    api: Any = Developer(outcome("failed", error=wire))
    with pytest.raises(errors.NotFound, match="train first"):
        drifted.check(api, "flight-delay", "delay", 1.0)


def test_a_check_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduled, "_TIMEOUT_SECONDS", 0.0)
    api: Any = Developer(outcome("running"))
    with pytest.raises(errors.DeadlineExceeded, match="`now-1` still runs"):
        drifted.check(api, "flight-delay", "delay", 1.0)


def test_what_came_of_it_is_told_with_who_decided() -> None:
    steps = [
        training.StepReport(step=training.Stage.TRAIN, seconds=30.0),
        training.StepReport(
            step=training.Stage.APPROVAL, seconds=2.0, detail={"by": "approver@local", "approve": True}
        ),
    ]
    result = training.TrainResult(
        run_id="run_new",
        stage=training.Stage.DONE,
        bundle_digest="sha256:" + "c" * 64,
        metrics={"test": METRICS, "valid": METRICS, "test/base_rate": METRICS},
        steps=steps,
    )
    ended = control.RunView(
        run_id="run_new",
        project="flight-delay",
        kind=control.RunKind.TRAIN,
        environment="dev",
        stage=training.Stage.DONE,
        requested_by="service@local",
        on_behalf_of="developer@local",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        result=result.model_dump(mode="json"),
    )
    told = drifted.told(FOUND, ended)
    assert (told.run_id, told.requested_by, told.on_behalf_of) == (
        "run_new",
        "service@local",
        "developer@local",
    )
    assert (told.approved_by, told.model_version, told.seconds) == (
        "approver@local",
        result.bundle_digest,
        32.0,
    )
    assert set(told.metrics) == {"test", "test/base_rate"} and told.alarms == [ALARM]
    nothing = drifted.told(FOUND.model_copy(update={"run_id": "", "message": "60 of 60"}), None)
    assert (nothing.run_id, nothing.approved_by, nothing.message) == ("", "", "60 of 60")
