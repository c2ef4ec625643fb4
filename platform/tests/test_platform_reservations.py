"""Money is kept free for workspaces and for whoever renews it: never for more than there is, and never twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from platform_planes import ADMIN, DEVELOPER, WORKER, opened, start

from mainspring.core import cost, errors, ids
from mainspring.core.contracts import base, budgets, control, notebooks, training
from mainspring.platform import plane
from mainspring.platform.audit import service as audit
from mainspring.platform.costs import budgets as period_budgets
from mainspring.platform.costs import holding
from mainspring.platform.costs import service as costs
from mainspring.platform.notebooks import records
from mainspring.platform.projects import service as projects

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

HOUR = 0.05
"""What a workspace of one core and two GiB costs, by the default book."""
ID = "notebook_01m8mh3n29kg4kyge1e15v4pm0"
STREAM = "stream/alpha/departures/rdr_01m8mh3n29kg4kyge1e15v4pm0"


async def begun(
    one: plane.ControlPlane, notebook_id: str = ID, change: str = "start", **fields: float
) -> str:
    """`begun`, or the code of the refusal."""
    asked = {
        "notebook_id": notebook_id,
        "change": change,
        "cores": 1,
        "memory_gib": 2.0,
        "hours": 1.0,
        **fields,
    }
    try:
        await records.change(one, DEVELOPER, "alpha", notebooks.NotebookChange.model_validate(asked))
    except errors.BudgetExceeded as refusal:
        return refusal.code
    return "begun"


async def renewed(
    one: plane.ControlPlane, hours: float, work_id: str = ID, project: str = "alpha", environment: str = "dev"
) -> budgets.Reservation:
    ahead = {"cpu_core_hour": hours, "memory_gib_hour": 2 * hours}
    wanted = budgets.ReservationRenewal(work_id=work_id, environment=environment, ahead=ahead)
    return await holding.renew(one, WORKER, project, wanted)


async def ended(one: plane.ControlPlane, work_id: str = ID, project: str = "alpha") -> budgets.Reservation:
    return await holding.end(one, WORKER, project, budgets.ReservationEnd(work_id=work_id))


async def used(one: plane.ControlPlane, hours: float, part: int = 0, work_id: str = ID) -> None:
    at = datetime.now(UTC)
    for sku, unit, units in (
        ("cpu_core_hour", "core-hours", hours),
        ("memory_gib_hour", "GiB-hours", 2 * hours),
    ):
        record = training.UsageRecord(
            usage_key=f"{work_id}:ana:{part}:{sku}", run_id=ID, project="alpha", environment="dev", service="notebook", sku=sku,
            consumed_quantity=units, consumed_unit=unit, started_at=at - timedelta(seconds=1), ended_at=at,
        )  # fmt: skip
        await costs.record(one, WORKER, record)


async def standing(one: plane.ControlPlane, project: str = "alpha") -> tuple[float, float]:
    shown = await projects.show(one, DEVELOPER, project)
    return shown.spent_this_month, shown.reserved


def test_of_20_workspaces_at_once_against_a_budget_for_3_exactly_3_begin(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, budget=3 * HOUR + 0.001) as planes:
            asked = (begun(planes[i % 2], ids.new_id("notebook")) for i in range(20))
            assert Counter(await asyncio.gather(*asked)) == {"begun": 3, "budget_exceeded": 17}
            assert await standing(planes[0]) == pytest.approx((0.0, 3 * HOUR))
            assert await start(planes[1], max_cost=0.01) == "budget_exceeded"  # runs count on the same
            verified = await audit.verify(planes[1], DEVELOPER)
            assert verified.ok and verified.rows == 1 + 3 + 17 + 1  # denials are on record, too

    asyncio.run(story())


def test_what_is_spent_and_what_is_kept_is_what_the_work_may_use_in_all(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, budget=100.0, count=1) as (one,):
            assert await begun(one, hours=12.0) == "begun"
            assert await standing(one) == (0.0, HOUR)  # an hour of the twelve
            await used(one, 0.25, part=1)
            assert await standing(one) == (0.0125, 0.0375)
            await renewed(one, 1.0)
            assert await standing(one) == (0.0125, HOUR)
            for part in range(2, 5):
                await used(one, 0.2, part)
                spent, kept = await standing(one)
                assert cost.to_nanos(spent) + cost.to_nanos(kept) == cost.to_nanos(0.0125 + HOUR)
            await used(one, 0.5, part=5)  # more than was kept is spent, and nothing is owed for it
            assert await standing(one) == pytest.approx((0.0675, 0.0))
            await renewed(one, 1.0)
            end = notebooks.NotebookEnd(notebook_id=ID, reason="stopped")
            for _ in range(2):
                await records.end(one, WORKER, "alpha", end)
                assert await standing(one) == pytest.approx((0.0675, 0.0))

    asyncio.run(story())


def test_a_renewal_that_cannot_be_paid_leaves_what_was_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, budget=2 * HOUR, count=1) as (one,):
            assert await begun(one) == "begun"
            assert await begun(one, ids.new_id("notebook")) == "begun"
            await used(one, 0.5)
            with pytest.raises(errors.BudgetExceeded, match="raise the budget|ask for less|kept free"):
                await renewed(one, 1.0)
            assert await standing(one) == pytest.approx((0.025, 0.075))
            made = await renewed(one, 0.5)  # its own does not stand in its way
            assert made.amount == pytest.approx(0.025)
            assert await standing(one) == pytest.approx((0.025, 0.075))

    asyncio.run(story())


def test_a_budget_of_an_environment_counts_what_is_kept_in_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, budget=100.0, count=1) as (one,):
            named = period_budgets.Named("alpha", "dev", budgets.Period.DAY)
            await period_budgets.put(one, ADMIN, named, budgets.BudgetPut(amount=0.06))
            assert await begun(one) == "begun"
            assert (await period_budgets.show(one, DEVELOPER, named)).held == HOUR
            with pytest.raises(errors.BudgetExceeded, match="a day in dev"):
                await renewed(one, 0.5, STREAM)
            await renewed(one, 0.5, STREAM, environment="prod")
            assert (await period_budgets.show(one, DEVELOPER, named)).held == HOUR
            assert await standing(one) == (0.0, 0.075)

    asyncio.run(story())


def test_what_nobody_renews_or_ends_is_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with opened(tmp_path, budget=1.0, count=1) as (one,):
            assert await begun(one) == await begun(one, other := ids.new_id("notebook")) == "begun"
            assert await begun(one, other, "stop") == "begun"
            assert await standing(one) == (0.0, 2 * HOUR)  # its keeper has yet to say what it used
            now = base.utc_now()
            for after, kept in ((timedelta(minutes=2), HOUR), (holding.LASTS + timedelta(seconds=5), 0.0)):
                monkeypatch.setattr(base, "utc_now", lambda after=after: now + after)
                assert await standing(one) == (0.0, kept)

    asyncio.run(story())


def test_what_is_no_work_of_the_project_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, budget=1.0, count=1) as (one,):
            await projects.create(one, ADMIN, control.ProjectCreate(name="beta", owner="team"))
            await renewed(one, 1.0)
            for asked in (renewed(one, 1.0, project="beta"), ended(one, project="beta")):
                with pytest.raises(errors.Conflict, match="another project's"):
                    await asked
            with pytest.raises(errors.NotFound, match="gamma"):
                await renewed(one, 1.0, project="gamma")
            with pytest.raises(errors.InvalidRequest, match="`moon` is no environment"):
                await renewed(one, 1.0, environment="moon")
            wanted = budgets.ReservationRenewal(work_id=ID, environment="dev", ahead={"love": 1.0})
            with pytest.raises(errors.InvalidRequest, match="`love` is no SKU"):
                await holding.renew(one, WORKER, "alpha", wanted)
            wanted = budgets.ReservationRenewal(work_id=ID, environment="dev", ahead={"gpu_hour": 1e9})
            with pytest.raises(errors.InvalidRequest, match="ask for less at once"):
                await holding.renew(one, WORKER, "alpha", wanted)
            with pytest.raises(errors.PermissionDenied):
                await holding.renew(one, DEVELOPER, "alpha", wanted.model_copy(update={"ahead": {}}))
            assert await standing(one) == (0.0, HOUR)
            assert (await ended(one)).lapses_at is None and (await ended(one)).amount == 0.0
            assert await standing(one) == (0.0, 0.0)

    asyncio.run(story())
