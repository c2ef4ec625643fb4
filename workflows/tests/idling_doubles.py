"""What stands for the control API and for serving in tests of StopIdle: their routes, by a transport."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from workflows_doubles import STABLE

from mainspring.core import errors, settings
from mainspring.core.contracts import deployment, idling
from mainspring.workflows.deployment.activities import DeploymentActivities
from mainspring.workflows.idling.activities import IdlingActivities
from mainspring.workflows.releasing.activities import ReleasingActivities

PROJECT = "flight-delay"
GIB = 1 << 30


class Rooms:
    """Endpoints with what is on record of them; two to a page."""

    def __init__(self, *known: idling.IdleEndpoint) -> None:
        self.known = {one.endpoint: one for one in known}
        self.in_traffic = set(self.known)
        self.events: dict[str, tuple[str, idling.IdleEvent]] = {}
        self.rested: list[str] = []
        self.pinned: set[str] = set()
        self.released: list[deployment.EndpointRelease] = []
        self.in_canary: set[str] = set()
        self.away_for = 0
        """So many more requests to serving find it away."""
        self.rests_away = False
        """Serving is away to whoever wants an endpoint to rest."""
        self.turned_away = 0
        self.when_noted: Callable[[], None] = lambda: None

    def control(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            assert request.url.params["project"] == PROJECT
            names = sorted(n for n in self.known if n > request.url.params["after"])
            items = [self.known[name].model_dump(mode="json") for name in names[:2]]
            return httpx.Response(200, json={"items": items, "next": names[1] if len(names) > 2 else ""})
        endpoint = request.url.path.split("/")[4]
        event = idling.IdleEvent.model_validate_json(request.content)
        if event.event_key not in self.events:
            self.events[event.event_key] = endpoint, event
            field = {
                "notice": "noticed_at",
                "stop": "stopped_at",
                "budget-notice": "budget_noticed_at",
                "budget-stop": "budget_stopped_at",
            }[event.kind]
            told = self.known[endpoint].model_copy(update={field: datetime.now(UTC)})
            self.known[endpoint] = told
        self.when_noted()
        return httpx.Response(201, json={})

    def serving(self, request: httpx.Request) -> httpx.Response:
        if self.away_for:
            self.away_for -= 1
            raise httpx.ConnectError("refused")
        if request.url.path == "/v1/endpoints":
            tables = [
                deployment.TrafficTable(endpoint=n, version=1, stable=STABLE) for n in sorted(self.in_traffic)
            ]
            views = [deployment.EndpointView(endpoint=t.endpoint, traffic=t) for t in tables]
            return httpx.Response(200, json=[view.model_dump(mode="json") for view in views])
        if self.rests_away:
            self.turned_away += 1
            raise httpx.ConnectError("refused")
        name, _, verb = request.url.path.removeprefix("/v1/endpoints/").partition(":")
        if verb != "rest":
            return self._taken_out(name, verb, request)
        if name in self.pinned:
            refusal = errors.Conflict("it is pinned", resource="bundle", name=STABLE)
            return httpx.Response(409, json=errors.to_wire(refusal))
        freed = 0 if name in self.rested else GIB
        self.rested.append(name)
        told = deployment.EndpointRested(endpoint=name, bundles=[STABLE], freed_bytes=freed)
        return httpx.Response(200, json=told.model_dump(mode="json"))

    def _taken_out(self, name: str, verb: str, request: httpx.Request) -> httpx.Response:
        """What is asked of an endpoint, and its release."""
        if name not in self.in_traffic:
            refusal: errors.MainspringError = errors.NotFound("not here", resource="endpoint", name=name)
            return httpx.Response(404, json=errors.to_wire(refusal))
        table = deployment.TrafficTable(endpoint=name, version=3, stable=STABLE)
        if verb != "release":
            view = deployment.EndpointView(endpoint=name, traffic=table)
            return httpx.Response(200, json=view.model_dump(mode="json"))
        if name in self.in_canary:
            refusal = errors.Conflict("a canary is in it", resource="endpoint", name=name)
            return httpx.Response(409, json=errors.to_wire(refusal))
        asked = deployment.EndpointRelease.model_validate_json(request.content)
        self.released.append(asked)
        self.in_traffic -= {name}
        told = deployment.EndpointReleased(endpoint=name, version=asked.version, bundles=[STABLE])
        return httpx.Response(200, json=told.model_dump(mode="json"))

    def activities(self) -> list[Callable[..., Any]]:
        return IdlingActivities(settings.CostSettings(), *self._clients()).all()

    def all(self) -> list[Callable[..., Any]]:
        """With those of other processes that take an endpoint out of service."""
        serving, control = self._clients()
        reading = DeploymentActivities(serving, control, Path()).read_endpoint
        return [*self.activities(), reading, *ReleasingActivities(serving).all()]

    def _clients(self) -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
        return (
            httpx.AsyncClient(base_url="http://serving", transport=httpx.MockTransport(self.serving)),
            httpx.AsyncClient(base_url="http://control", transport=httpx.MockTransport(self.control)),
        )


def endpoint(name: str, now: datetime, *, days: float, **changes: Any) -> idling.IdleEndpoint:
    """Asked `days` ago for the last time."""
    values: dict[str, Any] = {
        "endpoint": name,
        "project": PROJECT,
        "environment": "prod",
        "claimed_at": now - timedelta(days=300),
        "last_used_at": now - timedelta(days=days),
        **changes,
    }
    return idling.IdleEndpoint.model_validate(values)
