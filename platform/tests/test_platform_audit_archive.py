"""An archive of the audit log: it grows by verified pieces, is proved without us, and takes nothing away from the log."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ed25519
from litestar.testing import TestClient
from platform_api import transport

from mainspring.core import errors, identity, settings
from mainspring.core.client import control as control_client
from mainspring.platform import app as control_app
from mainspring.platform.audit import archive, verification
from mainspring.platform.cli import audits, main
from mainspring.platform.runs import launcher


class House:
    """A control API with its state directory, an archive beside it, and the command line."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = settings.load({}, directory=directory)
        self.issuer = identity.ensure_token_file(self.settings.control.tokens_file)
        app = control_app.create_app(self.settings, issuer=self.issuer, launcher=launcher.MemoryLauncher())
        self.client = TestClient(app)
        self.folder, self.signed = directory / "archive", self.settings.stack.state_dir / "audit"
        monkeypatch.setattr(audits.session, "client", self._control)
        monkeypatch.setattr(settings, "load", lambda *_, **__: self.settings)

    def make(self, *names: str) -> None:
        for name in names:
            body = {"name": name, "owner": "team"}
            assert self.client.post("/api/v1/projects", json=body, headers=self.headers()).status_code == 201

    def headers(self, actor: str = "developer@local") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.issuer.token_of(actor)}"}

    def run(self, *told: str, expect: int = 0) -> Any:
        done = CliRunner().invoke(main.cli, ["audit", *told, "--json"])
        assert done.exit_code == expect, done.output
        return json.loads(done.stdout)["data"] if expect == 0 else done.output

    def archive(self, expect: int = 0) -> Any:
        return self.run("archive", "--to", str(self.folder), expect=expect)

    def verify(self, *more: str, expect: int = 0) -> Any:
        key = str(self.signed / "public.pem")
        return self.run("verify", "--archive", str(self.folder), "--public-key", key, *more, expect=expect)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def _control(self, actor: str) -> control_client.ControlClient:
        token = self.issuer.token_of(actor)
        return control_client.ControlClient("http://api", token, transport=transport(self.client))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    made = House(tmp_path, monkeypatch)
    with made.client:
        yield made


def test_it_grows_by_pieces_and_is_proved_without_us(house: House) -> None:
    house.make("aa", "bb")
    first = house.archive()
    assert (first["rows"], first["added"], first["pieces"]) == (2, 2, 1)
    assert (house.archive()["added"], house.archive()["pieces"]) == (0, 1), "nothing new is no change"
    house.make("cc", "dd", "ee")
    second = house.archive()
    assert (second["rows"], second["added"], second["pieces"]) == (5, 3, 2)
    assert house.names() == [
        "checkpoints.jsonl",
        "rows-000000000001-000000000002.jsonl.gz",
        "rows-000000000003-000000000005.jsonl.gz",
    ]
    good = house.verify()
    assert (good["ok"], good["rows"], good["head"]) == (True, 5, second["head"])
    house.make("ff")
    assert house.verify("--checkpoints", str(house.signed / "checkpoints.jsonl"))["rows"] == 5
    export = house.client.get("/api/v1/audit:export", headers=house.headers()).content
    pieces = [gzip.decompress(p.path.read_bytes()) for p in archive.Archive(house.folder).pieces()]
    assert export.startswith(b"".join(pieces)) and export.count(b"\n") == 6, "the log has all of it still"
    tail = house.client.get("/api/v1/audit:export", params={"after": 5}, headers=house.headers())
    assert tail.content == export[len(b"".join(pieces)) :]
    part = {"after": 1, "project": "aa"}
    refused = house.client.get("/api/v1/audit:export", params=part, headers=house.headers())
    assert refused.status_code == 400 and "leave out `after`" in refused.json()["detail"]


