"""`mainspring login` at a real OpenID provider, before a real control API: who is signed in, for how long, and who is not."""

from __future__ import annotations

import contextlib
import json
import socket
import stat
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import platform_openid
import pytest
import uvicorn
from click.testing import CliRunner, Result
from platform_openid import Person, free_port

from mainspring.core import errors, identity, oidc, settings
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.login import loopback, provider, saved, signing_in
from mainspring.platform.runs import launcher

pytestmark = pytest.mark.integration

SCOPES = "openid profile offline_access"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with platform_openid.provider(
        platform_openid.package(), free_port(), origin="http://127.0.0.1:1"
    ) as found:
        yield found


@contextlib.contextmanager
def control(folder: Path, **fields: str) -> Iterator[str]:
    """A control API on loopback, and its address."""
    s = settings.load({f"MAINSPRING_{k.upper()}": v for k, v in fields.items()}, directory=folder)
    embedded = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(
        s, issuer=oidc.issuer(s.identity, embedded), launcher=launcher.MemoryLauncher()
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def with_provider(issuer: str, **more: str) -> dict[str, str]:
    return {
        "identity_issuer": issuer,
        "identity_audience": "urn:mainspring",
        "identity_cli_client_id": "cli",
        **more,
    }


@pytest.fixture(scope="module")
def url(issuer: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with control(tmp_path_factory.mktemp("control"), **with_provider(issuer)) as found:
        yield found


class Terminal:
    """Somebody's machine: a folder of configuration, and a browser."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.home, self._patch = home, patch
        patch.setenv("XDG_CONFIG_HOME", str(home))
        patch.chdir(home)
        self.sits(Person("ana"))

    def at(self, url: str) -> Terminal:
        self._patch.setenv("MAINSPRING_CONTROL_URL", url)
        return self

    def sits(self, person: Person) -> None:
        self._patch.setattr(webbrowser, "open", person.open)

    def run(self, *words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cli.cli, list(words))
        assert done.exit_code == code, (done.output, done.exception)
        return done

    def json(self, *words: str) -> Any:
        lines = [one for one in self.run(*words, "--json").output.splitlines() if one.startswith("{")]
        return json.loads(lines[-1])["data"]

    @property
    def files(self) -> list[Path]:
        return sorted((self.home / "mainspring" / "logins").glob("*.json"))


@pytest.fixture
def terminal(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    home = tmp_path / "home"
    home.mkdir()
    return Terminal(home, monkeypatch).at(url)


def asking(issuer: str, audience: str = "urn:mainspring") -> provider.Client:
    return provider.Client(issuer, "cli", audience, SCOPES)


def test_who_signs_in_is_who_every_verb_acts_as(terminal: Terminal, url: str, issuer: str) -> None:
    done = terminal.run("login")
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert (told["actor"], told["roles"], told["renews"]) == ("ana", '["developer"]', "True")
    (kept,) = terminal.files
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    tokens = json.loads(kept.read_text())
    assert tokens["access_token"] not in done.output and tokens["refresh_token"] not in done.output
    assert tokens["access_token"] not in repr(saved.load(kept, url))

    assert terminal.json("project", "create", "alpha", "--owner", "team")["name"] == "alpha"
    me = terminal.json("whoami")
    assert (me["actor"], me["credential"]) == ("ana", f"signed in at `{issuer}`")
    assert (
        500
        < time.mktime(time.strptime(me["expires_at"][:19], "%Y-%m-%dT%H:%M:%S")) - time.mktime(time.gmtime())
        <= 600
    )

    out = terminal.json("logout")
    assert (out["signed_out"], out["revoked"]) == (True, True)
    assert terminal.files == []
    with pytest.raises(errors.Unauthenticated, match="is over"):
        provider.Provider(asking(issuer)).renew(tokens["refresh_token"], "ana")
    assert terminal.json("logout")["signed_out"] is False
    assert "run `mainspring up`" in terminal.run("whoami", code=78).output


def test_what_is_said_on_the_line_counts_before_a_file_and_that_before_a_sign_in(
    terminal: Terminal, issuer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.run("login")
    ben = Person("ben")
    tokens = signing_in.by_browser(
        provider.Provider(asking(issuer)), open_browser=ben.open, tell=lambda _: None
    )
    file = terminal.home / "ben.token"
    file.write_text(tokens.access)
    monkeypatch.setenv("MAINSPRING_CONTROL_TOKEN_FILE", str(file))
    me = terminal.json("whoami")
    assert (me["actor"], me["credential"]) == ("ben", f"token file `{file}`")
    assert "no token file" in terminal.run("whoami", "--as", "developer@local", code=78).output
    file.write_text("two words")
    assert "holds no bearer token" in terminal.run("whoami", code=78).output


def test_two_control_apis_have_a_sign_in_each(
    terminal: Terminal, url: str, issuer: str, tmp_path: Path
) -> None:
    terminal.run("login")
    with control(tmp_path / "other", **with_provider(issuer)) as other:
        terminal.at(other).sits(Person("ben"))
        assert "run `mainspring up`" in terminal.run("whoami", code=78).output
        terminal.run("login")
        assert terminal.json("whoami")["actor"] == "ben"
        terminal.json("logout")
        assert terminal.at(url).json("whoami")["actor"] == "ana"


def test_who_says_no_is_not_signed_in(terminal: Terminal) -> None:
    terminal.sits(Person("ana", agrees=False))
    assert "`access_denied`" in terminal.run("login", code=3).output
    assert terminal.files == []


def test_nobody_comes_back(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    assert "nobody signed in within 1 s" in terminal.run("login", "--wait", "1", code=5).output


def test_a_port_that_somebody_has_is_named(terminal: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} of this machine" in terminal.run("login", "--port", str(port), code=78).output
    assert terminal.run("login", "--port", str(free_port())).exit_code == 0


def test_another_provider_than_was_expected_is_not_asked(terminal: Terminal) -> None:
    assert "wants a sign-in at" in terminal.run("login", "--issuer", "https://evil.example", code=78).output


def test_a_brokered_identity_has_the_roles_of_its_groups(
    terminal: Terminal, issuer: str, tmp_path: Path
) -> None:
    """What a broker makes of a SAML assertion: the persistent NameID, and groups by their directory's names."""
    groups = "CN=ML Developers,OU=Teams,DC=example=developer;CN=Admins,DC=example=admin"
    with control(tmp_path / "saml", **with_provider(issuer, identity_group_roles=groups)) as there:
        terminal.at(there).sits(Person("G-7f3a91"))
        terminal.run("login")
        assert terminal.json("project", "create", "alpha", "--owner", "team")["name"] == "alpha"
        me = terminal.json("whoami")
        assert (me["actor"], me["roles"]) == ("G-7f3a91", ["developer"])


def test_without_a_provider_nobody_need_sign_in(terminal: Terminal, tmp_path: Path) -> None:
    with control(tmp_path / "embedded") as embedded:
        terminal.at(embedded)
        assert "`--as developer@local`" in terminal.run("login", code=78).output
    assert "no control API" in terminal.run("login", code=1).output
    terminal.at("http://10.1.2.3:7700")
    assert "anybody on the way" in terminal.run("login", code=78).output


def test_a_code_typed_elsewhere_signs_in(issuer: str) -> None:
    ben, told = Person("ben"), []

    def tell(line: str) -> None:
        told.append(line)
        if line.startswith("or open"):
            ben.types(line.split()[2].rstrip(","))

    found = signing_in.by_device(provider.Provider(asking(issuer)), tell=tell, sleep=lambda _: None)
    assert found.subject == "ben" and found.refresh
    assert told[0].startswith(f"open {issuer}/device in a browser and type ")


def test_a_device_waits_as_long_as_it_is_told_to_and_no_longer(issuer: str) -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds * 20

    with pytest.raises(errors.DeadlineExceeded, match="nobody signed in"):
        signing_in.by_device(
            provider.Provider(asking(issuer)), tell=lambda _: None, sleep=sleep, monotonic=lambda: now[0]
        )
    assert slept[0] == 5.0 and 3 <= len(slept) <= 10


def answers(change: Callable[[dict[str, str]], dict[str, str]]) -> Callable[[str], bool]:
    """A browser that comes back with something else than the provider said."""

    def open_browser(place: str) -> bool:
        def walk() -> None:
            there = urlsplit(Person("ana").ends_at(place))
            said = {name: values[0] for name, values in parse_qs(there.query).items()}
            httpx.get(f"http://{there.netloc}{there.path}", params=change(said), trust_env=False)

        threading.Thread(target=walk, daemon=True).start()
        return True

    return open_browser


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda said: {**said, "state": "guessed"}, "`state`"),
        (lambda said: {k: v for k, v in said.items() if k != "state"}, "`state`"),
        (lambda said: {**said, "iss": "https://other.example"}, "`iss`"),
        (lambda said: {**said, "code": "made-up"}, "invalid_grant"),
        (lambda said: {**said, "code": [said["code"], "x"]}, "twice"),
    ],
)
def test_an_answer_to_another_question_is_not_taken(issuer: str, change: Any, refusal: str) -> None:
    with pytest.raises(errors.Unauthenticated, match=refusal):
        signing_in.by_browser(
            provider.Provider(asking(issuer)), open_browser=answers(change), tell=lambda _: None, seconds=10
        )


