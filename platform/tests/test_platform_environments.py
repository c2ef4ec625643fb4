"""Environments are told as the policies in force answer about them, an organisation's own included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import platform_api
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from platform_tenants import World, app, world

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.runs import launcher

__all__ = ["app", "world"]  # fixtures

OWN = """
@id("acme.staging")
@advice("somebody else decides in staging")
forbid (principal, action == Action::"run.decide", resource)
when { resource.environment == "staging" && resource.requested_by == principal.name };
"""


def told(answer: dict[str, Any]) -> dict[str, tuple[bool, ...]]:
    names = ("reads_synthetic_only", "decides_own", "approves_itself", "trains_on_samples")
    return {one["name"]: tuple(one[name] for name in names) for one in answer["environments"]}


def test_each_is_told_as_the_policies_answer(world: World) -> None:
    found = world.call("root", "GET", "/api/v1/environments")
    assert list(told(found).items()) == [
        ("dev", (True, True, True, True)),
        ("staging", (False, True, True, True)),
        ("prod", (False, False, False, False)),
    ]


def test_projects_are_those_that_one_may_know_of(world: World) -> None:
    def dev(who: str) -> int:
        return int(world.call(who, "GET", "/api/v1/environments")["environments"][0]["projects"])

    assert (dev("root"), dev("ana"), dev("eva"), dev("uno")) == (2, 1, 1, 0)
    assert world.client.get("/api/v1/environments").status_code == 401


def test_an_organisations_own_policies_and_settings_are_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "acme.cedar").write_text(OWN)
    lines = '[control]\npolicies_dir = "policies"\nsynthetic_only = "dev,staging"\n'
    (tmp_path / "mainspring.toml").write_text(lines)
    issuer = identity.TokenIssuer({"dev": identity.Actor("ana", ("developer",))})
    app = control_app.create_app(
        settings.load({}, directory=tmp_path), issuer=issuer, launcher=launcher.MemoryLauncher()
    )
    with TestClient(app) as client:
        monkeypatch.setattr(
            session,
            "client",
            lambda _: control_client.ControlClient(
                "http://api", "dev", transport=platform_api.transport(client)
            ),
        )
        done = CliRunner().invoke(cli.cli, ["environment", "list", "--json"])
    assert done.exit_code == 0, done.output
    found = told({"environments": json.loads(done.output)["data"]})
    assert found["staging"] == (True, False, True, True) and found["dev"][0]
