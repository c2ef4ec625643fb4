"""What serving asks of a service account's token: does it count, and what may whoever has it. Nothing of it is told or kept."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import Any

import pytest
from platform_accounts import CI, PLACE, ask, by, change, create, made, rotate
from platform_api import Api, api, empty, launcher

from mainspring.core.contracts import base, service_accounts

__all__ = ["api", "empty", "launcher", "made"]  # fixtures

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

PATH = "/api/v1/service-accounts:introspect"
EVERYWHERE = {"dev": ["developer", "viewer"], "staging": ["viewer"], "prod": ["viewer"]}
GONE = {"active": False, "actor": "", "project": "", "roles": {}, "expires_at": None}


def state(api: Api, token: str, expect: int = 200, role: str = "service") -> Any:
    return api.call(role, "POST", PATH, expect, {"token": token})


def test_a_token_that_counts_is_told_with_what_it_may(api: Api, made: Any) -> None:
    before = base.utc_now()
    told = state(api, ask(api, made)["access_token"])
    ends = base.utc_now() + timedelta(minutes=15)
    expires_at = service_accounts.ServiceTokenState.model_validate(told).expires_at
    assert expires_at is not None and before + timedelta(minutes=14) < expires_at <= ends
    assert (told["active"], told["actor"], told["project"]) == (True, CI, "flight-delay")
    assert told["roles"] == EVERYWHERE
    viewer = ask(api, made, roles=["viewer"])["access_token"]
    assert state(api, viewer)["roles"] == {place: ["viewer"] for place in EVERYWHERE}
    assert state(api, ask(api, made, environment="dev")["access_token"])["roles"] == {
        "dev": EVERYWHERE["dev"]
    }
    # What an admin takes away it has no more at once, as in the control API itself.
    member = api.call("admin", "GET", f"{PLACE}/members/{CI}", 200)["version"]
    less = {"roles": {"prod": ["viewer"]}}
    api.call_with({"If-Match": f'"{member}"'}, "admin", "PUT", f"{PLACE}/members/{CI}", 200, less)
    assert state(api, viewer)["roles"] == {"prod": ["viewer"]}


def test_why_a_token_does_not_count_is_not_told(api: Api, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    token = ask(api, made)["access_token"]
    for guess in (token[:-1], token[:-1] + ("A" if token[-1] != "A" else "B"), "msat_", "x", "msat_é"):
        assert state(api, guess) == GONE
    assert state(api, made["client_secret"]) == GONE
    change(api, disabled=True)
    assert state(api, token) == GONE
    change(api, disabled=False)
    rotated = rotate(api)
    assert state(api, token) == GONE
    token = ask(api, rotated)["access_token"]
    assert state(api, token)["active"]
    at = base.utc_now() + timedelta(minutes=16)
    monkeypatch.setattr(base, "utc_now", lambda: at)
    assert state(api, token) == GONE


def test_services_alone_may_ask(api: Api, made: Any) -> None:
    token = ask(api, made)
    for role in ("developer", "approver", "admin"):
        assert "role `service`" in json.dumps(state(api, token["access_token"], 403, role))
    state(api, token["access_token"], 401, "")
    by(api, token, "POST", PATH, 403, {"token": token["access_token"]})
    root = ask(api, create(api, name="root", roles={"*": ["admin", "developer", "approver"]}))
    by(api, root, "POST", PATH, 403, {"token": token["access_token"]})


def test_the_token_is_neither_on_record_nor_said_again(
    api: Api, made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    token = ask(api, made)["access_token"]
    before = api.audit()
    with caplog.at_level(logging.DEBUG):
        answer = api.client.post(
            PATH, json={"token": token}, headers={"Authorization": f"Bearer {api._tokens['service']}"}
        )
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
        told = [
            answer.text,
            state(api, token, 403, "developer"),
            state(api, token * 5, 400),
            api.call("service", "POST", PATH, 400, {"token": token, "more": token}),
            api.call("service", "POST", PATH, 400, {"tokens": [token]}),
            api.call("service", "POST", PATH, 400, {"token": ""}),
        ]
    assert token not in json.dumps(told) and token not in caplog.text
    assert api.audit() == before, "a question leaves no row, and nobody fills the log by it"
    assert token not in api.client.get("/metrics").text


def test_the_client_asks(api: Api, made: Any) -> None:
    asked = service_accounts.ServiceTokenQuestion(token=ask(api, made)["access_token"])
    with api.control_client("service") as client:
        assert client.introspect_service_token(asked).actor == CI
