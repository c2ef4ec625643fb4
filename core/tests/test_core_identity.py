"""Ids sort by time; tokens name actors; rights are checked."""

import stat
from pathlib import Path

import pytest

from mainspring.core import errors, identity, ids


def test_ids_sort_by_time_and_check() -> None:
    made = [ids.new_id("run", now_ms=t) for t in (1, 1000, 10**12, 10**12 + 1)]
    assert made == sorted(made)
    assert len({ids.new_id("run", now_ms=5) for _ in range(1000)}) == 1000
    assert ids.check_id(made[0], "run") == made[0]


@pytest.mark.parametrize("bad", ["run_", "run_x", "job_" + "0" * 26, "run_" + "u" * 26, "run_" + "0" * 27])
def test_bad_ids(bad: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        ids.check_id(bad, "run")


@pytest.mark.parametrize("bad", ["", "a", "A-b", "-a", "a-", "a_b", "../etc", "a" * 64, "ä-b"])
def test_bad_slugs(bad: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="lowercase"):
        ids.check_slug(bad, "project")


def test_token_file_is_private_and_stable(tmp_path: Path) -> None:
    path = tmp_path / "s" / "tokens.json"
    first = identity.ensure_token_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = identity.ensure_token_file(path)
    assert first.token_of("developer@local") == again.token_of("developer@local")
    actor = again.authenticate("Bearer " + first.token_of("approver@local"))
    assert actor == identity.Actor("approver@local", ("approver",))


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer wrong"])
def test_bad_headers(header: str | None, tmp_path: Path) -> None:
    issuer = identity.ensure_token_file(tmp_path / "tokens.json")
    with pytest.raises(errors.Unauthenticated):
        issuer.authenticate(header)


def test_missing_and_malformed_files(tmp_path: Path) -> None:
    with pytest.raises(errors.MissingTool, match="mainspring up"):
        identity.TokenIssuer.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"tokens": [{"actor": 1}]}')
    with pytest.raises(errors.InvalidSettings, match="remove it"):
        identity.TokenIssuer.load(tmp_path / "bad.json")
    with pytest.raises(errors.NotFound):
        identity.ensure_token_file(tmp_path / "t.json").token_of("nobody")


def test_roles() -> None:
    admin = identity.Actor("a", ("admin",))
    admin.require("developer")
    with pytest.raises(errors.PermissionDenied):
        admin.require("service")
    with pytest.raises(errors.PermissionDenied, match="ask an admin"):
        identity.Actor("v", ("viewer",)).require("developer", "approver")
