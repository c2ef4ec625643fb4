"""The portal's pages as the control API answers them, and the reads that they brought."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from platform_api import Api, empty, launcher  # noqa: F401 - fixtures

from mainspring.core import identity, settings
from mainspring.core.contracts import training
from mainspring.platform import app as control_app
from mainspring.platform.portal import bundle, config, routes
from mainspring.platform.runs import launcher as run_launcher

PAGE = f'<meta name="csp-nonce" content="{bundle.NONCE}" /><script type="module" src="/portal/assets/a-1.js"></script>'
SCRIPT = "export const long = '" + "x" * 4000 + "';"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bundle.Bundle:
    """A bundle of three files in the place of the checkout's, which need not be built."""
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text(PAGE)
    (dist / "icon.svg").write_text("<svg/>")
    (dist / "assets" / "a-1.js").write_text(SCRIPT)
    found = bundle.Bundle.load(dist)
    monkeypatch.setattr(bundle.Bundle, "load", classmethod(lambda _cls: found))
    return found


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient[Any]]:
    with started(tmp_path) as found:
        yield found


def started(directory: Path, **environ: str) -> TestClient[Any]:
    s = settings.load(environ, directory=directory)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(s, issuer=issuer, launcher=run_launcher.MemoryLauncher())
    return TestClient(app, raise_server_exceptions=False)


def test_every_address_below_portal_is_the_page(built: bundle.Bundle, client: TestClient[Any]) -> None:
    for path in ("/portal", "/portal/", "/portal/runs/run_1", "/portal/features/flight-delay/view.tail"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert "a-1.js" in answer.text and bundle.NONCE not in answer.text
    assert client.get("/", follow_redirects=False).headers["location"] == "/portal/"


def test_the_policy_lets_in_styles_of_this_answer_and_no_inline_script(
    built: bundle.Bundle, client: TestClient[Any]
) -> None:
    nonces = []
    for answer in (client.get("/portal/"), client.get("/portal/")):
        rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
        assert rules["default-src"] == "'none'" and rules["script-src"] == "'self'"
        assert rules["connect-src"] == "'self'" and rules["frame-ancestors"] == "'none'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        (nonce,) = re.findall(r"'nonce-([^']+)'", rules["style-src"])
        assert f'content="{nonce}"' in answer.text
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


def test_a_page_of_others_has_a_frame_without_an_origin_or_a_way_out(
    built: bundle.Bundle, client: TestClient[Any]
) -> None:
    answer = client.get("/portal/frame")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert rules["sandbox"] == "allow-scripts" and rules["frame-ancestors"] == "'self'"
    assert rules["default-src"] == "'none'" and "connect-src" not in rules
    around = client.get("/portal/").headers["content-security-policy"]
    assert "frame-src 'self'" in around.split("; ")


def test_a_files_name_is_its_content_so_it_is_kept_for_ever(
    built: bundle.Bundle, client: TestClient[Any]
) -> None:
    plain = client.get("/portal/assets/a-1.js", headers={"Accept-Encoding": "identity"})
    assert plain.text == SCRIPT and "content-encoding" not in plain.headers
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"
    assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert plain.headers["x-content-type-options"] == "nosniff"
    packed = client.get("/portal/assets/a-1.js", headers={"Accept-Encoding": "gzip, br"})
    assert packed.headers["content-encoding"] == "gzip" and packed.text == SCRIPT
    assert int(packed.headers["content-length"]) == len(gzip.compress(SCRIPT.encode(), 9, mtime=0)) < 200
    assert client.get("/portal/icon.svg").headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize(
    "name", ["a-2.js", "..%2Findex.html", "%2e%2e%2f%2e%2e%2f%2e%2e%2fpyproject.toml", "a-1.js%00"]
)
def test_what_was_not_built_is_not_there(built: bundle.Bundle, client: TestClient[Any], name: str) -> None:
    answer = client.get(f"/portal/assets/{name}")
    assert answer.status_code == 404
    assert "mainspring" not in answer.text.replace("urn:mainspring", "")


