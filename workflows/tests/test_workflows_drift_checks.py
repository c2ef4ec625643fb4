"""CheckDrift: its decisions on a server, and its activities over a real bundle, its training and its logged predictions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import tiny_project
from drift_check_doubles import REQUEST, Steps, found, report
from retraining_doubles import Watched as Alarmed
from retraining_doubles import alarmed
from retraining_house import House
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, run

from mainspring.core import projects
from mainspring.core.contracts import alerts, drift_checks
from mainspring.workflows.drift_checks import activities, messages
from mainspring.workflows.drift_checks.workflow import CheckDrift
from mainspring.workflows.retraining.workflow import RetrainOnDrift


def outcome(
    steps: Steps, retraining: Alarmed | None = None, **changes: Any
) -> drift_checks.DriftCheckOutcome:
    request = REQUEST.model_copy(update=changes)

    async def story(client: Client, _: WorkflowEnvironment) -> drift_checks.DriftCheckOutcome:
        done: drift_checks.DriftCheckOutcome = await client.execute_workflow(
            CheckDrift.run, request, id="drift-tiny", task_queue=QUEUE
        )
        return done

    return run(
        story, [CheckDrift, RetrainOnDrift], [*steps.activities(), *(retraining or alarmed()).activities()]
    )


def test_a_report_is_put_on_record_with_what_it_found() -> None:
    steps = found("calibration")
    done = outcome(steps)
    assert (done.report_id, done.alerts, done.alarms) == ("report_1", ("alert_1",), ("calibration moved",))
    assert (done.rows, done.known, done.run_id) == (500, 400, "")
    (asked,) = steps.recorded
    assert (asked.made_by, asked.report) == ("drift-tiny", report("calibration"))


def test_nothing_to_judge_is_nothing_on_record() -> None:
    steps = Steps(messages.Checked(message="no predictions are logged", damaged=("a",)))
    done = outcome(steps, retrain=True)
    assert (done.report_id, done.message, done.damaged) == ("", "no predictions are logged", ("a",))
    assert steps.recorded == []


@pytest.mark.parametrize(
    ("kinds", "run_id"),
    [(("scores",), "run_new"), (("quality",), ""), ((), "")],
    ids=["drift", "broken", "none"],
)
def test_what_a_new_model_may_mend_starts_a_retraining_where_it_is_asked_for(kinds: Any, run_id: str) -> None:
    assert outcome(found(*kinds), retrain=True).run_id == run_id
    assert outcome(found(*kinds)).run_id == ""


def test_an_alert_whose_rule_says_so_starts_a_retraining_that_its_author_answers_for() -> None:
    steps, retraining = found("scores"), alarmed()
    steps.retrain = alerts.Retraining(alerts=("alert_1",), asked_by="ana")
    done = outcome(steps, retraining, on_behalf_of="eva")
    assert (done.run_id, done.message) == ("run_new", "training started")
    request = retraining.started[0].request
    assert (request.alerts, request.on_behalf_of, request.prompted_by) == (("alert_1",), "ana", "eva")
    outcome(steps, retraining, on_behalf_of="eva", prompted_by="uno", retrain=True)
    assert len(retraining.started) == 2  # each check one, whoever asks for it
    assert retraining.started[1].request.prompted_by == "uno"


def test_whoever_runs_a_check_that_retrains_answers_for_it_too() -> None:
    retraining = alarmed()
    outcome(found("scores"), retraining, on_behalf_of="eva", prompted_by="uno", retrain=True)
    request = retraining.started[0].request
    assert (request.on_behalf_of, request.prompted_by, request.alerts) == ("eva", "uno", ())


class Control:
    """What stands for the control API: rules, and the reports that were posted."""

    def __init__(self, **rules: Any) -> None:
        self.rules, self.posted = rules, []  # type: ignore[var-annotated]

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            view = alerts.RulesView(
                project="tiny", version=1, rules=alerts.AlertRules.model_validate(self.rules)
            )
            return httpx.Response(200, text=view.model_dump_json())
        record = alerts.ReportRecord.model_validate_json(request.content)
        self.posted.append(record)
        told = record.report.model_dump(mode="json") | {
            "report_id": "report_1", "digest": "d", "recorded_at": "2026-11-01T00:00:00Z", "alarms": 1, "notices": 0,
            "alerts": ["alert_1"],
        }  # fmt: skip
        return httpx.Response(201, text=json.dumps(told))


class Watched(House):
    def drift(self, control: Control | None = None, **changes: Any) -> messages.Checked:
        http = httpx.AsyncClient(
            base_url="http://control", transport=httpx.MockTransport((control or Control()).answer)
        )
        made = activities.DriftCheckActivities(self.settings, http)
        request = REQUEST.model_copy(update={"window_hours": 12.0, **changes})

        async def main() -> messages.Checked:
            return await made.check(request)

        return asyncio.run(main())


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    monkeypatch.setattr(tiny_project, "PROJECT", tiny_project.Tiny(rows=3000))
    yield Watched(tmp_path)


def test_a_model_that_holds_has_no_alarm_and_a_page_of_its_own(house: Watched) -> None:
    asked = house.rows.tail(1000)
    house.log(asked, house.scores(asked))
    done = house.drift()
    assert done.report is not None and done.report.alarms == () and done.message == ""
    assert done.report.known >= 700 and done.report.reference_rows == 600
    page = house.settings.monitor.reports_dir / f"{done.html_digest.removeprefix('sha256:')}.html"
    told = page.read_text()
    assert "<html" in told[:2000].lower() and page.parent.stat().st_mode & 0o077 == 0
    assert (
        "Target drift and performance: the " in told
        and "Drift in column 'late'" in told
        and "ROC AUC" in told
    )
    assert house.drift().report == done.report  # nothing is counted twice


def test_what_happened_otherwise_is_an_alarm_by_the_projects_own_limits(house: Watched) -> None:
    asked = house.rows.tail(1000)
    house.log(asked, house.scores(asked) * np.float32(0.5))
    kinds = {f.kind for f in house.drift(html=False).report.alarms}  # type: ignore[union-attr]
    assert {"calibration", "scores"} <= kinds
    loose = Control(limits={"max_calibration_gap": 0.9, "max_score_psi": 50.0})
    assert house.drift(loose, html=False).report.alarms == ()  # type: ignore[union-attr]


def test_slices_are_of_the_first_check_and_must_be_columns_of_strings(house: Watched) -> None:
    asked = house.rows.tail(1000)
    house.log(asked, house.scores(asked))
    with pytest.raises(ApplicationError) as caught:
        house.drift(slices=("x",), html=False)
    assert caught.value.type == "invalid_request" and "`x` cannot be a slice" in str(caught.value)
    done = house.drift(slices=("carrier",))
    assert done.report is not None and {s.column for s in done.report.slices} == {"carrier"}
    page = house.settings.monitor.reports_dir / f"{done.html_digest.removeprefix('sha256:')}.html"
    largest = max(done.report.slices, key=lambda s: s.known)
    assert f"carrier = {largest.value}: " in page.read_text()  # by a key, which is no input


def test_what_answers_are_worth_is_in_the_report_and_has_the_projects_limit(
    house: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    worth = {"missed": ((pl.col("score") < 0.5) & (pl.col("label") > 0.5)).cast(pl.Float64)}
    monkeypatch.setattr(tiny_project.Tiny, "kpis", lambda _: worth, raising=False)
    asked = house.rows.tail(1000)
    house.log(asked, house.scores(asked))
    strict = Control(limits={"kpis": {"missed": {"high": 0.001}}})
    done = house.drift(strict, html=False)
    assert done.report is not None
    (one,) = done.report.kpis
    assert one.rows == done.report.known and one.mean_reference is not None and 0 < one.mean < 1
    assert [f.subject for f in done.report.alarms] == ["missed"]
    assert house.check().report is not None  # by the same sums


def test_slices_that_the_baseline_has_not_are_told_of(house: Watched) -> None:
    """Whoever counts first makes it, a retraining too, which asks for none."""
    asked = house.rows.tail(1000)
    house.log(asked, house.scores(asked))
    assert house.check().report is not None
    done = house.drift(slices=("carrier",), html=False)
    assert done.report is not None and done.report.slices == () and done.report.rows >= 700
    assert "`carrier` are not told apart" in done.report.message


def test_without_predictions_nothing_is_judged_and_without_a_training_it_says_so(house: Watched) -> None:
    assert "`serving.log_predictions`" in house.drift().message
    asked = house.rows.tail(300)
    house.log(asked, house.scores(asked), role="canary")
    assert "no stable bundle's predictions" in house.drift().message
    house.log(asked, house.scores(asked))
    kept = pl.read_parquet(house.space.training / "training.parquet")
    kept.with_columns(late=1 - pl.col("late")).write_parquet(house.space.training / "training.parquet")
    with pytest.raises(ApplicationError, match="was made anew since"):
        house.drift()
    next(house.space.run("run_1").glob("train-output-*.json")).unlink()
    with pytest.raises(ApplicationError, match="left no predictions"):
        house.drift()


def test_a_report_is_recorded_by_the_control_api(house: Watched) -> None:
    control = Control()
    http = httpx.AsyncClient(base_url="http://control", transport=httpx.MockTransport(control.answer))
    made = activities.DriftCheckActivities(house.settings, http)
    asked = messages.Record(request=REQUEST, report=report("scores"), made_by="w")

    async def main() -> messages.Recorded:
        return await made.record(asked)

    assert asyncio.run(main()) == messages.Recorded(report_id="report_1", alerts=("alert_1",))
    assert control.posted[0].report == report("scores")
