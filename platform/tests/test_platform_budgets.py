"""Budgets by environment and period: set by who may, asked before work begins, told of at their thresholds once in a period."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher
from platform_planes import ADMIN, DEVELOPER, WORKER, opened

from mainspring.core import errors
from mainspring.core.contracts import base, budgets, control, training
from mainspring.core.contracts.budgets import Period
from mainspring.core.cost import periods
from mainspring.platform import plane
from mainspring.platform.audit import service as audit
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.costs import budgets as service
from mainspring.platform.costs import service as costs
from mainspring.platform.costs import thresholds
from mainspring.platform.runs import service as runs

__all__ = ["api", "empty", "launcher"]  # fixtures

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

PLACE = "/api/v1/projects/flight-delay/budgets"
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
DEV_DAY = service.Named("alpha", "dev", Period.DAY)
ALL_WEEK = service.Named("alpha", "all", Period.WEEK)


async def spend(one: plane.ControlPlane, key: str, amount: float, environment: str, at: datetime) -> None:
    """`amount` of money, as hours of a core."""
    record = training.UsageRecord(
        usage_key=key, run_id=f"run-{key}", project="alpha", environment=environment, service="ray-train", sku="cpu_core_hour",
        consumed_quantity=amount / one.book.cpu_core_hour, consumed_unit="core-hours", started_at=at, ended_at=at,
    )  # fmt: skip
    await costs.record(one, WORKER, record)


async def start(one: plane.ControlPlane, environment: str, max_cost: float) -> str:
    """The run's id, or why there is none."""
    request = control.RunCreate(project="alpha", environment=environment, max_cost=max_cost)
    try:
        return (await runs.create(one, ADMIN, request)).run_id
    except errors.BudgetExceeded as error:
        return error.message


def put(named: service.Named, one: plane.ControlPlane, amount: float, **more: Any) -> Any:
    return service.put(one, ADMIN, named, budgets.BudgetPut(amount=amount, **more))


def test_each_hard_budget_that_is_for_the_run_is_asked(tmp_path: Path) -> None:
    async def told() -> None:
        async with opened(tmp_path) as (one, _):
            now = base.utc_now()
            await put(DEV_DAY, one, 1.0)
            await put(ALL_WEEK, one, 3.0)
            await put(service.Named("alpha", "prod", Period.YEAR), one, 0.01, is_hard=False)
            # What was before the period began is not of it.
            before = periods.span(Period.WEEK, now)[0] - timedelta(seconds=1)
            await spend(one, "old", 100.0, "dev", before)
            await spend(one, "now", 0.4, "dev", now)
            assert (await start(one, "dev", 0.5)).startswith("run_")
            refused = await start(one, "dev", 0.2)
            assert "may spend 1 a day in dev and has 0.1 left, this may cost 0.2" in refused
            assert "mainspring budget set alpha --environment dev --period day" in refused
            assert (await start(one, "dev", 0.05)).startswith("run_"), "what is left may be spent"
            # A soft one refuses nothing; the week's is of all environments.
            assert (await start(one, "prod", 1.5)).startswith("run_")
            assert "may spend 3 a week and has" in await start(one, "staging", 1.0)
            view = await service.show(one, DEVELOPER, DEV_DAY)
            assert (view.spent, view.held, view.amount) == (0.4, 0.55, 1.0)
            week = await service.show(one, DEVELOPER, ALL_WEEK)
            assert (week.spent, round(week.held, 9)) == (0.4, 2.05)
            assert week.forecast >= week.spent and (week.begins, week.ends) == periods.span(Period.WEEK, now)
            denied = [
                r
                for r in (await audit.read(one, ADMIN, after="", limit=500)).items
                if r["outcome"] == "denied"
            ]
            assert {r["detail"]["code"] for r in denied} == {"budget_exceeded"} and len(denied) == 2

    asyncio.run(told())


def test_of_a_hundred_starts_at_once_as_many_begin_as_the_budget_has_money_for(tmp_path: Path) -> None:
    async def told() -> None:
        async with opened(tmp_path) as both:
            await put(DEV_DAY, both[0], 1.0)
            answers = await asyncio.gather(*(start(both[n % 2], "dev", 0.1) for n in range(100)))
            assert Counter(a.startswith("run_") for a in answers) == {True: 10, False: 90}
            assert (await service.show(both[0], DEVELOPER, DEV_DAY)).held == pytest.approx(1.0)
            assert (await start(both[0], "staging", 0.1)).startswith("run_"), "that is another's"

    asyncio.run(told())


