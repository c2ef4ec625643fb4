"""Templates as the control API tells of them: one schema, plans that keep nothing, and a zip file that is always the same."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from platform_api import Api, empty, launcher

from mainspring.core import canonical, errors, identity
from mainspring.core.client import control as control_client
from mainspring.core.contracts import templates as contracts
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.templates import engine

__all__ = ["empty", "launcher"]  # fixtures

GIVEN = {"name": "late-flights", "owner": "Eva O'Hara, eva@example.org", "hidden": 64}
PLAN = "/api/v1/templates/classification/plan"


def planned(api: Api, expect: int = 200, **given: Any) -> Any:
    return api.call("developer", "POST", PLAN, expect, {"inputs": {**GIVEN, **given}})


def test_one_schema_is_what_everybody_is_told(empty: Api) -> None:
    page = empty.call("developer", "GET", "/api/v1/templates", 200)
    assert [one["name"] for one in page["items"]] == list(engine.names()) and page["next"] == ""
    first = empty.call("developer", "GET", "/api/v1/templates", 200, limit=2)
    rest = empty.call("developer", "GET", "/api/v1/templates", 200, after=first["next"])
    assert first["items"] + rest["items"] == page["items"] and len(first["items"]) == 2
    told = empty.call("approver", "GET", "/api/v1/templates/classification", 200)
    assert told["inputs"] == engine.find("classification").inputs().model_json_schema()
    by_new = CliRunner().invoke(cli.cli, ["new", "--schema", "--template", "classification", "--json"])
    assert json.loads(by_new.output)["data"] == told["inputs"]
    assert {"pattern", "description"} <= set(told["inputs"]["properties"]["name"])


def test_what_is_planned_is_what_is_downloaded_and_what_new_makes(empty: Api, tmp_path: Path) -> None:
    made = planned(empty)
    packed = base64.b64decode(made["archive"])
    assert made["digest"] == canonical.digest_bytes(packed)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        found = {one.filename: archive.read(one).decode() for one in archive.infolist()}
        assert {one.external_attr >> 16 for one in archive.infolist()} == {0o644}
    assert found == {f"late-flights/{one['path']}": one["text"] for one in made["files"]}
    words = ["--template", "classification", "--owner", GIVEN["owner"], "--set", "hidden=64"]
    done = CliRunner().invoke(cli.cli, ["new", "late-flights", *words, "--folder", str(tmp_path / "p")])
    assert done.exit_code == 0, done.output
    kept = {
        p.relative_to(tmp_path / "p").as_posix(): p.read_text()
        for p in (tmp_path / "p").rglob("*.*")
        if p.is_file()
    }
    assert {one["path"]: one["text"] for one in made["files"]} == kept
    assert made["inputs"] == {**GIVEN, "description": engine.find("classification").title, "late_minutes": 15}


def test_the_same_answers_give_the_same_bytes(empty: Api) -> None:
    one = planned(empty)
    assert planned(empty) == one
    assert planned(empty, hidden=65)["digest"] != one["digest"]
    # Whatever stands first in the answers, and in the template.
    template = engine.find("classification")
    turned = template.model_copy(update={"files": dict(reversed(template.files.items()))})
    assert engine.archive(engine.plan(turned, GIVEN)) == base64.b64decode(one["archive"])


#: What is given otherwise, the field that is named, and words about it.
WRONG: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"owner": " "}, "owner", "has an owner who answers for it"),
    ({"name": "Late"}, "name", "is not allowed"),
    ({"name": "test"}, "name", "whose name Python has"),
    ({"hidden": 2}, "hidden", "greater than or equal to 8"),
    ({"hidden": "many"}, "hidden", "valid integer"),
    ({"hiden": 64}, "hiden", "has the parameters"),
)


def test_a_wrong_answer_is_named_and_a_plan_is_a_question(empty: Api) -> None:
    before = empty.audit()
    for given, field, words in WRONG:
        told = planned(empty, 400, **given)
        assert told["code"] == "invalid_request", given
        assert told["details"]["field"] == field and words in told["detail"], told
    planned(empty)
    assert empty.audit() == before
    empty.call("approver", "GET", "/api/v1/projects/late-flights", 404)


def test_what_there_is_not_and_who_is_nobody(empty: Api) -> None:
    told = empty.call("developer", "GET", "/api/v1/templates/clasification", 404)
    assert told["details"]["did_you_mean"] == ["classification"]
    empty.call("developer", "POST", "/api/v1/templates/nothing/plan", 404, {"inputs": GIVEN})
    empty.call("developer", "POST", PLAN, 400, {"inputs": GIVEN, "more": 1})
    for method, path in (("GET", "/api/v1/templates"), ("GET", "/api/v1/templates/batch"), ("POST", PLAN)):
        empty.call("", method, path, 401, {"inputs": GIVEN} if method == "POST" else None)


def test_the_command_asks_the_api_and_keeps_the_file(
    empty: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = identity.TokenIssuer.load(next(tmp_path.rglob("tokens.json")))

    def answer(asked: httpx.Request) -> httpx.Response:
        found = empty.client.request(
            asked.method, str(asked.url), content=asked.content, headers=dict(asked.headers)
        )
        return httpx.Response(found.status_code, content=found.content, headers=dict(found.headers))

    def client(actor: str) -> control_client.ControlClient:
        transport = httpx.MockTransport(answer)
        return control_client.ControlClient(
            "http://testserver.local", tokens.token_of(actor), transport=transport
        )

    monkeypatch.setattr(session, "client", client)

    def run(*words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(cli.cli, ["template", *words, "--json"])
        assert done.exit_code == code, done.output
        return json.loads(done.output.splitlines()[-1])["data"] if code == 0 else done.output

    assert [one["name"] for one in run("list")] == list(engine.names())
    assert run("show", "batch")["inputs"]["required"] == ["name", "owner"]
    out = tmp_path / "p.zip"
    words = ("plan", "classification", "late-flights", "--owner", str(GIVEN["owner"]))
    made = run(*words, "--set", "hidden=64", "--out", str(out))
    assert canonical.digest_file(out) == made["digest"] == planned(empty)["digest"]
    assert "archive" not in made and all(set(one) == {"path", "bytes"} for one in made["files"])
    out.write_bytes(b"mine")
    assert "`hidden`" in run(*words, "--set", "hidden=2", "--out", str(out), code=1)
    assert out.read_bytes() == b"mine"
    with client("developer@local") as asking, pytest.raises(errors.InvalidRequest, match="has an owner"):
        asking.plan_project("batch", contracts.ProjectAsked(inputs={"name": "aa"}))
