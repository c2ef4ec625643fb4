"""What an endpoint served, off the log: in order, by run and approval, over pages, of this endpoint alone."""

from __future__ import annotations

from typing import Any

import pytest
from platform_api import Api, api, empty, launcher

__all__ = ["api", "empty", "launcher"]  # fixtures

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def told(api: Api, run_id: str, action: str, key: str, **detail: Any) -> None:
    event = {"event_key": f"{run_id}/{key}", "run_id": run_id, "action": action, "actor": "developer@local", "detail": detail}  # fmt: skip
    api.call("service", "POST", f"/api/v1/runs/{run_id}/events", 201, event)


def table(
    version: int, stable: str, canary: str | None = None, percent: int = 0, endpoint: str = "delay"
) -> Any:
    return {"endpoint": endpoint, "version": version, "stable": stable, "canary": canary, "canary_percent": percent, "shadow": None}  # fmt: skip


def history(api: Api, expect: int = 200, **params: Any) -> Any:
    return api.call("developer", "GET", "/api/v1/endpoints/delay/history", expect, **params)


def deploy(api: Api, endpoint: str = "delay") -> str:
    return str(api.run(kind="deploy", endpoint=endpoint, bundle_digest=NEW)["run_id"])


def test_each_change_is_told_with_who_asked_and_who_approved(api: Api) -> None:
    first, other = deploy(api), deploy(api, "another")
    assert history(api) == {"items": [], "next": ""}
    told(api, first, "approval.decide", "yes", approve=True)
    told(api, first, "endpoint.traffic.set", "1", **table(1, OLD, NEW, 5))
    told(api, other, "endpoint.traffic.set", "1", **table(1, NEW, endpoint="another"))
    told(api, first, "endpoint.traffic.set", "2", **table(2, NEW))
    second = deploy(api)
    told(api, second, "approval.decide", "no", approve=False)
    told(api, second, "endpoint.rollback", "1", endpoint="delay", version=4, why="p95 is 13 times stable's")
    found = history(api)["items"]
    assert [(one["action"], one["version"], one["stable"], one["canary"]) for one in found] == [
        ("endpoint.rollback", 4, "", ""), ("endpoint.traffic.set", 2, NEW, ""), ("endpoint.traffic.set", 1, OLD, NEW),
    ]  # fmt: skip
    assert [one["run_id"] for one in found] == [second, first, first]
    assert [one["approved_by"] for one in found] == [[], ["developer@local"], ["developer@local"]]
    assert (found[0]["reason"], found[2]["canary_percent"]) == ("p95 is 13 times stable's", 5)
    assert {one["by"] for one in found} == {"developer@local"}


def test_pages_go_on_where_they_ended_whatever_lies_between(api: Api) -> None:
    run, other = deploy(api), deploy(api, "another")
    for n in range(1, 8):
        told(api, run, "endpoint.traffic.set", str(n), **table(n, OLD))
        for m in range(5):
            told(api, other, "endpoint.traffic.set", f"{n}/{m}", **table(n, NEW, endpoint="another"))
    seen, after = [], 0
    while True:
        page = history(api, after=after, limit=3)
        seen += [one["version"] for one in page["items"]]
        if not page["next"]:
            break
        after = int(page["next"])
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_what_is_not_there_has_none(api: Api) -> None:
    history(api, 404)
    deploy(api)
    history(api, 400, after=-1)
    history(api, 400, limit=0)
