"""What is asked of a run reaches the engine exactly once, at whatever point the process ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import canaries, control, training
from mainspring.platform import database, plane
from mainspring.platform.audit import service as audit_service
from mainspring.platform.projects import service as projects
from mainspring.platform.runs import launcher, outbox, steering
from mainspring.platform.runs import service as runs

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

DEVELOPER, APPROVER = "Bearer dev", "Bearer app"
ISSUER = identity.TokenIssuer(
    {"dev": identity.Actor("ana", ("developer",)), "app": identity.Actor("ben", ("approver",))}
)
PROJECT = control.ProjectCreate(name="flight-delay", owner="team")
YES, NO = control.DecisionCreate(approve=True), control.DecisionCreate(approve=False)


class Crash(BaseException):
    """The process ends here."""


class FailingDatabase(database.Database):
    """Ends the process instead of committing its nth write; 0: never."""

    fail_at = 0

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with super().write() as connection:
            yield connection
            self.fail_at -= 1
            if self.fail_at == 0:
                raise Crash


class Engine(launcher.MemoryLauncher):
    """Ends the process before or after it takes what it is asked, once."""

    def __init__(self) -> None:
        super().__init__()
        self.crash = ""
        self.taken = 0

    async def decide(self, run_id: str, decision: training.Decision, *, intent_id: str) -> None:
        self._point("before")
        was = dict(self.decisions)
        await super().decide(run_id, decision, intent_id=intent_id)
        self.taken += self.decisions != was
        self._point("after")

    async def start_training(self, request: training.TrainRequest) -> None:
        self._point("before")
        await super().start_training(request)
        self._point("after")

    async def cancel(self, run_id: str) -> None:
        self._point("before")
        await super().cancel(run_id)
        self._point("after")

    def _point(self, name: str) -> None:
        if self.crash == name:
            self.crash = ""
            raise Crash


def make(directory: Path, engine: launcher.RunLauncher) -> plane.ControlPlane:
    s = settings.load({}, directory=directory)
    return plane.ControlPlane(FailingDatabase(s.control.database_url), ISSUER, engine, s.cost, 2)


def walk(directory: Path, story: Callable[[plane.ControlPlane, Engine], Awaitable[None]]) -> None:
    async def told() -> None:
        engine = Engine()
        one = make(directory, engine)
        await one.database.open()
        try:
            await projects.create(one, DEVELOPER, PROJECT)
            await story(one, engine)
            assert (await audit_service.verify(one, DEVELOPER)).ok
        finally:
            await one.database.close()

    asyncio.run(told())


async def start(one: plane.ControlPlane, **fields: Any) -> str:
    return (await runs.create(one, DEVELOPER, control.RunCreate(project="flight-delay", **fields))).run_id


async def outcomes(one: plane.ControlPlane, action: str) -> list[str]:
    rows = (await audit_service.read(one, DEVELOPER, after="", limit=500)).items
    return [row["outcome"] for row in rows if row["action"] == action]


async def restarted(one: plane.ControlPlane, engine: Engine) -> int:
    """Another process over the same file recovers."""
    other = plane.ControlPlane(database.Database(one.database.url), ISSUER, engine, one.book, 2)
    try:
        return await outbox.recover(other)
    finally:
        await other.database.close()


@pytest.mark.parametrize("point", ["intent", "before", "after", "outcome"])
@pytest.mark.parametrize("kind", ["start", "decide", "cancel"])
def test_a_crash_at_every_point_is_recovered(tmp_path: Path, kind: str, point: str) -> None:
    async def story(one: plane.ControlPlane, engine: Engine) -> None:
        run_id = "" if kind == "start" else await start(one)

        async def act() -> Any:
            if kind == "start":
                return await start(one, idempotency_key="k")
            if kind == "decide":
                return await runs.decide(one, APPROVER, run_id, YES)
            return await runs.cancel(one, DEVELOPER, run_id)

        assert isinstance(one.database, FailingDatabase)
        one.database.fail_at = {"intent": 1, "outcome": 2}.get(point, 0)
        engine.crash = point if point in ("before", "after") else ""
        with pytest.raises(Crash):
            await act()
        recorded = ["intended"] if point != "intent" else []
        assert await outcomes(one, f"run.{kind}") == recorded
        assert await restarted(one, engine) == len(recorded)
        assert await restarted(one, engine) == 0
        if point == "intent":  # nothing was on record, and nothing was asked
            assert not engine.decisions and (kind != "start" or not engine.started)
            await act()
        assert await outcomes(one, f"run.{kind}") == ["intended", "done"]
        if kind == "start":
            assert len(engine.started) == 1
            assert await start(one, idempotency_key="k") == next(iter(engine.started))
        elif kind == "decide":
            assert engine.taken == 1 and engine.decisions[run_id].by == "ben"
        else:
            assert (await engine.status(run_id)).stage is training.Stage.CANCELLED

    walk(tmp_path, story)


def test_the_database_is_free_while_the_engine_is_asked(tmp_path: Path) -> None:
    class Busy(Engine):
        async def decide(self, run_id: str, decision: training.Decision, *, intent_id: str) -> None:
            # Would wait for itself if the decision's transaction were still open.
            await projects.create(other[0], DEVELOPER, PROJECT.model_copy(update={"name": "meanwhile"}))
            await super().decide(run_id, decision, intent_id=intent_id)

    other: list[plane.ControlPlane] = []

    async def told() -> None:
        one = make(tmp_path, Busy())
        other.append(one)
        await one.database.open()
        await projects.create(one, DEVELOPER, PROJECT)
        run_id = await start(one)
        async with asyncio.timeout(30):
            assert (await runs.decide(one, APPROVER, run_id, YES)).stage == "done"
        assert (await projects.show(one, DEVELOPER, "meanwhile")).name == "meanwhile"
        await one.database.close()

    asyncio.run(told())


def test_an_engine_that_is_away_gets_it_later_and_once(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane, engine: Engine) -> None:
        run_id = await start(one)
        engine.is_down = True
        for _ in range(2):  # the same decision again joins the first
            with pytest.raises(errors.DependencyDown):
                await runs.decide(one, APPROVER, run_id, YES)
        with pytest.raises(errors.Conflict, match="under way"):
            await runs.decide(one, APPROVER, run_id, NO)
        assert await outbox.recover(one) == 0
        engine.is_down = False
        assert (
            await outbox.recover(one, older_than=outbox.RECOVERY_AGE) == 0
        )  # its request may still be at it
        assert await outbox.recover(one) == 1
        assert engine.taken == 1 and await outcomes(one, "run.decide") == ["intended", "done"]

    walk(tmp_path, story)


def test_a_refusal_is_on_record_and_not_repeated(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane, engine: Engine) -> None:
        run_id = await start(one)
        await engine.cancel(run_id)
        with pytest.raises(errors.Conflict, match="waits for no decision"):
            await runs.decide(one, APPROVER, run_id, YES)
        assert await outcomes(one, "run.decide") == ["intended", "refused"]
        assert await outbox.recover(one) == 0

    walk(tmp_path, story)


def test_what_the_run_reported_settles_an_intent_that_the_engine_forgot(tmp_path: Path) -> None:
    """The engine refuses the second asking of an ended run; its report tells that it took the first."""

    class Forgetful(Engine):
        async def decide(self, run_id: str, decision: training.Decision, *, intent_id: str) -> None:
            self._taken.clear()
            await super().decide(run_id, decision, intent_id=intent_id)

    async def told() -> None:
        engine = Forgetful()
        one = make(tmp_path, engine)
        await one.database.open()
        await projects.create(one, DEVELOPER, PROJECT)
        run_id = await start(one)
        engine.crash = "after"
        with pytest.raises(Crash):
            await runs.decide(one, APPROVER, run_id, YES)
        worker = identity.TokenIssuer({"w": identity.Actor("worker", ("service",))})
        event = training.RunEvent(
            event_key=f"{run_id}/approval",
            run_id=run_id,
            action="approval.decide",
            actor="ben",
            detail={"approve": True, "by": "ben", "reason": ""},
        )
        reporting = plane.ControlPlane(one.database, worker, engine, one.book, 2)
        await runs.report(reporting, "Bearer w", run_id, event)
        assert await outbox.recover(one) == 1
        assert await outcomes(one, "run.decide") == ["intended", "done"]
        await one.database.close()

    asyncio.run(told())


@pytest.mark.parametrize("is_told", [True, False])
def test_an_order_to_a_canary_is_settled_by_what_the_run_says_it_took(tmp_path: Path, is_told: bool) -> None:
    """The process ends when the engine has taken it; asked again, the canary is paused, or over."""
    pause = canaries.CanaryCreate(order=canaries.CanaryOrder.PAUSE, reason="a look")
    wanted = control.RunCreate(
        project="flight-delay",
        kind=control.RunKind.DEPLOY,
        endpoint="delay",
        bundle_digest="sha256:" + "a" * 64,
    )

    class Forgetful(Engine):
        async def steer(self, run_id: str, order: canaries.CanaryOrder, asked: canaries.Steer) -> None:
            self._point("before")
            if self.orders:
                raise errors.Conflict("is paused already", resource="run", name=run_id)
            await super().steer(run_id, order, asked)
            self._point("after")

    async def told() -> None:
        engine = Forgetful()
        one = make(tmp_path, engine)
        await one.database.open()
        await projects.create(one, DEVELOPER, PROJECT)
        run_id = (await runs.create(one, DEVELOPER, wanted)).run_id
        engine.judge(run_id, 5)
        engine.crash = "after"
        with pytest.raises(Crash):
            await steering.steer(one, DEVELOPER, run_id, pause)
        ((_, _, asked),) = engine.orders
        worker = identity.TokenIssuer({"w": identity.Actor("worker", ("service",))})
        event = training.RunEvent(
            event_key=f"{run_id}/order-1",
            run_id=run_id,
            action="endpoint.canary.pause",
            actor="ana",
            detail={"order_id": asked.order_id if is_told else "another"},
        )
        reporting = plane.ControlPlane(one.database, worker, engine, one.book, 2)
        await runs.report(reporting, "Bearer w", run_id, event)
        assert await outbox.recover(one) == 1
        end = "done" if is_told else "refused"
        assert await outcomes(one, "run.steer") == ["intended", end]
        await one.database.close()

    asyncio.run(told())


def test_two_open_intents_of_a_kind_are_refused_by_the_database(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane, _engine: Engine) -> None:
        run_id = await start(one)
        row = {
            "run_id": run_id,
            "kind": "decide",
            "actor": "x",
            "request": {},
            "state": "open",
            "created_at": "",
        }
        with pytest.raises(sa.exc.IntegrityError):
            async with one.database.write() as connection:
                for intent_id in ("a", "b"):
                    await connection.execute(sa.insert(database.intents).values(intent_id=intent_id, **row))

    walk(tmp_path, story)


def test_recovery_runs_at_the_start_and_survives_what_it_meets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(one: plane.ControlPlane, engine: Engine) -> None:
        run_id = await start(one)
        engine.crash = "before"
        with pytest.raises(Crash):
            await runs.decide(one, APPROVER, run_id, YES)
        task = asyncio.create_task(outbox.recover_forever(one))
        async with asyncio.timeout(30):
            while await outcomes(one, "run.decide") != ["intended", "done"]:
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await one.database.close()
        async with one.database.read() as connection:
            assert await connection.scalar(sa.select(sa.func.count()).select_from(database.intents)) == 2

    walk(tmp_path, story)
