"""An imported model is in the lists, the lineage, and the evidence; what is told of it is what its signature covers."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from platform_api import Api, api, empty, launcher
from platform_bundles import signed, train

from mainspring.core import settings
from mainspring.core.contracts import base, prediction
from mainspring.core.models import withdrawn
from mainspring.core.supply import builders, imported, provenance, scanning
from mainspring.platform.evidence import verify

__all__ = ["api", "empty", "launcher"]  # fixtures

PATH = "/api/v1/projects/flight-delay/models"
FOLDER = "f" * 64
BUILD = provenance.Build(
    builder=builders.IMPORT,
    parameters={
        "source": "https://models.example/7",
        "licence": "MIT",
        "imported_by": "x",
        "rules": imported.RULES,
    },
    materials=(provenance.Material(imported.FOLDER, {"sha256": FOLDER}),),
    scans=(provenance.Scan("picklescan", "1"),),
)


def written(directory: Path, build: provenance.Build = BUILD, **others: Any) -> str:
    """A bundle where the control API of that directory looks."""
    return signed(directory, build, **{"name": "delays", **others})


def listed(api: Api, role: str = "developer") -> list[dict[str, Any]]:
    return api.call(role, "GET", "/api/v1/models", 200, project="flight-delay")["items"]


def test_it_is_among_the_project_s_models_with_what_its_provenance_says(api: Api, tmp_path: Path) -> None:
    first = train(api, "sha256:" + "a" * 64)
    digest = written(tmp_path)
    made = api.call("developer", "POST", PATH, 201, {"bundle_digest": digest})
    last = train(api, "sha256:" + "b" * 64)
    assert [one["run_id"] for one in listed(api)] == [last, made["run_id"], first]
    assert made == listed(api)[1]
    assert (made["name"], made["version"], made["trained_by"]) == ("delays", "", "developer@local")
    told = made["imported"]
    assert (told["source"], told["licence"], told["folder_digest"]) == (
        "https://models.example/7",
        "MIT",
        f"sha256:{FOLDER}",
    )
    assert told["scanners"][-1] == "picklescan 1" and told["rules"][0] == scanning.RULE
    shown = api.call("developer", "GET", f"/api/v1/models/flight-delay/{digest}", 200)
    assert shown["imported"] == told and shown["signer"] and not shown["problem"]
    run = api.call("developer", "GET", f"/api/v1/runs/{made['run_id']}", 200)
    assert (run["kind"], run["stage"], run["bundle_digest"]) == ("import", "done", digest)
    assert listed(api)[0]["imported"] is None


def test_the_same_again_changes_nothing_but_a_version_that_it_had_not(api: Api, tmp_path: Path) -> None:
    digest = written(tmp_path)
    made = [
        api.call("developer", "POST", PATH, 201, {"bundle_digest": digest, "version": v})
        for v in ("", "", "3", "3", "")
    ]
    assert {one["run_id"] for one in made} == {made[0]["run_id"]} and len(listed(api)) == 1
    assert [one["version"] for one in made] == ["", "", "3", "3", "3"]
    rows = [r for r in api.audit() if r["action"] == "model.import"]
    assert [r["outcome"] for r in rows] == ["requested", "done"] * 2


def test_who_may_not_and_what_was_not_imported(api: Api, tmp_path: Path) -> None:
    digest = written(tmp_path)
    for role, status in (("approver", 403), ("service", 403), ("", 401)):
        api.call(role, "POST", PATH, status, {"bundle_digest": digest})
    theirs = written(tmp_path, project="others")
    for unknown in (theirs, "sha256:" + "0" * 64):
        refused = api.call("developer", "POST", PATH, 404, {"bundle_digest": unknown})
        assert digest[:12] not in refused["detail"] and theirs[:12] not in refused["detail"].replace(
            unknown, ""
        )
    for path, status in ((PATH.replace("flight-delay", "nowhere"), 404), (PATH, 400)):
        api.call(
            "developer", "POST", path, status, {"bundle_digest": digest if status == 404 else "sha256:x"}
        )
    api.call("developer", "POST", PATH, 400, {"bundle_digest": digest, "source": "elsewhere"})
    for builder in (builders.TRAIN, builders.LIBRARY):
        other = written(tmp_path, provenance.Build(builder=builder), card=builder)
        refused = api.call("developer", "POST", PATH, 400, {"bundle_digest": other})
        assert f"was built by `{builder}`, and not imported" in refused["detail"]
    stranger = written(tmp_path, stranger="stranger.key", card="a stranger's")
    assert api.call("developer", "POST", PATH, 403, {"bundle_digest": stranger})["code"] == "policy_denied"
    mark = prediction.BundleWithdrawal(digest=digest, reason="it leaks", by="ana", at=base.utc_now())
    withdrawn.mark(settings.load({}, directory=tmp_path).serving.bundle_dir, mark)
    assert "it leaks" in api.call("developer", "POST", PATH, 403, {"bundle_digest": digest})["detail"]
    assert listed(api) == []
    outcomes = [r["outcome"] for r in api.audit() if r["action"] == "model.import"]
    assert outcomes.count("failed") == 6 and outcomes.count("denied") == 2 and "done" not in outcomes


def test_an_import_is_no_run_to_start(api: Api) -> None:
    refused = api.run(400, kind="import", bundle_digest="sha256:" + "a" * 64)
    assert "mainspring model import" in refused["detail"]


def test_who_may_not_import_is_told_before_anything_is_signed(api: Api) -> None:
    event: dict[str, Any] = {
        "eventType": "START",
        "eventTime": "2026-11-01T00:00:00Z",
        "run": {"runId": "0198c3f0-0000-7000-8000-000000000001"},
        "job": {"namespace": "flight-delay", "name": "model.import"},
        "producer": "https://example.org",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }
    refused = api.call("service", "POST", "/api/v1/lineage", 403, event)
    assert "`developer` or `admin`" in refused["detail"]
    event["job"]["name"] = "something.else"
    api.call("service", "POST", "/api/v1/lineage", 201, event)


def test_it_is_in_the_evidence_of_its_time(api: Api, tmp_path: Path) -> None:
    digest = written(tmp_path)
    api.call("developer", "POST", PATH, 201, {"bundle_digest": digest})
    period = {"since": datetime(2020, 1, 1, tzinfo=UTC).isoformat(), "until": "2100-01-01T00:00:00Z"}
    asked = {"model": "delays", **period}
    made = api.call("approver", "POST", "/api/v1/projects/flight-delay/evidence", 200, asked)
    content = base64.b64decode(made["content"])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert json.loads(files["bundles.json"])[digest].startswith("verified")
    folder = f"bundles/{digest.removeprefix('sha256:')}"
    sealed = json.loads(base64.b64decode(json.loads(files[f"{folder}/provenance.intoto.json"])["payload"]))
    assert (
        sealed["predicate"]["buildDefinition"]["externalParameters"]["source"] == "https://models.example/7"
    )
    (run,) = json.loads(files["runs.json"])
    assert run["kind"] == "import" and run["result"]["imported"]["licence"] == "MIT"
    (tmp_path / "pack.zip").write_bytes(content)
    assert verify.verify(tmp_path / "pack.zip")["bundles_with_provenance"] == 1


@pytest.mark.parametrize("role", ["approver", "admin"])
def test_everybody_who_reads_models_reads_of_it(api: Api, tmp_path: Path, role: str) -> None:
    digest = written(tmp_path)
    api.call("admin", "POST", PATH, 201, {"bundle_digest": digest})
    assert [one["bundle_digest"] for one in listed(api, role)] == [digest]