def a_code(at: provider.Provider, asked: provider.Asked) -> tuple[str, str]:
    """A code for the question, and the address that it was sent to."""
    redirect = "http://127.0.0.1:4321/callback"
    there = urlsplit(Person("ana").ends_at(at.place_for(asked, redirect)))
    return parse_qs(there.query)["code"][0], redirect


def test_a_code_counts_once_for_who_asked_for_it(issuer: str) -> None:
    at, asked = provider.Provider(asking(issuer)), provider.Asked()
    code, redirect = a_code(at, asked)
    other = provider.Asked(state=asked.state, nonce=asked.nonce)
    with pytest.raises(errors.Unauthenticated, match="invalid_grant"):
        at.exchange(code, other, redirect)  # who saw the code has not what proves it

    code, redirect = a_code(at, asked)
    another = provider.Asked(state=asked.state, verifier=asked.verifier)
    with pytest.raises(errors.Unauthenticated, match="nonce"):
        at.exchange(code, another, redirect)

    code, redirect = a_code(at, asked)
    first = at.exchange(code, asked, redirect)
    with pytest.raises(errors.Unauthenticated, match="invalid_grant"):
        at.exchange(code, asked, redirect)
    # RFC 6749, 4.1.2: what the replayed code gave is withdrawn.
    with pytest.raises(errors.Unauthenticated):
        at.renew(first.refresh, "ana")