def test_nothing_lets_rows_go_once_they_are_archived(house: House) -> None:
    """Whoever holds a right to the log's rows would have to lift every hold: there is no such way, and the database has none either."""
    house.make("aa", "bb")
    house.archive()
    engine = sa.create_engine(f"sqlite:///{house.settings.stack.state_dir / 'control.db'}")
    with engine.connect() as connection, pytest.raises(sa.exc.IntegrityError, match="never changed"):
        connection.execute(sa.text("DELETE FROM audit WHERE sequence = 1"))
    engine.dispose()
    routes = {(m, r.path) for r in house.client.app.routes for m in r.methods if "audit" in r.path}
    assert {method for method, _ in routes} <= {"GET", "HEAD", "OPTIONS"}
    assert house.run("verify")["rows"] == 2


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (lambda p: p[0].unlink(), "rows 1 to 2 are not in the archive"),
        (lambda p: p[1].unlink(), "rows 3 to 4 are not in the archive"),
        (lambda p: p[2].unlink(), "rows 5 to 6 are missing"),
        (lambda p: p[1].write_bytes(p[1].read_bytes()[:40]), "cannot be read"),
        (lambda p: p[1].write_bytes(b"no gzip"), "cannot be read"),
        (lambda p: shutil.copy(p[0], p[1]), "row 3 does not follow row 2"),
        (lambda p: p[1].write_bytes(_renamed(p[1], b"project/dd", b"project/xx")), "row 4 was changed"),
    ],
)
def test_what_was_done_to_it_is_found_and_nothing_is_added(house: House, tamper: Any, says: str) -> None:
    for names in (("aa", "bb"), ("cc", "dd"), ("ee", "ff")):
        house.make(*names)
        house.archive()
    tamper([piece.path for piece in archive.Archive(house.folder).pieces()])
    assert says in " ".join(house.verify(expect=1).split())
    before = house.names()
    house.make("gg")
    if "missing" not in says:
        house.archive(expect=1)
        assert house.names() == before
    else:
        # What is gone from its end is fetched again.
        assert house.archive()["added"] == 3 and house.verify()["rows"] == 7


def test_another_log_is_not_its_continuation(house: House, tmp_path: Path) -> None:
    house.make("aa", "bb")
    house.archive()
    keys = verification.load_publics(house.signed / "public.pem")
    lines = b"".join(archive.Archive(house.folder).pieces()[0].lines())
    other = lines.replace(b'"sequence":1}', b'"sequence":3}').replace(b'"sequence":2}', b'"sequence":4}')
    signed = (house.signed / "checkpoints.jsonl").read_bytes().splitlines(keepends=True)
    before = house.names()
    with pytest.raises(errors.CorruptArtifact, match="does not go on from row 2"):
        archive.Archive(house.folder).add([other], lambda: signed, keys)
    with pytest.raises(errors.CorruptArtifact, match="begin another one"):
        archive.Archive(house.folder).add([], list, keys)
    assert house.names() == before
    nobodys = tmp_path / "other.pem"
    nobodys.write_bytes(verification.public_pem(ed25519.Ed25519PrivateKey.generate().public_key()))
    told = house.run("verify", "--archive", str(house.folder), "--public-key", str(nobodys), expect=1)
    assert "of another schema or key" in told


def test_the_command_exports_one_projects_part(house: House, tmp_path: Path) -> None:
    house.make("aa", "bb")
    part = tmp_path / "part.ndjson"
    house.run("export", "--project", "bb", "--out", str(part))
    whole = tmp_path / "whole.ndjson"
    house.run("export", "--out", str(whole))
    assert b"project/aa" not in part.read_bytes() and b"project/bb" in part.read_bytes()
    assert part.read_bytes() != whole.read_bytes() and b"project/aa" in whole.read_bytes()
    key = str(house.signed / "public.pem")
    told = house.run("verify", "--project", "bb", "--export", str(part), "--public-key", key)
    assert (told["ok"], told["rows"]) == (True, 1)


def test_what_is_asked_wrongly(house: House) -> None:
    house.make("aa")
    house.archive()
    assert "--archive needs --public-key" in house.run("verify", "--archive", str(house.folder), expect=2)


def _renamed(path: Path, was: bytes, now: bytes) -> bytes:
    return gzip.compress(gzip.decompress(path.read_bytes()).replace(was, now))
