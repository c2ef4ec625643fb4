"""API keys: who has one is let in, until it is revoked or expires; the file holds no key."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mainspring.core import api_keys, durable, errors
from mainspring.core.contracts import access

ASKED = access.KeyCreate(caller="team-a/checkout", scopes=["predict"], project="shop")


def test_an_issued_key_is_known_by_every_process_that_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "access" / "keys.json"
    ring = api_keys.KeyRing(path)
    issued = ring.issue(ASKED, by="admin@local")
    assert issued.key.startswith(f"msk_{issued.view.key_id}_")
    for known in (ring, api_keys.KeyRing(path)):
        view = known.authenticate(issued.key)
        assert (view.caller, view.scopes, view.project, view.created_by) == (
            *("team-a/checkout", ["predict"], "shop"),
            "admin@local",
        )
    secret = issued.key.rpartition(issued.view.key_id + "_")[2]
    assert secret not in path.read_text(), "only its hash is kept"
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret not in repr(ring.views())


def test_a_key_that_is_wrong_in_any_way_is_not_known(tmp_path: Path) -> None:
    ring = api_keys.KeyRing(tmp_path / "keys.json")
    key = ring.issue(ASKED, by="admin@local").key
    other = ring.issue(ASKED, by="admin@local").key
    swapped = key[: key.rindex("_") + 1] + other[len(key[: key.rindex("_") + 1]) :]
    flipped = key[:-1] + ("A" if key[-1] != "A" else "B")
    for wrong in (
        "",
        "msk_",
        "msk__",
        key[4:],
        key + "x",
        key[:-1],
        flipped,
        key.upper(),
        swapped,
        "msk_é_ü",
    ):
        if wrong != key:
            with pytest.raises(errors.Unauthenticated, match="not known here"):
                ring.authenticate(wrong)


def test_a_revoked_key_counts_no_more_and_stays_on_record(tmp_path: Path) -> None:
    ring = api_keys.KeyRing(tmp_path / "keys.json", now=lambda: 1e9)
    first, second = (ring.issue(ASKED, by="admin@local") for _ in range(2))
    revoked = ring.revoke(first.view.key_id, by="approver@local")
    assert (revoked.revoked_at, revoked.revoked_by) == (datetime.fromtimestamp(1e9, UTC), "approver@local")
    with pytest.raises(errors.Unauthenticated, match="was revoked"):
        ring.authenticate(first.key)
    assert ring.authenticate(second.key) == second.view
    assert ring.revoke(first.view.key_id, by="somebody@else") == revoked, "again changes nothing"
    with pytest.raises(errors.NotFound):
        ring.revoke("ffffffffffff", by="admin@local")
    assert {v.key_id for v in ring.views()} == {first.view.key_id, second.view.key_id}


def test_a_key_expires(tmp_path: Path) -> None:
    now = [1e9]
    ring = api_keys.KeyRing(tmp_path / "keys.json", now=lambda: now[0])
    asked = ASKED.model_copy(update={"expires_at": datetime.fromtimestamp(1e9 + 60, UTC)})
    key = ring.issue(asked, by="admin@local").key
    now[0] += 59
    assert ring.authenticate(key)
    now[0] += 1
    with pytest.raises(errors.Unauthenticated, match="has expired"):
        ring.authenticate(key)


def test_a_damaged_file_is_said_without_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    api_keys.KeyRing(path).issue(ASKED, by="admin@local")
    document = json.loads(path.read_text())
    digest = document["keys"][0]["secret_sha256"]
    document["keys"][0]["secret_sha256"] = digest[:-1]
    durable.replace_file(path, json.dumps(document))
    with pytest.raises(errors.Misconfigured, match=r"keys\.0\.secret_sha256") as refused:
        api_keys.KeyRing(path)
    assert digest[:-1] not in str(refused.value)


def test_who_tells_callers_apart_elsewhere_is_told_before_the_key_counts_no_more(tmp_path: Path) -> None:
    ring = api_keys.KeyRing(tmp_path / "keys.json")
    told: list[dict[str, bytes]] = []
    ring.on_change(lambda: told.append({view.key_id: digest for view, digest in ring.counting()}))
    first, second = (ring.issue(ASKED, by="admin@local") for _ in range(2))
    ring.revoke(first.view.key_id, by="admin@local")
    assert [set(keys) for keys in told] == [
        {first.view.key_id},
        {first.view.key_id, second.view.key_id},
        {second.view.key_id},
    ]
    secret = second.key.partition(second.view.key_id + "_")[2]
    assert told[-1][second.view.key_id] == hashlib.sha256(secret.encode()).digest()
    other = api_keys.KeyRing(tmp_path / "keys.json")
    other.revoke(second.view.key_id, by="admin@local")
    assert ring.counting() != []
    ring.look()
    assert ring.counting() == [] and len(told) == 4


def test_a_rotated_key_has_an_heir_with_its_rights_and_ends_after_the_overlap(tmp_path: Path) -> None:
    clock = [1e9]
    ring = api_keys.KeyRing(tmp_path / "keys.json", now=lambda: clock[0])
    old = ring.issue(ASKED, by="admin@local")
    new = ring.rotate(old.view.key_id, access.KeyRotate(overlap_minutes=60), by="root")
    assert (new.view.caller, new.view.scopes, new.view.project) == ("team-a/checkout", ["predict"], "shop")
    assert (new.view.replaces, new.view.created_by, new.view.expires_at) == (old.view.key_id, "root", None)
    for clock[0] in (1e9, 1e9 + 3599):
        assert {ring.authenticate(k.key).caller for k in (old, new)} == {"team-a/checkout"}
    clock[0] = 1e9 + 3600
    assert ring.authenticate(new.key).key_id == new.view.key_id
    with pytest.raises(errors.Unauthenticated, match="has expired"):
        ring.authenticate(old.key)


def test_what_is_replaced_expired_or_unknown_is_not_rotated(tmp_path: Path) -> None:
    clock = [1e9]
    ring = api_keys.KeyRing(tmp_path / "keys.json", now=lambda: clock[0])
    old, asked = ring.issue(ASKED, by="admin@local"), access.KeyRotate()
    new = ring.rotate(old.view.key_id, asked, by="root")
    with pytest.raises(errors.Conflict, match=f"was replaced by `{new.view.key_id}`"):
        ring.rotate(old.view.key_id, asked, by="root")
    ring.revoke(new.view.key_id, by="root")
    with pytest.raises(errors.Conflict, match="counts no more"):
        ring.rotate(new.view.key_id, asked, by="root")
    with pytest.raises(errors.NotFound):
        ring.rotate("nobody", asked, by="root")
    soon = datetime.fromtimestamp(1e9 + 60, UTC)
    short = ring.issue(ASKED.model_copy(update={"expires_at": soon}), by="root")
    ring.rotate(short.view.key_id, access.KeyRotate(overlap_minutes=600), by="root")
    assert next(v for v in ring.views() if v.key_id == short.view.key_id).expires_at == soon
    assert len(ring.views()) == 4


def test_no_key_gets_older_than_it_may(tmp_path: Path) -> None:
    ring = api_keys.KeyRing(tmp_path / "keys.json", days=30.0, now=lambda: 1e9)
    limit = datetime.fromtimestamp(1e9 + 30 * 86_400, UTC)
    soon = datetime.fromtimestamp(1e9 + 60, UTC)
    late = datetime.fromtimestamp(2e9, UTC)
    issued = ring.issue(ASKED, by="root")
    assert issued.view.expires_at == limit
    for asked, expires in ((soon, soon), (late, limit)):
        assert (
            ring.issue(ASKED.model_copy(update={"expires_at": asked}), by="root").view.expires_at == expires
        )
    assert ring.rotate(issued.view.key_id, access.KeyRotate(), by="root").view.expires_at == limit
