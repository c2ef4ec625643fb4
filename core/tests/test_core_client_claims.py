"""Payloads above the limit are beside the history, whole and verified; those up to it are what they were, byte for byte."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import stat
import time
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload

from mainspring.core import errors, settings
from mainspring.core.client import claims, payloads


def payload(size: int, *, of: bytes = b"x") -> Payload:
    """One of `size` bytes in all."""
    found = Payload(metadata={"encoding": b"json/plain"}, data=(of * size)[:size])
    found.data = found.data[: len(found.data) - (found.ByteSize() - size)]
    assert found.ByteSize() == size
    return found


LARGE = payload(claims.CLAIM_BYTES + 1)


def kept(store: claims.ClaimStore, one: Payload = LARGE) -> Payload:
    return asyncio.run(store.keep(one))


def fetched(store: claims.ClaimStore, one: Payload) -> Payload:
    return asyncio.run(store.fetch(one))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "claims"


@pytest.fixture
def store(folder: Path) -> claims.ClaimStore:
    return claims.ClaimStore(str(folder))


def test_up_to_the_limit_nothing_is_written_and_nothing_changed(
    store: claims.ClaimStore, folder: Path
) -> None:
    for one in (Payload(), payload(100), payload(claims.CLAIM_BYTES)):
        assert kept(store, one) is one and fetched(store, one) is one
    assert not folder.exists()


def test_above_it_the_history_has_a_reference(store: claims.ClaimStore, folder: Path) -> None:
    out = kept(store)
    assert out.ByteSize() < 200
    (file,) = files(folder)
    assert file.name in out.data.decode() and file.parent.name == file.name[:2]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert fetched(claims.ClaimStore(str(folder)), out) == LARGE


def test_the_same_bytes_have_the_same_reference_and_one_claim(store: claims.ClaimStore, folder: Path) -> None:
    assert kept(store) == kept(store)
    assert len(files(folder)) == 1
    assert kept(store, payload(claims.CLAIM_BYTES + 1, of=b"y")) != kept(store)
    assert len(files(folder)) == 2


def _keep(place: str) -> bytes:
    return kept(claims.ClaimStore(place)).SerializeToString()


def test_processes_that_keep_the_same_at_once_leave_one_whole_claim(
    store: claims.ClaimStore, folder: Path
) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = set(pool.map(_keep, [str(folder)] * 12))
    assert len(found) == 1 and len(files(folder)) == 1, "nothing lies beside it"
    assert fetched(store, Payload.FromString(found.pop())) == LARGE


def test_a_claim_that_is_gone_says_what_to_do(store: claims.ClaimStore, folder: Path, tmp_path: Path) -> None:
    out = kept(store)
    with pytest.raises(errors.NotFound, match=r"is not in `.*elsewhere`; name .*`workflow\.claims`"):
        fetched(claims.ClaimStore(str(tmp_path / "elsewhere")), out)
    (file,) = files(folder)
    file.unlink()
    with pytest.raises(errors.NotFound, match="put the claim back") as caught:
        fetched(store, out)
    assert caught.value.name == file.name


@pytest.mark.parametrize("change", ["bit", "short", "long", "folder"])
def test_a_claim_that_was_changed_is_refused_and_mended_when_it_is_kept_again(
    store: claims.ClaimStore, folder: Path, change: str
) -> None:
    out = kept(store)
    (file,) = files(folder)
    data = file.read_bytes()
    if change == "folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes({"bit": b"\x01" + data[1:], "short": data[:-1], "long": data + b"x"}[change])
    with pytest.raises(errors.CorruptArtifact, match="was changed"):
        fetched(store, out)
    if change != "folder":
        assert kept(store) == out and fetched(store, out) == LARGE


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"[]",
        b"{}",
        b'{"sha256": "../../keys/payload.keys", "bytes": 5, "version": 1}',
        b'{"sha256": 5, "bytes": 5, "version": 1}',
        json.dumps({"sha256": "0" * 64, "bytes": "5", "version": 1}).encode(),
        json.dumps({"sha256": "0" * 64, "bytes": 5, "version": 2}).encode(),
    ],
)
def test_what_is_no_reference_never_becomes_a_path(store: claims.ClaimStore, told: bytes) -> None:
    with pytest.raises(errors.CorruptArtifact, match="no reference to a claim of version 1"):
        fetched(store, Payload(metadata={"encoding": b"binary/claim"}, data=told))


def test_a_store_that_cannot_be_written_is_to_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.DependencyDown, match=r"cannot be written.*`workflow\.claims`") as caught:
        kept(claims.ClaimStore(str(tmp_path / "file" / "claims")))
    assert caught.value.retryable


def test_a_sweep_takes_what_was_not_used_for_long(store: claims.ClaimStore, folder: Path) -> None:
    assert store.sweep(time.time()) == 0, "before anything was kept"
    old, used, again = (payload(claims.CLAIM_BYTES + 1, of=of) for of in (b"a", b"b", b"c"))
    references = [kept(store, one) for one in (old, used, again, LARGE)]
    year, hour_ago = time.time() - 365 * 86400, time.time() - 3600
    for reference in references[:3]:
        digest = json.loads(reference.data)["sha256"]
        os.utime(folder / digest[:2] / digest, (year, year))
    (left := folder / "ab" / ".abc.new").parent.mkdir(exist_ok=True)
    left.write_bytes(b"of a process that was killed")
    os.utime(left, (year, year))
    fetched(store, references[1])
    kept(store, again)
    assert store.sweep(hour_ago) == 2 and not left.exists()
    with pytest.raises(errors.NotFound):
        fetched(store, references[0])
    assert [fetched(store, one) for one in references[1:]] == [used, again, LARGE]


def test_the_codec_keeps_ciphertext_and_gives_plaintext_back(folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    payloads.ensure_keys(keys)
    codec = payloads.codec_of(settings.WorkflowSettings(payload_keys=keys, claims=str(folder)))
    small, large = payload(claims.CLAIM_BYTES - 200), payload(claims.CLAIM_BYTES - 1, of=b"secret")
    out = asyncio.run(codec.encode([small, large, large]))
    assert [one.metadata["encoding"] for one in out] == [
        b"binary/encrypted",
        b"binary/claim",
        b"binary/claim",
    ]
    assert out[1] != out[2], "each has its own nonce, so its own claim"
    assert len(files(folder)) == 2 and all(b"secret" not in one.read_bytes() for one in files(folder))
    assert asyncio.run(codec.decode(out)) == [small, large, large]
    with pytest.raises(errors.Misconfigured, match=r"does not know where.*`workflow\.claims`"):
        asyncio.run(payloads.SealedPayloads(keys).decode(out))


def test_where_claims_are_is_a_setting(tmp_path: Path) -> None:
    assert settings.load({}, directory=tmp_path).workflow.claims == str(tmp_path / ".mainspring" / "claims")
    for place in ("/shared/claims", "s3://bucket/claims/"):
        found = settings.load({"MAINSPRING_WORKFLOW_CLAIMS": place}, directory=tmp_path)
        assert found.workflow.claims == place
    for wrong in ("claims", "s3://bucket", "https://bucket/", "s3://bucket/claims"):
        with pytest.raises(errors.InvalidSettings, match="claims"):
            settings.load({"MAINSPRING_WORKFLOW_CLAIMS": wrong}, directory=tmp_path)
