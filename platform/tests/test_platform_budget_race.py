"""Starts at the same time cannot all count on the same money, whichever process they come to."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from platform_planes import DEVELOPER, WORKER, opened, start

from mainspring.core import errors
from mainspring.core.contracts import base, training
from mainspring.platform import plane
from mainspring.platform.audit import service as audit
from mainspring.platform.costs import service as costs
from mainspring.platform.projects import service as projects
from mainspring.platform.runs import launcher
from mainspring.platform.runs import service as runs

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")


class Refusing(launcher.MemoryLauncher):
    """An engine that takes nothing."""

    async def start_training(self, request: training.TrainRequest) -> None:
        raise errors.InvalidRequest("no such project at the workers")


async def used(one: plane.ControlPlane, run_id: str, hours: float) -> None:
    now = datetime.now(UTC)
    usage = training.UsageRecord(
        usage_key=f"{run_id}/{hours}",
        run_id=run_id,
        project="alpha",
        environment="dev",
        service="ray-train",
        sku="gpu_hour",
        consumed_quantity=hours,
        consumed_unit="gpu-hours",
        started_at=now - timedelta(seconds=1),
        ended_at=now,
    )
    await costs.record(one, WORKER, usage)


async def ended(one: plane.ControlPlane, run_id: str, stage: str) -> None:
    event = training.RunEvent(
        event_key=f"{run_id}/{stage}", run_id=run_id, action="run.end", actor="w", detail={"stage": stage}
    )
    await runs.report(one, WORKER, run_id, event)


def test_of_100_starts_at_once_against_a_budget_for_10_exactly_10_start(tmp_path: Path) -> None:
    async def story() -> None:
        engine = launcher.MemoryLauncher()
        async with opened(tmp_path, budget=10.0, engine=engine) as planes:
            asked = (start(planes[i % 2], max_cost=1.0) for i in range(100))
            found = Counter("started" if a.startswith("run_") else a for a in await asyncio.gather(*asked))
            assert found == {"started": 10, "budget_exceeded": 90} and len(engine.started) == 10
            shown = await projects.show(planes[0], DEVELOPER, "alpha")
            assert (shown.reserved, shown.spent_this_month) == (10.0, 0.0)
            verified = await audit.verify(planes[1], DEVELOPER)
            assert verified.ok and verified.rows == 1 + 10 * 2 + 90  # denials are on record, too

    asyncio.run(story())


def test_what_a_run_used_counts_once_and_its_end_lets_the_rest_go(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, budget=10.0, count=1) as (one,):
            first = await start(one, max_cost=9.0)
            assert await start(one, max_cost=2.0) == "budget_exceeded"
            await used(one, first, 1.0)  # 2.5 of the 9
            shown = await projects.show(one, DEVELOPER, "alpha")
            assert (shown.spent_this_month, shown.reserved) == (2.5, 6.5)
            await ended(one, first, "train")  # not an end
            assert await start(one, max_cost=2.0) == "budget_exceeded"
            await ended(one, first, "done")
            assert (await projects.show(one, DEVELOPER, "alpha")).reserved == 0.0
            assert (await start(one, max_cost=7.5)).startswith("run_")
            assert await start(one, max_cost=0.01) == "budget_exceeded"

    asyncio.run(story())


def test_more_used_than_reserved_is_spent_and_never_given_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, budget=10.0, count=1) as (one,):
            first = await start(one, max_cost=1.0)
            await used(one, first, 2.0)  # 5.0
            shown = await projects.show(one, DEVELOPER, "alpha")
            assert (shown.spent_this_month, shown.reserved) == (5.0, 0.0)
            assert await start(one, max_cost=5.5) == "budget_exceeded"

    asyncio.run(story())


def test_a_start_that_the_engine_refused_keeps_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, budget=1.0, engine=Refusing(), count=1) as (one,):
            with pytest.raises(errors.InvalidRequest):
                await start(one, max_cost=1.0)
            assert (await projects.show(one, DEVELOPER, "alpha")).reserved == 0.0

    asyncio.run(story())


def test_a_run_whose_end_nobody_reports_is_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with opened(tmp_path, budget=1.0, count=1) as (one,):
            assert (await start(one)).startswith("run_")  # says no cost: what settings say
            assert (await projects.show(one, DEVELOPER, "alpha")).reserved == one.book.run_reservation == 0.1
            assert await start(one, max_cost=0.95) == "budget_exceeded"
            later = base.utc_now() + timedelta(hours=one.book.reservation_hours, seconds=1)
            monkeypatch.setattr(base, "utc_now", lambda: later)
            assert (await projects.show(one, DEVELOPER, "alpha")).reserved == 0.0
            assert (await start(one, max_cost=0.95)).startswith("run_")

    asyncio.run(story())
