"""Secrets that others keep: where they are read, how long they are known, and where they never show."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import httpx
import pytest

from mainspring.core import errors, secrets, settings

VALUE = "correct-horse-battery"


class Vault:
    """An OpenBao with one engine of version 2 at `secret/` and one of version 1 at `old/`."""

    def __init__(self, folder: Path) -> None:
        self.values: dict[str, Any] = {"secret/data/flights/db": {"data": {"password": VALUE}}}
        self.values["old/flights/db"] = {"password": "the-old-engine"}
        self.asked: list[str] = []
        self.status = 200
        self.now = 0.0
        token = folder / "token"
        token.write_text("t\n")
        self.settings = settings.SecretSettings(
            openbao_url="https://bao.example",
            openbao_token_file=token,
            files_dir=str(folder),
            project_places=f"openbao:secret/{{project}}/,openbao:old/{{project}}/,file:{folder}/{{project}}/",
        )
        self.resolver = secrets.Resolver(
            self.settings, transport=httpx.MockTransport(self.answer), clock=lambda: self.now
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1/")
        self.asked.append(path)
        if self.status != 200:
            return httpx.Response(self.status, json={"errors": ["no"]})
        if path.startswith("sys/internal/ui/mounts/"):
            mount = path.removeprefix("sys/internal/ui/mounts/").partition("/")[0]
            version = {"secret": "2", "old": "1"}.get(mount)
            return httpx.Response(200, json={"data": {"path": f"{mount}/", "options": {"version": version}}})
        found = self.values.get(path)
        return (
            httpx.Response(200, json={"data": found}) if found else httpx.Response(404, json={"errors": []})
        )


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path)


def test_a_secret_is_read_where_its_place_says(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vault.resolver.read("openbao:secret/flights/db#password").reveal() == VALUE
    assert vault.resolver.read("openbao:old/flights/db#password").reveal() == "the-old-engine"
    (tmp_path / "mounted").write_text("two\nlines\n")
    assert vault.resolver.read(f"file:{tmp_path}/mounted").reveal() == "two\nlines"
    monkeypatch.setenv("WAREHOUSE_PASSWORD", "of a variable")
    assert vault.resolver.read("env:WAREHOUSE_PASSWORD").reveal() == "of a variable"


def test_a_rotated_secret_is_taken_after_a_while(vault: Vault) -> None:
    place = "openbao:secret/flights/db#password"
    assert vault.resolver.read(place).reveal() == VALUE
    asked = len(vault.asked)
    vault.values["secret/data/flights/db"] = {"data": {"password": "rotated"}}
    assert vault.resolver.read(place).reveal() == VALUE and len(vault.asked) == asked
    vault.now = vault.settings.cache_seconds + 1
    assert vault.resolver.read(place).reveal() == "rotated"
    vault.now, vault.status = vault.now * 3, 503
    with pytest.raises(errors.DependencyDown, match="sealed"):
        vault.resolver.read(place)


@pytest.mark.parametrize(
    ("place", "refusal"),
    [
        ("openbao:secret/flights/db#user", errors.NotFound),
        ("openbao:secret/flights/other#password", errors.NotFound),
        ("openbao:nowhere/flights#password", errors.NotFound),
        ("env:NOT_THERE_AT_ALL", errors.NotFound),
        ("file:{folder}/missing", errors.NotFound),
        ("file:/etc/passwd", errors.PermissionDenied),
        ("file:{folder}/link", errors.PermissionDenied),
        ("file:{folder}", errors.NotFound),
        ("openbao:secret/flights/../flights/db#password", errors.InvalidRequest),
        ("openbao:secret#password", errors.InvalidRequest),
        ("hunter2", errors.InvalidRequest),
        ("", errors.InvalidRequest),
    ],
)
def test_what_is_not_there_or_not_to_be_read_is_told(
    vault: Vault, tmp_path: Path, place: str, refusal: type[errors.MainspringError]
) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(refusal):
        vault.resolver.read(place.format(folder=tmp_path))


def test_a_token_that_may_not_and_a_server_that_is_none_are_told(vault: Vault, tmp_path: Path) -> None:
    place = "openbao:secret/flights/db#password"
    vault.status = 403
    with pytest.raises(errors.PermissionDenied, match="may not use"):
        vault.resolver.read(place)
    (tmp_path / "token").unlink()
    with pytest.raises(errors.Misconfigured, match="secrets.openbao_token_file"):
        vault.resolver.read(place)
    with pytest.raises(errors.Misconfigured, match="secrets.openbao_url"):
        secrets.Resolver(settings.SecretSettings(openbao_token_file=tmp_path)).read(place)


@pytest.mark.parametrize(
    "place",
    [
        "openbao:secret/other/db#password",
        "openbao:secret/flights-2/db#password",
        "openbao:secret/flights#password",
        "file:{folder}/other/key",
        "file:{folder}/flights/link",
        "env:AWS_SECRET_ACCESS_KEY",
        "openbao:secret/flights/../other/db#password",
    ],
)
def test_a_project_reads_its_own_alone(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", VALUE)
    for project in ("other", "flights"):
        (tmp_path / project).mkdir()
        (tmp_path / project / "key").write_text(VALUE)
    (tmp_path / "flights" / "link").symlink_to(tmp_path / "other" / "key")
    assert vault.resolver.read_for("flights", "openbao:secret/flights/db#password").reveal() == VALUE
    assert vault.resolver.read_for("flights", f"file:{tmp_path}/flights/key").reveal() == VALUE
    with pytest.raises((errors.PermissionDenied, errors.InvalidRequest)):
        vault.resolver.read_for("flights", place.format(folder=tmp_path))


def test_a_secret_shows_itself_to_nobody_by_chance() -> None:
    one = secrets.Secret(VALUE, "env:X")
    assert VALUE not in f"{one} {one!r} {[one]}"
    with pytest.raises(TypeError, match="its place"):
        pickle.dumps(one)


def test_texts_are_masked_by_line_and_short_values_are_not() -> None:
    key = "-----BEGIN KEY-----\nabcdefghij\n-----END KEY-----"
    assert secrets.mask(f"at {VALUE}: x abcdefghij", [VALUE, key]) == "at ***: x ***"
    assert secrets.mask("a b c", ["b"]) == "a b c"
    wire = {"message": f"no {VALUE}", "details": [{"deep": VALUE, "n": 3}]}
    assert secrets.masked(wire, [VALUE]) == {"message": "no ***", "details": [{"deep": "***", "n": 3}]}


@pytest.mark.parametrize(
    "written", ["env:{project}", "openbao:secret/", "file:/x/{project}", "/x/{project}/", "openbao:{other}/"]
)
def test_places_that_are_every_projects_are_refused(written: str) -> None:
    with pytest.raises(errors.InvalidSettings, match="secrets.project_places"):
        settings.load({"MAINSPRING_SECRETS_PROJECT_PLACES": written})
