"""Keys over the control API: who may change them, what is on record, and that nothing secret comes by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher  # noqa: F401 - fixtures

from mainspring.core import identity, settings, token_files
from mainspring.core.client import control as control_client
from mainspring.core.client import payloads
from mainspring.core.contracts import base, keys
from mainspring.core.models import signing, withdrawn_keys
from mainspring.platform.cli import keys as cli_keys
from mainspring.platform.cli import main as cli
from mainspring.platform.runs import launcher as run_launcher

DIGEST, KEY = ("sha256:" + letter * 64 for letter in "ab")
CHANGES = "/api/v1/key-changes"
WANTED = {"reason": "a year is over"}


def event(**changes: Any) -> dict[str, Any]:
    return {
        "run_id": "rotate-bundles",
        "event_key": "rotate-bundles/1",
        "action": "key.switch",
        "actor": "admin@local",
        "detail": {"old": KEY, "new": DIGEST},
        **changes,
    }


def test_a_rotation_is_started_once_by_an_admin_and_on_record(
    api: Api,  # noqa: F811
    launcher: run_launcher.MemoryLauncher,  # noqa: F811
) -> None:
    for role in ("developer", "approver", "service"):
        assert api.call(role, "POST", CHANGES, 403, WANTED)["code"] == "permission_denied"
    made = api.call("admin", "POST", CHANGES, 202, {**WANTED, "overlap_minutes": 5})
    assert (made["run_id"], made["stage"]) == ("rotate-bundles", "pending")
    assert launcher.key_changes["rotate-bundles"] == keys.KeyRequest(
        change_id="rotate-bundles", requested_by="admin@local", reason="a year is over", overlap_minutes=5.0
    )
    assert api.call("admin", "POST", CHANGES, 409, WANTED)["code"] == "conflict"
    api.call("admin", "POST", CHANGES, 202, {**WANTED, "kind": "payloads"})
    assert api.call("developer", "GET", CHANGES + "/rotate-bundles", 200)["stage"] == "plan"
    told = [(r["action"], r["outcome"], r["actor"]) for r in api.audit() if r["action"].startswith("key.")]
    assert told == [
        *[("key.rotate", "denied", f"{who}@local") for who in ("developer", "approver", "service")],
        *[("key.rotate", outcome, "admin@local") for outcome in ("requested", "done", "requested", "failed")],
        *[("key.rotate", outcome, "admin@local") for outcome in ("requested", "done")],
    ]


def test_an_emergency_and_an_engine_that_is_away(
    api: Api,  # noqa: F811
    launcher: run_launcher.MemoryLauncher,  # noqa: F811
) -> None:
    launcher.is_down = True
    denial = {**WANTED, "action": "deny", "key_id": KEY}
    assert api.call("admin", "POST", CHANGES, 503, denial)["code"] == "dependency_down"
    launcher.is_down = False
    assert api.call("admin", "POST", CHANGES, 202, denial)["run_id"] == "deny-" + "b" * 16
    vouched = api.call("admin", "POST", CHANGES, 202, {**WANTED, "action": "vouch", "bundles": [DIGEST]})[
        "run_id"
    ]
    assert launcher.key_changes[vouched].bundles == [DIGEST]
    assert [r["outcome"] for r in api.audit() if r["action"] == "key.deny"] == [
        *("requested", "failed"),
        *("requested", "done"),
    ]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"reason": "x"}, "reason"),
        ({"action": "deny"}, "key_id"),
        ({"key_id": KEY}, "key_id"),
        ({"action": "deny", "key_id": "no"}, "key_id"),
        ({"action": "vouch"}, "bundles"),
        ({"action": "vouch", "bundles": [DIGEST], "kind": "payloads"}, "payloads"),
        ({"overlap_minutes": -1}, "overlap_minutes"),
        ({"kind": "certificates"}, "kind"),
        ({"secret": "x"}, "secret"),
    ],
)
def test_what_is_no_change_of_keys(api: Api, asked: dict[str, Any], field: str) -> None:  # noqa: F811
    assert field in str(api.call("admin", "POST", CHANGES, 400, {**WANTED, **asked}))


def test_what_a_rotation_did_is_on_record_once_and_in_its_own_words(api: Api) -> None:  # noqa: F811
    place = CHANGES + "/rotate-bundles/events"
    assert api.call("admin", "POST", place, 403, event())["code"] == "permission_denied"
    made = api.call("service", "POST", place, 201, event())
    assert (made["actor"], made["action"], made["resource"]) == (
        "admin@local",
        "key.switch",
        "key-change/rotate-bundles",
    )
    assert api.call("service", "POST", place, 201, event()) == made
    assert sum(r["action"] == "key.switch" for r in api.audit() if r["outcome"] == "done") == 1
    assert api.call("service", "POST", place, 409, event(action="key.end"))["code"] == "conflict"
    assert "post it to its own" in str(api.call("service", "POST", place, 400, event(run_id="deny-1")))
    assert "nothing that a change of keys does" in str(
        api.call("service", "POST", place, 400, event(event_key="2", action="run.end"))
    )
    assert api.call("service", "POST", CHANGES + "/run_1/events", 404, event())["code"] == "not_found"
    assert api.call("service", "GET", CHANGES + "/run_1", 404)["code"] == "not_found"


def test_keys_are_listed_without_what_is_secret(api: Api, tmp_path: Path) -> None:  # noqa: F811
    (shown,) = api.call("developer", "GET", "/api/v1/keys", 200)["items"]
    assert (shown["kind"], shown["state"], shown["is_shown"]) == ("tokens", "trusted", True)
    s = settings.load({}, directory=tmp_path)
    trusted = s.serving.trusted_keys_dir
    one, other = (signing.ensure_key(tmp_path / name) for name in ("one.key", "other.key"))
    for key in (one, other):
        key.publish(trusted)
    mark = keys.KeyWithdrawal(key_id=one.key_id, reason="it leaked", by="ana", at=base.utc_now())
    withdrawn_keys.mark(trusted, mark)
    payloads.ensure_keys(s.workflow.payload_keys)
    new = token_files.add(s.control.tokens_file, identity.SERVICE, "a rotation")
    first = api.call("developer", "GET", "/api/v1/keys", 200, limit=2)
    rest = api.call("developer", "GET", "/api/v1/keys", 200, after=first["next"])
    answer = [*first["items"], *rest["items"]]
    assert len(first["items"]) == 2 and len(answer) == 5 and rest["next"] == ""
    found = {view["key_id"]: view for view in answer}
    assert found[other.key_id]["state"] == "trusted"
    assert found[other.key_id]["public_hex"] == other.public_bytes.hex()
    assert (found[one.key_id]["state"], found[one.key_id]["reason"]) == ("withdrawn", "it leaked, by `ana`")
    (payload,) = (view for view in answer if view["kind"] == "payloads")
    assert payload["state"] == "encrypts"
    secret = s.workflow.payload_keys.read_text().split()[1]
    assert secret not in json.dumps(answer)
    tokens = {view["key_id"]: view["is_shown"] for view in answer if view["kind"] == "tokens"}
    assert sorted(tokens.values()) == [False, True] and not tokens[new]
    assert token_files.token(s.control.tokens_file, identity.SERVICE, new) not in json.dumps(answer)


def test_the_command_line(
    api: Api,  # noqa: F811
    launcher: run_launcher.MemoryLauncher,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = control_client.ControlClient("http://api", api._tokens["admin"], transport=api.client._transport)
    monkeypatch.setattr(cli_keys.session, "client", lambda _actor: client)
    monkeypatch.setattr(client, "close", lambda: None)

    def run(*arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(cli.cli, ["keys", *arguments, "--json"])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)["data"] if code == 0 else done.output

    assert [one["kind"] for one in run("list")] == ["tokens"]
    made = run("rotate", "bundles", "--reason", "a year", "--overlap", "2h")["run_id"]
    assert launcher.key_changes[made].overlap_minutes == 120.0
    assert run("status", made)["stage"] == "plan"
    assert run("deny", KEY, "--reason", "it leaked")["run_id"] == "deny-" + "b" * 16
    vouched = run("vouch", DIGEST, "--reason", "compared")["run_id"]
    assert launcher.key_changes[vouched].action is keys.KeyAction.VOUCH
    assert "is under way" in run("rotate", "bundles", "--reason", "again", code=1)
    assert "is no time" in run("rotate", "bundles", "--reason", "again", "--overlap", "soon", code=2)
