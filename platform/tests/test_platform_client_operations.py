"""Every operation that the API publishes has a method of the client, found by what each method asks for."""

from __future__ import annotations

from litestar import Litestar
from platform_operations import OF_THE_PROCESS, app, asks, matches, operations

__all__ = ["app"]  # a fixture

#: Published under a second address, or asked by name of what another method asks in its query.
ASKED_OTHERWISE = {"GET /lineage/{}/{}": "walk_lineage"}


def test_every_operation_has_a_method(app: Litestar) -> None:
    asked = dict(asks())
    # A word of the path goes before a name in its place: `policies:dry-run` is none.
    without = {one for one in operations(app) if not any(matches(one, what) for what in asked.values())}
    assert without == set(ASKED_OTHERWISE)
    assert set(ASKED_OTHERWISE.values()) <= set(asked)
    assert not matches("GET /seeded", "GET /api/v1/projects") and matches("GET /a/{}", "GET /v1/a/x")


def test_every_method_asks_for_an_operation(app: Litestar) -> None:
    known = operations(app)
    for name, what in asks():
        if what not in OF_THE_PROCESS:
            assert any(matches(one, what) for one in known), (name, what)
