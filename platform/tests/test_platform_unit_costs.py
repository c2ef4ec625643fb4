"""Unit costs and forecasts: whatever was used is in exactly one of them, to the billionth."""

from __future__ import annotations

import itertools
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher  # noqa: F401 - fixtures

from mainspring.core import cost
from mainspring.core.client import control as control_client
from mainspring.platform.cli import costs as cli_costs
from mainspring.platform.cli import main as cli

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

START = datetime(2026, 11, 1, tzinfo=UTC)
UNITS, FORECAST = "/api/v1/costs:units", "/api/v1/costs:forecast"


def used(api: Api, key: str, run_id: str, hours: float, at: datetime = START, **fields: Any) -> None:  # noqa: F811
    record = {
        "usage_key": key,
        "run_id": run_id,
        "project": "flight-delay",
        "service": "ray-train",
        "sku": "cpu_core_hour",
        "consumed_quantity": hours,
        "consumed_unit": "core-hours",
        "started_at": at.isoformat(),
        "ended_at": (at + timedelta(hours=1)).isoformat(),
        **fields,
    }
    api.call("service", "POST", "/api/v1/usage", 201, record)


def served(key: str, at: datetime = START, **fields: Any) -> dict[str, Any]:
    return {
        "usage_key": key,
        "project": "flight-delay",
        "endpoint": "delay",
        "model_version": "sha256:" + "a" * 64,
        "caller": "ana",
        "requests": 1,
        "predictions": 1000,
        "cpu_microseconds": 3_600_000,
        "started_at": at.isoformat(),
        "ended_at": (at + timedelta(minutes=1)).isoformat(),
        **fields,
    }


def serve(api: Api, *records: dict[str, Any]) -> None:  # noqa: F811
    api.call("service", "POST", "/api/v1/serving-usage", 201, {"records": list(records)})


def nanos(found: dict[str, Any]) -> int:
    amounts = [one["cost"] for one in (*found["runs"], *found["serving"])]
    return sum(map(cost.to_nanos, [*amounts, found["other"]]))


def test_a_run_and_a_thousand_predictions_have_their_price(api: Api) -> None:  # noqa: F811
    trained = [api.run(max_cost=0.2, idempotency_key=key)["run_id"] for key in "ab"]
    used(api, "u1", trained[0], 2.0)
    used(api, "u2", trained[1], 1.0)
    used(api, "u3", trained[1], 0.5)
    used(api, "u4", "run_of_nobody", 1.0)
    serve(
        api,
        served("s1"),
        served("s2", predictions=0),
        served("s3", endpoint="other", model_version="sha256:" + "b" * 64, predictions=0),
    )
    found = api.call("developer", "GET", UNITS, 200)
    (train,) = found["runs"]
    assert (train["kind"], train["runs"], train["cost"], train["cost_per_run"]) == ("train", 2, 0.14, 0.07)
    delay, other = found["serving"]
    # 0.001 for the thousand, and two times a thousandth of a core-hour at 0.04.
    assert (delay["predictions"], delay["requests"], delay["cost_per_thousand"]) == (1000, 2, 0.00108)
    assert other["cost_per_thousand"] is None and other["cost"] == 0.00004
    assert found["other"] == 0.04 and nanos(found) == cost.to_nanos(found["total"])


def test_every_unit_is_in_one_place_whatever_period_is_asked_for(api: Api) -> None:  # noqa: F811
    choose = random.Random(7)
    runs = [api.run(max_cost=0.05, idempotency_key=str(n))["run_id"] for n in range(3)]
    runs += ["run_x", "endpoint/delay"]  # neither is a run; the second is named as serving's charges are
    for n in range(60):
        at = START + timedelta(hours=choose.randrange(96))
        used(
            api,
            f"k{n}",
            choose.choice(runs),
            choose.random() * 3,
            at,
            environment=choose.choice(["dev", "prod"]),
        )
    serve(
        api,
        *(
            served(
                f"s{n}",
                START + timedelta(hours=choose.randrange(96)),
                endpoint=choose.choice(["delay", "price"]),
                model_version="sha256:" + choose.choice("abc") * 64,
                predictions=choose.choice([0, 1, choose.randrange(10**7)]),
                cpu_microseconds=choose.randrange(10**10),
            )
            for n in range(60)
        ),
    )
    parts = []
    edges = [START + timedelta(hours=hours) for hours in (0, 13, 14, 50, 96)]
    for since, until in itertools.pairwise(edges):
        period = {"since": since.isoformat(), "until": until.isoformat()}
        found = api.call("developer", "GET", UNITS, 200, **period)
        summed = api.call("developer", "GET", "/api/v1/costs", 200, **period)
        assert nanos(found) == cost.to_nanos(found["total"]) == cost.to_nanos(summed["total"])
        parts.append(nanos(found))
    whole = api.call("developer", "GET", UNITS, 200)
    assert sum(parts) == nanos(whole) == cost.to_nanos(whole["total"]) > 0
    assert {one["endpoint"] for one in whole["serving"]} == {"delay", "price"}
    per = [one["cost_per_thousand"] or 0.0 for one in whole["serving"]]
    assert per == sorted(per, reverse=True)


