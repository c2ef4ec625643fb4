"""RetrainOnDrift: its decisions on a server, and its activities over real logged predictions of a real bundle."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import tiny_project
from retraining_doubles import ALARM, BUNDLE, REQUEST, Watched, alarmed, report
from retraining_house import House
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, run

from mainspring.core import errors, projects, settings
from mainspring.core.contracts import retraining, training
from mainspring.workflows.ray_jobs import job_files
from mainspring.workflows.retraining import activities, messages
from mainspring.workflows.retraining.workflow import RetrainOnDrift

HOUR_US = 3_600_000_000


def outcome(watched: Watched) -> retraining.RetrainOutcome:
    async def story(client: Client, _: WorkflowEnvironment) -> retraining.RetrainOutcome:
        found: retraining.RetrainOutcome = await client.execute_workflow(
            RetrainOnDrift.run, REQUEST, id="retrain-tiny", task_queue=QUEUE
        )
        return found

    return run(story, [RetrainOnDrift], watched.activities())


def test_an_alarm_starts_one_training_with_its_cause() -> None:
    watched = alarmed()
    found = outcome(watched)
    assert (found.run_id, found.alarms, found.bundle_digest) == ("run_new", (ALARM,), BUNDLE)
    (asked,) = watched.started
    assert (asked.alarms, asked.key, asked.request) == ((ALARM,), "retrain-tiny", REQUEST)


@pytest.mark.parametrize(
    "checked",
    [
        messages.Checked(bundle_digest=BUNDLE, predictions=600, known=500, report=report()),
        messages.Checked(message="no predictions are logged"),
    ],
)
def test_without_an_alarm_nothing_is_started(checked: messages.Checked) -> None:
    watched = Watched(checked)
    found = outcome(watched)
    assert (found.run_id, found.alarms, found.message) == ("", (), checked.message) and watched.started == []


def test_a_budget_that_is_spent_fails_the_check_in_its_own_words() -> None:
    refusal = errors.BudgetExceeded("the month's budget is spent", project="tiny", limit_usd=1, needed_usd=2)
    with pytest.raises(WorkflowFailureError) as caught:
        outcome(alarmed(refuses=refusal))
    assert "the month's budget is spent" in str(caught.value.cause.__cause__)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    monkeypatch.setattr(tiny_project, "PROJECT", tiny_project.Tiny(rows=3000))
    yield House(tmp_path)


def test_a_model_that_holds_is_no_alarm(house: House) -> None:
    asked = house.rows.tail(1000)
    house.log(asked, house.scores(asked))
    found = house.check()
    assert (found.bundle_digest, found.predictions, found.known) == (house.digest, 1000, 1000)
    assert found.report is not None and found.report.alarms == () and found.report.reference_rows == 600
    assert (
        found.report.windows[-1].known == 719
    )  # half a day, a row a minute, less what its last hour had not yet


def test_what_happened_otherwise_than_predicted_is_an_alarm(house: House) -> None:
    asked = house.rows.tail(1000)
    house.log(asked, house.scores(asked) * np.float32(0.5))
    found = house.check()
    assert found.report is not None and any(a.startswith("calibration: ") for a in found.report.alarms)


def test_what_a_canary_answered_and_what_was_asked_again_changes_nothing(house: House) -> None:
    """Both come of a deployment: its candidate's answers, and probes that are answered long after their features."""
    asked = house.rows.tail(1000)
    house.log(asked, house.scores(asked))
    house.log(asked, house.scores(asked) * np.float32(0.1), later_us=2 * HOUR_US)
    house.log(asked, house.scores(asked) * np.float32(0.1), later_us=3 * HOUR_US)
    house.log(asked, house.scores(asked), role="canary", digest="sha256:" + "c" * 64, later_us=HOUR_US)
    found = house.check()
    # A probe tells of its own answer once; the outcome is of what was answered first.
    assert (found.bundle_digest, found.known) == (house.digest, 1000)
    assert found.report is not None
    newest = found.report.windows[-1]
    assert newest.mean_score == pytest.approx(float(house.scores(asked.tail(newest.known)).mean()), abs=1e-4)


def test_the_log_is_counted_once_and_windows_outlive_it(house: House) -> None:
    """Of what the log has let go of the sums are still there."""
    early, late = house.rows.slice(600, 600), house.rows.tail(400)
    house.log(early, house.scores(early))
    before = house.check()
    for file in house.settings.serving.predictions_dir.rglob("*.parquet"):
        file.unlink()
    house.log(late, house.scores(late))
    found = house.check()
    assert (before.predictions, before.known) == (600, 600)
    assert (found.predictions, found.known) == (1000, 1000)
    assert house.check() == found


def test_windows_shorter_than_the_sums_are_refused(house: House) -> None:
    with pytest.raises(ApplicationError) as caught:
        house.check(window_days=0.01)
    assert caught.value.type == "invalid_request" and "an hour or more" in str(caught.value)


def test_a_log_of_canaries_alone_judges_nobody(house: House) -> None:
    asked = house.rows.tail(300)
    house.log(asked, house.scores(asked), role="canary")
    found = house.check()
    assert found.report is None and "no stable bundle's predictions" in found.message


def test_outcomes_that_are_not_known_yet_are_waited_for(house: House) -> None:
    asked = house.rows.tail(150).with_columns(pl.col("due_us") + 30 * 86_400_000_000)
    house.log(asked, house.scores(asked))
    found = house.check()
    assert (found.predictions, found.known, found.report) == (150, 0, None)
    assert "0 of 150 predictions have an outcome" in found.message


