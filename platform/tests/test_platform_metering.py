"""What serving used is conserved: every grouping adds up to what was metered, to the last unit, whatever fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors, identity, settings
from mainspring.core.contracts import control, metering, training
from mainspring.core.contracts.capacity import Capacity
from mainspring.platform import database, plane
from mainspring.platform.audit import service as audit
from mainspring.platform.costs import service as costs
from mainspring.platform.metering import service, store
from mainspring.platform.projects import service as projects
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

START = datetime(2026, 11, 1, tzinfo=UTC)
DEVELOPER, SERVICE = "Bearer dev", "Bearer ser"
ISSUER = identity.TokenIssuer(
    {"dev": identity.Actor("ana", ("developer",)), "ser": identity.Actor("serving", ("service",))}
)
UNITS = ("requests", "predictions", "cpu_microseconds")


class Unlucky(database.Database):
    """Every third writing transaction fails at its end."""

    writes = 0

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with super().write() as connection:
            yield connection
            self.writes += 1
            if self.writes % 3 == 0:
                raise errors.DependencyDown("the disk is full", name="database")


@asynccontextmanager
async def opened(directory: Path, kind: type[database.Database] = database.Database) -> AsyncIterator[Any]:
    s = settings.load({}, directory=directory)
    one = plane.ControlPlane(kind(s.control.database_url), ISSUER, launcher.MemoryLauncher(), s.cost, 2)
    await one.database.open()
    try:
        for name in ("alpha", "beta"):
            await projects.create(one, DEVELOPER, control.ProjectCreate(name=name, owner="team"))
        yield one
    finally:
        await one.database.close()


def used(key: str, **fields: Any) -> metering.ServingUsage:
    given = {
        "usage_key": key,
        "project": "alpha",
        "endpoint": "delay",
        "model_version": "sha256:" + "a" * 64,
        "caller": "shop",
        "requests": 3,
        "predictions": 1234,
        "cpu_microseconds": 7_000_001,
        "started_at": START,
        "ended_at": START + timedelta(seconds=10),
    }
    return metering.ServingUsage.model_validate({**given, **fields})


def random_windows(count: int, seed: int) -> list[metering.ServingUsage]:
    rng = random.Random(seed)
    return [
        used(
            f"p1/{i}",
            project=rng.choice(["alpha", "beta"]),
            endpoint=rng.choice(["delay", "price", "spam"]),
            model_version="sha256:" + rng.choice("abcde") * 64,
            caller=rng.choice(["shop", "app", "batch", "o'neil; --"]),
            requests=rng.randrange(10**6),
            predictions=rng.choice([0, 1, rng.randrange(10**9)]),
            cpu_microseconds=rng.choice([0, 1, 10**12, rng.randrange(10**10)]),
            capacity=rng.choice(list(Capacity)),
        )
        for i in range(count)
    ]


def test_the_charges_are_exact_and_rounded_once() -> None:
    book = settings.CostSettings(
        cpu_core_hour=0.0417,
        spot_cpu_core_hour=0.0131,
        reserved_cpu_core_hour=0.0251,
        thousand_predictions=0.0013,
    )
    rates = {"on-demand": Fraction("0.0417"), "spot": Fraction("0.0131"), "reserved": Fraction("0.0251")}
    for one in [*random_windows(200, 1), used("x", cpu_microseconds=10**12, predictions=10**12)]:
        (rows, row_nanos), (cpu, cpu_nanos) = cost.price_serving(one, book)
        for nanos, units, price, per in (
            (row_nanos, one.predictions, Fraction("0.0013"), 1000),
            (cpu_nanos, one.cpu_microseconds, rates[one.capacity], 3_600_000_000),
        ):
            assert abs(nanos - units * price * 10**9 / per) <= Fraction(1, 2)
        assert (rows.sku_id, cpu.sku_id) == ("thousand_predictions", "cpu_core_hour")
        assert (rows.list_unit_price, cpu.list_unit_price) == (0.0013, 0.0417)
        assert (rows.capacity, cpu.capacity) == (Capacity.ON_DEMAND, one.capacity)
        assert rows.billed_cost == cost.to_amount(row_nanos)
    with pytest.raises(errors.InvalidRequest, match="ends before it starts"):
        cost.price_serving(used("x", ended_at=START - timedelta(seconds=1)), book)


def test_every_grouping_adds_up_to_what_was_metered_whatever_fails(tmp_path: Path) -> None:
    windows = random_windows(400, 7)
    rng = random.Random(8)

    async def report(one: Any, batch: list[metering.ServingUsage]) -> None:
        while True:
            try:
                await service.record(one, SERVICE, batch)
                return
            except errors.DependencyDown:
                continue  # as a meter does that got no receipt

    async def told() -> None:
        async with opened(tmp_path) as honest:
            one = plane.ControlPlane(Unlucky(honest.database.url), ISSUER, honest.launcher, honest.book, 2)
            batches = [windows[i : i + 20] for i in range(0, 400, 20)]
            again = [rng.sample(windows, 25) for _ in range(12)]  # late repeats, over batch borders
            mixed = batches + again
            rng.shuffle(mixed)
            await asyncio.gather(*(report(one, batch) for batch in mixed))
            await one.database.close()
            nanos = sum(n for w in windows for _, n in cost.price_serving(w, honest.book))
            for group_by in get_args(store.GroupBy):
                found = await service.summarise(honest, DEVELOPER, group_by=group_by, project="")
                for unit in UNITS:
                    expected: dict[str, int] = {}
                    for w in windows:
                        name = getattr(w, group_by)
                        expected[name] = expected.get(name, 0) + getattr(w, unit)
                    assert {n: getattr(g, unit) for n, g in found.groups.items()} == expected
                    assert getattr(found.total, unit) == sum(expected.values())
                assert cost.to_nanos(found.total.cost) == nanos
                assert sum(cost.to_nanos(g.cost) for g in found.groups.values()) == nanos
            rates: dict[str, int] = {}
            for view, n in (charge for w in windows for charge in cost.price_serving(w, honest.book)):
                rates[view.capacity] = rates.get(view.capacity, 0) + n
            by_rate = await costs.summarise(honest, DEVELOPER, group_by="capacity", project="")
            assert {name: cost.to_nanos(paid) for name, paid in by_rate.groups.items()} == rates
            assert set(rates) == set(Capacity) and sum(rates.values()) == nanos
            ledger = await costs.summarise(honest, DEVELOPER, group_by="service", project="")
            assert cost.to_nanos(ledger.groups["serving"]) == cost.to_nanos(ledger.total) == nanos
            rows = (await audit.read(honest, DEVELOPER, after="", limit=500)).items
            on_record = [r["detail"] for r in rows if r["action"] == "usage.record-serving"]
            for unit in UNITS:
                assert sum(d[unit] for d in on_record) == sum(getattr(w, unit) for w in windows)
            assert sum(d["records"] for d in on_record) == 400
            assert (await audit.verify(honest, DEVELOPER)).ok

    asyncio.run(told())


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    async def told() -> None:
        async with opened(tmp_path) as one:
            first = await service.record(one, SERVICE, [used("a"), used("b"), used("a")])
            assert (first.received, first.new) == (3, 2)
            assert (await service.record(one, SERVICE, [used("a")])).new == 0
            for bad, kind in (
                (used("a", requests=4), errors.Conflict),
                (used("z", project="nowhere"), errors.NotFound),
                (used("z", ended_at=START - timedelta(days=1)), errors.InvalidRequest),
            ):
                with pytest.raises(kind):
                    await service.record(one, SERVICE, [used("c"), bad])
            with pytest.raises(errors.Conflict):
                await service.record(one, SERVICE, [used("c"), used("c", caller="other")])
            with pytest.raises(errors.PermissionDenied):
                await service.record(one, DEVELOPER, [used("c")])
            total = (await service.summarise(one, DEVELOPER, group_by="caller", project="alpha")).total
            assert (total.requests, total.predictions, total.cpu_microseconds) == (6, 2468, 14_000_002)
            with pytest.raises(errors.NotFound):
                await service.summarise(one, DEVELOPER, group_by="caller", project="nowhere")
            empty = await service.summarise(one, DEVELOPER, group_by="caller", project="beta")
            assert empty.groups == {} and empty.total.cost == 0.0

    asyncio.run(told())


def test_serving_counts_against_the_budget(tmp_path: Path) -> None:
    async def told() -> None:
        async with opened(tmp_path) as one:
            now = datetime.now(UTC)
            await service.record(one, SERVICE, [used("a", predictions=10**6, started_at=now, ended_at=now)])
            shown = await projects.show(one, DEVELOPER, "alpha")
            assert shown.spent_this_month == 1.0 + cost.to_amount(
                cost.price_serving(used("x"), one.book)[1][1]
            )

    asyncio.run(told())


@pytest.mark.parametrize(
    "fields", [{"requests": -1}, {"requests": 1.5}, {"cpu_microseconds": 10**12 + 1}, {"caller": ""}]
)
def test_what_is_no_count_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        used("a", **fields)


def test_what_an_older_process_sent_again_is_the_same_and_of_nodes_on_demand(tmp_path: Path) -> None:
    """Its spool knows no capacity; the same key of other nodes is another record."""
    old = metering.ServingUsage.model_validate(used("a").model_dump(mode="json", exclude={"capacity"}))

    async def told() -> None:
        async with opened(tmp_path) as one:
            assert (await service.record(one, SERVICE, [old])).new == 1
            again = used("a", capacity="on-demand")
            assert (await service.record(one, SERVICE, [again])).new == 0
            with pytest.raises(errors.Conflict, match="taken by another record"):
                await service.record(one, SERVICE, [used("b"), used("a", capacity="spot")])
            found = await costs.summarise(one, DEVELOPER, group_by="capacity", project="alpha")
            assert set(found.groups) == {"on-demand"}
            assert cost.to_nanos(found.total) == sum(n for _, n in cost.price_serving(old, one.book))

    asyncio.run(told())


def test_training_and_serving_share_one_ledger(tmp_path: Path) -> None:
    async def told() -> None:
        async with opened(tmp_path) as one:
            await service.record(one, SERVICE, [used("a")])
            train = training.UsageRecord(
                usage_key="a",
                run_id="run_x",
                project="alpha",
                service="ray-train",
                sku="gpu_hour",
                consumed_quantity=1,
                consumed_unit="gpu-hours",
                started_at=START,
                ended_at=START,
            )
            await costs.record(one, SERVICE, train)
            found = await costs.summarise(one, DEVELOPER, group_by="run", project="alpha")
            assert set(found.groups) == {"endpoint/delay", "run_x"}
            by_run = sum(cost.to_nanos(amount) for amount in found.groups.values())
            assert by_run == cost.to_nanos(found.total)

    asyncio.run(told())
