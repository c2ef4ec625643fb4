"""Payloads are readable with their key only, by old keys after a rotation, and refusals say what to do."""

import asyncio
import json
import multiprocessing
import stat
from pathlib import Path

import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from mainspring.core import errors, settings
from mainspring.core.client import payloads

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'{"requested_by": "ana"}')


def sealed(codec: payloads.SealedPayloads, payload: Payload = PLAIN) -> Payload:
    (one,) = asyncio.run(codec.encode([payload]))
    return one


def opened(codec: payloads.SealedPayloads, payload: Payload) -> Payload:
    (one,) = asyncio.run(codec.decode([payload]))
    return one


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "payload.keys"
    payloads.ensure_keys(path)
    return path


def test_what_leaves_is_ciphertext_and_comes_back(keys: Path) -> None:
    codec = payloads.SealedPayloads(keys)
    out = sealed(codec)
    assert b"ana" not in out.SerializeToString()
    assert b"json/plain" not in out.SerializeToString(), "the metadata is inside"
    assert sealed(codec).data != out.data, "each has its own nonce"
    assert opened(codec, out) == PLAIN
    assert opened(codec, sealed(codec, Payload())) == Payload()
    assert opened(codec, PLAIN) == PLAIN, "what was there before encryption"
    assert asyncio.run(codec.encode([])) == []


def test_after_a_rotation_old_keys_decrypt_and_the_new_one_encrypts(keys: Path) -> None:
    codec, other = payloads.SealedPayloads(keys), payloads.SealedPayloads(keys)
    before = sealed(codec)
    new = payloads.rotate(keys)
    after = sealed(payloads.SealedPayloads(keys))
    assert (
        after.metadata["encryption-key-id"].decode() == new != before.metadata["encryption-key-id"].decode()
    )
    # A process that has not looked at the file since then reads it at the first payload of the new key.
    assert opened(other, after) == opened(other, before) == PLAIN
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


def test_a_key_that_is_not_here_is_named_without_its_secret(keys: Path, tmp_path: Path) -> None:
    out = sealed(payloads.SealedPayloads(keys))
    elsewhere = tmp_path / "elsewhere.keys"
    payloads.ensure_keys(elsewhere)
    key_id, secret = keys.read_text().split()
    with pytest.raises(
        errors.Misconfigured, match=f"no key `{key_id}` in `elsewhere.keys`.*add its line"
    ) as caught:
        opened(payloads.SealedPayloads(elsewhere), out)
    assert secret not in str(caught.value)


@pytest.mark.parametrize("place", [0, 11, 12, -1])
def test_changed_bytes_are_refused(keys: Path, place: int) -> None:
    codec = payloads.SealedPayloads(keys)
    out = sealed(codec)
    data = bytearray(out.data)
    data[place] ^= 1
    with pytest.raises(errors.CorruptArtifact, match="was changed"):
        opened(codec, Payload(metadata=dict(out.metadata), data=bytes(data)))
    with pytest.raises(errors.CorruptArtifact):
        opened(codec, Payload(metadata=dict(out.metadata), data=b"short"))


def test_a_payload_moved_under_another_key_id_is_refused(keys: Path) -> None:
    """Two ids with one secret: the id is bound, so nobody passes a payload off as another key's."""
    _, secret = keys.read_text().split()
    keys.write_text(f"first {secret}\nsecond {secret}\n")
    codec = payloads.SealedPayloads(keys)
    out = sealed(codec)
    out.metadata["encryption-key-id"] = b"second"
    with pytest.raises(errors.CorruptArtifact):
        opened(codec, out)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no key"),
        ("# only words\n", "no key"),
        ("a 12\n", "line 1"),
        ("a " + "0" * 64 + "\na " + "1" * 64 + "\n", "line 2"),
        ("a " + "0" * 64 + " b\n", "line 1"),
        ("A " + "0" * 64 + "\n", "line 1"),
    ],
)
def test_a_bad_file_of_keys_is_refused_at_the_start(keys: Path, text: str, why: str) -> None:
    keys.write_text(text)
    with pytest.raises(errors.Misconfigured, match=why) as caught:
        payloads.SealedPayloads(keys)
    assert "0" * 64 not in str(caught.value)


def test_encryption_off_still_reads_what_was_encrypted(keys: Path) -> None:
    out = sealed(payloads.SealedPayloads(keys))
    off = payloads.codec_of(settings.WorkflowSettings(encrypt_payloads=False, payload_keys=keys))
    assert opened(off, out) == PLAIN
    assert sealed(off) == PLAIN


def test_off_makes_no_file_and_on_without_one_is_refused(tmp_path: Path) -> None:
    absent = tmp_path / "absent.keys"
    payloads.codec_of(settings.WorkflowSettings(encrypt_payloads=False, payload_keys=absent))
    assert not absent.exists()
    with pytest.raises(errors.Misconfigured, match="encrypt_payloads = false"):
        payloads.SealedPayloads(absent)
    with pytest.raises(errors.Misconfigured, match="no keys in `absent.keys`"):
        payloads.rotate(absent)
    assert not absent.exists()


def test_processes_that_start_together_make_one_key(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "payload.keys"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.map(payloads.ensure_keys, [path] * 16)
    assert len(path.read_text().splitlines()) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_codec_server_gives_the_temporal_command_plaintext(keys: Path) -> None:
    codec = payloads.SealedPayloads(keys)
    body = json_format.MessageToJson(Payloads(payloads=[sealed(codec), PLAIN])).encode()
    answer = json.loads(asyncio.run(codec.decode_json(body)))
    assert [p["data"] for p in answer["payloads"]] == ["eyJyZXF1ZXN0ZWRfYnkiOiAiYW5hIn0="] * 2
    for wrong in (b"{", b'{"payload": 1}', b"\xff"):
        with pytest.raises(errors.InvalidRequest, match="no `Payloads`"):
            asyncio.run(codec.decode_json(wrong))
