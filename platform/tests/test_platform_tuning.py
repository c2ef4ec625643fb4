"""A study is a run like any other: what it may take is kept free in the budget, and its options are checked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher

from mainspring.core.contracts import training, tuning
from mainspring.platform.cli import tuning as cli
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "empty", "launcher"]  # fixtures

TUNE: dict[str, Any] = {
    "project": "flight-delay",
    "kind": "tune",
    "endpoint": "delay",
    "tune": {"trials": 5, "max_cpu_hours": 10, "space": {"dropout": [0.1, 0.2]}},
    "idempotency_key": "tune-1",
}


def test_a_study_is_started_with_its_options_and_its_hours_kept_free(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    run = api.call("developer", "POST", "/api/v1/runs", 201, TUNE)
    started = launcher.started[run["run_id"]]
    assert isinstance(started, tuning.TuneRequest)
    assert (started.trials, started.max_cpu_hours, started.space.dropout) == (5, 10, (0.1, 0.2))
    assert (started.deploy_to, started.num_workers, started.requested_by) == ("delay", 3, "developer@local")
    # 10 core-hours at 0.04 of a budget of 1.0
    assert api.call("developer", "GET", "/api/v1/projects/flight-delay", 200)["reserved"] == 0.4
    assert api.call("developer", "POST", "/api/v1/runs", 201, TUNE)["run_id"] == run["run_id"]


def test_a_study_beyond_the_budget_starts_nothing(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    asked = {**TUNE, "tune": {"max_cpu_hours": 26}}
    assert api.call("developer", "POST", "/api/v1/runs", 403, asked)["code"] == "budget_exceeded"
    assert not launcher.started


def test_without_options_it_has_the_defaults(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    run = api.call("developer", "POST", "/api/v1/runs", 201, {**TUNE, "tune": None})
    started = launcher.started[run["run_id"]]
    assert isinstance(started, tuning.TuneRequest) and started.trials == tuning.TuneOptions().trials


def test_a_training_with_other_parameters_carries_them(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    asked = {
        "project": "flight-delay",
        "model": {"dropout": 0.3, "hidden_sizes": [8]},
        "split": {"until": "2013-12-08T00:00:00Z", "test_days": 7},
    }
    started = launcher.started[api.call("developer", "POST", "/api/v1/runs", 201, asked)["run_id"]]
    assert isinstance(started, training.TrainRequest)
    assert started.model == training.ModelChanges(dropout=0.3, hidden_sizes=(8,))
    assert started.split is not None
    assert (started.split.until.isoformat(), started.split.test_days) == ("2013-12-08T00:00:00+00:00", 7)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "train"}, "tune"),
        ({"model": {"dropout": 0.1}}, "model"),
        ({"model": {"dropout": 1.0}}, "model.dropout"),
        ({"split": {"until": "2013-12-08T00:00:00Z"}}, "split"),
        ({"tune": {"trials": 0}}, "tune.trials"),
        ({"tune": {"space": {"dropouts": [0, 1]}}}, "tune.space.dropouts"),
        ({"tune": {"space": {"dropout": [0.5, 0.1]}}}, "give the smaller first"),
    ],
)
def test_what_a_study_cannot_be_is_refused_before_anything_starts(
    api: Api, launcher: run_launcher.MemoryLauncher, change: dict[str, Any], field: str
) -> None:
    before = len(api.audit())
    answer = api.call("developer", "POST", "/api/v1/runs", 400, {**TUNE, **change})
    assert field in json.dumps(answer)
    assert not launcher.started and len(api.audit()) == before


def test_the_command_reads_ranges_and_refuses_what_is_none() -> None:
    assert cli.bounds("1e-4:1e-2") == (1e-4, 1e-2)
    for wrong in ("1e-4", "a:b", "1:2:3"):
        done = CliRunner().invoke(cli.tune, ["flight-delay", "--learning-rate", wrong])
        assert done.exit_code == 2 and "LOW:HIGH" in done.output