def test_where_nothing_was_built_the_page_says_how(
    client: TestClient[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist = tmp_path / "later"
    dist.mkdir()
    (dist / "index.html").write_text(PAGE)
    made, nothing = bundle.Bundle.load(dist), bundle.Bundle.load(tmp_path / "nowhere")
    assert not nothing.is_built
    monkeypatch.setattr(bundle.Bundle, "load", classmethod(lambda _cls: nothing))
    answer = client.get("/portal/runs")
    assert answer.status_code == 503 and "tools/portal.sh" in answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    monkeypatch.setattr(bundle.Bundle, "load", classmethod(lambda _cls: made))
    assert client.get("/portal/runs").status_code == 200  # without a new start


def test_how_to_sign_in_is_told_to_anybody(built: bundle.Bundle, tmp_path: Path) -> None:
    with started(tmp_path) as client:
        answer = client.get("/portal/config.json")
        assert answer.json() == config.PortalConfig().model_dump()
        assert answer.json()["embedded"] is True and answer.json()["issuer"] == ""


def test_a_provider_is_named_and_may_be_asked_by_the_page(built: bundle.Bundle) -> None:
    identity_settings = settings.IdentitySettings(
        issuer="https://id.example.org/realms/one",
        audience="urn:mainspring",
        portal_client_id="portal",
        embedded=False,
        cli_client_id="cli",
    )
    found = config.PortalConfig.of(identity_settings)
    assert found.model_dump() == {
        "issuer": "https://id.example.org/realms/one",
        "client_id": "portal",
        "audience": "urn:mainspring",
        "scopes": "openid profile",
        "embedded": False,
        "cli_client_id": "cli",
        "cli_scopes": "openid profile offline_access",
    }
    policy = routes.content_policy("n", found.issuer)
    assert "connect-src 'self' https://id.example.org;" in policy
    assert "connect-src 'self';" in routes.content_policy("n", "")


def test_me_is_who_the_token_is_of(empty: Api) -> None:  # noqa: F811
    assert empty.call("approver", "GET", "/api/v1/me", 200) == {
        "actor": "approver@local",
        "roles": ["approver"],
        "projects": {},
    }
    empty.call("developer", "POST", "/api/v1/projects", 201, {"name": "alpha", "owner": "team"})
    roles = {"roles": {"prod": ["approver"], "*": ["viewer"]}}
    empty.call("admin", "PUT", "/api/v1/projects/alpha/members/developer@local", 200, roles)
    found = empty.call("developer", "GET", "/api/v1/me", 200)
    assert found["projects"] == {"alpha": {"prod": ["approver", "viewer"], "*": ["viewer"]}}
    assert empty.call("", "GET", "/api/v1/me", 401)["code"] == "unauthenticated"


def test_a_role_for_a_time_is_among_mine(empty: Api) -> None:  # noqa: F811
    empty.call("developer", "POST", "/api/v1/projects", 201, {"name": "alpha", "owner": "team"})
    wanted = {"role": "approver", "environment": "staging", "minutes": 5, "reason": "on call"}
    asked = empty.call("developer", "POST", "/api/v1/projects/alpha/access-requests", 201, wanted)
    assert empty.call("developer", "GET", "/api/v1/me", 200)["projects"] == {}
    path = f"/api/v1/projects/alpha/access-requests/{asked['request_id']}/decision"
    empty.call("admin", "POST", path, 200, {"approve": True})
    assert empty.call("developer", "GET", "/api/v1/me", 200)["projects"] == {
        "alpha": {"staging": ["approver"]}
    }


def test_open_runs_are_those_that_have_not_ended(
    empty: Api,  # noqa: F811
) -> None:
    empty.call("developer", "POST", "/api/v1/projects", 201, {"name": "flight-delay", "owner": "team"})
    first, second = empty.run()["run_id"], empty.run()["run_id"]
    event = {
        "run_id": first,
        "event_key": f"{first}/end",
        "action": "run.end",
        "actor": "worker",
        "detail": {"stage": str(training.Stage.DONE)},
    }
    empty.call("service", "POST", f"/api/v1/runs/{first}/events", 201, event)
    shown = empty.call("developer", "GET", "/api/v1/runs", 200, open=True)["items"]
    assert [one["run_id"] for one in shown] == [second]
    assert len(empty.call("developer", "GET", "/api/v1/runs", 200)["items"]) == 2
    assert empty.call("developer", "GET", "/api/v1/runs", 400, open="perhaps")["code"] == "invalid_request"


def test_the_log_is_read_backwards_and_by_what_it_says(empty: Api) -> None:  # noqa: F811
    def ask(**params: Any) -> list[int]:
        items = empty.call("approver", "GET", "/api/v1/audit", 200, **params)["items"]
        return [one["sequence"] for one in items]

    for name in ("alpha", "beta", "gamma"):
        empty.call("developer", "POST", "/api/v1/projects", 201, {"name": name, "owner": "team"})
    empty.call("approver", "POST", "/api/v1/projects", 403, {"name": "delta", "owner": "team"})
    assert ask() == [1, 2, 3, 4] and ask(newest=True) == [4, 3, 2, 1]
    first = empty.call("approver", "GET", "/api/v1/audit", 200, newest=True, limit=3)
    assert [one["sequence"] for one in first["items"]] == [4, 3, 2] and first["next"] == "2"
    last = empty.call("approver", "GET", "/api/v1/audit", 200, newest=True, limit=3, after=first["next"])
    assert [one["sequence"] for one in last["items"]] == [1] and last["next"] == ""
    assert ask(resource="project/beta") == [2] and ask(outcome="denied") == [4]
    assert ask(actor="developer@local", newest=True) == [3, 2, 1]
    assert ask(actor="developer@local", outcome="denied") == [] and ask(action="run.start") == []
    assert ask(action="project") == []  # exact


def test_the_command_says_where_the_pages_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mainspring.platform.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAINSPRING_CONTROL_PORT", "1")  # nobody listens there
    found = CliRunner().invoke(main.cli, ["portal"])
    assert found.exit_code == 1 and "mainspring up" in found.output
