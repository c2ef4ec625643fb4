"""`mainspring model import` and `bundle attest` over a control API: nobody signs who may not, and who did is on record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher

from mainspring.core import settings
from mainspring.core.client import control as control_client
from mainspring.core.models import bundle
from mainspring.core.supply import openssf, provenance
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session

__all__ = ["api", "empty", "launcher"]  # fixtures

DESCRIBED = """
kind = "trees"
file = "trees.txt"
source = "https://models.example/delays"
licence = "MIT"
model = { format = "lightgbm" }
inputs = [{ name = "distance" }, { name = "wind", missing = 1.5 }]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "delays"
    made.mkdir()
    rows = np.random.default_rng(1).normal(size=(200, 2))
    data = lightgbm.Dataset(rows, label=(rows[:, 0] > 0).astype(int))
    trained = lightgbm.train({"objective": "binary", "verbosity": -1, "num_leaves": 4}, data, 3)
    (made / "trees.txt").write_text(trained.model_to_string())
    (made / "README.md").write_text("# Delays\n")
    (made / "import.toml").write_text(DESCRIBED)
    return made


def test_who_may_and_what_is_on_record(
    api: Api,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def client(actor: str) -> control_client.ControlClient:
        token = api._tokens[actor.removesuffix("@local")]
        return control_client.ControlClient("http://c", token, transport=api.client._transport)

    def run(*arguments: str) -> Any:
        asked = ("--project", "flight-delay", "--name", "delays", "--no-register", "--json")
        return CliRunner().invoke(cli.cli, ["model", "import", str(folder), *asked, *arguments])

    monkeypatch.setattr(session, "client", client)
    monkeypatch.setattr(control_client.ControlClient, "close", lambda _self: None)
    monkeypatch.chdir(tmp_path)
    s = settings.load({}, directory=tmp_path)
    store = bundle.BundleStore(s.serving.bundle_dir)
    dry = run("--dry-run")
    assert dry.exit_code == 0, dry.output
    assert json.loads(dry.stdout)["data"]["written"] is False
    assert store.list() == () and not s.models.signing_key.exists()
    assert run("--as", "approver@local").exit_code == 3
    assert store.list() == () and not s.models.signing_key.exists(), "nothing is signed before somebody may"
    done = run()
    assert done.exit_code == 0, done.output
    (digest,) = store.list()
    assert json.loads(done.stdout)["data"]["bundle"] == digest
    told = json.loads(done.stdout)["data"]
    assert told["rules"] == ["import.scanned", "import.licence", "import.tried"]
    (asked, listed) = [r for r in api.audit() if r["action"] == "model.import"]
    assert (asked["outcome"], listed["outcome"]) == ("requested", "done")
    assert listed["resource"] == f"model/flight-delay/{digest}" and listed["detail"]["run_id"] == told["run"]
    found = CliRunner().invoke(cli.cli, ["model", "list", "--json"])
    (one,) = json.loads(found.stdout)["data"]
    assert (one["name"], one["bundle_digest"], one["source"]) == ("delays", digest, told["source"])
    again = run()
    assert again.exit_code == 0 and json.loads(again.stdout)["data"]["run"] == told["run"], again.output
    rows = [r for r in api.audit() if r["action"] == "lineage.record"]
    assert [(r["actor"], r["outcome"]) for r in rows] == [
        ("approver@local", "denied"),
        *[("developer@local", "done")] * 4,
    ]
    assert [r["detail"].get("type") for r in rows[1:]] == ["START", "COMPLETE"] * 2
    assert rows[1]["resource"] == "lineage/flight-delay/model.import"
    checked = CliRunner().invoke(cli.cli, ["bundle", "check", digest, "--json"])
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["data"]["builder"] == "urn:mainspring:builder:import"
    for name in (provenance.FILE, openssf.FILE):  # as a release before them wrote it
        (store.root / digest.removeprefix("sha256:") / name).unlink()

    def attest(*arguments: str) -> Any:
        return CliRunner().invoke(cli.cli, ["bundle", "attest", digest, "--json", *arguments])

    assert "tells nobody why" in attest("--reason", "ok").output
    reason = ("--reason", "the delays of March, trained by hand")
    assert attest(*reason, "--as", "approver@local").exit_code == 3
    assert CliRunner().invoke(cli.cli, ["bundle", "check", digest, "--json"]).exit_code == 3
    vouched = attest(*reason)
    assert vouched.exit_code == 0, vouched.output
    told = json.loads(vouched.stdout)["data"]
    assert (told["builder"], told["attested_by"], told["reason"]) == (
        "urn:mainspring:builder:attested",
        "developer@local",
        reason[1],
    )
    assert [r["resource"] for r in api.audit() if r["action"] == "lineage.record"][-1].endswith(
        "/bundle.attest"
    )
    (folder / "more.pkl").write_bytes(b"")
    refused = run()
    assert refused.exit_code == 3 and "`more.pkl` may run code when it is read" in refused.output