def test_without_predictions_there_is_nothing_to_judge_and_without_a_training_it_says_so(
    house: House,
) -> None:
    found = house.check()
    assert found.report is None and "`serving.log_predictions`" in found.message
    house.log(house.rows.tail(300), house.scores(house.rows.tail(300)))
    next(house.space.run("run_1").glob("train-output-*.json")).unlink()
    with pytest.raises(ApplicationError) as caught:
        house.check()
    assert caught.value.type == "not_found" and "run_1" in str(caught.value)


def test_of_a_project_without_times_no_outcome_can_be_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.log(house.rows.tail(300), house.scores(house.rows.tail(300)))
    monkeypatch.setattr(tiny_project.Tiny, "event_time_column", "")
    with pytest.raises(ApplicationError) as caught:
        house.check()
    assert caught.value.type == "invalid_request" and caught.value.non_retryable
    assert "no time column" in str(caught.value) and "pause this schedule" in str(caught.value)


class Control:
    """What stands for the control API: its runs, and what was posted."""

    def __init__(self, *runs: dict[str, Any]) -> None:
        self.runs, self.posted = list(runs), []  # type: ignore[var-annotated]

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"items": self.runs, "next": ""})
        self.posted.append(json.loads(request.content))
        return httpx.Response(201, json=self.run("pending", run_id="run_new"))

    @staticmethod
    def run(
        stage: str, *, run_id: str = "run_old", hours_ago: float = 0.0, cause: str = "drift"
    ) -> dict[str, Any]:
        created = datetime.now(UTC) - timedelta(hours=hours_ago)
        return {
            "run_id": run_id, "project": "tiny", "kind": "train", "environment": "dev", "stage": stage,
            "requested_by": "service@local", "created_at": created.isoformat(), "cause": cause,
        }  # fmt: skip

    def start(
        self, request: retraining.RetrainRequest = REQUEST, until: datetime | None = None
    ) -> messages.Started:
        http = httpx.AsyncClient(base_url="http://control", transport=httpx.MockTransport(self.answer))
        made = activities.RetrainingActivities(settings.load({}, directory=Path("/nonexistent")), http)

        async def main() -> messages.Started:
            return await made.start(
                messages.Start(
                    request=request, alarms=(ALARM, "ranking: x"), key="retrain-tiny-1", until=until
                )
            )

        return asyncio.run(main())


def test_a_training_is_asked_for_with_its_cause_and_a_key_of_the_check() -> None:
    control = Control(Control.run("running", cause=""), Control.run("done", hours_ago=25))
    control.runs[0]["stage"] = "train"
    assert control.start().run_id == "run_new"
    (asked,) = control.posted
    assert asked["cause"] == f"{ALARM}; ranking: x" and asked["idempotency_key"] == "retrain-retrain-tiny-1"
    assert (asked["endpoint"], asked["kind"]) == ("tiny", "train")


def test_an_alert_that_asks_for_it_is_in_its_cause() -> None:
    control = Control()
    control.start(REQUEST.model_copy(update={"alerts": ("alert_1",)}))
    assert control.posted[0]["cause"].startswith(f"alert `alert_1`; {ALARM}")


def test_it_is_asked_for_in_the_name_of_who_put_the_schedule() -> None:
    control = Control()
    names = {"on_behalf_of": "ana@example.org", "prompted_by": "eva@example.org"}
    control.start(REQUEST.model_copy(update=names))
    control.start()
    assert [{name: asked[name] for name in names} for asked in control.posted] == [
        names,
        dict.fromkeys(names, ""),
    ]


def test_the_training_learns_up_to_the_alarm_where_that_is_asked() -> None:
    """The split that the project has stands still: it has no row of what drifted."""
    until = datetime(2013, 12, 8, tzinfo=UTC)
    control = Control()
    control.start(until=until)
    assert control.posted[0]["split"] is None
    request = REQUEST.model_copy(update={"split": training.RollingDays(test_days=7, valid_days=3)})
    control.start(request, until)
    split = training.RollingSplit.model_validate(control.posted[1]["split"])
    assert split == training.RollingSplit(until=until, test_days=7, valid_days=3)


def test_the_end_of_the_window_that_alarmed_goes_to_the_training() -> None:
    watched = alarmed()
    outcome(watched)
    assert [s.until for s in watched.started] == [report(ALARM).windows[-1].ends]


def test_the_reference_is_the_newest_outputs_and_no_failed_executions(house: House) -> None:
    """`z` comes last by name and failed before."""
    failed = house.space.run("run_1") / "train-output-zzzzzzzz-0.json"
    job_files.write_output(failed, errors.JobFailed("diverged"))
    os.utime(failed, (1, 1))
    house.log(house.rows.tail(300), house.scores(house.rows.tail(300)))
    assert house.check().known > 0


def test_a_training_on_its_way_is_joined_and_a_new_one_waits() -> None:
    joined = Control(Control.run("approval", hours_ago=100))
    assert joined.start().run_id == "run_old" and joined.posted == []
    soon = Control(Control.run("failed", hours_ago=2))
    found = soon.start()
    assert (
        found.run_id == ""
        and "ended as `failed`; the next is due after" in found.message
        and soon.posted == []
    )
