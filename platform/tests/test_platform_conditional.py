"""`ETag`, `If-Match` and `If-None-Match`, walked over the whole route table: a route cannot do without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import platform_tenants as tenants
import pytest
from litestar import Litestar, post
from litestar.routes import HTTPRoute
from platform_tenants import REQUESTS, Asked, World, app, world

from mainspring.platform.http import versions

__all__ = ["app", "world"]  # fixtures

CHANGING = {"POST", "PUT", "PATCH", "DELETE"}

#: Changes that are of no version, and why nothing of anybody's can be lost by them. It may only shrink, but for a new reason.
MAKES = "makes something new, and takes nothing's place"
FACT = "puts a fact on record, once by its own key"
WITHOUT: Mapping[str, str] = {
    "POST /api/v1/projects": MAKES,
    "POST /api/v1/runs": MAKES,
    "POST /api/v1/projects/{project:str}/access-requests": MAKES,
    "POST /api/v1/projects/{project:str}/access-requests:break-glass": MAKES,
    "POST /api/v1/projects/{project:str}/schedules/{process:str}/runs": MAKES,
    "PUT /api/v1/projects/{project:str}/pipelines/{digest:str}": "is named by the digest of its content",
    "POST /api/v1/projects/{project:str}/access-requests/{request_id:str}/expire": "names the state that it ends",
    "POST /api/v1/quarantine/{project:str}/{name:str}/release": "is named by its content, and released once",
    "POST /api/v1/runs/{run_id:str}/events": FACT,
    "POST /api/v1/usage": FACT,
    "POST /api/v1/serving-usage": FACT,
    "POST /api/v1/projects/{project:str}/storage": "takes the place of older facts only",
    "POST /api/v1/lineage": FACT,
    "POST /v1/lineage": FACT,
    "POST /api/v1/projects/{project:str}/classifications": "adds what was found, and leaves what was decided",
    "POST /api/v1/projects/{project:str}/classifications:decide": "is somebody's word on one column: the last counts",
    "POST /api/v1/projects/{project:str}/keyset:change": "is a step (rotate, wrap, add, forget), and sets nothing",
    "POST /api/v1/projects/{project:str}/sealed:open": "changes nothing but the record",
    "POST /api/v1/projects/{project:str}/data-reads": "changes nothing but the record",
    "POST /api/v1/projects/{project:str}/data-exports": "changes nothing but the record",
    "POST /api/v1/projects/{project:str}/secrets/{name:str}/use": "changes nothing but the record",
    "POST /api/v1/projects/{project:str}/notebooks:change": "what it is about is on another machine",
    "POST /api/v1/projects/{project:str}/notebooks:end": FACT,
    "POST /api/v1/projects/{project:str}/reservations:renew": "takes the place of what the same process has asked for",
    "POST /api/v1/projects/{project:str}/reservations:end": FACT,
    "POST /api/v1/projects/{project:str}/dpia": MAKES,
    "POST /api/v1/projects/{project:str}/dpia:decide": "names the digest of the answers that it is about",
    "POST /api/v1/projects/{project:str}/erasures": MAKES,
    "POST /api/v1/projects/{project:str}/erasures/{erasure_id:str}/decision": "is decided on once, while it is open",
    "POST /api/v1/projects/{project:str}/erasures/{erasure_id:str}/report": FACT,
    "POST /api/v1/projects/{project:str}/holds": MAKES,
    "POST /api/v1/key-changes": MAKES,
    "POST /api/v1/projects/{project:str}/service-accounts": MAKES,
    "POST /api/v1/service-accounts:token": MAKES,
    "POST /api/v1/service-accounts:introspect": "changes nothing",
    "POST /api/v1/key-changes/{change_id:str}/events": FACT,
    "POST /api/v1/projects/{project:str}/models": "names the digest of what it is about, which is there once",
    "POST /api/v1/projects/{project:str}/evidence": "changes nothing but the record",
    "POST /api/v1/projects/{name:str}/retentions": FACT,
    "POST /api/v1/templates/{name:str}/plan": "changes nothing",
    **{
        f"{method} {version}{path}": why
        for version in ("/api/v1", "/v1")
        for method, path, why in (
            ("POST", "/monitoring/reports", FACT),
            ("POST", "/alerts/{alert_id:str}/acknowledge", "names the state that it ends"),
            ("POST", "/alerts/{alert_id:str}/resolve", "names the state that it ends"),
        )
    },
    "DELETE /api/v1/endpoints/{name:str}": "what makes it so, traffic and runs, is looked at as it is done",
    "POST /api/v1/endpoints/{name:str}/predict": "changes nothing",
    "POST /api/v1/endpoints/{name:str}/explain": "changes nothing",
    "POST /api/v1/endpoints/{name:str}/idle-events": FACT,
    "POST /api/v1/projects/{project:str}/privacy/{dataset:str}/spends": "adds to what was spent, once by its own key",
    "POST /api/v1/policies:dry-run": "changes nothing",
    "POST /v1/policies:dry-run": "changes nothing",
}
#: Where a change without `If-Match` is refused: it would undo what somebody else has set.
DEMANDED = {
    ("PATCH", "/api/v1/projects/{project}"),
    *(("PUT", v + "/projects/{project}/members/{actor}") for v in ("/api/v1", "/v1")),
    *(("DELETE", v + "/projects/{project}/members/{actor}") for v in ("/api/v1", "/v1")),
    *(("PUT", v + "/projects/{project}/alert-rules") for v in ("/api/v1", "/v1")),
    ("PUT", tenants.PRIVACY + "/{entry}"),
    ("PUT", tenants.PURPOSES + "/{entry}"),
    ("PUT", tenants.QUOTA),
    ("PUT", tenants.BUDGETS + "/dev/week"),
    ("DELETE", tenants.BUDGETS + "/dev/week"),
    ("PUT", tenants.SECRETS + "/warehouse"),
    ("DELETE", tenants.SECRETS + "/warehouse"),
    ("PATCH", tenants.ACCOUNTS + "/warehouse"),
    ("POST", tenants.ACCOUNTS + "/warehouse/rotate"),
    ("DELETE", tenants.ACCOUNTS + "/warehouse"),
    ("PUT", tenants.SCHEDULE),
    ("DELETE", tenants.SCHEDULE),
}


def unversioned(app: Litestar) -> set[str]:
    """Changes that take no `If-Match`."""
    return {
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith(tenants.OPEN)
        for handler in route.route_handlers
        for method in set(handler.http_methods) & CHANGING
        if "if_match" not in handler.parsed_fn_signature.parameters
    }


@post("/seeded/{name:str}")
async def seeded() -> str:
    return "changed blindly"


def test_every_change_takes_a_version_or_says_why_not(app: Litestar) -> None:
    assert unversioned(app) == set(WITHOUT)
    assert unversioned(Litestar([seeded])) == {"POST /seeded/{name:str}"}


def send(world: World, asked: Asked, **headers: str) -> Any:
    """As the platform's admin, about ana's."""
    names = world.theirs
    path = names.fill(asked.path) + (f"?{names.fill(asked.query)}" if asked.query else "")
    sent = {"Authorization": "Bearer root", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return world.client.request(asked.method, path, json=names.fill(asked.body), headers=sent)


def test_every_look_has_a_strong_tag_and_is_not_sent_twice(world: World) -> None:
    none = ("rows", "export", "events", "metrics", "/page")  # what does not answer here, streams, and no JSON
    looks = [a for a in REQUESTS if a.method == "GET" and not any(word in a.path for word in none)]
    again = 0
    for asked in looks:
        first = send(world, asked)
        if first.status_code == 404 and "key-changes" in asked.path:
            continue  # its engine has none here
        assert first.status_code == 200, (asked, first.text)
        tag = first.headers["etag"]
        assert tag[0] == tag[-1] == '"', (asked, tag)
        assert first.headers["cache-control"] == "private, no-cache"
        assert first.headers["vary"] == "Authorization"
        second = send(world, asked, If_None_Match=f'"other", W/{tag}')
        if second.status_code == 304:
            assert not second.content and second.headers["etag"] == tag
            again += 1
        else:  # it tells of the time: another answer has another tag
            assert (second.status_code, second.headers["etag"] != tag) == (200, True), asked
    assert again > 30 and len(looks) - again < 3


def test_who_may_not_read_it_is_not_told_that_it_is_as_before(world: World) -> None:
    asked = Asked("GET", "/api/v1/projects/{project}")
    tag = send(world, asked).headers["etag"]
    path = world.theirs.fill(asked.path)
    headers = {"Authorization": "Bearer eva", "If-None-Match": tag}
    assert world.client.get(path, headers=headers).status_code == 404
    headers["Authorization"] = "Bearer nobody"
    assert world.client.get(path, headers=headers).status_code == 401


def _shape(method_and_path: str) -> str:
    parts = method_and_path.split("/")
    return "/".join("{}" if "{" in part or part in ("skew", "warehouse") else part for part in parts)


#: By the table of requests, which knows every route.
VERSIONED = tuple(
    asked
    for asked in REQUESTS
    if asked.method in CHANGING
    and _shape(f"{asked.method} {asked.path}") not in {_shape(one) for one in WITHOUT}
)


@pytest.mark.parametrize("asked", VERSIONED, ids=lambda a: f"{a.method} {a.path}")
def test_a_change_of_another_version_is_refused_with_what_changed(world: World, asked: Asked) -> None:
    shape = f"{asked.method} {asked.path}"
    if "/review" in asked.path:
        _break_and_revoke(world)
    if "/resume" in asked.path:
        _fail(world)
    if "/canary" in asked.path:
        world.client.app.state["engine"].judge(f"{world.theirs.run_id}-deploy", 5)
    if "/holds/" in asked.path and "/decide" in asked.path:
        path = world.theirs.fill("/api/v1/projects/{project}/holds/{hold}/lift")
        world.call("ana", "POST", path, {"reason": "because"})
    late = send(world, asked, If_Match='"0"')
    assert late.status_code == 412, (shape, late.text)
    told = late.json()["details"]
    assert told["current"] and told["by"] and told["at"], (shape, told)
    blind = send(world, asked)
    if (asked.method, asked.path) in DEMANDED:
        assert blind.status_code == 428 and blind.json()["details"]["current"] == told["current"], shape
        now = send(world, asked, If_Match=f'"{told["current"]}"')
        assert now.is_success, (shape, now.text)
    else:
        assert blind.is_success, (shape, blind.text)


def _fail(world: World) -> None:
    """Ana's run, as its workflow says it: what can be resumed."""
    run_id = world.theirs.run_id
    event = {
        "event_key": "end",
        "run_id": run_id,
        "action": "run.end",
        "actor": "ana",
        "detail": {"stage": "failed"},
    }
    world.call("worker", "POST", f"/api/v1/runs/{run_id}/events", event)


def _break_and_revoke(world: World) -> None:
    """Broken glass that has ended, in the place of ana's request: what can be reviewed."""
    project = world.theirs.project
    place = f"/api/v1/projects/{project}/access-requests"
    broken = world.call("ana", "POST", place + ":break-glass", {"role": "approver", "reason": "because"})
    world.call("ana", "POST", f"{place}/{broken['request_id']}/revoke", {"reason": "over"})
    world.theirs.access = broken["request_id"]


@pytest.mark.parametrize(
    ("if_match", "is_it"),
    [
        ('"v"', True),
        ('"v.content"', True),
        ('"w", "v"', True),
        ("*", True),
        ('W/"v"', False),
        ("v", False),
        ('"w.v"', False),
        ('""', False),
        ('"', False),
    ],
)
def test_which_tags_are_of_a_version(if_match: str, is_it: bool) -> None:
    assert versions._names(if_match, "v") is is_it
