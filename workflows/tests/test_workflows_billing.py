"""What a run used that was cancelled is on its record, once, whoever followed its job; and nothing is paid twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray_double import TOKEN, RayDouble, serve
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from training_doubles import train_request
from workflows_doubles import QUEUE, run

from mainspring.core import errors, settings
from mainspring.core.contracts import training
from mainspring.core.contracts.capacity import Capacity
from mainspring.workflows import budgets
from mainspring.workflows.ray_jobs import billing, books, paying, unbilled
from mainspring.workflows.ray_jobs.client import RayJobs

pytestmark = pytest.mark.timeout(90)


@workflow.defn(name="tests.Works", sandboxed=False)
class Works:
    @workflow.run
    async def run(self, is_done: bool) -> None:
        await workflow.wait_condition(lambda: is_done)


class Control:
    """Takes usage: the same key with other content is refused, as the control API does."""

    def __init__(self) -> None:
        self.usage: dict[str, training.UsageRecord] = {}
        self.is_away = False

    def budgets(self, claims: unbilled.Unbilled) -> budgets.Budgets:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer), base_url="http://control")
        return budgets.Budgets(http, patience_seconds=1.0, claims=claims)

    def _answer(self, asked: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("nobody there")
        record = training.UsageRecord.model_validate_json(asked.content)
        assert self.usage.setdefault(record.usage_key, record) == record
        return httpx.Response(201, json={})


@pytest.fixture
def ray() -> Iterator[RayDouble]:
    with serve(RayDouble()) as double:
        yield double


class House:
    """A worker's parts over one folder."""

    def __init__(self, folder: Path, client: Client, jobs: RayJobs, ray: RayDouble) -> None:
        self.claims = unbilled.Unbilled.of(folder)
        self.control = Control()
        self.ours = self.control.budgets(self.claims)
        self._folder, self._client, self._jobs, self._ray = folder, client, jobs, ray

    async def worked(
        self,
        run_id: str,
        *,
        seconds: float = 3600.0,
        status: str = "STOPPED",
        gpus: float = 0.0,
        gib: int = 0,
        then: Capacity = Capacity.ON_DEMAND,
        capacity: Capacity = Capacity.ON_DEMAND,
    ) -> books.Book:
        """A job of the run on `capacity` that a worker followed and that used so much; then another did, with settings that say `then`."""
        book = books.Book(root=self._folder / run_id, family="a")
        base_id = f"{run_id}-train-a"

        def pays(told: Capacity) -> paying.Paying:
            ray, whose = settings.RaySettings(capacity=told), train_request(run_id=run_id)
            found = paying.of(self.ours, whose, book, base_id, "ray-train", "it", ray, gpus=gpus)
            assert found is not None and paying.capacity_of(found, ray) is capacity
            return found

        with pays(capacity).watched(), pays(then).watched():
            with book.keeping(lambda: seconds, lambda: gib * 3600 << 30):
                pass
        self._ray.script[f"{base_id}-0"] = [status]
        await self._jobs.submit(f"{base_id}-0", "x", metadata={"run_id": run_id})
        return book

    async def bill(self) -> list[str]:
        return await billing.bill_ended(self._client, self._jobs, self.claims, self.ours)

    async def ended(self, run_id: str, *, is_done: bool = False) -> None:
        handle = await self._client.start_workflow(Works.run, is_done, id=run_id, task_queue=QUEUE)
        if not is_done:
            await handle.cancel()
        with contextlib.suppress(WorkflowFailureError):
            await handle.result()

    async def at_work(self, run_id: str) -> None:
        await self._client.start_workflow(Works.run, False, id=run_id, task_queue=QUEUE)


def told(tmp_path: Path, ray: RayDouble, story: Any) -> None:
    async def whole(client: Client, _: WorkflowEnvironment) -> None:
        async with RayJobs(ray.url, TOKEN) as jobs:
            await story(House(tmp_path, client, jobs, ray))

    run(whole, [Works], [])


def test_what_a_cancelled_run_used_is_on_record_once(tmp_path: Path, ray: RayDouble) -> None:
    async def story(house: House) -> None:
        await house.worked("run_cancelled", gpus=2.0, gib=3)
        await house.ended("run_cancelled")
        await house.at_work("run_living")
        await house.worked("run_living")
        keys = [f"run_cancelled-train-a/ended{of}" for of in ("", "/memory", "/gpu")]
        assert await house.bill() == keys
        assert await house.bill() == [] and len(house.claims.runs()) == 1, "what lives is not billed"
        core, memory, gpu = (house.control.usage[key] for key in keys)
        assert (memory.run_id, memory.sku, memory.consumed_quantity) == (
            "run_cancelled",
            "memory_gib_hour",
            3.0,
        )
        assert (core.run_id, core.sku, core.consumed_quantity) == ("run_cancelled", "cpu_core_hour", 1.0)
        assert (core.project, core.service, gpu.sku) == ("flight-delay", "ray-train", "gpu_hour")

    told(tmp_path, ray, story)


def test_a_job_is_billed_as_what_it_began_on(tmp_path: Path, ray: RayDouble) -> None:
    """Whatever workers are told of their nodes meanwhile; and a claim that an older release wrote is of nodes on demand."""

    async def story(house: House) -> None:
        await house.worked("run_spot", gpus=1.0, gib=1, capacity=Capacity.SPOT, then=Capacity.RESERVED)
        await house.worked("run_old")
        (old,) = (p for p in house.claims.root.rglob("*.json") if "run_old" in p.read_text())
        written = json.loads(old.read_text())
        assert written.pop("capacity") == "on-demand"
        old.write_text(json.dumps(written))
        for run_id in ("run_spot", "run_old"):
            await house.ended(run_id)
        assert len(await house.bill()) == 4
        found = {(r.run_id, r.sku): r.capacity for r in house.control.usage.values()}
        assert found == {
            ("run_spot", "cpu_core_hour"): Capacity.SPOT,
            ("run_spot", "memory_gib_hour"): Capacity.SPOT,
            ("run_spot", "gpu_hour"): Capacity.SPOT,
            ("run_old", "cpu_core_hour"): Capacity.ON_DEMAND,
        }

    told(tmp_path, ray, story)


