"""Service accounts: a secret told once, tokens for minutes that are narrowed and end with their account, all of it on record."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import platform_api
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from platform_accounts import ACCOUNTS, CI, PLACE, ROLES, ask, by, change, create, made, rotate
from platform_api import PROJECT, Api, api, empty, launcher

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import base
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.runs import launcher as run_launcher
from mainspring.platform.service_accounts import exchange, store

__all__ = ["api", "empty", "launcher", "made"]  # fixtures

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")


def test_an_account_acts_by_a_token_of_minutes_and_is_on_record(api: Api, made: Any) -> None:
    assert made["client_id"] == CI and made["account"]["roles"] == ROLES
    token = ask(api, made)
    assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", 900, "")
    me = by(api, token, "GET", "/api/v1/me", 200)
    assert (me["actor"], me["roles"]) == (CI, [])
    assert set(me["projects"]["flight-delay"]["dev"]) >= {"developer"}
    run = by(api, token, "POST", "/api/v1/runs", 201, {"project": "flight-delay", "environment": "dev"})
    by(api, token, "POST", "/api/v1/runs", 403, {"project": "flight-delay", "environment": "staging"})
    rows = api.audit()
    assert next(r["actor"] for r in rows if r["resource"] == f"run/{run['run_id']}") == CI
    assert [r["action"] for r in rows if r["resource"] == "service-account/flight-delay/ci"] == [
        "service-account.create", "service-account.token",
    ]  # fmt: skip
    # Neither secret nor token is in the log or in a view, and the day of its use is.
    seen = json.dumps([rows, api.call("developer", "GET", ACCOUNTS, 200)])
    assert made["client_secret"] not in seen and token["access_token"] not in seen
    one = api.call("developer", "GET", f"{ACCOUNTS}/ci", 200)
    assert one["last_used_on"] == base.utc_now().date().isoformat() and one["owner"] == "ana"


def test_neither_secret_nor_token_is_in_the_database(
    api: Api, made: Any, tmp_path: Path, database_url: str
) -> None:
    if "sqlite" not in database_url:
        pytest.skip("a server's files are not for us to look through; the rows are the same")
    token = ask(api, made)
    kept = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert store.digest(token["access_token"]).encode() in kept  # it is what was looked through
    assert made["client_secret"].encode() not in kept and token["access_token"].encode() not in kept


def test_a_token_is_narrowed_and_never_widened(api: Api, made: Any) -> None:
    viewer = ask(api, made, roles=["viewer"])
    assert viewer["scope"] == "viewer"
    by(api, viewer, "POST", "/api/v1/runs", 403, {"project": "flight-delay", "environment": "dev"})
    by(api, viewer, "GET", PLACE, 200)
    in_prod = ask(api, made, environment="prod")
    assert in_prod["scope"] == "environment:prod"
    me = by(api, in_prod, "GET", "/api/v1/me", 200)["projects"]["flight-delay"]
    assert me == {"prod": ["viewer"]}
    by(api, in_prod, "POST", "/api/v1/runs", 403, {"project": "flight-delay", "environment": "dev"})
    assert "no role `admin`" in ask(api, made, 403, roles=["admin"])["detail"]
    assert (
        "no role `developer` in `prod`"
        in ask(api, made, 403, roles=["developer"], environment="prod")["detail"]
    )
    told = json.dumps([ask(api, made, 400, roles=["service"]), ask(api, made, 400, environment="moon")])
    assert made["client_secret"] not in told
    # What an admin takes away, a token that is out has no more.
    version = api.call("admin", "GET", f"{PLACE}/members/{CI}", 200)["version"]
    whole = ask(api, made)
    less = {"roles": {"*": ["viewer"]}}
    api.call_with({"If-Match": f'"{version}"'}, "admin", "PUT", f"{PLACE}/members/{CI}", 200, less)
    by(api, whole, "POST", "/api/v1/runs", 403, {"project": "flight-delay", "environment": "dev"})


def test_tokens_end_at_the_next_request(api: Api, made: Any) -> None:
    def counts(token: Any, expect: int) -> None:
        by(api, token, "GET", PLACE, expect)

    token = ask(api, made)
    counts(token, 200)
    change(api, disabled=True)
    counts(token, 401)
    assert "is disabled" in ask(api, made, 401)["detail"]
    change(api, disabled=False)
    counts(token, 401)  # enabled again, it needs another
    token = ask(api, made)
    fresh = rotate(api)
    counts(token, 401)
    ask(api, made, 401)  # the secret from before
    token = ask(api, fresh)
    counts(token, 200)
    member = api.call("admin", "GET", f"{PLACE}/members/ana", 200)["version"]
    headers = {"If-Match": f'"{member}"', "Authorization": f"Bearer {api._tokens['admin']}"}
    assert api.client.delete(f"{PLACE}/members/ana", headers=headers).status_code == 204
    counts(token, 401)
    assert "its owner `ana` is no member any more" in ask(api, fresh, 403)["detail"]
    api.call("admin", "PUT", f"{PLACE}/members/eva", 200, {"roles": {"*": ["viewer"]}})
    change(api, owner="eva")
    counts(token, 200)
    headers["If-Match"] = f'"{api.call("admin", "GET", f"{ACCOUNTS}/ci", 200)["version"]}"'
    assert api.client.delete(f"{ACCOUNTS}/ci", headers=headers).status_code == 204
    counts(token, 401)
    ask(api, fresh, 401)
    # Its roles went with it: who makes one of that name gives it its own.
    api.call("admin", "GET", f"{PLACE}/members/{CI}", 404)
    assert create(api, owner="eva", roles={"dev": ["viewer"]})["account"]["roles"] == {"dev": ["viewer"]}
    counts(token, 401)


def test_a_token_ends_by_its_time(api: Api, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    token = ask(api, made)
    now = base.utc_now()
    for minutes, expect in ((14, 200), (16, 401)):
        at: datetime = now + timedelta(minutes=minutes)
        monkeypatch.setattr(base, "utc_now", lambda at=at: at)
        by(api, token, "GET", PLACE, expect)


def test_who_is_not_the_account_is_told_nothing(api: Api, made: Any) -> None:
    wrong = ask(api, {**made, "client_secret": "mscs_guess"}, 401)
    nobody = ask(api, {"client_id": CI + "x", "client_secret": "mscs_guess"}, 401)
    change(api, disabled=True)
    disabled = ask(api, {**made, "client_secret": "mscs_guess"}, 401)
    assert wrong["detail"] == nobody["detail"] == disabled["detail"]
    before = len(api.audit())
    ask(api, {**made, "client_secret": "mscs_guess"}, 401)
    assert len(api.audit()) == before  # or anybody could fill the log
    # The secret is for the exchange alone, and a token that was made up is nobody's.
    for found in (made["client_secret"], "msat_guess", "msat_"):
        by(api, {"access_token": found}, "GET", PLACE, 401)


def test_an_account_gives_nobody_rights_whatever_its_roles(api: Api, made: Any) -> None:
    admin = create(api, name="root", roles={"*": ["admin"]})
    token = ask(api, admin)
    by(api, token, "PUT", f"{PLACE}/secrets/warehouse", 200, {"place": "env:W", "description": "d"})
    told = by(api, token, "PUT", f"{PLACE}/members/eva", 403, {"roles": {"*": ["admin"]}})
    assert "gives nobody rights" in json.dumps(told)
    body = {"name": "other", "owner": "ana", "description": "d", "roles": {"*": ["admin"]}}
    by(api, token, "POST", ACCOUNTS, 403, body)
    wanted = {"role": "approver", "environment": "dev", "reason": "because"}
    for how in ("", ":break-glass"):
        by(api, token, "POST", f"{PLACE}/access-requests{how}", 403, wanted)
    assert api.call("admin", "GET", f"{ACCOUNTS}/root", 200)["disabled"] is False


def test_a_decision_is_a_persons(api: Api, made: Any) -> None:
    """In `dev`, too, where whoever asked for a run decides on it: an account asks, and somebody is asked."""
    token = ask(api, create(api, name="root", roles={"*": ["admin", "developer", "approver"]}))
    run = by(api, token, "POST", "/api/v1/runs", 201, {"project": "flight-delay", "environment": "dev"})
    place = f"/api/v1/runs/{run['run_id']}"
    told = by(api, token, "POST", f"{place}/decision", 403, {"approve": True, "reason": "tests passed"})
    assert told["details"]["rule_id"] == "service-account.decides-nothing"
    assert "a decision is a person's" in json.dumps(told)
    order = {"order": "promote", "reason": "tests passed"}
    told = by(api, token, "POST", f"{place}/canary", 403, order)
    assert told["details"]["rule_id"] == "canary.gate"
    # Who owns it could decide: its asking would be that person's own.
    held = api.call("approver", "POST", f"{PLACE}/holds", 201, {"matter": "12", "reason": "a case"})
    path = f"{PLACE}/holds/{held['hold_id']}"
    for verb, body in (("lift", {"reason": "over"}), ("decide", {"approve": True})):
        told = by(api, token, "POST", f"{path}/{verb}", 403, body)
        assert told["details"]["rule_id"] == "service-account.decides-nothing"
    assert api.call("approver", "GET", path, 200)["state"] == "in_force"


def test_its_name_is_nobody_elses(api: Api, made: Any, tmp_path: Path) -> None:
    roles = {"roles": {"dev": ["viewer"]}}
    for actor in (
        CI + "x",
        "service-account:other:ci",
        "Service-Account:flight-delay:ci",
        "service-account:",
    ):
        told = api.call("admin", "PUT", f"{PLACE}/members/{actor}", 400, roles)
        assert "mainspring service-account create" in told["detail"]
    api.call("developer", "POST", "/api/v1/projects", 201, {**PROJECT, "name": "other"})
    api.call("admin", "PUT", f"/api/v1/projects/other/members/{CI}", 400, roles)
    # Whatever another issuer says.
    forged = identity.TokenIssuer({"t": identity.Actor(CI, ("admin",))})
    s = settings.load({}, directory=tmp_path / "forged")
    app = control_app.create_app(s, issuer=forged, launcher=run_launcher.MemoryLauncher())
    with TestClient(app) as client:
        answer = client.get("/api/v1/me", headers={"Authorization": "Bearer t"})
    assert answer.status_code == 401 and "have tokens of their own" in answer.text


def test_what_is_no_account_is_refused(api: Api, made: Any) -> None:
    for role in ("developer", "approver", "service"):
        create(api, 403, role=role, name="other")
    create(api, 401, role="", name="other")
    assert "choose another name" in create(api, 409)["detail"]
    for owner in ("nobody", CI):
        assert "cannot own a service account" in create(api, 400, name="other", owner=owner)["detail"]
        change(api, 400, owner=owner)
    for wrong in ({"name": "No.Slug"}, {"description": ""}, {"roles": {}}, {"roles": {"*": ["service"]}}):
        create(api, 400, **{"name": "other", **wrong})
    change(api, 412, version="other", description="x")
    api.call("admin", "PATCH", f"{ACCOUNTS}/ci", 428, {"description": "x"})
    api.call("admin", "POST", f"{ACCOUNTS}/ci/rotate", 428)
    told = api.call_with({"If-Match": "*"}, "admin", "PATCH", f"{ACCOUNTS}/other", 404, {"disabled": True})
    assert "mainspring service-account list flight-delay" in told["detail"]
    before = len(api.audit())
    same = change(api, description="builds", disabled=False)
    assert same == made["account"] and len(api.audit()) == before
    assert [one["name"] for one in api.call("developer", "GET", ACCOUNTS, 200)["items"]] == ["ci"]


def test_a_secret_is_told_once(api: Api) -> None:
    """An idempotency key would make the database a copy of it."""
    api.call("admin", "PUT", f"{PLACE}/members/ana", 200, {"roles": {"*": ["developer"]}})
    body = {"name": "ci", "owner": "ana", "description": "builds", "roles": ROLES}
    key = {"Idempotency-Key": "once"}
    first = api.call_with(key, "admin", "POST", ACCOUNTS, 201, body)
    assert first["client_secret"].startswith("mscs_")
    api.call_with(key, "admin", "POST", ACCOUNTS, 409, body)


def test_one_account_has_so_many_tokens_at_a_time(
    api: Api, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_TOKENS", 2)
    tokens = [ask(api, made), ask(api, made)]
    told = ask(api, made, 429)
    assert told["details"]["limit"] == "service-account.tokens" and "use one until it ends" in told["detail"]
    by(api, tokens[0], "GET", PLACE, 200)
    now = base.utc_now()
    monkeypatch.setattr(base, "utc_now", lambda: now + timedelta(minutes=16))
    ask(api, made)


def test_tokens_can_be_left_to_the_provider(tmp_path: Path) -> None:
    s = settings.load({"MAINSPRING_CONTROL_SERVICE_TOKEN_MINUTES": "0"}, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(s, issuer=issuer, launcher=run_launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        api = Api(client, issuer)
        api.call("developer", "POST", "/api/v1/projects", 201, PROJECT)
        api.call("admin", "PUT", f"{PLACE}/members/ana", 200, {"roles": {"*": ["developer"]}})
        assert "control.service_token_minutes" in ask(api, create(api), 403)["detail"]


def test_a_providers_client_is_the_account_while_it_is_in_force(tmp_path: Path) -> None:
    given = {"MAINSPRING_IDENTITY_ACCOUNT_CLAIM": "azp", "MAINSPRING_CONTROL_SERVICE_TOKEN_MINUTES": "0"}
    s = settings.load(given, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    # As the OpenID provider's issuer has it; that a claim about roles adds nothing is seen twice.
    others = identity.TokenIssuer({**issuer._known(), "azp": identity.Actor(CI, ("admin",))})
    app = control_app.create_app(s, issuer=others, launcher=run_launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        api, provided = Api(client, issuer), {"access_token": "azp"}
        assert "not made" in by(api, provided, "GET", "/api/v1/me", 401)["detail"]
        api.call("developer", "POST", "/api/v1/projects", 201, PROJECT)
        api.call("admin", "PUT", f"{PLACE}/members/ana", 200, {"roles": {"*": ["developer"]}})
        create(api)
        me = by(api, provided, "GET", "/api/v1/me", 200)
        assert (me["actor"], me["roles"]) == (CI, [])
        by(api, provided, "POST", "/api/v1/runs", 201, {"project": "flight-delay", "environment": "dev"})
        by(api, provided, "POST", "/api/v1/runs", 403, {"project": "flight-delay", "environment": "prod"})
        change(api, disabled=True)
        by(api, provided, "GET", PLACE, 401)
        change(api, disabled=False)
        by(api, provided, "GET", PLACE, 200)
        by(api, {"access_token": "other"}, "GET", PLACE, 401)


def test_the_command_line(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def client(token: str) -> control_client.ControlClient:
        return control_client.ControlClient("http://api", token, transport=platform_api.transport(api.client))

    monkeypatch.setattr(session, "client", lambda a: client(api._tokens[a.partition("@")[0]]))
    monkeypatch.setattr(session, "anonymous", lambda: client(""))

    def run(*words: str, expect: int = 0, text: str = "") -> Any:
        done = CliRunner().invoke(cli.cli, ["service-account", *words, "--json"], input=text)
        assert done.exit_code == expect, (done.output, done.exception)
        return json.loads(done.stdout)["data"] if not expect else done.output

    api.call("admin", "PUT", f"{PLACE}/members/ana", 200, {"roles": {"*": ["developer"]}})
    api.call("admin", "PUT", f"{PLACE}/members/eva", 200, {"roles": {"*": ["developer"]}})
    made = run("create", "flight-delay", "ci", "dev:developer", "--owner", "ana", "--description", "builds")
    token = run("token", CI, "--secret-file", "-", "--role", "developer", text=made["client_secret"] + "\n")
    assert token["scope"] == "developer"
    assert client(token["access_token"]).me().actor == CI
    assert run("list", "flight-delay")[0]["name"] == "ci"
    assert run("change", "flight-delay", "ci", "--owner", "eva")["owner"] == "eva"
    assert "nothing to change" in run("change", "flight-delay", "ci", expect=2)
    assert (
        run("disable", "flight-delay", "ci")["disabled"]
        and not run("enable", "flight-delay", "ci")["disabled"]
    )
    (tmp_path / "secret").write_text(run("rotate", "flight-delay", "ci")["client_secret"])
    assert (
        run("token", CI, "--secret-file", str(tmp_path / "secret"), "--environment", "dev")["expires_in"]
        == 900
    )
    assert run("show", "flight-delay", "ci")["last_used_on"]
    assert run("delete", "flight-delay", "ci", "--dry-run")["action"] == "remove"
    run("delete", "flight-delay", "ci")
    assert run("list", "flight-delay") == []
