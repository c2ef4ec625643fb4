"""References to secrets: said, changed by their version, taken back, on record; what looks like a secret itself is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher

from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session

__all__ = ["api", "empty", "launcher"]  # fixtures

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

PLACE = "/api/v1/projects/flight-delay/secrets"
REF = {"place": "openbao:kv/flights/warehouse#password", "description": "reads the warehouse"}


def put(api: Api, expect: int = 200, role: str = "admin", name: str = "warehouse", at: str = "", **changed: Any) -> Any:  # fmt: skip
    headers = {"If-Match": f'"{at}"'} if at else {}
    return api.call_with(headers, role, "PUT", f"{PLACE}/{name}", expect, {**REF, **changed})


def test_a_reference_is_said_changed_by_its_version_and_taken_back(api: Api) -> None:
    made = put(api)
    assert (made["place"], made["set_by"]) == (REF["place"], "admin@local")
    assert put(api) == made  # the same again
    put(api, 428, place="file:/run/secrets/warehouse")
    put(api, 412, at="other", place="file:/run/secrets/warehouse")
    moved = put(api, at=made["version"], place="file:/run/secrets/warehouse")
    assert api.call("developer", "GET", f"{PLACE}/warehouse", 200) == moved
    put(api, name="another-one", place="env:OTHER")
    page = api.call("developer", "GET", PLACE, 200, limit=1)
    assert [one["name"] for one in page["items"]] == ["another-one"] and page["next"] == "another-one"
    (last,) = api.call("developer", "GET", PLACE, 200, after="another-one")["items"]
    assert last == moved
    gone = {"If-Match": f'"{moved["version"]}"'}
    token = {"Authorization": f"Bearer {api._tokens['admin']}"}
    assert api.client.delete(f"{PLACE}/warehouse", headers=token).status_code == 428
    assert api.client.delete(f"{PLACE}/warehouse", headers={**token, **gone}).status_code == 204
    told = api.call("developer", "GET", f"{PLACE}/warehouse", 404)
    assert "mainspring secret list flight-delay" in told["detail"]
    rows = [
        (r["action"], r["detail"].get("was")) for r in api.audit() if r["resource"].endswith("/warehouse")
    ]
    assert rows == [
        ("secret.set", None),
        ("secret.set", REF["place"]),
        ("secret.remove", "file:/run/secrets/warehouse"),
    ]


@pytest.mark.parametrize(
    "place",
    [
        "hunter2", "openbao:kv/flights", "openbao:kv#password", "file:relative", "file:/a/b c", "env:lower", "https://x/y", "",
        "openbao:kv/a#b c", "-----BEGIN PRIVATE KEY-----", "postgresql://me:secret@x/y",
    ],
)  # fmt: skip
def test_what_is_no_place_is_refused_and_nowhere_on_record(api: Api, place: str) -> None:
    told = put(api, 400, place=place)
    assert "place" in json.dumps(told)
    assert api.call("developer", "GET", PLACE, 200)["items"] == []
    assert not place or place not in json.dumps(api.audit())


def test_who_may_not_and_what_there_is_not(api: Api) -> None:
    for role in ("developer", "approver", "service"):
        put(api, 403, role=role)
    put(api, 401, role="")
    put(api, 400, name="No.Slug")
    put(api, 400, description="")
    put(api, 404, at="1")  # none is there to be changed
    api.call("admin", "PUT", "/api/v1/projects/flight-dalay/secrets/x1", 404, REF)
    assert {row["outcome"] for row in api.audit() if row["action"] == "secret.set"} == {"denied"}


def test_a_step_of_a_run_is_told_where_it_lies_and_that_is_on_record(api: Api) -> None:
    put(api)
    run_id = api.run()["run_id"]
    asked = {"run_id": run_id, "step": "load-1"}
    used = api.call("service", "POST", f"{PLACE}/warehouse/use", 200, asked)
    assert used == {"project": "flight-delay", "name": "warehouse", "place": REF["place"]}
    assert (
        api.call("service", "POST", f"{PLACE}/warehouse/use", 200, asked) == used
    )  # asked again by a worker after us
    api.call("service", "POST", f"{PLACE}/warehouse/use", 200, {**asked, "step": "load-2"})
    (first, second) = [row for row in api.audit() if row["action"] == "secret.use"]
    assert first["resource"] == "secret/flight-delay/warehouse" and first["outcome"] == "done"
    detail = {"run_id": run_id, "step": "load-1", "environment": "dev", "place": REF["place"]}
    told = {name: value for name, value in first["detail"].items() if name != "authorisation"}
    assert told == {**detail, "requested_by": "developer@local"}
    assert second["detail"]["step"] == "load-2"


def test_who_is_no_process_or_names_another_projects_run_is_told_nothing(api: Api) -> None:
    put(api)
    asked = {"run_id": api.run()["run_id"], "step": "load"}
    for role in ("developer", "approver", "admin"):
        api.call(role, "POST", f"{PLACE}/warehouse/use", 403, asked)
    api.call("", "POST", f"{PLACE}/warehouse/use", 401, asked)
    api.call("service", "POST", f"{PLACE}/nothing/use", 404, asked)
    api.call("service", "POST", f"{PLACE}/warehouse/use", 404, {**asked, "run_id": "run_nowhere"})
    api.call("service", "POST", f"{PLACE}/warehouse/use", 400, {**asked, "step": ""})
    api.call("service", "POST", f"{PLACE}/warehouse/use", 400, {**asked, "value": "x"})
    api.call("admin", "POST", "/api/v1/projects", 201, {"name": "other", "owner": "team"})
    api.call("admin", "PUT", "/api/v1/projects/other/secrets/warehouse", 200, REF)
    api.call("service", "POST", "/api/v1/projects/other/secrets/warehouse/use", 404, asked)
    rows = [row for row in api.audit() if row["action"] == "secret.use"]
    assert [row["outcome"] for row in rows] == ["denied"] * 3


def test_the_command_line(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "client", api.control_client)

    def run(*words: str, expect: int = 0) -> str:
        done = CliRunner().invoke(cli.cli, ["secret", *words])
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output

    run("set", "flight-delay", "warehouse", REF["place"], "--description", "d")
    made = json.loads(run("show", "flight-delay", "warehouse", "--json"))["data"]
    assert REF["place"] in run("list", "flight-delay")
    run("set", "flight-delay", "warehouse", "env:W", "--description", "d", "--version", made["version"])
    again = json.loads(run("list", "flight-delay", "--json"))["data"][0]
    assert again["place"] == "env:W"
    run("remove", "flight-delay", "warehouse", "--version", again["version"])
    assert json.loads(run("list", "flight-delay", "--json"))["data"] == []
    assert "hunter2" not in run("set", "flight-delay", "warehouse", "hunter2", "--description", "d", expect=2)
