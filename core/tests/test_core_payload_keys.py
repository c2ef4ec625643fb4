"""The file of payload keys is changed line by line: the first encrypts, the others decrypt, and comments stay."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload

from mainspring.core import durable, errors, payload_keys
from mainspring.core.client import payloads


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "payload.keys"
    payloads.ensure_keys(path)
    return path


def test_a_key_is_added_promoted_and_dropped(path: Path) -> None:
    path.write_text("# ours\n" + path.read_text())
    (first,) = payload_keys.ids(path)
    new = payload_keys.add(path, "rotate-1")
    assert payload_keys.add(path, "rotate-1") == new and payload_keys.ids(path) == (first, new)
    assert payloads.Keys.parse(path.read_bytes()).current == first
    assert payload_keys.promote(path, new) and not payload_keys.promote(path, new)
    assert payload_keys.ids(path) == (new, first)
    assert payloads.Keys.parse(path.read_bytes()).current == new
    payload_keys.drop(path, [first])
    assert payload_keys.ids(path) == (new,) and "# ours" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_encrypted_before_is_read_after(path: Path) -> None:
    codec = payloads.SealedPayloads(path)
    (old,) = asyncio.run(codec.encode([Payload(data=b"before")]))
    payload_keys.promote(path, payload_keys.add(path, "rotate-1"))
    fresh = payloads.SealedPayloads(path)
    (new,) = asyncio.run(fresh.encode([Payload(data=b"after")]))
    found = asyncio.run(fresh.decode([old, new]))
    assert [one.data for one in found] == [b"before", b"after"]
    assert old.metadata["encryption-key-id"] != new.metadata["encryption-key-id"]


def test_what_cannot_be_changed_is_left_as_it_is(path: Path) -> None:
    (only,) = payload_keys.ids(path)
    before = path.read_bytes()
    with pytest.raises(errors.InvalidRequest, match="encrypts; rotate first"):
        payload_keys.drop(path, [only])
    with pytest.raises(errors.NotFound, match="no key `other`"):
        payload_keys.promote(path, "other")
    with pytest.raises(errors.Misconfigured, match="no keys in"):
        payload_keys.add(path.with_name("none.keys"), "x")
    held = durable.hold_folder(path.parent)
    try:
        with pytest.raises(errors.Overloaded):
            payload_keys.add(path, "x")
    finally:
        os.close(held)
    assert path.read_bytes() == before
    assert payload_keys.ids(path.with_name("none.keys")) == ()
    path.write_text("no key\n")
    with pytest.raises(errors.InvalidSettings, match="line 1 is no key"):
        payload_keys.ids(path)
