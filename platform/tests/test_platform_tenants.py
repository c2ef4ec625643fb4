"""Two tenants, every route: nobody reaches, sees or is told of what is the other's.

A table of requests over the whole route table (`platform_tenants.py`), which fails for a route that it does not know. Each
is sent with the other tenant's names, and again with names that nobody has: the answers may not differ but in the name.
"""

from __future__ import annotations

import itertools
from typing import Any

import platform_tenants as tenants
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute
from platform_tenants import REQUESTS, SECRET, Asked, World, app, world

__all__ = ["app", "world"]  # fixtures

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")


def routes(app: Litestar) -> set[str]:
    """Every method and path, with `{}` for what is named in it."""
    return {
        f"{method} {'/'.join('{}' if part.startswith('{') else part for part in route.path.split('/'))}"
        for route in app.routes
        if isinstance(route, HTTPRoute) and route.path != "/" and not route.path.startswith(tenants.OPEN)
        for handler in route.route_handlers
        for method in set(handler.http_methods) - {"OPTIONS", "HEAD"}
    }


def _shape(asked: Asked) -> str:
    parts = [
        "{}" if "{" in part or part in ("skew", "warehouse", "dev", "week", "1") else part
        for part in asked.path.split("/")
    ]
    return f"{asked.method} {'/'.join(parts)}"


def test_the_table_has_every_route(app: Litestar) -> None:
    assert {_shape(asked) for asked in REQUESTS} | tenants.NAMELESS == routes(app)


def test_nobody_reaches_or_is_told_of_what_is_the_others(world: World) -> None:
    for who, asked in itertools.product(("eva", "uno"), REQUESTS):
        place = f"{who}: {asked.method} {asked.path}?{asked.query}"
        status, body = world.ask(who, asked, world.theirs)
        nothing = world.ask(who, asked, tenants.NOWHERE)
        assert (status < 300) is (asked.may_answer and status == 200), (place, status, body)
        assert status < 500, (place, status, body)
        told = world.theirs.unnamed(body)  # what was asked for may be said again
        assert SECRET not in told, (place, told)
        assert (status, told) == (nothing[0], tenants.NOWHERE.unnamed(nothing[1])), (place, told, nothing)


def test_nothing_of_the_other_was_changed(world: World) -> None:
    def whole() -> list[tuple[int, str]]:
        looks = [a for a in REQUESTS if a.method == "GET" and not tenants.is_whole(a)]
        return [world.ask("ana", asked, world.theirs) for asked in looks]

    before = whole()
    assert all(status == 200 for status, _ in before) and any(SECRET in body for _, body in before)
    for who, asked in itertools.product(("eva", "uno"), REQUESTS):
        world.ask(who, asked, world.theirs)
    assert whole() == before


def test_each_sees_its_own_whole(world: World) -> None:
    """The wall is not that nothing answers: of its own, a tenant gets what the platform's admin gets."""
    looks = [a for a in REQUESTS if a.method == "GET" and not tenants.is_whole(a)]
    for asked in looks:
        status, body = world.ask("eva", asked, world.own)
        assert status == 200 and SECRET not in body, (asked, status, body)
        # What is made of an entry may be another's, and root sees that too.
        if not asked.may_answer and "{entry}" not in asked.path + asked.query:
            assert (status, body) == world.ask("root", asked, world.own)


def test_a_way_through_lineage_ends_at_the_wall(world: World) -> None:
    asked = Asked(
        "GET", "/api/v1/lineage:walk", query="direction=downstream&namespace={project}&name={entry}"
    )
    mine = world.ask("eva", asked, world.own)[1]
    assert '"common"' not in mine and "view.plain-made" in mine
    assert '"common"' in world.ask("root", asked, world.own)[1]


def test_who_may_only_look_changes_nothing(world: World) -> None:
    # Asking for access is what it may, and gives it nothing.
    changing = [a for a in REQUESTS if a.method != "GET" and a.path != tenants.ACCESS]
    changing = [a for a in changing if not a.path.endswith(tenants.ASKING)]
    for asked in changing:
        status, body = world.ask("vic", asked, world.theirs)
        assert status in (403, 404), (asked, status, body)
    before = world.ask("root", Asked("GET", "/api/v1/projects/{project}"), world.theirs)[1]
    assert '"thief"' not in before
    assert (
        world.client.post(
            "/api/v1/projects", json={"name": "mine", "owner": "vic"}, headers={"Authorization": "Bearer vic"}
        ).status_code
        == 403
    )


def test_every_denied_change_is_on_record(world: World) -> None:
    def denied() -> int:
        rows: list[Any] = []
        after = ""
        while True:
            page = world.call("root", "GET", f"/api/v1/audit?limit=500&after={after}")
            rows += page["items"]
            if not (after := page["next"]):
                return len([r for r in rows if r["outcome"] == "denied" and r["actor"] == "eva"])

    before, asked = denied(), 0
    # Those that look at something first are answered by the look, which is none of the log's.
    for one in (a for a in REQUESTS if a.method != "GET" and not a.path.startswith(tenants.SCHEDULE)):
        is_looked_at_first = any(part in one.path for part in ("quarantine", "/alerts/", "/approvals/"))
        is_looked_at_first |= one.method == "DELETE" and "/endpoints/" in one.path
        if not is_looked_at_first and not one.path.endswith((*tenants.ASKING, tenants.OF_TOKENS)):
            asked += 1
            world.ask("eva", one, world.theirs)
    assert asked > 10 and denied() - before == asked
