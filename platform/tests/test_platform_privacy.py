"""Privacy budgets: set by an admin, charged before an answer, once for a key, never beyond; on both engines, and by CLI."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import platform_api
import polars as pl
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ROLES = ("viewer", "developer", "approver", "admin", "service")
ACTORS = {name: identity.Actor(f"{name}@local", (name,)) for name in ROLES}
PLACE = "/api/v1/projects/hospital/privacy"
ONE = PLACE + "/lake.intake"


class World:
    def __init__(self, client: TestClient[Any]) -> None:
        self.client = client

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None) -> Any:
        return self.call_with({}, role, method, path, expect, body)

    def call_with(
        self, more: dict[str, str], role: str, method: str, path: str, expect: int, body: Any = None
    ) -> Any:
        headers = more | ({"Authorization": f"Bearer {role}"} if role else {})
        answer = self.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def budget(self, epsilon: float, expect: int = 200, role: str = "admin", version: str = "") -> Any:
        """`version` of the one that is changed."""
        wanted = {"epsilon": epsilon, "reason": "the yearly report"}
        tag = {"If-Match": f'"{version}"'} if version else {}
        return self.call_with(tag, role, "PUT", ONE, expect, wanted)

    def spend(self, epsilon: float, key: str, expect: int = 200, role: str = "developer", **more: Any) -> Any:
        body = {
            "epsilon": epsilon,
            "question": "count",
            "spend_key": f"key-{key:>08}".replace(" ", "0"),
            "reason": "a table",
            **more,
        }
        return self.call(role, "POST", ONE + "/spends", expect, body)

    def listed(self) -> list[dict[str, Any]]:
        return self.call("viewer", "GET", PLACE, 200)["items"]

    def log(self, action: str) -> list[str]:
        rows = self.call("viewer", "GET", "/api/v1/audit", 200)["items"]
        return [r["outcome"] for r in rows if r["action"] == action]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    s = settings.load({}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        made = World(client)
        made.call("developer", "POST", "/api/v1/projects", 201, {"name": "hospital", "owner": "o"})
        yield made


def test_a_budget_is_spent_to_the_last_bit_and_no_further(world: World) -> None:
    assert "has no privacy budget" in world.spend(0.1, "a", 404)["message"]
    world.budget(1.0)
    for i in range(10):  # ten times 0.1 is not 1.0 in floating point
        left = world.spend(0.1, str(i))["left"]
    assert left == 0.0
    refused = world.spend(0.000001, "over", 403)
    assert refused["code"] == "budget_exceeded" and "does not grow back" in refused["message"]
    (listed,) = world.listed()
    assert (listed["epsilon"], listed["spent"], listed["left"], listed["answers"]) == (1.0, 1.0, 0.0, 10)
    assert world.log("privacy.spend") == ["done"] * 10 + ["denied"]


def test_a_charge_that_comes_twice_is_one(world: World) -> None:
    world.budget(1.0)
    assert world.spend(0.4, "same") == world.spend(0.4, "same")
    world.spend(0.5, "same", 409)
    world.spend(0.4, "same", 409, question="sum")
    assert world.listed()[0]["spent"] == 0.4 and world.log("privacy.spend") == ["done"]


def test_of_many_at_once_as_many_are_let_in_as_there_is_budget_for(world: World) -> None:
    world.budget(1.0)

    def one(i: int) -> int:
        body = {"epsilon": 0.1, "question": "count", "spend_key": f"race-{i:08}", "reason": "a table"}
        return world.client.post(
            ONE + "/spends", json=body, headers={"Authorization": "Bearer developer"}
        ).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(one, range(30)))
    assert answers == [200] * 10 + [403] * 20
    assert world.listed()[0]["left"] == 0.0


def test_a_budget_is_an_admins_and_never_below_what_was_told(world: World) -> None:
    for role, expect in (("", 401), ("viewer", 403), ("developer", 403), ("approver", 403), ("service", 403)):
        world.budget(1.0, expect, role)
    world.budget(1.0)
    world.budget(1.0)
    world.spend(0.6, "a")
    assert "cannot be taken back" in world.budget(0.5, 409)["message"]
    assert world.budget(0.6, 428)["code"] == "precondition_required"
    first = world.listed()[0]["version"]
    second = world.budget(0.6, version=first)
    assert second["left"] == 0.0 and second["version"] != first
    assert world.budget(2.0, 412, version=first)["details"]["by"] == "admin@local"
    assert world.budget(2.0, version=second["version"])["left"] == 1.4
    assert world.log("privacy.budget") == ["denied"] * 4 + ["done"] * 3  # the same again is no change
    for role, expect in (("", 401), ("viewer", 403), ("service", 403)):
        world.spend(0.1, "b", expect, role)


def test_bad_charges_are_refused(world: World) -> None:
    world.budget(1.0)
    for bad in (
        {"epsilon": 0},
        {"epsilon": -1},
        {"epsilon": 21},
        {"question": "median"},
        {"reason": ""},
        {"spend_key": "x"},
        {"free": True},
    ):
        world.spend(0.1, "a", 400, **bad) if "epsilon" not in bad else world.spend(bad["epsilon"], "a", 400)
    world.budget(0.0, 400)
    world.call(
        "admin", "PUT", "/api/v1/projects/hopsital/privacy/x", 404, {"epsilon": 1, "reason": "why not"}
    )
    assert world.listed()[0]["spent"] == 0.0


def test_the_command_line_charges_and_answers(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        session,
        "client",
        lambda a: control_client.ControlClient(
            "http://api", a.partition("@")[0], transport=platform_api.transport(world.client)
        ),
    )
    file = tmp_path / "rows.parquet"
    pl.DataFrame({"who": [f"p{i}" for i in range(200)], "age": [40.0] * 200}).write_parquet(file)

    def run(*words: str, expect: int = 0) -> str:
        done = CliRunner().invoke(cli.cli, ["privacy", *words])
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output

    budget = ("budget", "hospital", "lake.intake", "--reason", "the report", "--epsilon")
    assert "left: 10.0" in run(*budget, "10")
    asked = ("answer", "hospital", "lake.intake", str(file))
    rest = ("--person", "who", "--reason", "a table", "--epsilon")
    told = run(*asked, "count", *rest, "8")
    assert abs(float(told.split("value: ")[1].split()[0]) - 200) < 20 and "left: 2.0" in told
    run(*asked, "mean", "--column", "age", "--low", "0", *rest, "1", expect=2)
    assert "needs bounds" in run(*asked, "mean", "--column", "age", *rest, "1", expect=1)
    assert world.listed()[0]["left"] == 2.0  # what could not be answered was not charged
    assert "value" not in run(*asked, "count", *rest, "3", expect=3)  # beyond the budget there is no answer
    assert "lake.intake" in run("list", "hospital")
