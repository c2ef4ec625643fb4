"""Data keys over the control API: shown by id alone, changed by an admin, on record before and after; no key in any of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.contracts import keysets as contracts
from mainspring.core.protection import keysets, sealing
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.runs import launcher

ACTORS = {
    name: identity.Actor(f"{name}@local", (name,))
    for name in ("viewer", "developer", "approver", "admin", "service")
}
PLACE = "/api/v1/projects/hospital/keyset"
FIELD = sealing.Field("lake.intake", "patient", "joinable")


class World:
    def __init__(self, client: TestClient[Any], s: settings.Settings) -> None:
        self.client, self.settings = client, s

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        answer = self.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def change(self, expect: int = 200, role: str = "admin", **body: Any) -> Any:
        return self.call(role, "POST", PLACE + ":change", expect, body)

    def kept(self) -> keysets.Keyset:
        return keysets.keyset(self.settings.protection, "hospital")

    def log(self) -> list[tuple[str, str, dict[str, Any]]]:
        rows = self.call("viewer", "GET", "/api/v1/audit", 200)["items"]
        return [(r["actor"], r["outcome"], r["detail"]) for r in rows if r["action"] == "keyset.change"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    s = settings.load({}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        made = World(client, s)
        made.call("developer", "POST", "/api/v1/projects", 201, {"name": "hospital", "owner": "o"})
        yield made


def test_keys_are_made_rotated_added_and_forgotten_on_record(world: World) -> None:
    assert world.call("viewer", "GET", PLACE, 200) == {"project": "hospital", "ring": "file", "keys": []}
    sealed = world.kept().cipher().seal(pl.Series(["ann"]), FIELD)
    (first,) = world.call("viewer", "GET", PLACE, 200)["keys"]
    assert first["is_current"] and first["wrapped_by"].startswith("file:")
    rotated = world.change(change="rotate")["keys"][0]
    assert rotated["id"] == first["id"] and rotated["wrapped_by"] != first["wrapped_by"]
    assert world.kept().cipher().open(sealed, FIELD)[0] == "ann"
    new, old = world.change(change="add")["keys"]
    assert (new["is_current"], old["is_current"], old["id"]) == (True, False, first["id"])
    assert world.kept().cipher().open(sealed, FIELD)[0] == "ann"
    (left,) = world.change(change="forget", key_id=old["id"], reason="all is sealed anew")["keys"]
    assert left["id"] == new["id"]
    told = world.log()
    assert [(o, d.get("change")) for _, o, d in told] == [
        ("requested", "rotate"), ("done", None), ("requested", "add"), ("done", None), ("requested", "forget"), ("done", None),
    ]  # fmt: skip
    assert told[1][2]["rewrapped"] == 1 and told[5][2]["key_id"] == old["id"]
    secret = world.kept().cipher()._keys[new["id"]]
    ring = world.settings.protection.keyring_file.read_text().split()[1]
    assert secret.hex() not in str(told) and ring not in str(told)


@pytest.mark.parametrize("role", ["viewer", "developer", "approver", "service"])
def test_nobody_else_changes_keys(world: World, role: str) -> None:
    world.kept().cipher()
    before = world.kept().keys()
    for body in (
        {"change": "rotate"},
        {"change": "add"},
        {"change": "forget", "key_id": before[0].id, "reason": "x"},
    ):
        world.change(403, role, **body)
    assert world.kept().keys() == before and [o for _, o, _ in world.log()] == ["denied"] * 3


def test_what_cannot_be_is_refused_and_on_record(world: World) -> None:
    current = world.kept().cipher().current
    world.change(401, "", change="rotate")
    for bad in (
        {},
        {"change": "melt"},
        {"change": "forget"},
        {"change": "rotate", "key_id": "x"},
        {"change": "forget", "key_id": "x"},
    ):
        world.change(400, **bad)
    world.change(404, change="forget", key_id="ffffffff", reason="x")
    world.change(409, change="forget", key_id=current, reason="x")
    assert [o for _, o, _ in world.log()] == ["requested", "failed", "requested", "failed"]
    world.call("admin", "GET", "/api/v1/projects/hopsital/keyset", 404)
    world.call("admin", "POST", "/api/v1/projects/hopsital/keyset:change", 404, {"change": "add"})
    world.settings.protection.keyring_file.write_text("nonsense")
    world.change(500, change="rewrap")
    assert world.log()[-1][1] == "failed"


def test_the_command_line_seals_and_brings_over(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pl.DataFrame({"patient": ["ann", "bob"], "ward": [1, 2]}).write_csv(tmp_path / "in.csv")
    (tmp_path / "scheme.toml").write_text(
        'dataset = "lake.intake"\n[columns]\npatient = { mode = "joinable" }\n'
    )

    def run(*words: str, expect: int = 0) -> str:
        done = CliRunner().invoke(cli.cli, ["data", *words])
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output

    (tmp_path / "lake").mkdir()
    assert "rows: 2" in run("seal", "hospital", "in.csv", "lake/out.parquet", "--scheme", "scheme.toml")
    sealed = pl.read_parquet(tmp_path / "lake" / "out.parquet")["patient"]
    assert world.kept().cipher().open(sealed, FIELD).to_list() == ["ann", "bob"]
    world.change(change="add")
    assert "files: 1" in run("reseal", "hospital", "lake")
    assert "files: 0" in run("reseal", "hospital", "lake")
    after = pl.read_parquet(tmp_path / "lake" / "out.parquet")["patient"]
    assert sealing.key_ids(after) == {world.kept().cipher().current} and after[0] != sealed[0]
    (tmp_path / "bad.toml").write_text("dataset = ")
    assert "is no TOML" in run("seal", "hospital", "in.csv", "x.parquet", "--scheme", "bad.toml", expect=1)
    assert not (tmp_path / "x.parquet").exists()


def test_the_verbs_are_the_contracts(world: World) -> None:
    verbs = set(cli.cli.commands["keyset"].commands) - {"show"}  # type: ignore[attr-defined]
    assert verbs == set(contracts.CHANGES)