def test_clocks_may_differ_by_a_minute(issuer: str) -> None:
    asked = provider.Asked()
    near = provider.Provider(asking(issuer), clock=lambda: time.time() - 50)
    assert near.exchange(*with_asked(a_code(near, asked), asked)).subject == "ana"
    behind = provider.Provider(asking(issuer), clock=lambda: time.time() - 200)
    with pytest.raises(errors.Unauthenticated, match="issued in the future"):
        behind.exchange(*with_asked(a_code(behind, asked), asked))
    ahead = provider.Provider(asking(issuer), clock=lambda: time.time() + 4000)
    with pytest.raises(errors.Unauthenticated, match="set the clock"):
        ahead.exchange(*with_asked(a_code(ahead, asked), asked))


def with_asked(found: tuple[str, str], asked: provider.Asked) -> tuple[str, provider.Asked, str]:
    return found[0], asked, found[1]


def kept(folder: Path, issuer: str, audience: str = "urn:brief") -> Path:
    """A sign-in whose tokens last a second, as `login` keeps it."""
    asked = asking(issuer, audience)
    tokens = signing_in.by_browser(
        provider.Provider(asked), open_browser=Person("ana").open, tell=lambda _: None, seconds=10
    )
    path = saved.path_of(folder, "https://control.example")
    saved.save(path, saved.Saved.of("https://control.example", asked, tokens))
    return path


def credential(path: Path, **more: Any) -> saved.Credential:
    found = saved.load(path, "https://control.example")
    assert found is not None
    return saved.Credential(path, found, **more)


