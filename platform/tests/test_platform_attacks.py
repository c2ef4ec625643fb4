"""What somebody with a token may try through the API's own doors; the list of attacks is `docs/security.md`."""

from __future__ import annotations

import contextlib
import hmac
import itertools
from pathlib import Path
from typing import Any

import platform_tenants as tenants
import pytest
from platform_api import Api, api, empty, launcher
from platform_tenants import SECRET, Asked, World, app, world

from mainspring.core import api_keys, errors, identity
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "app", "empty", "launcher", "world"]  # fixtures

#: Forms that keep what they do not know for whoever does: lineage is of others, and facts that processes report grow with releases.
LOOSE = {"events", "usage", "lineage", "expire", "retentions"}
ASSIGNED = {"requested_by": "eva", "is_admin": True, "stage": "done"}


def test_a_body_assigns_nothing_that_its_form_does_not_have(world: World) -> None:
    taken = set()
    for one in tenants.REQUESTS:
        if one.method == "GET" or not isinstance(one.body, dict):
            continue
        for field in set(ASSIGNED) - set(one.body):
            more = Asked(one.method, one.path, {**one.body, field: ASSIGNED[field]}, headers=one.headers)
            status, body = world.ask("root", more, world.theirs)
            if status != 400 or field not in body:
                # Nobody who is no process gets as far as what it would have meant.
                assert status == 403 or one.path.endswith("/lineage"), (one, status, body)
                taken.add(one.path.rpartition("/")[2])
    assert taken == LOOSE


def test_whoever_asks_is_who_is_on_record_whatever_he_says(api: Api) -> None:
    api.run(400, requested_by="somebody@local")
    made = api.run()
    assert made["requested_by"] == "developer@local"
    assert {row["actor"] for row in api.audit() if row["action"] == "run.start"} == {"developer@local"}


def test_an_approval_that_is_sent_again_approves_nothing_else(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    one, other = (api.run(environment="prod", cause=str(i))["run_id"] for i in range(2))
    key = {"Idempotency-Key": "an-approval"}
    approved = {"approve": True, "reason": "read it"}

    def decide(run_id: str, expect: int, **headers: str) -> Any:
        return api.call_with(headers, "approver", "POST", f"/api/v1/runs/{run_id}/decision", expect, approved)

    decide(one, 200, **key)
    decide(one, 200, **key)  # the first answer again
    decide(other, 409, **key)  # the key is for one request
    rows = [row for row in api.audit() if row["action"] == "run.decide"]
    assert {row["resource"] for row in rows} == {f"run/{one}"}
    assert sum(row["outcome"] == "intended" for row in rows) == 1
    assert list(launcher.decisions) == [one]
    # Another's token does not carry it, either: it is theirs to decide, not to repeat.
    api.call_with(key, "developer", "POST", f"/api/v1/runs/{other}/decision", 403, approved)


INJECTED = (
    "' OR '1'='1",
    "x'; DROP TABLE projects; --",
    '" UNION SELECT hash FROM audit --',
    f"{SECRET[0]}%",
)


@pytest.mark.slow
def test_nothing_that_is_asked_with_is_a_statement(world: World) -> None:
    def rows() -> Any:
        return world.call("root", "GET", "/api/v1/projects")["items"]

    def look(path: str, text: str, **params: str) -> None:
        answer = world.client.get(path, params=params, headers={"Authorization": "Bearer eva"})
        assert answer.status_code < 500 or answer.status_code == 503, (path, params, answer.text)
        assert SECRET not in answer.text.replace(text, ""), (path, params, answer.text)

    before, asked = rows(), 0
    for text, one in itertools.product(INJECTED, tenants.REQUESTS):
        if one.method == "GET" and "events" not in one.path and not one.path.startswith("/v1/"):
            for name in {
                *(pair.partition("=")[0] for pair in one.query.split("&") if pair),
                "search",
                "after",
            }:
                look(world.own.fill(one.path), text, **{name: text})
                asked += 1
            look(one.path.format(**dict.fromkeys(vars(world.own), text.replace("/", ""))), text)
    assert asked > 200 and rows() == before


def test_a_wrong_token_is_compared_whole_with_every_known_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time tells nothing: as much is compared, in constant time, for a guess that is nearly right."""
    tokens = {f"{'a' * 31}{i}": identity.Actor(f"u{i}", ("viewer",)) for i in range(5)}
    issuer, compared, real = identity.TokenIssuer(tokens), list[int](), hmac.compare_digest

    def counted(one: Any, other: Any) -> bool:
        compared.append(len(one))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    seen = {}
    for guess in ("a" * 31 + "0", "a" * 31 + "4", "a" * 31 + "x", "x" + "a" * 31, "a"):
        compared.clear()
        with contextlib.suppress(errors.Unauthenticated):
            issuer.authenticate(f"Bearer {guess}")
        seen[guess] = list(compared)
    assert set(map(tuple, seen.values())) == {(32,) * 5}

    keys = api_keys.KeyRing(tmp_path / "keys.json")
    for guess in (f"{api_keys.PREFIX}none_secret", f"{api_keys.PREFIX}{'a' * 16}_b"):
        compared.clear()
        with pytest.raises(errors.Unauthenticated):
            keys.authenticate(guess)
        assert compared == [64]  # of digests, and of one that nobody has where there is no such key