def test_nothing_used_and_a_period_that_is_none(api: Api) -> None:  # noqa: F811
    found = api.call("developer", "GET", UNITS, 200, project="flight-delay")
    assert (found["runs"], found["serving"], found["other"], found["total"]) == ([], [], 0.0, 0.0)
    assert api.call("developer", "GET", UNITS, 404, project="nowhere")["code"] == "not_found"
    assert "offset" in str(api.call("developer", "GET", UNITS, 400, since="2026-11-01T00:00:00"))
    assert api.call("developer", "GET", FORECAST, 404, project="nowhere")["code"] == "not_found"


def test_a_forecast_is_of_the_last_days_and_of_the_projects_budget(api: Api) -> None:  # noqa: F811
    api.call("developer", "POST", "/api/v1/projects", 201, {"name": "no-budget", "owner": "team"})
    run = api.run(max_cost=0.5)["run_id"]
    now = datetime.now(UTC)
    used(api, "u1", run, 5.0, now)
    used(
        api, "u2", run, 1000.0, now + timedelta(minutes=5)
    )  # of a clock that is ahead: spent, and no rate yet
    found = {one["project"]: one for one in api.call("developer", "GET", FORECAST, 200)["items"]}
    mine = found["flight-delay"]
    assert (mine["limit"], mine["spent"], mine["per_day"], mine["held"]) == (1.0, 40.2, 0.2, 0.0)
    assert mine["is_over"] and mine["forecast"] >= 40.2 and mine["runs_out_at"]
    none = found["no-budget"]
    assert (none["limit"], none["forecast"], none["is_over"], none["runs_out_at"]) == (None, 0.0, False, None)
    first = api.call("developer", "GET", FORECAST, 200, limit=1)
    rest = api.call("developer", "GET", FORECAST, 200, after=first["next"])
    assert [one["project"] for one in (*first["items"], *rest["items"])] == ["flight-delay", "no-budget"]


def ended(api: Api, run_id: str, stage: str = "done") -> None:  # noqa: F811
    event = {
        "run_id": run_id,
        "event_key": f"{run_id}/end",
        "action": "run.end",
        "actor": "ana",
        "detail": {"stage": stage},
    }
    api.call("service", "POST", f"/api/v1/runs/{run_id}/events", 201, event)


def test_runs_that_asked_for_much_more_than_they_used_are_told(api: Api) -> None:  # noqa: F811
    made = []
    for n, (wanted, hours, stage) in enumerate(
        [
            (0.2, 0.5, "done"),
            (0.2, 2.0, "done"),
            (0.2, 0.5, "failed"),
            (0.1, 0.0, "done"),
            (None, 0.1, "done"),
        ]
    ):
        fields = {} if wanted is None else {"max_cost": wanted}
        run_id = api.run(idempotency_key=str(n), **fields)["run_id"]
        if hours:
            used(api, f"u{n}", run_id, hours)
        ended(api, run_id, stage)
        made.append(run_id)
    asked = "/api/v1/costs:oversize"
    found = api.call("developer", "GET", asked, 200)["items"]
    # 0.02 of 0.2, and nothing of 0.1; 0.08 of 0.2 is more than a quarter.
    assert [(one["run_id"], one["max_cost"], one["cost"]) for one in found] == [
        (made[3], 0.1, 0.0),
        (made[0], 0.2, 0.02),
    ]
    first = api.call("developer", "GET", asked, 200, limit=1)
    rest = api.call("developer", "GET", asked, 200, limit=1, before=first["next"])
    assert [*first["items"], *rest["items"]] == found and rest["next"] == ""
    every = api.call("developer", "GET", asked, 200, below=0.5)["items"]
    assert made[1] in [one["run_id"] for one in every]
    assert "below" in str(api.call("developer", "GET", asked, 400, below=0))
    assert api.call("developer", "GET", asked, 404, project="nowhere")["code"] == "not_found"


def test_the_command_line(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    run_id = api.run(max_cost=0.2)["run_id"]
    used(api, "u1", run_id, 2.0)
    serve(api, served("s1"))
    client = control_client.ControlClient(
        "http://api", api._tokens["developer"], transport=api.client._transport
    )
    monkeypatch.setattr(cli_costs.session, "client", lambda _actor: client)
    monkeypatch.setattr(client, "close", lambda: None)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli.cli, ["cost", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    told = json.loads(run("unit", "--json"))["data"]
    assert told["runs"][0]["cost_per_run"] == 0.08 and told["serving"][0]["cost_per_thousand"] == 0.00104
    shown = run("unit", "--project", "flight-delay")
    assert "train" in shown and "1,000 predictions" in shown and "0.08104" in shown
    (forecast,) = json.loads(run("forecast", "--json"))["data"]
    assert forecast["project"] == "flight-delay" and forecast["limit"] == 1.0
    ended(api, run_id)
    (oversize,) = json.loads(run("oversize", "--below", "0.5", "--json"))["data"]
    assert (oversize["run_id"], oversize["cost"]) == (run_id, 0.08)