def test_a_sign_in_is_renewed_before_it_expires_and_by_one_at_a_time(tmp_path: Path, issuer: str) -> None:
    path = kept(tmp_path / "logins", issuer)
    first = saved.load(path, "https://control.example")
    assert first is not None
    found: list[str | Exception] = []

    def ask(one: saved.Credential) -> None:
        try:
            found.append(one())
        except errors.MainspringError as error:
            found.append(error)

    # Each as a process of its own: they know of one another by the file alone.
    threads = [threading.Thread(target=ask, args=(credential(path),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and not [one for one in found if isinstance(one, Exception)]
    last = saved.load(path, "https://control.example")
    assert last is not None and last.refresh_token != first.refresh_token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    # Whoever uses an old one again has stolen it, or was stolen from: all of that sign-in is over.
    with pytest.raises(errors.Unauthenticated, match="run `mainspring login`"):
        provider.Provider(first.client).renew(first.refresh_token, "ana")
    with pytest.raises(errors.Unauthenticated, match="run `mainspring login`"):
        credential(path)()


def test_a_provider_that_is_away_ends_no_token_before_its_time(tmp_path: Path, issuer: str) -> None:
    path = kept(tmp_path / "logins", issuer)
    found = saved.load(path, "https://control.example")
    assert found is not None
    port = free_port()
    saved.save(
        path, found.model_copy(update={"issuer": f"http://127.0.0.1:{port}", "expires_at": time.time() + 30})
    )
    assert credential(path)() == found.access_token
    with pytest.raises(errors.DependencyDown, match="cannot be asked"):
        credential(path, clock=lambda: time.time() + 31)()
    saved.save(path, found.model_copy(update={"refresh_token": ""}))
    with pytest.raises(errors.Unauthenticated, match="cannot be renewed"):
        credential(path, clock=lambda: time.time() + 31)()


def test_a_provider_that_is_away_keeps_nobody_signed_in_here(
    terminal: Terminal, tmp_path: Path, url: str
) -> None:
    package, port = platform_openid.package(), free_port()
    with platform_openid.provider(package, port, origin="http://127.0.0.1:1") as brief:
        with control(tmp_path / "brief", **with_provider(brief)) as there:
            terminal.at(there).run("login")
    done = terminal.run("logout")
    assert "signed_out: True" in done.output and "may count there until it expires" in done.output
    assert terminal.files == []


def test_a_kept_sign_in_that_others_could_have_is_not_used(tmp_path: Path, issuer: str) -> None:
    path = kept(tmp_path / "logins", issuer)
    path.chmod(0o644)
    with pytest.raises(errors.Misconfigured, match="read or written by others"):
        saved.load(path, "https://control.example")
    path.chmod(0o600)
    with pytest.raises(errors.Misconfigured, match=r"is a sign-in at `https://control.example`"):
        saved.load(path, "https://other.example")
    path.write_text("{}")
    with pytest.raises(errors.Misconfigured, match="no sign-in of this version"):
        saved.load(path, "https://control.example")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.Misconfigured, match="cannot be read"):
        saved.load(path, "https://control.example")


@pytest.mark.parametrize("host", ["evil.example", "localhost:1", ""])
def test_the_loopback_answers_to_its_own_name_alone(host: str) -> None:
    with loopback.Loopback() as back:
        with httpx.Client(trust_env=False) as http:
            assert http.get(f"{back.redirect}?code=x", headers={"Host": host}).status_code in (400, 404)
            assert http.get(back.redirect.replace("callback", "other")).status_code == 404
            assert http.get(back.redirect).status_code == 404
            good = http.get(f"{back.redirect}?code=x&state=y")
            assert http.get(f"{back.redirect}?code=second&state=y").status_code == 200
        assert good.status_code == 200 and "x" not in good.headers.values()
        assert back.wait(1) == {"code": "x", "state": "y"}


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (httpx.Response(500, text="oops"), errors.DependencyDown),
        (httpx.Response(200, text="<html>"), errors.DependencyDown),
        (httpx.Response(302, headers={"location": "https://evil.example"}), errors.DependencyDown),
        (httpx.Response(200, json={"issuer": "https://other.example"}), errors.InvalidSettings),
        (
            httpx.Response(
                200,
                json={
                    "issuer": "https://login.example",
                    "authorization_endpoint": "https://login.example/a",
                    "token_endpoint": "http://login.example/t",
                    "jwks_uri": "https://login.example/k",
                },
            ),
            errors.InvalidSettings,
        ),
    ],
)
def test_a_provider_that_is_none_is_not_used(answer: httpx.Response, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        provider.Provider(asking("https://login.example"), transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(errors.InvalidSettings, match="is not https"):
        provider.Provider(asking("http://login.example"))
