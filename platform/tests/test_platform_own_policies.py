"""An organisation's policies in force beside ours: over HTTP, in lists, and for who has a role of the platform."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ACTORS = {
    "root": identity.Actor("root", ("admin",)),
    "dev": identity.Actor("dev", ("developer",)),
    "see": identity.Actor("see", ("viewer",)),
    "ana": identity.Actor("ana", ()),
}
SECRET = """
@id("acme.secret")
@advice("ask the owner of `vault`")
forbid (principal, action, resource == Project::"vault")
unless { principal.roles.contains("admin") };

@id("acme.no-runs-there")
@advice("runs of `vault` go through the change board")
forbid (principal, action == Action::"run.start", resource == Project::"vault");

@id("acme.anybody-may-make-projects")
@advice("-")
permit (principal, action == Action::"project.create", resource);
"""


class Api:
    def __init__(self, client: TestClient[Any]) -> None:
        self.client = client

    def call(self, who: str, method: str, path: str, expect: int, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {who}"}
        answer = self.client.request(method, f"/api/v1{path}", json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def names(self, who: str, limit: int = 100) -> list[str]:
        found, after = [], ""
        while True:
            page = self.call(who, "GET", f"/projects?limit={limit}&after={after}", 200)
            assert len(page["items"]) <= limit
            found += [p["name"] for p in page["items"]]
            if not (after := page["next"]):
                return found


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "acme.cedar").write_text(SECRET)
    s = settings.load({"MAINSPRING_CONTROL_POLICIES_DIR": str(tmp_path / "own")}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app) as client:
        one = Api(client)
        for name in ("alpha", "vault", "zeta"):
            one.call("root", "POST", "/projects", 201, {"name": name, "owner": "team"})
        yield one


def test_a_project_is_hidden_from_whom_they_forbid_it(api: Api) -> None:
    assert api.names("root") == ["alpha", "vault", "zeta"]
    for limit in (1, 2, 100):  # pages are full, and none is lost
        assert api.names("see", limit) == ["alpha", "zeta"]
    hidden = api.call("see", "GET", "/projects/vault", 404)
    assert hidden["details"]["did_you_mean"] == []
    near = api.call("see", "GET", "/projects/vaults", 404)
    assert near["details"]["did_you_mean"] == []  # not by its neighbours either
    for who, told in (("dev", []), ("root", ["vault"])):
        missed = api.call(who, "POST", "/runs", 404, {"project": "vaults"})
        assert missed["details"]["did_you_mean"] == told
    assert "vault" not in str([r["resource"] for r in api.call("see", "GET", "/audit", 200)["items"]])
    assert "vault" not in str(api.call("see", "GET", "/costs", 200))
    api.call("see", "PATCH", "/projects/vault", 404, {"owner": "x"})
    api.call("see", "PATCH", "/projects/alpha", 403, {"owner": "x"})


def test_their_forbid_names_itself_to_who_may_know(api: Api) -> None:
    denied = api.call("root", "POST", "/runs", 403, {"project": "vault"})
    assert denied["details"]["rule_id"] == "acme.no-runs-there"
    assert "runs of `vault` go through the change board" in denied["detail"]
    api.call("root", "POST", "/runs", 201, {"project": "alpha"})


def test_their_permit_lets_in_whom_ours_do_not(api: Api) -> None:
    api.call("ana", "POST", "/projects", 201, {"name": "mine", "owner": "ana"})
    assert api.names("ana") == []  # and nothing more than it says
    row = api.call("root", "GET", "/audit", 200)["items"][-1]
    (decision,) = row["detail"]["authorisation"]["decisions"]
    assert decision["policies"] == ["acme.anybody-may-make-projects"]
