"""Secrets of a real OpenBao: of both versions of its engine, rotated under us, and not given to who may not have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contract_openbao
import pytest

from mainspring.core import errors, secrets, settings

pytestmark = pytest.mark.integration

PLACE = "openbao:secret/flights/warehouse#password"
POLICY = """
path "secret/data/flights/*" { capabilities = ["read"] }
path "old/flights/*" { capabilities = ["read"] }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[contract_openbao.Server]:
    folder = tmp_path_factory.mktemp("openbao")
    try:
        with contract_openbao.started(folder) as found:
            found.call("POST", "sys/mounts/old", {"type": "kv", "options": {"version": "1"}})
            found.call("PUT", "sys/policies/acl/flights", {"policy": POLICY})
            yield found
    except FileNotFoundError as error:
        pytest.skip(str(error))


def resolver(server: contract_openbao.Server, folder: Path, **fields: Any) -> secrets.Resolver:
    """With a token that may read what is the project's, and no more."""
    made = server.call("POST", "auth/token/create", {"policies": ["flights"], "ttl": "10m"})
    token = folder / "token"
    token.write_text(made["auth"]["client_token"])
    s = settings.SecretSettings(openbao_url=server.url, openbao_token_file=token, **fields)
    return secrets.Resolver(s)


def put(server: contract_openbao.Server, value: str) -> None:
    server.call("POST", "secret/data/flights/warehouse", {"data": {"password": value}})
    server.call("POST", "old/flights/warehouse", {"password": value})


def test_what_is_rotated_is_read_and_what_is_deleted_is_not(
    server: contract_openbao.Server, tmp_path: Path
) -> None:
    read = resolver(server, tmp_path, cache_seconds=0.0)
    for value in ("first", "second"):
        put(server, value)
        assert read.read_for("flights", PLACE).reveal() == value
        assert read.read("openbao:old/flights/warehouse#password").reveal() == value
    server.call("DELETE", "secret/data/flights/warehouse")
    with pytest.raises(errors.NotFound, match="bao kv put"):
        read.read(PLACE)


def test_what_the_token_may_not_read_is_told_without_it(
    server: contract_openbao.Server, tmp_path: Path
) -> None:
    server.call("POST", "secret/data/other/warehouse", {"data": {"password": "of another"}})
    read = resolver(server, tmp_path)
    for place in ("openbao:secret/other/warehouse#password", "openbao:nowhere/at/all#x"):
        with pytest.raises(errors.PermissionDenied, match="widen its policy"):
            read.read(place)
    (tmp_path / "token").write_text("made-up")
    with pytest.raises(errors.PermissionDenied) as refused:
        read.read(PLACE)
    assert "made-up" not in str(refused.value)
    nowhere = settings.SecretSettings(openbao_url="http://127.0.0.1:9", openbao_token_file=tmp_path / "token")
    with pytest.raises(errors.DependencyDown, match="does not answer"):
        secrets.Resolver(nowhere).read(PLACE)
