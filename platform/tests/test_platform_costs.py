"""Costs by any key and period add up exactly to the records that an export has."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import cost, identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, training
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.features.streams import metering
from mainspring.core.features.streams.records import records
from mainspring.platform import app as control_app
from mainspring.platform.cli import costs as cli_costs
from mainspring.platform.cli import main as cli
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

START = datetime(2026, 11, 1, tzinfo=UTC)
ACTORS = {
    "dev": identity.Actor("dev", ("developer",)),
    "work": identity.Actor("work", ("service",)),
}


def random_usage(count: int, seed: int) -> list[training.UsageRecord]:
    choose = random.Random(seed)
    made = []
    for i in range(count):
        sku = choose.choice(sorted(cost.UNITS))
        at = START + timedelta(hours=choose.randrange(96), microseconds=choose.choice([0, 1]))
        made.append(
            training.UsageRecord(
                usage_key=f"k{i:03}",
                run_id=choose.choice(["run_a", "run_b"]),
                project=choose.choice(["alpha", "beta"]),
                environment=choose.choice(["dev", "prod"]),
                service=choose.choice(["ray-train", "ray-score"]),
                sku=sku,
                consumed_quantity=choose.random() * 10,
                consumed_unit=cost.UNITS[sku],
                started_at=at,
                ended_at=at + timedelta(hours=1),
                capacity=choose.choice(list(Capacity)),
            )
        )
    return made


class Api:
    def __init__(self, client: TestClient[Any]) -> None:
        self.http = client

    def call(self, actor: str, method: str, path: str, expect: int, body: Any = None, **params: Any) -> Any:
        answer = self.http.request(
            method, f"/api/v1{path}", json=body, params=params, headers={"Authorization": f"Bearer {actor}"}
        )
        assert answer.status_code == expect, answer.text
        return answer.json()

    def client(self, actor: str) -> control_client.ControlClient:
        return control_client.ControlClient("http://control", actor, transport=self.http._transport)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    s = settings.load({}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app) as client:
        made = Api(client)
        for name in ("alpha", "beta"):
            made.call("dev", "POST", "/projects", 201, {"name": name, "owner": "team"})
        yield made


@pytest.fixture
def filled(api: Api) -> list[control.CostView]:
    kept = [
        api.call("work", "POST", "/usage", 201, usage.model_dump(mode="json"))
        for usage in random_usage(60, 3)
    ]
    return [control.CostView.model_validate(view) for view in kept]


PERIODS = (
    {},
    {"since": START + timedelta(hours=20)},
    {"until": START + timedelta(hours=50)},
    {"since": START + timedelta(hours=20), "until": START + timedelta(hours=50)},
    {"since": START + timedelta(days=400)},
)


@pytest.mark.parametrize("period", PERIODS, ids=["ever", "since", "until", "between", "never"])
def test_every_key_adds_up_to_the_records_of_the_period(
    api: Api, filled: list[control.CostView], period: dict[str, datetime]
) -> None:
    since = period.get("since", START)
    until = period.get("until", START + timedelta(days=800))
    asked = {name: at.isoformat() for name, at in period.items()}
    for project in ("", "beta"):
        wanted = [v for v in filled if since <= v.charge_period_start < until and project in ("", v.project)]
        total = sum(cost.to_nanos(v.billed_cost) for v in wanted)
        for key, column in (
            ("project", "project"),
            ("run", "run_id"),
            ("service", "service_name"),
            ("environment", "environment"),
            ("sku", "sku_id"),
            ("capacity", "capacity"),
        ):
            found = api.call("dev", "GET", "/costs", 200, group_by=key, project=project, **asked)
            sums: dict[str, int] = {}
            for v in wanted:
                sums[getattr(v, column)] = sums.get(getattr(v, column), 0) + cost.to_nanos(v.billed_cost)
            assert {n: cost.to_nanos(a) for n, a in found["groups"].items()} == sums
            assert cost.to_nanos(found["total"]) == total
        records = list(api.client("dev").cost_records(project=project, **asked))
        assert sorted(records, key=lambda v: v.usage_key) == sorted(wanted, key=lambda v: v.usage_key)


def test_a_key_is_of_one_capacity(api: Api) -> None:
    spot = {**random_usage(1, 1)[0].model_dump(mode="json"), "sku": "gpu_hour", "consumed_unit": "gpu-hours"}
    spot |= {"consumed_quantity": 2, "capacity": "spot"}
    view = api.call("work", "POST", "/usage", 201, spot)
    assert (view["billed_cost"], view["list_unit_price"], view["capacity"]) == (1.7, 2.5, "spot")
    assert api.call("work", "POST", "/usage", 201, spot) == view
    refused = api.call("work", "POST", "/usage", 409, {**spot, "capacity": "reserved"})
    assert "taken by another record" in refused["message"]
    unknown = api.call("work", "POST", "/usage", 400, {**spot, "usage_key": "other", "capacity": "borrowed"})
    assert "capacity" in str(unknown["details"])
    assert api.call("dev", "GET", "/costs", 200, group_by="capacity")["groups"] == {"spot": 1.7}


def test_pages_have_each_record_once(api: Api, filled: list[control.CostView]) -> None:
    keys, after = [], ""
    while True:
        page = api.call("dev", "GET", "/costs:records", 200, limit=7, after=after)
        keys += [item["usage_key"] for item in page["items"]]
        if not (after := page["next"]):
            break
    assert keys == sorted(v.usage_key for v in filled)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"since": "2026-11-01T00:00:00"}, "since"),
        ({"since": "2026-11-02T00:00:00Z", "until": "2026-11-02T00:00:00Z"}, "until"),
    ],
)
def test_a_period_that_is_none_is_refused(api: Api, asked: dict[str, str], field: str) -> None:
    for path in ("/costs", "/costs:records"):
        assert api.call("dev", "GET", path, 400, **asked)["details"]["field"] == field


def test_the_command_writes_a_whole_file_or_none(
    api: Api, filled: list[control.CostView], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_costs.session, "client", lambda _actor: api.client("dev"))
    monkeypatch.setattr(control_client.ControlClient, "close", lambda _self: None)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli.cli, ["cost", *arguments])

    file = tmp_path / "costs.csv"
    done = run("export", str(file), "--project", "alpha", "--until", "2026-11-03T00:00:00Z")
    assert done.exit_code == 0, done.output
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    told = api.call("dev", "GET", "/costs", 200, project="alpha", until="2026-11-03T00:00:00Z")
    assert rows and sum(Decimal(r["BilledCost"]) for r in rows) == Decimal(repr(told["total"]))
    by_rate = api.call(
        "dev", "GET", "/costs", 200, project="alpha", until="2026-11-03T00:00:00Z", group_by="capacity"
    )
    for rate, category in (("on-demand", "Standard"), ("spot", "Dynamic"), ("reserved", "Committed")):
        paid = sum(Decimal(r["BilledCost"]) for r in rows if r["PricingCategory"] == category)
        assert paid == Decimal(repr(by_rate["groups"][rate])) > 0
    assert f"rows: {len(rows)}" in done.output

    before = file.read_bytes()
    assert run("export", str(file), "--project", "nowhere").exit_code == 1
    assert file.read_bytes() == before and sorted(p.name for p in tmp_path.glob("costs*")) == ["costs.csv"]
    unclear = run("export", str(tmp_path / "costs.txt"))
    assert unclear.exit_code == 1 and "`costs.txt` does not say its format" in str(
        unclear.output + str(unclear.exception)
    )
    assert "alpha" in run("report", "--since", "2026-11-02T00:00:00Z").output
    assert "reserved" in run("report", "--by", "capacity").output


def test_streamed_events_and_memory_are_in_the_report_once(api: Api, tmp_path: Path) -> None:
    """As a reader tells them, killed before it could note that they were received; memory as a run's job does."""
    meter = metering.Meter(tmp_path)
    meter.open(None, {})
    meter.take(records([b"{}"] * 250, timestamp_us=0))
    meter.keep(meter.counted())
    owner = metering.Owner("alpha", "orders", "prod")
    client = api.client("work")
    first = meter.record(owner)
    assert first is not None
    client.record_usage(first)
    teller = metering.Teller(metering.Meter(tmp_path), owner, client.record_usage)
    teller.close()
    memory = next(u for u in random_usage(60, 3) if u.sku == "memory_gib_hour" and u.project == "alpha")
    client.record_usage(memory)
    client = api.client("dev")
    groups = client.costs(group_by="sku", project="alpha").groups
    streams = client.costs(group_by="service", project="alpha").groups["streams"]
    (view,) = [one for one in client.cost_records(project="alpha") if one.service_name == "streams"]
    assert groups["million_events"] == streams == view.billed_cost == 0.00002  # 250 of a million at 0.08
    assert groups["memory_gib_hour"] > 0
    assert (view.run_id, view.environment, view.consumed_quantity) == ("stream/orders", "prod", 0.00025)
