"""What projects keep: told by the worker, charged once for each period whoever tells it, held against a quota."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher
from platform_planes import DEVELOPER, WORKER, opened
from platform_tenants import _pack, _sent

from mainspring.core import cost, errors, ids, settings
from mainspring.core.contracts import base, control
from mainspring.core.contracts.storage import StorageMeasured, StoragePlace
from mainspring.platform import plane
from mainspring.platform.audit import service as audit
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.costs import service as costs
from mainspring.platform.metering import storage
from mainspring.workflows import storing

__all__ = ["api", "empty", "launcher"]  # fixtures

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

#: Of measurements, long gone.
START = base.utc_now().replace(microsecond=0) - timedelta(days=60)
PLACE = "/api/v1/projects/flight-delay/storage"
MIB = 1 << 20


def of(hours: float, **stored: int) -> StorageMeasured:
    return StorageMeasured.model_validate({"measured_at": START + timedelta(hours=hours), "stored": stored})


def test_two_workers_that_measure_at_once_charge_each_period_once(tmp_path: Path) -> None:
    async def told() -> None:
        async with opened(tmp_path, names=("alpha", "beta")) as both:
            # Bytes are of the hour, so that whoever comes first in an hour says the same.
            measured = [of(hour, tables=1_000_003 * (hour + 1), reads=7) for hour in range(60)]
            await asyncio.gather(*(storage.record(one, WORKER, "alpha", m) for m in measured for one in both))
            view = await storage.show(both[0], DEVELOPER, "alpha")
            assert (view.measured_at, view.total_bytes) == (measured[-1].measured_at, 60_000_187)
            rows = [r async for r in _records(both[0])]
            # Some of the hours came too late and were passed over: what was charged is without a gap all the same.
            assert [r.charge_period_start for r in rows[1:]] == [r.charge_period_end for r in rows[:-1]]
            assert (rows[0].charge_period_start, rows[-1].charge_period_end) == (
                START,
                measured[-1].measured_at,
            )
            exact = 0
            for r in rows:
                hour = (r.charge_period_start - START) // timedelta(hours=1)
                until = r.charge_period_end
                exact += cost.price_storage(
                    "alpha", measured[hour].stored, r.charge_period_start, until, both[0].book
                )[1]
            found = await costs.summarise(both[0], DEVELOPER, group_by="sku", project="")
            assert set(found.groups) == {"storage_gib_month"}
            assert cost.to_nanos(found.total) == exact > 0
            log = [r for r in (await audit.read(both[0], DEVELOPER, after="", limit=500)).items if r["action"] == "usage.record"]  # fmt: skip
            assert [r["detail"]["charged"] for r in log] == ["", *(r.usage_key for r in rows)]
            assert {r["resource"] for r in log} == {"storage/alpha"}

    asyncio.run(told())


def test_a_usage_record_cannot_have_the_key_of_what_was_kept(api: Api) -> None:
    measure(api, tables=MIB)
    measure(api, tables=MIB)
    (charged,) = [
        r["detail"]["charged"]
        for r in api.audit()
        if r["action"] == "usage.record" and r["detail"]["charged"]
    ]
    usage = {
        "usage_key": charged, "run_id": "r", "project": "flight-delay", "service": "s", "sku": "cpu_core_hour", "consumed_quantity": 1.0,
        "consumed_unit": "core-hours", "started_at": START.isoformat(), "ended_at": START.isoformat(),
    }  # fmt: skip
    assert api.call("service", "POST", "/api/v1/usage", 409, usage)["code"] == "conflict"


async def _records(one: plane.ControlPlane) -> AsyncIterator[control.CostView]:
    page = await costs.records(one, DEVELOPER, project="alpha", since=None, until=None, after="", limit=500)
    for view in sorted(page.items, key=lambda v: v["charge_period_start"]):
        yield control.CostView.model_validate(view)


def test_what_is_not_younger_or_is_to_come_charges_nothing(tmp_path: Path) -> None:
    async def told() -> None:
        async with opened(tmp_path, names=("alpha", "beta")) as (one, _):
            first = await storage.record(one, WORKER, "alpha", of(1, tables=5))
            assert await storage.record(one, WORKER, "alpha", of(1, tables=6)) == first
            assert await storage.record(one, WORKER, "alpha", of(0, tables=6)) == first
            to_come = StorageMeasured(measured_at=base.utc_now() + timedelta(hours=1), stored={})
            with pytest.raises(errors.InvalidRequest, match="clock"):
                await storage.record(one, WORKER, "alpha", to_come)
            with pytest.raises(errors.NotFound):
                await storage.record(one, WORKER, "alhpa", of(2))
            with pytest.raises(errors.PermissionDenied):
                await storage.record(one, DEVELOPER, "alpha", of(2))
            assert (await costs.summarise(one, DEVELOPER, group_by="sku", project="")).groups == {}
            # Nothing was kept from the second on: that is on record, and costs nothing.
            await storage.record(one, WORKER, "alpha", of(2))
            await storage.record(one, WORKER, "alpha", of(3, tables=1))
            assert [r.charge_period_end async for r in _records(one)] == [of(2).measured_at]
            assert (await storage.show(one, DEVELOPER, "beta")).measured_at is None

    asyncio.run(told())


def test_the_worker_measures_every_project(api: Api, tmp_path: Path) -> None:
    api.call("developer", "POST", "/api/v1/projects", 201, {"name": "second", "owner": "team"})
    api.run(kind="deploy", endpoint="delay", bundle_digest="sha256:" + "a" * 64)
    s = settings.load({}, directory=tmp_path)
    for name, size in {
        "projects/flight-delay/full/x": 5,
        "projects/second/full/x": 70,
        "predictions/delay/y": 30,
    }.items():
        (s.stack.state_dir / name).parent.mkdir(parents=True)
        (s.stack.state_dir / name).write_bytes(b"x" * size)

    refused = set[str]()

    class Wire(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST" and request.url.path in refused:
                return httpx.Response(404, json={"code": "not_found", "message": "there is no such project"})
            sent = httpx.Request(
                request.method, request.url, headers=request.headers, content=await request.aread()
            )
            answer = await asyncio.to_thread(api.client._transport.handle_request, sent)
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.read())

    async def told() -> list[tuple[str, int]]:
        token = {"Authorization": f"Bearer {api._tokens['service']}"}
        async with httpx.AsyncClient(transport=Wire(), base_url="http://api", headers=token) as http:
            return [(v.project, v.total_bytes) for v in await storing.measure_all(s, http)]

    assert asyncio.run(told()) == [("flight-delay", 35), ("second", 70)]
    shown = api.call("developer", "GET", PLACE, 200)
    assert (shown["stored"]["tables"], shown["stored"]["predictions"], shown["total_bytes"]) == (5, 30, 35)
    # One that went meanwhile is told of, and the next is measured all the same.
    refused.add(PLACE)
    with (s.stack.state_dir / "projects/second/full/x").open("ab") as file:
        file.write(b"more")
    with pytest.raises(errors.NotFound, match="no such project"):
        asyncio.run(told())
    other = api.call("developer", "GET", PLACE.replace("flight-delay", "second"), 200)
    assert other["total_bytes"] == 74 and api.call("developer", "GET", PLACE, 200) == shown


def measure(api: Api, **stored: int) -> None:
    body = {"measured_at": base.utc_now().isoformat(), "stored": stored}
    api.call("service", "POST", PLACE, 201, body)


def test_a_project_without_room_begins_nothing_that_makes_files(api: Api) -> None:
    place = "/api/v1/projects/flight-delay/quota"
    made = api.call("admin", "PUT", place, 200, {"max_storage_mib": 2})
    assert made["quotas"]["max_storage_mib"] == {"limit": 2, "is_own": True, "used": 0}
    measure(api, tables=MIB // 2, bundles=MIB // 2)
    api.run()
    measure(api, tables=MIB, bundles=MIB // 2)
    told = api.run(403)
    assert told["details"] == {"project": "flight-delay", "quota": "max_storage_mib", "limit": 2, "used": 2, "wanted": 1}  # fmt: skip
    assert "2 MiB on disks" in told["detail"] and "retention" in told["detail"]
    score = {"input": "/data/in", "output": "/data/out"}
    bundle = "sha256:" + "a" * 64
    assert api.run(403, kind="score", bundle_digest=bundle, score=score)["code"] == "quota_exceeded"
    pack = _pack("quota")
    api.call("developer", "PUT", f"/api/v1/projects/flight-delay/pipelines/{pack.digest}", 200, _sent(pack))
    assert api.run(403, kind="pipeline", pipeline={"pack": pack.digest})["code"] == "quota_exceeded"
    start = {
        "notebook_id": ids.new_id("notebook"),
        "change": "start",
        "cores": 1,
        "memory_gib": 1.0,
        "hours": 1.0,
    }
    notebooks = "/api/v1/projects/flight-delay/notebooks:change"
    assert api.call("developer", "POST", notebooks, 403, start)["code"] == "quota_exceeded"
    api.call("developer", "POST", notebooks, 200, start | {"change": "stop"})
    # What makes no files begins, and so does everything once there is room again.
    api.run(kind="deploy", endpoint="delay", bundle_digest=bundle)
    api.run(role="admin", kind="retire", bundle_digest=bundle, retire={"reason": "it is bad"})
    measure(api, tables=MIB - 1)
    api.run()
    assert api.call("developer", "GET", place, 200)["quotas"]["max_storage_mib"]["used"] == 1


@pytest.mark.parametrize("stored", [{"tables": -1}, {"attic": 1}, {"tables": 1.5}, {"tables": 10**19}])
def test_what_is_no_measurement_is_refused(api: Api, stored: dict[str, Any]) -> None:
    body = {"measured_at": START.isoformat(), "stored": stored}
    api.call("service", "POST", PLACE, 400, body)
    assert api.call("developer", "GET", PLACE, 200) == {
        "project": "flight-delay", "stored": {}, "total_bytes": 0, "measured_at": None,
    }  # fmt: skip


def test_the_command_line(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "client", api.control_client)
    run = CliRunner().invoke
    assert "measured never" in run(cli.cli, ["cost", "storage", "flight-delay"]).output
    with api.control_client("service") as service:
        service.record_storage(
            "flight-delay", StorageMeasured(measured_at=START, stored={StoragePlace.READS: 42})
        )
    shown = run(cli.cli, ["cost", "storage", "flight-delay"]).output
    assert "reads" in shown and f"42 bytes, measured {START:%Y-%m-%d}" in shown
    told = json.loads(run(cli.cli, ["cost", "storage", "flight-delay", "--json"]).output)["data"]
    assert (told["stored"], told["total_bytes"]) == ({"reads": 42}, 42)
    set_one = run(cli.cli, ["quota", "set", "flight-delay", "--max-storage-mib", "7", "--json"])
    assert json.loads(set_one.output)["data"]["quotas"]["max_storage_mib"] == {
        "limit": 7,
        "is_own": True,
        "used": 1,
    }
    assert run(cli.cli, ["cost", "storage", "nobody"]).exit_code != 0


def test_a_worker_that_is_up_first_measures_soon_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "AGAIN_SECONDS", 0.01)
    asked = list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if len(asked) < 3:
            raise httpx.ConnectError("nobody there")
        return httpx.Response(200, json={"items": [], "next": ""})

    async def told() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://api") as http:
            metering = asyncio.create_task(storing.meter(settings.load({}, directory=tmp_path), http))
            while len(asked) < 3:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            metering.cancel()

    asyncio.run(told())
    assert len(asked) == 3, "then the next is an hour away"
