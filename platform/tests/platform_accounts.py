"""A service account `ci` of `flight-delay`, its tokens, and what is asked by them."""

from __future__ import annotations

from typing import Any

import pytest
from platform_api import Api

PLACE = "/api/v1/projects/flight-delay"
ACCOUNTS = f"{PLACE}/service-accounts"
CI = "service-account:flight-delay:ci"
ROLES = {"*": ["viewer"], "dev": ["developer"]}


@pytest.fixture
def made(api: Api) -> Any:
    """Account `ci`, which ana owns."""
    api.call("admin", "PUT", f"{PLACE}/members/ana", 200, {"roles": {"*": ["developer"]}})
    return create(api)


def create(api: Api, expect: int = 201, role: str = "admin", **changed: Any) -> Any:
    body = {"name": "ci", "owner": "ana", "description": "builds", "roles": ROLES, **changed}
    return api.call(role, "POST", ACCOUNTS, expect, body)


def ask(api: Api, made: Any, expect: int = 200, **more: Any) -> Any:
    body = {"client_id": made["client_id"], "client_secret": made["client_secret"], **more}
    answer = api.client.post("/api/v1/service-accounts:token", json=body)
    assert answer.status_code == expect, answer.text
    if expect == 200:
        assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def by(api: Api, token: Any, method: str, path: str, expect: int, body: Any = None) -> Any:
    """As whoever has the token."""
    sent = {"Authorization": f"Bearer {token['access_token']}"}
    answer = api.client.request(method, path, json=body, headers=sent)
    assert answer.status_code == expect, answer.text
    return answer.json() if answer.content else None


def change(api: Api, expect: int = 200, version: str = "", **fields: Any) -> Any:
    version = version or api.call("admin", "GET", f"{ACCOUNTS}/ci", 200)["version"]
    return api.call_with({"If-Match": f'"{version}"'}, "admin", "PATCH", f"{ACCOUNTS}/ci", expect, fields)


def rotate(api: Api) -> Any:
    version = api.call("admin", "GET", f"{ACCOUNTS}/ci", 200)["version"]
    return api.call_with({"If-Match": f'"{version}"'}, "admin", "POST", f"{ACCOUNTS}/ci/rotate", 200)
