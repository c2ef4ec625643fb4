"""What every ring of keys does: the file of a machine, and OpenBao's transit engine on the real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import contract_openbao
import httpx
import polars as pl
import pytest

from mainspring.core import errors, ports, settings
from mainspring.core.protection import keyring_file, keyring_openbao, keysets, sealing

KEY, FIELD = bytes(range(32)), sealing.Field("lake.intake", "patient", "joinable")


@pytest.fixture(scope="module")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[contract_openbao.Server]:
    with contract_openbao.started(tmp_path_factory.mktemp("openbao")) as server:
        yield server


def at(
    server: contract_openbao.Server, folder: Path, token: str, key: str = "mainspring"
) -> keyring_openbao.OpenBaoKeyRing:
    file = folder / "openbao.token"
    file.write_text(token + "\n")
    return keyring_openbao.OpenBaoKeyRing(server.url, file, key=key)


@pytest.fixture(params=["file", pytest.param("openbao", marks=pytest.mark.integration)])
def ring(request: pytest.FixtureRequest, tmp_path: Path) -> ports.KeyRing:
    if request.param == "file":
        return keyring_file.FileKeyRing(tmp_path / "ring.keys")
    return at(request.getfixturevalue("openbao"), tmp_path, contract_openbao.ROOT)


def test_a_key_comes_back_in_its_context_alone(ring: ports.KeyRing) -> None:
    one, other = ring.wrap(KEY, "one"), ring.wrap(KEY, "one")
    assert ring.unwrap(one, "one") == ring.unwrap(other, "one") == KEY and one != other
    with pytest.raises(errors.CorruptArtifact):
        ring.unwrap(one, "two")
    at = len(one) - 20
    changed = one[:at] + ("A" if one[at] != "A" else "B") + one[at + 1 :]
    with pytest.raises(errors.CorruptArtifact):
        ring.unwrap(changed, "one")


@pytest.mark.parametrize(
    "bad",
    ["", "plain", "file:", "file:x:AAAA", "openbao:", "openbao:vault:v1:AAAA", "openbao:vault:v9:AAAAAAAA"],
)
def test_what_no_ring_wrapped_is_refused(ring: ports.KeyRing, bad: str) -> None:
    with pytest.raises((errors.CorruptArtifact, errors.Misconfigured)):
        ring.unwrap(bad, "one")


def test_after_a_rotation_old_ones_open_and_are_wrapped_anew_once(ring: ports.KeyRing) -> None:
    old = ring.wrap(KEY, "one")
    assert ring.rewrap(old, "one") == old
    version = ring.rotate()
    assert ring.unwrap(old, "one") == KEY
    new = ring.rewrap(old, "one")
    assert new != old and f":{version}:" in new and ring.unwrap(new, "one") == KEY
    assert ring.rewrap(new, "one") == new
    with pytest.raises(errors.CorruptArtifact):
        ring.rewrap(old, "two")


def test_a_keyset_rotates_with_no_read_that_fails(ring: ports.KeyRing, tmp_path: Path) -> None:
    path = tmp_path / "k" / "keyset.json"
    sealed = keysets.Keyset(path, "hospital", ring).cipher().seal(pl.Series(["ann", "bob"]), FIELD)
    stop, failed, read = threading.Event(), [], 0

    def reading() -> None:
        nonlocal read
        while not stop.is_set() or not read:
            try:
                opened = keysets.Keyset(path, "hospital", ring).cipher().open(sealed, FIELD)
                assert opened.to_list() == ["ann", "bob"]
                read += 1
            except Exception as error:  # noqa: BLE001 # whatever it is, it is told
                failed.append(error)

    reader = threading.Thread(target=reading)
    reader.start()
    kept = keysets.Keyset(path, "hospital", ring)
    for _ in range(5):
        ring.rotate()
        assert kept.rewrap() == 1
    stop.set()
    reader.join(30)
    assert failed == [] and read > 0 and not reader.is_alive()


@pytest.mark.integration
def test_openbao_says_what_is_wrong(openbao: contract_openbao.Server, tmp_path: Path) -> None:
    good = at(openbao, tmp_path, contract_openbao.ROOT)
    wrapped = good.wrap(KEY, "one")
    with pytest.raises(errors.PermissionDenied, match="renew it"):
        at(openbao, tmp_path, "of-nobody").unwrap(wrapped, "one")
    with pytest.raises(errors.Misconfigured, match="has no key `nothing`"):
        at(openbao, tmp_path, contract_openbao.ROOT, key="nothing").unwrap(wrapped, "one")
    with pytest.raises(errors.Misconfigured, match=r"openbao\.token"):
        keyring_openbao.OpenBaoKeyRing(openbao.url, tmp_path / "none" / "openbao.token").wrap(KEY, "one")
    openbao.call(
        "POST",
        "sys/policies/acl/seal-only",
        {"policy": 'path "transit/encrypt/mainspring" { capabilities = ["update"] }'},
    )
    token = openbao.call("POST", "auth/token/create", {"policies": ["seal-only"], "no_default_policy": True})
    narrow = at(openbao, tmp_path, token["auth"]["client_token"])
    assert narrow.wrap(KEY, "one")
    with pytest.raises(errors.PermissionDenied):
        narrow.unwrap(wrapped, "one")


@pytest.mark.integration
def test_a_version_that_openbao_has_retired_opens_nothing(
    openbao: contract_openbao.Server, tmp_path: Path
) -> None:
    openbao.call("POST", "transit/keys/retiring", {"type": "aes256-gcm96", "derived": True})
    ring = at(openbao, tmp_path, contract_openbao.ROOT, key="retiring")
    old = ring.wrap(KEY, "one")
    ring.rotate()
    new = ring.rewrap(old, "one")
    openbao.call("POST", "transit/keys/retiring/config", {"min_decryption_version": 2})
    with pytest.raises(errors.CorruptArtifact, match="min_decryption_version"):
        ring.unwrap(old, "one")
    assert ring.unwrap(new, "one") == KEY


def test_openbao_that_is_not_there_or_something_else_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("token")

    def ring(answer: httpx.Response | Exception) -> keyring_openbao.OpenBaoKeyRing:
        def handle(request: httpx.Request) -> httpx.Response:
            assert request.headers["x-vault-token"] == "token"
            if isinstance(answer, Exception):
                raise answer
            return answer

        transport = httpx.MockTransport(handle)
        return keyring_openbao.OpenBaoKeyRing("http://127.0.0.1:1", tmp_path / "t", transport=transport)

    for answer in (
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.Response(503, json={"errors": ["Vault is sealed"]}),
        httpx.Response(307, headers={"location": "http://elsewhere.example/"}),
        httpx.Response(200, text="<html>"),
    ):
        with pytest.raises(errors.DependencyDown) as caught:
            ring(answer).wrap(KEY, "one")
        assert "AAECAw" not in str(errors.to_wire(caught.value))  # the key's first bytes


def test_the_settings_name_the_ring(tmp_path: Path) -> None:
    s = settings.load({}, directory=tmp_path)
    assert isinstance(keysets.keyring(s.protection), keyring_file.FileKeyRing)
    assert s.protection.keyring_file == tmp_path / ".mainspring" / "keys" / "keyring.keys"
    with pytest.raises(errors.Misconfigured, match="openbao_url"):
        keysets.keyring(
            settings.load({"MAINSPRING_PROTECTION_KEYRING": "openbao"}, directory=tmp_path).protection
        )
    there = {
        "MAINSPRING_PROTECTION_KEYRING": "openbao",
        "MAINSPRING_PROTECTION_OPENBAO_URL": "https://bao.example.org",
    }
    assert isinstance(
        keysets.keyring(settings.load(there, directory=tmp_path).protection), keyring_openbao.OpenBaoKeyRing
    )
    with pytest.raises(errors.InvalidSettings):
        settings.load({"MAINSPRING_PROTECTION_OPENBAO_URL": "http://bao.example.org"}, directory=tmp_path)
    with pytest.raises(errors.InvalidRequest):
        keysets.keyset(s.protection, "../../etc")
