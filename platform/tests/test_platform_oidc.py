"""The control API behind a real OpenID provider: its tokens are taken, its rotated keys followed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import platform_openid
import pytest
from litestar.testing import TestClient
from platform_openid import free_port, provider

from mainspring.core import identity, oidc, settings
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

pytestmark = pytest.mark.integration

PROJECT = {"name": "alpha", "owner": "team"}


@pytest.fixture(scope="module")
def package() -> Path:
    return platform_openid.package()


def token(issuer: str, client: str, resource: str = "urn:mainspring") -> str:
    answer = httpx.post(
        f"{issuer}/token",
        data={"grant_type": "client_credentials", "resource": resource},
        auth=(client, f"{client}-secret"),
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


@contextlib.contextmanager
def api(directory: Path, issuer: str, **fields: Any) -> Iterator[TestClient[Any]]:
    s = settings.load(
        {
            "MAINSPRING_IDENTITY_ISSUER": issuer,
            "MAINSPRING_IDENTITY_AUDIENCE": "urn:mainspring",
            "MAINSPRING_IDENTITY_LEEWAY_SECONDS": "0",
            **{f"MAINSPRING_IDENTITY_{k.upper()}": v for k, v in fields.items()},
        },
        directory=directory,
    )
    embedded = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(
        s, issuer=oidc.issuer(s.identity, embedded), launcher=launcher.MemoryLauncher()
    )
    with TestClient(app) as client:
        yield client


def create(client: TestClient[Any], bearer: str, **fields: Any) -> Any:
    return client.post(
        "/api/v1/projects", json={**PROJECT, **fields}, headers={"Authorization": f"Bearer {bearer}"}
    )


def test_a_real_providers_tokens_are_taken_and_go_on_record(package: Path, tmp_path: Path) -> None:
    with provider(package, free_port(), "k1") as issuer, api(tmp_path, issuer) as client:
        assert create(client, token(issuer, "ana")).status_code == 201
        refused = create(client, token(issuer, "ben"), name="beta")  # an approver
        assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
        rows = client.get("/api/v1/audit", headers={"Authorization": f"Bearer {token(issuer, 'ben')}"}).json()
        assert [(r["actor"], r["outcome"]) for r in rows["items"]] == [("ana", "done"), ("ben", "denied")]

        wrong = create(client, token(issuer, "ana", "urn:other"), name="gamma")
        assert wrong.status_code == 401 and wrong.headers["www-authenticate"] == "Bearer"
        assert "aud" in wrong.json()["detail"]
        brief = token(issuer, "ana", "urn:brief")
        time.sleep(1.1)  # the provider's own clock counts
        assert "expired" in create(client, brief, name="gamma").json()["detail"]
        good = token(issuer, "ana")
        altered = good[:-6] + ("A" if good[-6] != "A" else "B") + good[-5:]
        assert create(client, altered, name="gamma").status_code == 401
        unsigned = good.rsplit(".", 1)[0] + "."
        assert create(client, unsigned, name="gamma").status_code == 401


def test_the_providers_new_keys_are_followed(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "RETRY_SECONDS", 0.0)
    port = free_port()
    with contextlib.ExitStack() as first:
        issuer = first.enter_context(provider(package, port, "k1"))
        old = token(issuer, "ana")
        with api(tmp_path, issuer) as client:
            assert create(client, old).status_code == 201
            first.close()
            with provider(package, port, "k2"):
                assert create(client, token(issuer, "ana"), name="beta").status_code == 201
                assert create(client, old, name="gamma").status_code == 401


def test_a_provider_that_is_away_is_no_refusal_of_the_token(package: Path, tmp_path: Path) -> None:
    with provider(package, free_port(), "k1") as issuer:
        good = token(issuer, "ana")
    with api(tmp_path, issuer) as client:
        away = create(client, good)
        assert (away.status_code, away.json()["details"]) == (503, {"name": "identity"})
        assert client.get("/healthz").status_code == 200
        embedded = identity.TokenIssuer.load(tmp_path / ".mainspring" / "tokens.json")
        assert create(client, embedded.token_of("developer@local")).status_code == 201


def test_the_embedded_issuer_can_be_switched_off(package: Path, tmp_path: Path) -> None:
    with provider(package, free_port(), "k1") as issuer, api(tmp_path, issuer, embedded="false") as client:
        embedded = identity.TokenIssuer.load(tmp_path / ".mainspring" / "tokens.json")
        assert create(client, embedded.token_of("admin@local")).status_code == 401
        assert create(client, token(issuer, "ana")).status_code == 201
