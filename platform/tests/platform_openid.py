"""A real OpenID provider on loopback, and somebody with a browser there: forms filled in by httpx."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

HERE = Path(__file__).parent
CALLBACK = "/callback"


def package() -> Path:
    """The folder of the pinned npm package; skips the test where it cannot be had."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed; the OpenID provider runs in it")
    script = HERE.parents[1] / "tools" / "oidc_provider.sh"
    try:
        found = subprocess.run([script], capture_output=True, text=True, timeout=110, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not bring oidc-provider; run tools/oidc_provider.sh where there is a network")
    if found.returncode:
        pytest.skip(f"npm cannot bring oidc-provider: {found.stderr.strip()[-200:]}")
    return Path(found.stdout.strip())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def provider(folder: Path, port: int, key: str = "k1", *, origin: str = "") -> Iterator[str]:
    """The issuer; it signs by a new key of that name. With `origin` people sign in there as well."""
    process = subprocess.Popen(
        ["node", HERE / "openid_provider.mjs", folder, str(port), key, *([origin] if origin else [])],
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
        process.communicate()


class Person:
    """Somebody's browser: goes where it is sent, signs in by name, and agrees or does not."""

    def __init__(self, name: str, *, agrees: bool = True) -> None:
        self.name, self.agrees = name, agrees

    def open(self, place: str) -> bool:
        """As `webbrowser.open`: it comes back at once, and the rest happens by itself."""
        threading.Thread(target=self.walk, args=(place,), daemon=True).start()
        return True

    def walk(self, place: str) -> None:
        """Through the provider's pages to where it sends back, and there."""
        with _browser() as http:
            there = self._through(http, http.get(place))
            if urlsplit(there).path == CALLBACK:
                http.get(there)

    def ends_at(self, place: str) -> str:
        """The address that the provider sends back to, without going there."""
        with _browser() as http:
            return self._through(http, http.get(place))

    def types(self, whole_place: str) -> None:
        """Confirms the code of a device, as its page shows it."""
        with _browser() as http:
            page = http.get(whole_place)
            while "<form" in page.text and 'name="user_code"' in page.text:
                page = http.post(_action(page.text, whole_place), data=_fields(page.text))
            self._through(http, page)

    def _through(self, http: httpx.Client, page: httpx.Response) -> str:
        """Until an address of ours, or a page that asks nothing."""
        for _ in range(20):
            here = str(page.url)
            if page.is_redirect:
                there = urljoin(here, str(page.headers["location"]))
                if urlsplit(there).path == CALLBACK:
                    return there
                page = http.get(there)
            elif 'name="login"' in page.text:
                form = {"prompt": "login", "login": self.name, "password": "any"}
                page = http.post(_action(page.text, here), data=form)
            elif 'value="consent"' in page.text and self.agrees:
                page = http.post(_action(page.text, here), data={"prompt": "consent"})
            elif 'value="consent"' in page.text:
                page = http.get(f"{here}/abort")
            else:
                return here
        raise AssertionError(f"the provider goes round in circles at {page.url}")


def _browser() -> httpx.Client:
    return httpx.Client(trust_env=False, timeout=10)


def _action(page: str, place: str) -> str:
    found = re.search(r'<form[^>]*action="([^"]+)"', page)
    assert found, page
    return urljoin(place, str(found.group(1)))


def _fields(page: str) -> dict[str, str]:
    inputs = [dict(re.findall(r'(\w+)="([^"]*)"', one)) for one in re.findall(r"<input[^>]*>", page)]
    return {one["name"]: one.get("value", "") for one in inputs if "name" in one}
