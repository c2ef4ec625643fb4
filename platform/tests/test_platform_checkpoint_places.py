"""Checkpoints in a bucket and by OpenBao's key, without a server: `tests/integration/test_integration_audit_outside.py` has the real ones."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from obstore.store import MemoryStore

from mainspring.core import errors
from mainspring.core.features import objects
from mainspring.core.protection import openbao
from mainspring.platform.audit import checkpoint_files, signers

URL = "s3://bucket/a/"
LINES = [b'{"n":%d}\n' % i for i in range(1, 101)]


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    store = MemoryStore()
    monkeypatch.setattr(objects, "_store", lambda _bucket, _options: store)
    return store


def place(file: Path, lock: str = "off") -> checkpoint_files.CheckpointBucket:
    return checkpoint_files.CheckpointBucket(file, URL, lock)


def test_whoever_comes_later_has_what_the_others_wrote(tmp_path: Path) -> None:
    one, other = place(tmp_path / "one"), place(tmp_path / "other")
    for line in LINES:
        assert one.append(line, size=one.size())
    assert not other.append(b"{}\n", size=0) and other.lines() == []
    other.sync()
    assert other.lines() == one.lines() == list(other.download()) == LINES
    assert other.append(b"{}\n", size=other.size()) and not one.append(b"{}\n", size=one.size())
    one.sync()
    assert one.lines() == [*LINES, b"{}\n"] and not one.append(b"{}\n", size=3)


def test_a_file_of_before_goes_into_the_bucket_and_a_cut_one_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "file"
    plain = checkpoint_files.CheckpointFile(file)
    for line in LINES[:5]:
        plain.append(line, size=plain.size())
    with file.open("ab") as torn:
        torn.write(b'{"torn')
    place(file).sync()
    assert list(place(tmp_path / "x").download()) == LINES[:5]
    file.write_bytes(b"".join(LINES[:2]))
    place(file).sync()
    assert file.read_bytes() == b"".join(LINES[:5])


def test_a_copy_that_says_something_else_is_told(tmp_path: Path, bucket: MemoryStore) -> None:
    one = place(tmp_path / "one")
    for line in LINES[:3]:
        one.append(line, size=one.size())
    (tmp_path / "one").write_bytes(b"".join([*LINES[:2], b'{"n":9}\n']))
    with pytest.raises(errors.CorruptArtifact, match="checkpoint 3 of this machine is not the one"):
        place(tmp_path / "one").sync()


@pytest.mark.parametrize(
    ("wanted", "held", "is_refused"),
    [
        ("off", "", False),
        ("governance", "governance", False),
        ("governance", "compliance", False),
        ("compliance", "governance", True),
        ("compliance", "", True),
    ],
)
def test_the_bucket_must_hold_on_to_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, held: str, is_refused: bool
) -> None:
    monkeypatch.setattr(objects, "lock_of", lambda _uri, _options: held)
    one = place(tmp_path / "one", wanted)
    if is_refused:
        with pytest.raises(errors.Misconfigured, match="default retention"):
            one.append(LINES[0], size=0)
        assert one.lines() == []
        with pytest.raises(errors.Misconfigured):  # nor after a new start, with the object there
            place(tmp_path / "one", wanted).sync()
    else:
        assert one.append(LINES[0], size=0)


class Bao:
    """Transit's `keys` and `sign`, with keys of its own."""

    def __init__(self) -> None:
        self.keys = [ed25519.Ed25519PrivateKey.generate()]
        self.kind, self.answer = "ed25519", ""

    def handle(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            raws = [base64.b64encode(k.public_key().public_bytes_raw()).decode() for k in self.keys]
            keys = {str(i): {"public_key": raw} for i, raw in enumerate(raws, 1)}
            return httpx.Response(
                200, json={"data": {"type": self.kind, "keys": keys, "latest_version": len(keys)}}
            )
        asked: dict[str, Any] = json.loads(request.content)
        signature = self.keys[asked["key_version"] - 1].sign(base64.b64decode(asked["input"]))
        coded = self.answer or f"vault:v{asked['key_version']}:{base64.b64encode(signature).decode()}"
        return httpx.Response(200, json={"data": {"signature": coded}})

    def signer(self, folder: Path) -> signers.OpenBaoSigner:
        (folder / "t").write_text("token")
        transit = openbao.Transit(
            "http://127.0.0.1:1",
            folder / "t",
            mount="transit",
            key="k",
            made_by="type=ed25519",
            settings_group="audit",
            transport=httpx.MockTransport(self.handle),
        )
        return signers.OpenBaoSigner(transit)


def test_openbaos_signature_is_by_the_version_that_is_shown(tmp_path: Path) -> None:
    bao = Bao()
    signer = bao.signer(tmp_path)
    first = signer.public
    bao.keys.append(ed25519.Ed25519PrivateKey.generate())
    first.verify(signer.sign(b"x"), b"x")  # a rotation in between changes nothing of it
    signer.refresh()
    signer.public.verify(signer.sign(b"x"), b"x")
    assert [k.public_bytes_raw() for k in signer.publics] == [
        k.public_key().public_bytes_raw() for k in bao.keys
    ]


@pytest.mark.parametrize("answer", ["vault:v1:AAAA", "nonsense", "vault:v1:" + "A" * 86 + "=="])
def test_an_answer_that_is_no_signature_of_the_key_is_refused(tmp_path: Path, answer: str) -> None:
    bao = Bao()
    bao.answer = answer
    with pytest.raises(errors.DependencyDown, match="is no OpenBao"):
        bao.signer(tmp_path).sign(b"x")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    bao = Bao()
    bao.kind = "rsa-2048"
    with pytest.raises(errors.Misconfigured, match="checkpoints need `ed25519`"):
        bao.signer(tmp_path).refresh()