def test_what_came_to_its_end_was_paid_by_its_own_record(tmp_path: Path, ray: RayDouble) -> None:
    async def story(house: House) -> None:
        book = await house.worked("run_done", status="SUCCEEDED", gpus=1.0)
        assert (owed := book.owed("run_done/train/a/0")) is not None and owed.cpu_seconds == 3600.0
        await house.ended("run_done", is_done=True)
        never = unbilled.Claim(
            run_id="run_done",
            project="flight-delay",
            environment="dev",
            book=books.Book(root=tmp_path / "never", family="a"),
            base_id="run_done-never-a",
            service="ray-train",
        )
        house.claims.open(never)
        assert await house.bill() == [] and house.claims.runs() == [] and house.control.usage == {}

    told(tmp_path, ray, story)


def test_a_claim_and_a_book_of_a_release_without_memory_are_billed_as_they_were(
    tmp_path: Path, ray: RayDouble
) -> None:
    """Their worker was replaced by one of this release while the job was at work."""

    async def story(house: House) -> None:
        root = tmp_path / "run_old"
        (root / "a").mkdir(parents=True)
        (root / "a" / "1.json").write_text('{"cpu_seconds": 7200.0, "wall_seconds": 9000.0}')
        (root / "paid.json").write_text('{"cpu_seconds": {"earlier": 3600.0}}')
        claim = {"run_id": "run_old", "project": "flight-delay", "environment": "dev", "gpus": 0.0}
        claim |= {"book": {"root": str(root), "family": "a"}, "base_id": "run_old-train-a"}
        claim |= {"service": "ray-train", "max_cost": None, "records": None}
        path = tmp_path / "unbilled" / "some-run" / "some-job.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(claim))
        await house.ended("run_old")
        assert await house.bill() == ["run_old-train-a/ended"]
        (record,) = house.control.usage.values()
        assert (record.sku, record.consumed_quantity) == ("cpu_core_hour", 1.0)

    told(tmp_path, ray, story)


def test_a_job_that_is_at_work_is_waited_for(tmp_path: Path, ray: RayDouble) -> None:
    async def story(house: House) -> None:
        await house.worked("run_cancelled", status="RUNNING")
        await house.ended("run_cancelled")
        assert await house.bill() == []
        ray.jobs["run_cancelled-train-a-0"]["states"] = ["STOPPED"]
        assert await house.bill() == ["run_cancelled-train-a/ended"]

    told(tmp_path, ray, story)


def test_while_the_control_api_is_away_the_same_record_waits(tmp_path: Path, ray: RayDouble) -> None:
    async def story(house: House) -> None:
        book = await house.worked("run_cancelled")
        await house.ended("run_cancelled")
        house.control.is_away = True
        with pytest.raises(errors.DependencyDown):
            await house.bill()
        with book.keeping(lambda: 60.0, lambda: 0):  # what is written later is not in it
            pass
        ray.jobs.clear()  # nor are times that Ray does not know any more
        house.control.is_away = False
        assert await house.bill() == ["run_cancelled-train-a/ended"]
        assert house.control.usage["run_cancelled-train-a/ended"].consumed_quantity == 1.0

    told(tmp_path, ray, story)


def test_of_several_workers_one_bills_a_run(tmp_path: Path, ray: RayDouble) -> None:
    async def story(house: House) -> None:
        await house.worked("run_cancelled")
        await house.ended("run_cancelled")
        (folder,) = house.claims.runs()
        with house.claims.taken(folder) as mine:
            assert len(mine) == 1 and await house.bill() == []
        (folder / "damaged.json").write_text("{")
        assert await house.bill() == ["run_cancelled-train-a/ended"]
        with house.claims.taken(tmp_path / "none") as nothing:
            assert nothing == {}

    told(tmp_path, ray, story)


def test_a_worker_looks_again_and_again(
    tmp_path: Path, ray: RayDouble, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(billing, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(billing, "_MOST_OF_THE_TIME", 1.0)
    token = tmp_path / "ray.token"
    token.write_text(TOKEN)
    s = settings.load(
        {"MAINSPRING_RAY_DASHBOARD_URL": ray.url, "MAINSPRING_RAY_TOKEN_FILE": str(token)}, directory=tmp_path
    ).ray

    async def whole(client: Client, _: WorkflowEnvironment) -> None:
        async with RayJobs(ray.url, TOKEN) as jobs, asyncio.timeout(30):
            house = House(tmp_path, client, jobs, ray)
            await house.worked("run_cancelled")
            await house.ended("run_cancelled")
            house.control.is_away = True
            looking = asyncio.create_task(billing.bill(client, s, house.claims, house.ours))
            while not caplog.messages:
                await asyncio.sleep(0.01)
            house.control.is_away = False
            while not house.control.usage:
                await asyncio.sleep(0.01)
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await looking

    with caplog.at_level("WARNING", "mainspring.workflows.ray_jobs.billing"):
        run(whole, [Works], [])
    (said,) = caplog.messages
    assert said.startswith("what ended runs used is not on record yet")
