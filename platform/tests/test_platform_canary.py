"""The shares of traffic that a deployment is judged at are its starter's to choose, and go to its workflow as they were chosen."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner
from platform_api import Api, api, empty, launcher

from mainspring.core.contracts import deployment
from mainspring.platform.cli import main as cli
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "empty", "launcher"]  # fixtures

DEPLOY = {"kind": "deploy", "endpoint": "delay", "bundle_digest": "sha256:" + "a" * 64}


def shares(launcher: run_launcher.MemoryLauncher, run: Any) -> tuple[int, ...]:
    started = launcher.started[run["run_id"]]
    assert isinstance(started, deployment.DeployRequest)
    return started.canary_percents


def test_a_deployment_is_judged_at_the_shares_that_were_chosen(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    assert shares(launcher, api.run(**DEPLOY, canary_percents=[1, 10, 40])) == (1, 10, 40)
    assert shares(launcher, api.run(**DEPLOY)) == (5, 25, 50)
    intended = [row for row in api.audit() if row["action"] == "run.start" and row["outcome"] == "intended"]
    assert [row["detail"]["canary_percents"] for row in intended] == [[1, 10, 40], []]


def test_shares_that_are_none_are_refused_and_so_are_those_of_no_deployment(api: Api) -> None:
    for wrong in ([30, 50], [10, 5], [5, 5], [0, 5], [5, 100], [-1], list(range(1, 30))):
        told = api.run(400, **DEPLOY, canary_percents=wrong)
        assert told["code"] == "invalid_request" and "canary_percents" in json.dumps(told), wrong
    told = api.run(400, kind="train", canary_percents=[5])
    assert "goes with kind `deploy`" in told["detail"] and told["details"]["field"] == "canary_percents"


def test_a_shadow_and_a_limit_for_scores_go_to_the_deployment_as_they_were_chosen(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    chosen: dict[str, Any]
    for chosen in ({}, {"shadow_seconds": 600, "max_score_psi": 0.2, "max_wait_seconds": 0}):
        started = launcher.started[api.run(**DEPLOY, **chosen)["run_id"]]
        assert isinstance(started, deployment.DeployRequest)
        expected = (chosen.get("shadow_seconds", 0.0), chosen.get("max_score_psi"))
        assert (started.shadow_seconds, started.max_score_psi) == expected
        assert started.max_wait_seconds == chosen.get("max_wait_seconds", 86_400.0)
    for name, wrong in (
        ("shadow_seconds", -1),
        ("shadow_seconds", 1e9),
        ("max_score_psi", 0),
        ("max_wait_seconds", -1),
        ("max_wait_seconds", 1e9),
    ):
        told = api.run(400, **DEPLOY, **{name: wrong})
        assert told["code"] == "invalid_request" and name in json.dumps(told)
    for name in ("shadow_seconds", "max_score_psi", "max_wait_seconds"):
        told = api.run(400, kind="train", **{name: 0.5})
        assert told["details"]["field"] == name and "goes with kind `deploy`" in told["detail"]


def test_the_command_refuses_a_share_that_is_none() -> None:
    done = CliRunner().invoke(
        cli.cli, ["endpoint", "promote", "delay", str(DEPLOY["bundle_digest"]), "--canary", "100"]
    )
    assert done.exit_code == 2 and "--canary" in done.output
    for option, wrong in (("--shadow-seconds", "-1"), ("--max-score-psi", "0")):
        done = CliRunner().invoke(
            cli.cli, ["endpoint", "promote", "delay", str(DEPLOY["bundle_digest"]), option, wrong]
        )
        assert done.exit_code == 2 and option in done.output