@contextmanager
def receiver() -> Iterator[tuple[str, list[Any], list[int]]]:
    """A real server for alarms: its address, what came, and the status that it answers."""
    came, status = list[Any](), [204]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if status[0] == 204:
                came.append(body)
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", came, status
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_thresholds_are_told_of_once_in_a_period_whoever_looks(tmp_path: Path) -> None:
    async def told() -> None:
        with receiver() as (url, came, status):
            async with opened(tmp_path, env={"MAINSPRING_CONTROL_ALERT_URL": url}) as both:

                async def look(at: datetime) -> list[tuple[str, float]]:
                    """What came of it."""
                    before = len(came)
                    await asyncio.gather(*(thresholds.look(one, now=at) for one in both))
                    return sorted(
                        {(f"{b['environment']}/{b['period']}", b["threshold"]) for b in came[before:]}
                    )

                await put(DEV_DAY, both[0], 1.0, is_hard=False, thresholds=(0.5, 0.9))
                await put(ALL_WEEK, both[0], 2.0)
                await spend(both[0], "a", 0.49, "dev", NOW)
                assert await look(NOW) == []
                await spend(both[0], "b", 0.01, "dev", NOW)
                await spend(both[0], "c", 0.5, "staging", NOW)
                status[0] = 500
                assert await look(NOW) == []  # and nobody has heard of it
                status[0] = 204
                assert await look(NOW) == [("all/week", 0.5), ("dev/day", 0.5)]
                assert came[0].items() >= {
                    "kind": "budget.reach", "project": "alpha", "currency": "USD", "spent": came[0]["spent"],
                }.items()  # fmt: skip
                assert await look(NOW) == [], "once"
                await spend(both[0], "d", 1.0, "dev", NOW)
                assert await look(NOW) == [("all/week", 1.0), ("dev/day", 0.9)], "of several the highest"
                # The next day is another period, the week is not.
                tomorrow = NOW + timedelta(days=1)
                assert await look(tomorrow) == []
                await spend(both[0], "e", 0.6, "dev", tomorrow)
                assert await look(tomorrow) == [("dev/day", 0.5)]
                # Of another amount it stands elsewhere, and is told anew.
                view = await service.show(both[0], ADMIN, ALL_WEEK)
                await service.put(
                    both[0], ADMIN, ALL_WEEK, budgets.BudgetPut(amount=3.0), if_match=f'"{view.version}"'
                )
                assert await look(tomorrow) == [("all/week", 0.8)]
                rows = (await audit.read(both[0], ADMIN, after="", limit=500)).items
                reached = [
                    (r["resource"], r["detail"]["threshold"]) for r in rows if r["action"] == "budget.reach"
                ]
                assert sorted(reached) == [
                    ("budget/alpha/all/week", 0.5), ("budget/alpha/all/week", 0.8), ("budget/alpha/all/week", 1.0),
                    ("budget/alpha/dev/day", 0.5), ("budget/alpha/dev/day", 0.5), ("budget/alpha/dev/day", 0.9),
                ]  # fmt: skip
                taken = [
                    (r["resource"], r["detail"]["threshold"]) for r in rows if r["action"] == "budget.alarm"
                ]
                assert sorted(taken) == sorted(reached)

    asyncio.run(told())


