"""A real OpenID provider and the tokens that its machine clients get: `ana`, a developer, and `ben`, an approver."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]


def package() -> Path:
    """The folder of the pinned npm package; skips the test where it cannot be had."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed; the OpenID provider runs in it")
    script = ROOT / "tools" / "oidc_provider.sh"
    try:
        found = subprocess.run([script], capture_output=True, text=True, timeout=110, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not bring oidc-provider; run tools/oidc_provider.sh where there is a network")
    if found.returncode:
        pytest.skip(f"npm cannot bring oidc-provider: {found.stderr.strip()[-200:]}")
    return Path(found.stdout.strip())


@contextlib.contextmanager
def provider(folder: Path, port: int, key: str = "k1") -> Iterator[str]:
    """The issuer; it signs by a new key of that name."""
    script = ROOT / "platform" / "tests" / "openid_provider.mjs"
    process = subprocess.Popen(
        ["node", script, folder, str(port), key], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def token(issuer: str, client: str, resource: str = "urn:mainspring") -> str:
    """An access token of the client for the resource."""
    answer = httpx.post(
        f"{issuer}/token",
        data={"grant_type": "client_credentials", "resource": resource},
        auth=(client, f"{client}-secret"),
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])
