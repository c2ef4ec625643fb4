"""Chargeback and showback add up to the ledger to the billionth, and a closed month is the same bytes each time."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from platform_costs import Api, serving

from mainspring.core import cost
from mainspring.core.client import control as control_client
from mainspring.core.contracts import base, control
from mainspring.core.contracts import cost_reports as contracts
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.costs import focus, report_files

#: Once over SQLite, once over PostgreSQL.
both_engines = pytest.mark.usefixtures("database_url")

At = Callable[[str], datetime]
PROJECTS = {"alpha": {"team": "risk"}, "beta": {"team": "=fraud"}, "gamma": {}, "house": {"team": "risk"}}
SHARED = "[cost]\nshared_projects = 'house'\n"
KEYS = ("project", "environment", "tag:team", "tag:none")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> At:
    """What the platform takes for the time, once it is set."""

    def at(text: str) -> datetime:
        now = datetime.fromisoformat(text).replace(tzinfo=UTC)
        monkeypatch.setattr(base, "utc_now", lambda: now)
        return now

    return at


@pytest.fixture
def api(tmp_path: Path, clock: At) -> Iterator[Api]:
    clock("2026-09-10T00:00:00")
    with serving(tmp_path, SHARED) as made:
        for name, given in PROJECTS.items():
            made.make(name, given)
        yield made


def nanos(amount: float) -> int:
    return cost.to_nanos(amount)


def fill(api: Api, clock: At, count: int = 40) -> list[control.CostView]:
    """Use of September to November, some of it told a month or two late, of projects whose tags change meanwhile."""
    choose, kept = random.Random(7), []
    for i in range(count):
        now = clock("2026-09-10T00:00:00") if i == 0 else base.utc_now() + timedelta(days=70 / count)
        clock(now.replace(tzinfo=None).isoformat())
        if i == count // 2:
            api.change("gamma", 200, tags={"team": "risk"})
        sku = choose.choice(["cpu_core_hour", "gpu_hour", "million_events"])
        kept.append(
            api.use(
                choose.choice(sorted(PROJECTS)),
                f"k{i}",
                choose.random() * 9,
                now - timedelta(days=choose.choice([0, 0, 0, 20, 45])),
                sku=sku,
                consumed_unit=cost.UNITS[sku],
                environment=choose.choice(["dev", "prod"]),
                service=choose.choice(["ray-train", "ray-score"]),
                capacity=choose.choice(["on-demand", "spot"]),
            )
        )
    return kept


def month_of(view: control.CostView) -> str:
    return view.billed_in or view.charge_period_start.strftime("%Y-%m")


@both_engines
def test_the_sums_are_the_ledgers_by_every_key_and_rule(api: Api, clock: At) -> None:
    kept, client = fill(api, clock), api.client("dev")
    months = sorted({month_of(one) for one in kept})
    assert months[-3:] == ["2026-09", "2026-10", "2026-11"] and any(one.billed_in for one in kept)
    for month in months:
        mine = [one for one in kept if month_of(one) == month]
        total = sum(nanos(one.billed_cost) for one in mine)
        late = sum(nanos(one.billed_cost) for one in mine if one.billed_in)
        for by in KEYS:
            direct: dict[str, int] = {}
            for split in contracts.Split:
                told = client.chargeback(month, by=by, split=split)
                assert nanos(told.total) == total == sum(nanos(line.billed_cost) for line in told.lines)
                assert sum(nanos(line.billed_cost) for line in told.lines if line.is_correction) == late
                for sku in {one.sku_id for one in mine}:
                    of_sku = sum(nanos(line.billed_cost) for line in told.lines if line.sku_id == sku)
                    assert of_sku == sum(nanos(one.billed_cost) for one in mine if one.sku_id == sku)
                direct = {}
                for line in told.lines:
                    if not line.is_share:
                        direct[line.receiver] = direct.get(line.receiver, 0) + nanos(line.billed_cost)
                assert sum(direct.values()) + nanos(told.shared) == total
            shown = client.showback(month, by=by)
            assert {one.receiver: nanos(one.cost) for one in shown.receivers if one.cost} == {
                name: used for name, used in direct.items() if used
            }
            assert nanos(shown.total) == total == sum(nanos(line.billed_cost) for line in shown.lines)
    whole = api.call("dev", "GET", "/costs", 200)["total"]
    assert sum(nanos(client.chargeback(month).total) for month in months) == nanos(whole)


def test_shared_costs_are_told_apart_or_paid_by_the_others(api: Api, clock: At) -> None:
    now, client = clock("2026-11-20T00:00:00"), api.client("dev")
    for project, hours in (("alpha", 10.0), ("beta", 30.0), ("house", 4.0)):
        api.use(project, project, hours, now)
    told = client.chargeback("2026-11", split=contracts.Split.NONE)
    assert (told.total, told.shared, told.is_closed) == (1.76, 0.16, False)
    assert [(line.receiver, line.is_share, line.billed_cost) for line in told.lines] == [
        ("(shared)", True, 0.16),
        ("alpha", False, 0.4),
        ("beta", False, 1.2),
    ]
    shares = [line for line in client.chargeback("2026-11").lines if line.is_share]
    assert [(line.receiver, line.billed_cost) for line in shares] == [("alpha", 0.04), ("beta", 0.12)]
    api.use("gamma", "untagged", 1.0, now)
    by_tag = client.chargeback("2026-11", by="tag:team", split=contracts.Split.EVEN)
    assert by_tag.shared == 0.2, "what nobody tagged, and the house"
    assert {line.receiver for line in by_tag.lines} == {"risk", "=fraud"}


def test_a_showback_has_the_month_before_a_forecast_and_the_budget_of_its_time(api: Api, clock: At) -> None:
    client = api.client("dev")
    clock("2026-10-05T00:00:00")
    api.change("alpha", 200, monthly_budget=5.0)
    api.use("alpha", "october", 10.0)
    clock("2026-11-08T00:00:00")
    api.use("alpha", "november", 14.0, base.utc_now() - timedelta(days=6))
    shown = client.showback("2026-11")
    (one,) = shown.receivers
    assert (one.receiver, one.cost, one.cost_before, one.change, one.budget) == ("alpha", 0.56, 0.4, 0.16, 5)
    assert one.forecast == pytest.approx(0.56 + 0.56 / 7 * 23), "the mean of seven days until the month's end"
    assert client.showback("2026-11", by="tag:team").receivers[0].budget is None
    api.change("alpha", 200, monthly_budget=7.0)
    clock("2026-12-09T00:00:00")
    api.change("alpha", 200, monthly_budget=9.0)
    api.change("alpha", 200, monthly_budget=None)
    (ended,) = client.showback("2026-11").receivers
    assert (ended.forecast, ended.budget) == (0.56, 7.0), "of a month that is over, as it was"
    assert client.showback("2026-11").is_closed
    (december,) = client.showback("2026-12").receivers
    assert (december.cost, december.change, december.budget) == (0.0, -0.56, None)


@both_engines
def test_a_closed_month_is_the_same_bytes_whatever_comes_later(api: Api, clock: At) -> None:
    fill(api, clock, 12)
    clock("2026-12-05T00:00:00")
    client = api.client("dev")

    def written() -> list[bytes]:
        reports = (client.chargeback("2026-11", by="tag:team"), client.showback("2026-11"))
        assert all(report.is_closed for report in reports)
        made = []
        for report in reports:
            for form in focus.Format:
                file = io.BytesIO()
                assert report_files.write(report, file, form) > 0
                made.append(file.getvalue())
        return made

    before = written()
    late = api.use("beta", "late", 5.0, datetime(2026, 11, 3, tzinfo=UTC))
    api.change("alpha", 200, tags={"team": "other"}, monthly_budget=3.0)
    assert late.billed_in == "2026-12" and written() == before
    (line,) = client.chargeback("2026-12", split=contracts.Split.NONE).lines
    assert (line.receiver, line.is_correction, line.billed_cost) == ("beta", True, 0.2)


def test_files_have_focus_columns_and_no_formula(
    api: Api, clock: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "client", lambda _actor: api.client("dev"))
    monkeypatch.setattr(control_client.ControlClient, "close", lambda _self: None)
    clock("2026-10-20T00:00:00")
    api.use("beta", "before", 9.0)
    clock("2026-11-20T00:00:00")
    api.use("beta", "k", 3.0, service="=cmd|' /C calc'!A0")
    api.use("house", "h", 1.0)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli.cli, ["cost", *arguments, "--month", "2026-11"])

    file = tmp_path / "november.csv"
    done = run("chargeback", "--by", "tag:team", "--output", str(file))
    assert done.exit_code == 0, done.output
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert tuple(rows[0]) == tuple(sorted(rows[0], key=lambda n: (n[0] == "x", n)))
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("0.16")
    assert not [c for row in rows for c in row.values() if c.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {row["x_Receiver"] for row in rows} == {"'=fraud"} and json.loads(rows[0]["Tags"]) == {
        "team": "=fraud"
    }
    assert {row["x_AllocationRule"] for row in rows} == {"", "proportional"}
    file = tmp_path / "november.parquet"
    assert run("showback", "--output", str(file)).exit_code == 0
    frame = pl.read_parquet(file)
    assert frame.schema["BilledCost"] == frame.schema["x_Change"] == pl.Decimal(38, 9)
    assert frame["x_Receiver"].to_list() == ["beta", "(shared)"]
    assert frame["x_Change"].to_list() == [Decimal("-0.24"), None]
    file = tmp_path / "showback.csv"
    assert run("showback", "--output", str(file)).exit_code == 0
    with file.open(newline="") as opened:
        assert [row["x_Change"] for row in csv.DictReader(opened)] == ["-0.240000000", ""]
    before = file.read_bytes()
    assert run("showback", "--by", "colour", "--output", str(file)).exit_code == 1
    assert run("chargeback", "--output", str(tmp_path / "x.txt")).exit_code == 1
    assert file.read_bytes() == before and not list(tmp_path.glob("x.txt*"))
    told = run("showback")
    assert "(shared)" in told.output and "2026-11, which is open" in told.output
    assert json.loads(run("chargeback", "--json").output)["data"]["split"] == "proportional"


def test_what_is_no_report_is_refused(api: Api) -> None:
    for query, field in (
        ("month=2026-13", "month"),
        ("month=november", "month"),
        ("month=2026-11&by=run", "by"),
        ("month=2026-11&by=tag:'", "group_by"),
    ):
        for report in ("chargeback", "showback"):
            refused = api.call("dev", "GET", f"/costs:{report}?{query}", 400)
            assert refused["details"]["field"] == field
    api.call("dev", "GET", "/costs:chargeback", 400)
    api.call("dev", "GET", "/costs:chargeback?month=2026-11&split=fair", 400)
    api.call("dev", "GET", "/costs:showback?month=2026-11&project=nowhere", 404)


def test_who_is_a_member_of_some_is_shown_those_and_charged_nothing(api: Api, clock: At) -> None:
    clock("2026-11-20T00:00:00")
    api.use("alpha", "a")
    api.use("beta", "b")
    api.call("adm", "PUT", "/projects/alpha/members/mia", 200, {"roles": {"*": ["viewer"]}})
    shown = api.call("mia", "GET", "/costs:showback?month=2026-11", 200)
    assert [one["receiver"] for one in shown["receivers"]] == ["alpha"] and shown["total"] == 0.04
    api.call("mia", "GET", "/costs:showback?month=2026-11&project=beta", 404)
    api.call("mia", "GET", "/costs:chargeback?month=2026-11", 403)