def test_budgets_have_versions_and_are_on_record(api: Api) -> None:
    one = f"{PLACE}/prod/quarter"
    made = api.call("admin", "PUT", one, 200, {"amount": 500.0})
    assert (made["amount"], made["is_hard"], made["thresholds"], made["set_by"]) == (500.0, True, [0.5, 0.8, 1.0], "admin@local")  # fmt: skip
    assert (made["spent"], made["held"], made["forecast"], made["reached"]) == (0.0, 0.0, 0.0, 0.0)
    assert api.call("admin", "PUT", one, 200, {"amount": 500.0}) == made, "the same again changes nothing"
    api.call("admin", "PUT", one, 428, {"amount": 600.0})
    api.call_with({"If-Match": '"other"'}, "admin", "PUT", one, 412, {"amount": 600.0})
    tag = {"If-Match": f'"{made["version"]}"'}
    soft = api.call_with(
        tag, "admin", "PUT", one, 200, {"amount": 600.0, "is_hard": False, "thresholds": [1.0]}
    )
    assert soft["version"] != made["version"] and api.call("developer", "GET", one, 200)["amount"] == 600.0
    api.call("admin", "PUT", f"{PLACE}/all/day", 200, {"amount": 5.0})
    page = api.call("developer", "GET", PLACE, 200, limit=1)
    assert [one["period"] for one in page["items"]] == ["day"] and page["next"] == "all/day"
    rest = api.call("developer", "GET", PLACE, 200, after=page["next"])
    assert [(one["environment"], one["period"]) for one in rest["items"]] == [
        ("prod", "quarter")
    ] and not rest["next"]
    api.call("admin", "DELETE", one, 428)
    gone = api.client.request(
        "DELETE",
        one,
        headers={"Authorization": f"Bearer {api._tokens['admin']}", "If-Match": f'"{soft["version"]}"'},
    )
    assert gone.status_code == 204
    api.call("developer", "GET", one, 404)
    log = [(r["action"], r["detail"].get("amount"), (r["detail"]["was"] or {}).get("amount")) for r in api.audit() if r["action"].startswith("budget.")]  # fmt: skip
    assert [r for r in log if r[1] != 5.0] == [
        ("budget.set", 500.0, None), ("budget.set", 600.0, 500.0), ("budget.remove", None, 600.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "body", "field"),
    [
        ("attic/month", {"amount": 1.0}, "environment"),
        ("prod/fortnight", {"amount": 1.0}, "period"),
        ("prod/month", {"amount": 0.0}, "amount"),
        ("prod/month", {"amount": 1.0, "thresholds": [0.0]}, "thresholds"),
        ("prod/month", {}, "amount"),
        ("prod/month", {"amount": 1.0, "hard": True}, "hard"),
    ],
)
def test_what_is_no_budget_is_refused(api: Api, place: str, body: dict[str, Any], field: str) -> None:
    told = api.call("admin", "PUT", f"{PLACE}/{place}", 400, body)
    assert told["details"]["field"].startswith(field)
    assert api.call("developer", "GET", PLACE, 200) == {"items": [], "next": ""}


def test_who_may_not_set_one_sets_none(api: Api) -> None:
    for role in ("developer", "approver", "service"):
        api.call(role, "PUT", f"{PLACE}/all/month", 403, {"amount": 1.0})
    api.call("admin", "PUT", "/api/v1/projects/flight-dalay/budgets/all/month", 404, {"amount": 1.0})
    api.call("developer", "GET", "/api/v1/projects/flight-dalay/budgets", 404)
    api.call("admin", "DELETE", f"{PLACE}/all/month", 404)


def test_whoever_has_work_under_way_is_told_of_hard_budgets(api: Api) -> None:
    api.call("admin", "PUT", f"{PLACE}/dev/day", 200, {"amount": 5.0})
    api.call("admin", "PUT", f"{PLACE}/all/year", 200, {"amount": 9.0, "is_hard": False})
    run = api.run(max_cost=1.0)["run_id"]
    now = base.utc_now().isoformat()
    usage = {
        "usage_key": "k", "run_id": run, "project": "flight-delay", "service": "ray-train", "sku": "cpu_core_hour", "consumed_quantity": 25.0,
        "consumed_unit": "core-hours", "started_at": now, "ended_at": now,
    }  # fmt: skip
    api.call("service", "POST", "/api/v1/usage", 201, usage)
    told = api.call("service", "GET", "/api/v1/costs:standing", 200, run=run)
    assert told["budgets"] == [
        {"project": "flight-delay", "environment": "dev", "period": "day", "limit": 5.0, "spent": 1.0}
    ]


def test_the_command_line(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "client", api.control_client)

    def run(*words: str, expect: int = 0) -> str:
        done = CliRunner().invoke(cli.cli, ["budget", *words])
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output

    def told(*words: str) -> Any:
        return json.loads(run(*words, "--json"))["data"]

    one = ("flight-delay", "--environment", "prod", "--period", "week")
    made = told("set", "flight-delay", "20", *one[1:], "--soft", "--threshold", "0.9")
    assert (made["amount"], made["is_hard"], made["thresholds"]) == (20.0, False, [0.9])
    assert told("show", *one) == made and told("list", "flight-delay") == [made]
    assert "prod" in run("list", "flight-delay")
    changed = told("set", "flight-delay", "30", *one[1:], "--version", made["version"])
    assert (changed["is_hard"], changed["thresholds"]) == (True, [0.5, 0.8, 1.0])
    assert changed["stop_endpoints"] is False
    changed = told("set", "flight-delay", "30", *one[1:], "--stop-endpoints", "--version", changed["version"])
    assert changed["stop_endpoints"] is True and told("show", *one) == changed
    soft = ("--soft", "--stop-endpoints", "--version", changed["version"])
    assert "stop_endpoints" in run("set", "flight-delay", "30", *one[1:], *soft, expect=2)
    assert "has no budget prod/week any more" in run("remove", *one, "--version", changed["version"])
    assert told("list", "flight-delay") == []
    run("set", "flight-delay", "0", expect=2)
