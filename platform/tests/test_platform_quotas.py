"""What a project may have at once: set by the platform's admin, asked in the transaction that lets a run in, told with numbers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher
from platform_planes import DEVELOPER, WORKER, opened
from platform_tenants import _pack, _sent

from mainspring.core import canonical, errors
from mainspring.core.contracts import control, quotas, training
from mainspring.platform import plane
from mainspring.platform.audit import service as audit
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.quotas import service
from mainspring.platform.runs import launcher as run_launcher
from mainspring.platform.runs import service as runs

__all__ = ["api", "empty", "launcher"]  # fixtures

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

PLACE = "/api/v1/projects/flight-delay/quota"
ROOM = {"MAINSPRING_QUOTAS_MAX_OPEN_RUNS": "3"}
BUNDLE = canonical.digest({"a": 1})


def put(api: Api, expect: int = 200, role: str = "admin", at: str = "", **limits: Any) -> Any:
    headers = {"If-Match": f'"{at}"'} if at else {}
    return api.call_with(headers, role, "PUT", PLACE, expect, limits)


def deploy(api: Api, endpoint: str, expect: int = 201) -> Any:
    return api.run(expect, kind="deploy", endpoint=endpoint, bundle_digest=BUNDLE)


async def start(one: plane.ControlPlane) -> str:
    try:
        return (await runs.create(one, DEVELOPER, control.RunCreate(project="alpha"))).run_id
    except errors.QuotaExceeded as error:
        return f"{error.quota} {error.limit} {error.used} {error.wanted}"


def test_nothing_is_limited_until_somebody_says_so_and_limits_have_versions(api: Api) -> None:
    shown = api.call("developer", "GET", PLACE, 200)
    assert shown["quotas"] == {
        "max_open_runs": {"limit": None, "is_own": False, "used": 0},
        "max_workers": {"limit": None, "is_own": False, "used": 3},
        "max_endpoints": {"limit": None, "is_own": False, "used": 0},
        "max_storage_mib": {"limit": None, "is_own": False, "used": 0},
    }
    assert (shown["set_at"], shown["set_by"]) == (None, "")
    put(api, 412, at="other", max_open_runs=2)
    made = put(api, at=shown["version"], max_open_runs=2)
    assert made["quotas"]["max_open_runs"] == {"limit": 2, "is_own": True, "used": 0}
    assert put(api, max_open_runs=2) == made  # the same again
    put(api, 428, max_open_runs=3)
    put(api, 412, at=shown["version"], max_open_runs=3)
    freed = put(api, at=made["version"])
    assert freed["quotas"]["max_open_runs"] == {"limit": None, "is_own": False, "used": 0}
    rows = [(r["detail"]["max_open_runs"], r["detail"]["was"]["max_open_runs"]) for r in api.audit() if r["action"] == "quota.set"]  # fmt: skip
    assert rows == [(2, None), (None, 2)]


def test_who_may_not_set_one_and_what_is_none(api: Api) -> None:
    for role in ("developer", "approver", "service"):
        put(api, 403, role=role, max_open_runs=2)
    put(api, 401, role="", max_open_runs=2)
    for wrong in (-1, 1.5, "many", 10**9):
        put(api, 400, max_open_runs=wrong)
    put(api, 400, max_gpus=1)
    told = api.call("admin", "PUT", "/api/v1/projects/flight-dalay/quota", 404, {})
    assert "flight-delay" in told["detail"]
    api.call("developer", "GET", "/api/v1/projects/flight-dalay/quota", 404)
    assert {r["outcome"] for r in api.audit() if r["action"] == "quota.set"} == {"denied"}


def test_of_20_starts_at_once_against_a_quota_of_3_exactly_3_are_open(tmp_path: Path) -> None:
    async def story() -> None:
        engine = run_launcher.MemoryLauncher()
        async with opened(tmp_path, engine=engine, env=ROOM) as two:
            found = await asyncio.gather(*(start(two[i % 2]) for i in range(20)))
            begun = [one for one in found if one.startswith("run_")]
            assert Counter(found) - Counter(begun) == {"max_open_runs 3 3 1": 17}
            assert len(begun) == 3 == len(engine.started)
            line = (await service.show(two[0], DEVELOPER, "alpha")).quotas[quotas.Quota.OPEN_RUNS]
            assert (line.limit, line.used, line.is_own) == (3, 3, False)
            over = training.RunEvent(
                event_key="x", run_id=begun[0], action="run.end", actor="w", detail={"stage": "done"}
            )
            await runs.report(two[0], WORKER, begun[0], over)  # makes room for one
            again = await asyncio.gather(*(start(two[i % 2]) for i in range(5)))
            assert sum(one.startswith("run_") for one in again) == 1
            assert (await audit.verify(two[1], DEVELOPER)).ok  # denials are on record, too

    asyncio.run(story())


def test_a_refused_start_is_told_with_numbers_and_leaves_nothing(api: Api) -> None:
    put(api, max_open_runs=1)
    first = api.run(idempotency_key="one")
    told = api.run(403)
    assert told["code"] == "quota_exceeded"
    assert told["details"] == {"project": "flight-delay", "quota": "max_open_runs", "limit": 1, "used": 1, "wanted": 1}  # fmt: skip
    assert "max_open_runs 1" in told["detail"] and "mainspring quota set flight-delay" in told["detail"]
    assert api.run(idempotency_key="one")["run_id"] == first["run_id"]  # no start of its own
    assert len(api.call("developer", "GET", "/api/v1/runs", 200)["items"]) == 1
    denied = [r for r in api.audit() if (r["action"], r["outcome"]) == ("run.start", "denied")]
    assert denied[0]["detail"]["code"] == "quota_exceeded"


def test_more_workers_than_a_run_may_have(api: Api) -> None:
    put(api, max_workers=2)
    told = api.run(403)
    assert (told["details"]["quota"], told["details"]["wanted"]) == ("max_workers", 3)
    deploy(api, "by-hand")  # no worker of a run's
    put(api, at=api.call("developer", "GET", PLACE, 200)["version"], max_workers=3)
    api.run()


def test_of_a_pipeline_its_largest_step_counts(api: Api) -> None:
    pack = _pack("quota")
    api.call("developer", "PUT", f"/api/v1/projects/flight-delay/pipelines/{pack.digest}", 200, _sent(pack))
    put(api, max_workers=0)
    asked = {"kind": "pipeline", "pipeline": {"pack": pack.digest}}
    assert api.run(403, **asked)["details"]["wanted"] == 1
    there_is_none = {"kind": "pipeline", "pipeline": {"pack": BUNDLE}}
    assert api.run(404, **there_is_none)["code"] == "not_found"


def test_endpoints_are_counted_by_name_and_the_end_of_one_is_never_refused(api: Api) -> None:
    put(api, max_endpoints=1)
    deploy(api, "first")
    told = deploy(api, "second", 403)
    assert (told["details"]["quota"], told["details"]["used"]) == ("max_endpoints", 1)
    api.run(403, endpoint="second")  # a training that would deploy there
    deploy(api, "first")  # no new name
    names = [one["name"] for one in api.call("developer", "GET", "/api/v1/endpoints", 200)["items"]]
    assert names == ["first"]
    put(api, at=api.call("developer", "GET", PLACE, 200)["version"], max_open_runs=0, max_endpoints=0)
    api.run(403)
    api.run(role="admin", kind="retire", bundle_digest=BUNDLE, retire={"reason": "it is bad"})


def test_a_run_that_goes_on_counts_again(api: Api) -> None:
    failed = api.run()["run_id"]
    event = {
        "event_key": "x",
        "run_id": failed,
        "action": "run.end",
        "actor": "w",
        "detail": {"stage": "failed"},
    }
    api.call("service", "POST", f"/api/v1/runs/{failed}/events", 201, event)
    put(api, max_open_runs=1)
    api.run()
    told = api.call("developer", "POST", f"/api/v1/runs/{failed}/resume", 403, {})
    assert told["code"] == "quota_exceeded"
    assert api.call("developer", "GET", f"/api/v1/runs/{failed}", 200)["stage"] == "failed"


def test_the_command_line(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "client", api.control_client)

    def run(*words: str, expect: int = 0) -> str:
        done = CliRunner().invoke(cli.cli, ["quota", *words])
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output

    def told(*words: str) -> Any:
        return json.loads(run(*words, "--json"))["data"]

    made = told("set", "flight-delay", "--max-open-runs", "3", "--max-endpoints", "2")
    assert made["quotas"]["max_endpoints"] == {"limit": 2, "is_own": True, "used": 0}
    assert told("show", "flight-delay") == made
    assert "max_open_runs" in (shown := run("show", "flight-delay")) and made["version"] in shown
    freed = told("set", "flight-delay", "--version", made["version"])
    assert freed["quotas"]["max_open_runs"]["limit"] is None
    run("set", "flight-delay", "--max-workers", "-1", expect=2)
