"""`mainspring payloads`: a rotation keeps what was, and the codec server answers who has its token."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from mainspring.core import errors
from mainspring.core.client import claims
from mainspring.core.client import payloads as sealed
from mainspring.platform.cli import payloads
from mainspring.platform.cli.main import cli

PLAIN: dict[str, Any] = {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "eyJhIjogMX0="}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / ".mainspring" / "keys" / "payload.keys"
    sealed.ensure_keys(path)
    return path


@pytest.fixture
def server(keys: Path) -> Iterator[payloads.CodecServer]:
    with serving(sealed.SealedPayloads(keys)) as found:
        yield found


@contextlib.contextmanager
def serving(codec: sealed.SealedPayloads) -> Iterator[payloads.CodecServer]:
    with payloads.CodecServer(0, codec, "right") as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server: payloads.CodecServer, path: str, body: bytes, token: str = "right") -> httpx.Response:
    options = server.options()
    return httpx.post(
        options["--codec-endpoint"] + path,
        content=body,
        headers={"authorization": f"Bearer {token}"},
        trust_env=False,
    )


def test_rotate_puts_a_new_key_first(keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = keys.read_text()
    done = CliRunner().invoke(cli, ["payloads", "rotate", "--json"])
    assert done.exit_code == 0, done.output
    lines = keys.read_text().splitlines()
    assert json.loads(done.output)["data"]["key_id"] == lines[0].split()[0]
    assert lines[1:] == before.splitlines()
    assert lines[0].split()[1] not in done.output, "the key itself is shown to nobody"


def test_rotate_without_keys_says_who_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["payloads", "rotate"])
    assert done.exit_code == 78 and "the first worker makes the file" in done.output


def test_decodes_what_is_encrypted_and_passes_what_is_not(server: payloads.CodecServer) -> None:
    codec = server.codec
    both = asyncio.run(_sealed(codec))
    answer = ask(server, "/decode", both)
    assert answer.status_code == 200
    assert answer.json() == {"payloads": [PLAIN, PLAIN]}
    assert ask(server, "/encode", both).content == both


def test_decodes_what_is_kept_beside_temporal_and_says_what_is_gone(keys: Path, tmp_path: Path) -> None:
    codec = sealed.SealedPayloads(keys, store=claims.ClaimStore(str(tmp_path / "claims")))
    large = PLAIN | {"data": base64.b64encode(b"x" * claims.CLAIM_BYTES).decode()}
    body = asyncio.run(_sealed(codec, large))
    assert len(body) < claims.CLAIM_BYTES * 2, "the second of them is plain"
    with serving(codec) as found:
        assert ask(found, "/decode", body).json() == {"payloads": [large, large]}
        for claim in (tmp_path / "claims").glob("*/*"):
            claim.unlink()
        gone = ask(found, "/decode", body)
    assert gone.status_code == 422 and "`workflow.claims`" in gone.text


async def _sealed(codec: sealed.SealedPayloads, one: dict[str, Any] = PLAIN) -> bytes:
    from google.protobuf import json_format
    from temporalio.api.common.v1 import Payload, Payloads

    plain = json_format.ParseDict(one, Payload())
    return json_format.MessageToJson(Payloads(payloads=[*await codec.encode([plain]), plain])).encode()


def test_who_has_not_the_token_gets_nothing(server: payloads.CodecServer) -> None:
    for token in ("wrong", "righ", "right2"):
        answer = ask(server, "/decode", b"{}", token)
        assert (answer.status_code, answer.content) == (401, b"{}")


def test_refusals_say_why(server: payloads.CodecServer) -> None:
    assert ask(server, "/elsewhere", b"{}").status_code == 404
    wrong = ask(server, "/decode", b"[")
    assert wrong.status_code == 422 and "no `Payloads`" in wrong.text
    unknown = {
        "metadata": {"encoding": "YmluYXJ5L2VuY3J5cHRlZA==", "encryption-key-id": "bm9uZQ=="},
        "data": "AA==",
    }
    answer = ask(server, "/decode", json.dumps({"payloads": [unknown]}).encode())
    assert answer.status_code == 422 and "no key `none`" in answer.text
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as raw:
        raw.sendall(
            b"POST /decode HTTP/1.1\r\nauthorization: Bearer right\r\ncontent-length: 99999999\r\n\r\n"
        )
        assert b" 413 " in raw.recv(100)


def test_a_port_in_use_is_told(server: payloads.CodecServer) -> None:
    with pytest.raises(errors.PortInUse, match="another `--port`"):
        payloads.CodecServer(server.server_port, server.codec, "t")
