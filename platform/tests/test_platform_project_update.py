"""A project is changed as its caller saw it, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import errors, identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control
from mainspring.platform import app as control_app
from mainspring.platform import mutation
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ACTORS = {"adm": identity.Actor("root", ("admin",)), "dev": identity.Actor("ana", ("developer",))}
PATH = "/api/v1/projects/alpha"


class Api:
    def __init__(self, client: TestClient[Any]) -> None:
        self.client = client

    def call(
        self, method: str, path: str = PATH, body: Any = None, actor: str = "adm", **headers: str
    ) -> Any:
        sent = {"Authorization": f"Bearer {actor}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.client.request(method, path, json=body, headers=sent)

    def tag(self) -> str:
        return str(self.call("GET").headers["etag"])

    def details(self) -> list[Any]:
        rows = self.call("GET", "/api/v1/audit").json()["items"]
        told = [{k: v for k, v in r["detail"].items() if k != mutation.AUTHORISATION} for r in rows]
        return [
            d
            for d, r in zip(told, rows, strict=True)
            if (r["action"], r["outcome"]) == ("project.update", "done")
        ]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    app = control_app.create_app(
        settings.load({}, directory=tmp_path),
        issuer=identity.TokenIssuer(ACTORS),
        launcher=launcher.MemoryLauncher(),
    )
    with TestClient(app) as client:
        made = Api(client)
        body = {"name": "alpha", "owner": "team", "monthly_budget": 1.0}
        answer = made.call("POST", "/api/v1/projects", body)
        assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
        assert made.tag().startswith(f'"{answer.json()["version"]}.')
        yield made


def version(tag: str) -> str:
    return tag.strip('"').partition(".")[0]


def test_a_change_names_the_version_it_is_of(api: Api) -> None:
    first = api.tag()
    changed = api.call("PATCH", body={"monthly_budget": 2.5}, If_Match=first)
    assert changed.status_code == 200 and changed.json()["monthly_budget"] == 2.5
    assert version(changed.headers["etag"]) == version(api.tag()) != version(first)
    late = api.call("PATCH", body={"owner": "others"}, If_Match=first)
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert late.json()["details"]["current"] == version(api.tag())
    told = {k: late.json()["details"][k] for k in ("by", "changed")}
    assert told == {"by": "root", "changed": ["monthly_budget_nanos"]}
    assert api.call("GET").json()["owner"] == "team"
    assert (
        api.call("PATCH", body={"monthly_budget": None}, If_Match=api.tag()).json()["monthly_budget"] is None
    )
    back = api.call("PATCH", body={"monthly_budget": 1.0}, If_Match=f'"x", {api.tag()}')
    assert version(back.headers["etag"]) == version(first)  # a version is what it says
    assert api.details() == [
        {"monthly_budget_nanos": {"from": 1_000_000_000, "to": 2_500_000_000}},
        {"monthly_budget_nanos": {"from": 2_500_000_000, "to": None}},
        {"monthly_budget_nanos": {"from": None, "to": 1_000_000_000}},
    ]


def test_the_same_again_is_no_change(api: Api) -> None:
    assert api.call("PATCH", body={"owner": "team"}, If_Match="*").status_code == 200
    assert api.details() == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "field"),
    [
        ({"owner": "x"}, {}, 428, None),
        ({"owner": "x"}, {"If_Match": 'W/"*"'}, 412, None),
        ({}, {"If_Match": "*"}, 400, ""),
        ({"owner": None}, {"If_Match": "*"}, 400, "owner"),
        ({"description": None}, {"If_Match": "*"}, 400, "description"),
        ({"monthly_budget": 0}, {"If_Match": "*"}, 400, "monthly_budget"),
        ({"name": "beta"}, {"If_Match": "*"}, 400, "name"),
        ({"created_by": "eve"}, {"If_Match": "*"}, 400, "created_by"),
    ],
)
def test_what_is_no_change_is_refused(
    api: Api, body: Any, headers: dict[str, str], status: int, field: str | None
) -> None:
    before = api.tag()
    answer = api.call("PATCH", body=body, **headers)
    assert answer.status_code == status, answer.text
    assert field is None or answer.json()["details"]["field"] == field
    assert api.tag() == before and api.details() == []


def test_only_an_admin_changes_a_budget(api: Api) -> None:
    denied = api.call("PATCH", body={"monthly_budget": 9.0}, actor="dev", If_Match=api.tag())
    assert (denied.status_code, denied.json()["code"]) == (403, "permission_denied")
    assert api.call("PATCH", "/api/v1/projects/beta", {"owner": "x"}, If_Match="*").status_code == 404


def test_of_many_who_saw_the_same_one_is_heard(api: Api) -> None:
    seen = api.tag()
    with futures.ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(api.call, "PATCH", PATH, {"owner": f"team{i}"}, If_Match=seen) for i in range(16)
        ]
        codes = sorted(one.result().status_code for one in asked)
    assert codes == [200] + [412] * 15 and len(api.details()) == 1


def test_what_is_spent_or_kept_free_is_no_new_version(api: Api) -> None:
    before = api.tag()
    assert api.call("POST", "/api/v1/runs", {"project": "alpha"}, actor="dev").status_code == 201
    assert api.call("GET").json()["reserved"] > 0
    assert version(api.tag()) == version(before) and api.tag() != before, "another answer of the same version"
    changed = api.call("PATCH", body={"owner": "x"}, If_Match=before)
    assert changed.status_code == 200, "what is spent meanwhile keeps nobody from a change"


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A command line over this API, as whoever the command is by default."""

    def forward(request: httpx.Request) -> httpx.Response:
        sent = api.client.request(
            request.method, str(request.url.path), content=request.content, headers=dict(request.headers)
        )
        return httpx.Response(sent.status_code, content=sent.content, headers=dict(sent.headers))

    def client(actor: str) -> control_client.ControlClient:
        transport = httpx.MockTransport(forward)
        return control_client.ControlClient("http://control", actor[:3], transport=transport)

    monkeypatch.setattr(session, "client", client)
    return lambda *arguments: CliRunner().invoke(cli.cli, list(arguments))


def test_the_command_line_raises_a_budget(api: Api, run: Callable[..., Any]) -> None:
    done = run("project", "update", "alpha", "--monthly-budget", "7.5")
    assert done.exit_code == 0 and "monthly_budget: 7.5" in done.output
    done = run("project", "update", "alpha", "--no-budget")
    assert done.exit_code == 0 and "monthly_budget: None" in done.output
    both = run("project", "update", "alpha", "--no-budget", "--monthly-budget", "1")
    assert both.exit_code == 2 and "exclude" in both.output
    assert run("project", "update", "alpha", "--owner", "x", "--as", "developer@local").exit_code == 3
    with session.client("admin@local") as typed:
        with pytest.raises(errors.PreconditionFailed, match="look at it again"):
            typed.update_project("alpha", control.ProjectPatch(owner="x"), version="0")


def test_the_command_line_says_what_a_run_may_cost(api: Api, run: Callable[..., Any]) -> None:
    assert run("run", "start", "alpha", "--max-cost", "0.75").exit_code == 0
    assert api.call("GET").json()["reserved"] == 0.75
    refused = run("run", "start", "alpha", "--max-cost", "0.5")
    assert refused.exit_code == 3 and "kept free for runs that have not ended" in refused.output
    assert run("run", "start", "alpha", "--max-cost", "0").exit_code == 2
