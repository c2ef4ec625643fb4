"""Signing in to the portal at a real OpenID provider: authorization code with PKCE, as a public client."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import e2e_portal_world as worlds
import pytest
from e2e_portal_world import ROOT, Tab
from playwright.sync_api import expect

from mainspring.core import settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def package() -> Path:
    """The folder of the pinned npm package."""
    worlds.require_parts()
    if shutil.which("node") is None:
        pytest.skip("node is not installed; the OpenID provider runs in it")
    found = subprocess.run(
        [ROOT / "tools" / "oidc_provider.sh"], capture_output=True, text=True, timeout=60, check=False
    )
    if found.returncode:
        pytest.skip(f"npm cannot bring oidc-provider: {found.stderr.strip()[-200:]}")
    return Path(found.stdout.strip())


@contextlib.contextmanager
def provider(package: Path, port: int, origin: str) -> Iterator[str]:
    script = ROOT / "platform" / "tests" / "openid_provider.mjs"
    process = subprocess.Popen(
        ["node", script, package, str(port), "k1", origin],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        while (line := process.stdout.readline()) != "ready\n":
            assert line, "the provider ended"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_person_signs_in_at_the_provider_and_comes_back_to_the_page(package: Path, tmp_path: Path) -> None:
    control, port = worlds.free_port(), worlds.free_port()
    with provider(package, port, f"http://127.0.0.1:{control}") as issuer:
        variables = {
            "MAINSPRING_CONTROL_PORT": str(control),
            "MAINSPRING_IDENTITY_ISSUER": issuer,
            "MAINSPRING_IDENTITY_AUDIENCE": "urn:mainspring",
            "MAINSPRING_IDENTITY_PORTAL_CLIENT_ID": "portal",
            "MAINSPRING_IDENTITY_PORTAL_SCOPES": "openid",
            "MAINSPRING_IDENTITY_EMBEDDED": "false",
        }
        s = settings.load(variables, directory=tmp_path)
        with worlds.control(s) as world, worlds.browsing() as browser:
            tab = Tab(browser, world)
            page = tab.page
            page.goto("/portal/audit?outcome=denied")
            assert page.get_by_label("Development token").count() == 0
            page.get_by_role("button", name="Sign in at 127.0.0.1").click()
            page.locator("input[name=login]").fill("ana")
            page.locator("input[name=password]").fill("any")
            page.locator("button[type=submit]").click()
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Audit")
            expect(page).to_have_url(re.compile(r"/portal/audit\?outcome=denied$"))
            expect(page.get_by_text("ana", exact=True)).to_be_visible()
            # Nothing of the code or of what proves it is left behind.
            assert page.evaluate("Object.keys(sessionStorage)") == ["mainspring.token"]
            assert tab.complaints == []

            # A code that this tab did not ask for is not taken.
            page.get_by_role("button", name="Sign out").click()
            page.goto("/portal/callback?code=stolen&state=guessed")
            expect(page.get_by_role("alert")).to_contain_text("did not begin a sign-in")
            assert page.evaluate("sessionStorage.length") == 0
            tab.context.close()


def test_a_provider_that_is_away_is_told_in_words(package: Path, tmp_path: Path) -> None:
    variables = {
        "MAINSPRING_CONTROL_PORT": str(worlds.free_port()),
        "MAINSPRING_IDENTITY_ISSUER": f"http://127.0.0.1:{worlds.free_port()}",
        "MAINSPRING_IDENTITY_AUDIENCE": "urn:mainspring",
        "MAINSPRING_IDENTITY_PORTAL_CLIENT_ID": "portal",
    }
    with worlds.control(settings.load(variables, directory=tmp_path)) as world:
        with worlds.browsing() as browser:
            tab = Tab(browser, world)
            tab.page.goto("/portal/")
            tab.page.get_by_role("button", name="Sign in at 127.0.0.1").click()
            expect(tab.page.get_by_role("alert")).to_contain_text("the OpenID provider does not answer")
            tab.context.close()
