"""One application of the control API, and a client for each role."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher as run_launcher

PROJECT = {"name": "flight-delay", "owner": "team@example.org", "monthly_budget": 1.0}


def transport(client: TestClient[Any]) -> httpx.BaseTransport:
    """The application's own, by which any other client asks it; it outlives each of those."""
    return httpx.MockTransport(client._transport.handle_request)


class Api:
    """A client per role on one application."""

    def __init__(self, client: TestClient[Any], issuer: identity.TokenIssuer) -> None:
        self.client = client
        self._tokens = {
            a: issuer.token_of(f"{a}@local") for a in ("developer", "approver", "service", "admin")
        }

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None, **params: Any) -> Any:
        return self.call_with({}, role, method, path, expect, body, **params)

    def call_with(
        self,
        more: dict[str, str],
        role: str,
        method: str,
        path: str,
        expect: int,
        body: Any = None,
        **params: Any,
    ) -> Any:
        """As :meth:`call`, with more headers."""
        headers = more | ({"Authorization": f"Bearer {self._tokens[role]}"} if role else {})
        answer = self.client.request(method, path, json=body, params=params, headers=headers)
        assert answer.status_code == expect, answer.text
        if expect >= 400:
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert answer.json()["status"] == expect
        return answer.json()

    def audit(self) -> list[dict[str, Any]]:
        return self.call("approver", "GET", "/api/v1/audit", 200)["items"]

    def control_client(self, actor: str) -> control_client.ControlClient:
        """For `session.client`: of the role that `actor` begins with."""
        token = self._tokens[actor.partition("@")[0]]
        return control_client.ControlClient("http://api", token, transport=transport(self.client))

    def run(self, expect: int = 201, role: str = "developer", **fields: Any) -> Any:
        return self.call(role, "POST", "/api/v1/runs", expect, {"project": "flight-delay", **fields})


@pytest.fixture
def launcher() -> run_launcher.MemoryLauncher:
    return run_launcher.MemoryLauncher()


@pytest.fixture
def empty(tmp_path: Path, launcher: run_launcher.MemoryLauncher) -> Iterator[Api]:
    s = settings.load({"MAINSPRING_RAY_TRAIN_WORKERS": "3"}, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(s, issuer=issuer, launcher=launcher)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Api(client, issuer)


@pytest.fixture
def api(empty: Api) -> Api:
    empty.call("developer", "POST", "/api/v1/projects", 201, PROJECT)
    return empty
