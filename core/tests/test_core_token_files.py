"""The services' token rotates under processes that run: the new one is believed before it is shown, the old one until it is dropped."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import httpx
import pytest

from mainspring.core import bearer, errors, identity, token_files

SERVICE = identity.SERVICE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    identity.ensure_token_file(tmp_path / "tokens.json")
    return tmp_path / "tokens.json"


def followed(path: Path, monkeypatch: pytest.MonkeyPatch) -> identity.FollowedTokens:
    """As a process has it that looks at each question."""
    monkeypatch.setattr("mainspring.core.watched.LOOK_SECONDS", 0.0)
    return identity.FollowedTokens(path)


def is_believed(tokens: identity.TokenIssuer, token: str) -> bool:
    try:
        return tokens.authenticate(f"Bearer {token}") == identity.Actor(SERVICE, ("service",))
    except errors.Unauthenticated:
        return False


def test_nothing_valid_is_refused_at_any_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = followed(path, monkeypatch)
    old = tokens.token_of(SERVICE)
    new_id = token_files.add(path, SERVICE, "first")
    new = token_files.token(path, SERVICE, new_id)
    assert tokens.token_of(SERVICE) == old, "it is not shown before everybody believes it"
    assert is_believed(tokens, old) and is_believed(tokens, new)
    assert token_files.promote(path, SERVICE, new_id) and not token_files.promote(path, SERVICE, new_id)
    assert tokens.token_of(SERVICE) == new != old
    assert is_believed(tokens, old) and is_believed(tokens, new)
    assert token_files.drop(path, SERVICE, [token_files.id_of(old)]) == [token_files.id_of(old)]
    assert is_believed(tokens, new) and not is_believed(tokens, old)
    assert token_files.ids(path, SERVICE) == (new_id,)
    assert token_files.drop(path, SERVICE, [token_files.id_of(old)]) == [], "again finds nothing"


def test_others_tokens_stay_and_the_file_is_nobody_elses(path: Path) -> None:
    before = identity.TokenIssuer.load(path)
    new_id = token_files.add(path, SERVICE, "first")
    token_files.promote(path, SERVICE, new_id)
    after = identity.TokenIssuer.load(path)
    for actor in identity.EMBEDDED_ACTORS:
        assert (after.token_of(actor) == before.token_of(actor)) == (actor != SERVICE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["notice"] == "development tokens, not for production"
    assert not list(path.parent.glob("*.new"))


def test_a_rotation_that_begins_again_goes_on_with_its_own_token(path: Path) -> None:
    first = token_files.add(path, SERVICE, "change 1")
    assert token_files.add(path, SERVICE, "change 1") == first
    assert token_files.add(path, SERVICE, "change 2") != first
    assert len(token_files.ids(path, SERVICE)) == 3


def test_an_id_says_nothing_of_its_token(path: Path) -> None:
    token = identity.TokenIssuer.load(path).token_of(SERVICE)
    token_id = token_files.id_of(token)
    assert token_files.token(path, SERVICE, token_id) == token
    assert token_id.startswith("token-") and len(token_id) == 22 and token_id[6:] not in token


def test_what_cannot_be_is_refused_and_says_what_to_do(path: Path) -> None:
    (only,) = token_files.ids(path, SERVICE)
    before = path.read_bytes()
    with pytest.raises(errors.InvalidRequest, match="rotate first"):
        token_files.drop(path, SERVICE, [only])
    for wrong in (
        lambda: token_files.promote(path, SERVICE, "token-0"),
        lambda: token_files.add(path, "x", "m"),
    ):
        with pytest.raises(errors.NotFound):
            wrong()
    assert path.read_bytes() == before
    for content in ("{", '{"tokens": [{"token": "t", "actor": "a"}]}', '{"tokens": [1]}'):
        path.write_text(content)
        with pytest.raises(errors.Misconfigured, match="remove it and run `mainspring up`"):
            token_files.add(path, SERVICE, "m")
        assert path.read_text() == content
    assert token_files.ids(path.with_name("none.json"), SERVICE) == ()


def test_a_damaged_file_changes_nothing_and_one_that_is_gone_knows_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = followed(path, monkeypatch)
    token = tokens.token_of(SERVICE)
    path.write_text("{")
    assert is_believed(tokens, token)
    path.unlink()
    assert not is_believed(tokens, token)
    fresh = identity.ensure_token_file(path).token_of(SERVICE)
    assert is_believed(tokens, fresh) and not is_believed(tokens, token)
    with pytest.raises(errors.MissingTool, match="mainspring up"):
        identity.FollowedTokens(path.with_name("none.json"))


def test_a_client_shows_the_token_of_the_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, shown = followed(path, monkeypatch), []

    def answer(request: httpx.Request) -> httpx.Response:
        shown.append(request.headers.get("authorization"))
        return httpx.Response(200)

    with httpx.Client(
        auth=bearer.auth(lambda: tokens.token_of(SERVICE)), transport=httpx.MockTransport(answer)
    ) as http:
        http.get("http://control/")
        token_files.promote(path, SERVICE, token_files.add(path, SERVICE, "m"))
        http.get("http://control/")
        http.get("http://control/", auth=bearer.auth("another"))
    old, new = (token_files.token(path, SERVICE, one) for one in reversed(token_files.ids(path, SERVICE)))
    assert shown == [f"Bearer {old}", f"Bearer {new}", "Bearer another"]
    assert bearer.auth("") is None
