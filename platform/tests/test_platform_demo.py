"""The demo's own parts: following a run, telling it, and never touching a stack that somebody else uses."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from mainspring.core import errors, settings
from mainspring.core.contracts import control, training
from mainspring.platform.cli.main import cli
from mainspring.platform.demo import drifted, follow, journey, replayed, summary
from mainspring.platform.stack import parts, stack

RUN = "run_00000000000000000000000000"
LOST = summary.RolledBack(
    run_id=RUN,
    bundle="sha256:" + "d" * 64,
    why="rolled back",
    percent=5,
    judged_requests=24,
    p95_ratio=22.183,
    in_force_seconds=6.987,
    seen_seconds=5.98,
    callers_asked=393,
    callers_answered=6,
    callers_failed=0,
    callers_p95_ms=244.58,
    stable_p95_ms=44.51,
)


def view(stage: training.Stage, steps: int = 0, **status: Any) -> control.RunView:
    reports = [training.StepReport(step=training.Stage.INGEST, seconds=float(i)) for i in range(steps)]
    return control.RunView(
        run_id=RUN,
        project="flight-delay",
        kind=control.RunKind.TRAIN,
        environment="dev",
        stage=stage,
        requested_by="developer@local",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        status=training.RunStatus(run_id=RUN, stage=stage, steps=reports, **status),
    )


class Recorded:
    """A control API that gives a recorded list of views and takes decisions."""

    def __init__(self, views: list[control.RunView]) -> None:
        self._views: Iterator[control.RunView] = iter(views)
        self.decisions: list[bool] = []

    def run(self, run_id: str) -> control.RunView:
        assert run_id == RUN
        return next(self._views)

    def decide(self, run_id: str, *, approve: bool, reason: str = "") -> control.RunView:
        assert reason
        self.decisions.append(approve)
        return view(training.Stage.APPROVAL)


def followed(
    monkeypatch: pytest.MonkeyPatch, *views: control.RunView, timeout: float = 60.0
) -> tuple[Any, ...]:
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.0)
    api, stages, steps = Recorded(list(views)), [], []
    try:
        ended = follow.follow(
            RUN,
            developer=api,  # type: ignore[arg-type]
            approver=api,  # type: ignore[arg-type]
            timeout_seconds=timeout,
            on_stage=lambda stage, _: stages.append(stage),
            on_step=steps.append,
        )
    except errors.MainspringError as error:
        ended = error
    return ended, api.decisions, stages, [s.seconds for s in steps]


def test_each_step_is_told_once_and_one_decision_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, decisions, stages, steps = followed(
        monkeypatch,
        view(training.Stage.INGEST),
        view(training.Stage.TRAIN, 2),
        view(training.Stage.APPROVAL, 3),
        view(training.Stage.APPROVAL, 3),
        view(training.Stage.DONE, 4),
    )
    assert ended.stage == training.Stage.DONE
    assert decisions == [True]
    assert stages == ["ingest", "train", "approval", "approval", "done"]
    assert steps == [0.0, 1.0, 2.0, 3.0]


def test_a_failed_run_raises_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = errors.to_wire(errors.LeakDetected("feature `x` knows the future", features=("x",)))
    ended, decisions, *_ = followed(monkeypatch, view(training.Stage.FAILED, error=wire))
    assert type(ended) is errors.LeakDetected and ended.features == ("x",) and decisions == []


def test_a_rolled_back_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, *_ = followed(monkeypatch, view(training.Stage.ROLLED_BACK, message="error rate 0.5 at 25 %"))
    assert type(ended) is errors.JobFailed and "error rate 0.5 at 25 %" in ended.message


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, *_ = followed(monkeypatch, view(training.Stage.TRAIN), timeout=-1.0)
    assert type(ended) is errors.DeadlineExceeded and ended.stage == "train"


def test_latency_and_auc_of_a_replay() -> None:
    asked = replayed.Replayed(
        (0.1, 0.9, 0.8, 0.2), (0, 1, 0, 1), (0.001, 0.002, 0.003, 0.004), 7, 120, "sha256:x", {}
    )
    assert asked.latency_ms(50) == pytest.approx(2.5)
    assert asked.latency_ms(99) == pytest.approx(float(np.percentile([1, 2, 3, 4], 99)))
    assert asked.auc == 0.75


def test_summary_tells_every_number() -> None:
    metrics = training.Metrics(
        rows=5,
        base_rate=0.2,
        auc=0.7654,
        average_precision=0.5,
        brier=0.1,
        log_loss=0.3,
        calibration_error=0.01,
    )
    report = summary.DemoReport(
        project="flight-delay",
        run_id=RUN,
        sample_fraction=1.0,
        model_version="sha256:" + "a" * 64,
        data_digest="sha256:" + "b" * 64,
        metrics={"test": metrics},
        steps=[training.StepReport(step=training.Stage.TRAIN, seconds=31.24, reused=True)],
        start_seconds={"ray": 5.5},
        predictions=1000,
        pushed_rows=12,
        latency_p50_ms=1.234,
        latency_p99_ms=5.678,
        replay_auc=0.7321,
        online_offline_max_difference=0.0,
        compared_values=60_000,
        skewed_values=3,
        recorded_reads=30_090,
        recorded_features=61,
        recorded_skewed=["a__b"],
        streamed_events=1879,
        streamed_values=4321,
        streamed_differences=2,
        streamed_seconds=6.54,
        rolled_back=LOST,
        drifted=summary.Drifted(
            predictions=1000,
            known=990,
            alarms=["scores: population stability index 0.29 against the accepted model's"],
            message="training started",
            run_id="run_new",
            requested_by="service@local",
            on_behalf_of="developer@local",
            approved_by="approver@local",
            metrics={"test": metrics.model_copy(update={"auc": 0.6543})},
            model_version="sha256:" + "c" * 64,
            seconds=44.4,
        ),
        drifted_columns={"temp": 3.5},
        checked_columns=60,
        cost=0.0123,
        currency="USD",
        audit_rows=9,
        audit_intact=False,
        catalog={"dataset": 5, "view": 15},
        came_from={},
        total_seconds=99.6,
        urls={"mlflow": "http://127.0.0.1:7704"},
    )
    text = "\n".join(summary.lines(report))
    for part in (
        "0.7654",
        "31.2  (reused)",
        "5.5",
        "1.23 / 5.68 ms",
        "0.7321",
        "1 of 61, 30090 recorded reads",
        "3 of 60000",
        "1879 in 6.5 s",
        "2 of 4321",
        "temp 3.50",
        "0.0123 USD",
        "9, NO",
        "5 dataset, 15 view",
        "nothing that is known",
        "5 % of traffic, p95 22.2 times stable's over 24 requests",
        "7.0 s",
        "6.0 s: 6 of 393 answers",
        "244.6 / 44.5 ms",
        "990 of 1000",
        "population stability index 0.29",
        "run_new, by service@local on behalf of developer@local",
        "approver@local",
        "0.6543",
        "sha256:cccccccccccccccc, 44 s of steps",
    ):
        assert part in text, part
    for part in ("http://127.0.0.1:7704", "100 s in all", RUN):
        assert part in text, part


def test_without_an_alarm_the_summary_says_why_nothing_was_started() -> None:
    few = "60 of 60 predictions have an outcome, 200 are needed"
    told = summary._drifted(summary.Drifted(predictions=60, known=60, alarms=[], message=few))
    assert told == {"predictions with an outcome": "60 of 60", "no training was started": few}
    fine = summary._drifted(summary.Drifted(predictions=900, known=900, alarms=[], message=""))
    assert fine["no training was started"] == "no alarm"


def test_a_run_may_be_wanted_to_end_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.0)

    def waited(*views: control.RunView) -> control.RunView:
        api: Any = Recorded(list(views))
        return follow.wait(RUN, developer=api, timeout_seconds=60.0, wanted=training.Stage.ROLLED_BACK)

    gone = view(training.Stage.ROLLED_BACK, message="p95 is 22 times stable's")
    assert waited(view(training.Stage.CANARY), gone) == gone
    with pytest.raises(errors.JobFailed, match="ended as `done`: promoted"):
        waited(view(training.Stage.DONE, message="promoted"))


def test_the_log_is_waited_for_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drifted, "_LOG_SECONDS", 0.0)
    began, folder = datetime(2026, 1, 1, tzinfo=UTC), tmp_path / "delay" / ("a" * 16)
    until = datetime(2026, 1, 2, tzinfo=UTC)

    def wait(at_least: int) -> None:
        drifted.wait_for_log(tmp_path, "delay", since=began, until=until, at_least=at_least)

    with pytest.raises(errors.DeadlineExceeded, match="0 of 2 predictions are in the log"):
        wait(2)
    folder.mkdir(parents=True)
    times = [began, datetime(2026, 1, 1, 5, tzinfo=UTC), until]  # the last one is not before `until`
    pl.DataFrame({"time": times}).write_parquet(folder / f"{int(until.timestamp() * 1e6)}-1-1.parquet")
    wait(2)
    with pytest.raises(errors.DeadlineExceeded, match="2 of 3"):
        wait(3)


def test_the_demo_has_an_online_store_of_its_own(tmp_path: Path) -> None:
    s = settings.load({}, directory=tmp_path)
    own = journey.with_own_store(s)
    assert own.serving.online_store != s.serving.online_store
    assert own.monitor.windows_dir != s.monitor.windows_dir
    assert own.model_copy(update={"serving": s.serving, "monitor": s.monitor}) == s


def test_a_stack_that_is_up_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    s = settings.load()
    s.stack.state_dir.mkdir()
    sleeper = parts.Part(
        name="mine",
        argv=(sys.executable, "-c", "import time; time.sleep(600)"),
        ports={},
        is_ready=lambda: True,
    )
    state = stack.up(s, [sleeper])
    try:
        result = CliRunner().invoke(cli, ["demo"])
        assert result.exit_code == 1
        assert "mainspring down" in result.output
        assert stack.is_up(state) == {"mine": True}
    finally:
        stack.down(s)


def test_a_light_installation_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    # A None entry makes the import system refuse the name, as it does for a package that is not there.
    for name in [m for m in sys.modules if m.startswith("mainspring.platform.demo")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "polars", None)
    result = CliRunner().invoke(cli, ["demo"])
    assert result.exit_code == 78
    assert "`polars` is not installed; run `pip install 'mainspring[all]'`" in result.output
