"""Copies of the control database: kept for a time, named in certificates, and told of erasures when one is put back."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from platform_api import PROJECT, Api

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import base
from mainspring.core.contracts.erasure import CertifiedPlace, ErasureCertificate, LegalGround
from mainspring.core.erasure import certificate, ledger
from mainspring.core.models import signing
from mainspring.platform import app as control_app
from mainspring.platform import backup
from mainspring.platform.runs import launcher as run_launcher

ERASURES = "/api/v1/projects/flight-delay/erasures"
NOW = datetime(2026, 11, 30, tzinfo=UTC)


class House:
    """A state directory whose control API is started again and again."""

    def __init__(self, folder: Path) -> None:
        self.settings = settings.load({}, directory=folder)
        self.file = folder / ".mainspring" / "control.db"
        self.issuer = identity.ensure_token_file(self.settings.control.tokens_file)

    def up(self) -> TestClient[Any]:
        made = control_app.create_app(
            self.settings, issuer=self.issuer, launcher=run_launcher.MemoryLauncher()
        )
        return TestClient(made)

    def api(self, client: TestClient[Any]) -> Api:
        return Api(client, self.issuer)

    def certify(self, erasure_id: str, project: str = "flight-delay") -> bytes:
        """As a worker does when all is erased."""
        at = base.utc_now()
        told = ErasureCertificate(
            erasure_id=erasure_id, project=project, entity="tailnum", subject_hash="a" * 64, ground=LegalGround.OBJECTION,
            requested_by="ana", requested_at=at, approved_by="ben", approved_at=at, erased_at=at,
            places=[CertifiedPlace(place="online store", rows_before=3, items_before=1, rows_after=0)],
        )  # fmt: skip
        key = signing.ensure_key(self.settings.models.signing_key)
        key.publish(self.settings.serving.trusted_keys_dir)
        sealed = certificate.seal(told, key)
        ledger.keep(self.settings.protection.erased_dir, erasure_id, sealed)
        return sealed


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def started(house: House) -> None:
    with house.up() as client:
        house.api(client).call("developer", "POST", "/api/v1/projects", 201, PROJECT)


def test_a_database_that_is_put_back_is_told_of_what_was_erased_since(house: House) -> None:
    started(house)
    shutil.copy(house.file, house.file.with_suffix(".kept"))
    wanted = {"entity": "tailnum", "key": "N102", "ground": "objection", "reason": "a letter"}
    with house.up() as client:
        api = house.api(client)
        name = api.call("developer", "POST", ERASURES, 202, wanted)["erasure_id"]
        api.call("approver", "POST", f"{ERASURES}/{name}/decision", 200, {"approve": True})
        sealed = house.certify(name)
        told = {"state": "done", "rows_erased": 3, "certificate": sealed.decode()}
        api.call("service", "POST", f"{ERASURES}/{name}/report", 200, told)
    for beside in house.file.parent.glob("control.db-*"):
        beside.unlink()
    house.file.with_suffix(".kept").replace(house.file)
    with house.up() as client:
        api = house.api(client)
        shown = api.call("developer", "GET", f"{ERASURES}/{name}", 200)
        assert (shown["state"], shown["rows_erased"], shown["certificate"]) == ("done", 3, sealed.decode())
        assert (shown["requested_by"], shown["decided_by"]) == ("ana", "ben")
        (row,) = [r for r in api.audit() if r["action"] == "erasure.restore"]
        assert (row["actor"], row["resource"]) == ("system", f"erasure/flight-delay/{name}")
    with house.up() as client:
        api = house.api(client)
        assert len([r for r in api.audit() if r["action"] == "erasure.restore"]) == 1, "once"


HOLDS = "/api/v1/projects/flight-delay/holds"
HOLD = {"matter": "12", "reason": "case 12 of the court", "subject": {"entity": "tailnum", "key": "N102"}}


def lift(api: Api, hold: str, reason: str = "it is over") -> Any:
    api.call("approver", "POST", f"{HOLDS}/{hold}/lift", 200, {"reason": reason})
    return api.call("admin", "POST", f"{HOLDS}/{hold}/decide", 200, {"approve": True})


def put_back(house: House) -> None:
    """The file of before, as an operator puts it there."""
    for beside in house.file.parent.glob("control.db-*"):
        beside.unlink()
    shutil.copy(house.file.with_suffix(".kept"), house.file)


def test_holds_and_their_lifting_come_back_too_and_refuse_what_is_under_way(house: House) -> None:
    started(house)
    wanted = {"entity": "tailnum", "key": "N102", "ground": "objection", "reason": "a letter"}
    with house.up() as client:
        name = house.api(client).call("developer", "POST", ERASURES, 202, wanted)["erasure_id"]
    shutil.copy(house.file, house.file.with_suffix(".kept"))
    with house.up() as client:
        api = house.api(client)
        held = api.call("approver", "POST", HOLDS, 201, HOLD)
        other = api.call(
            "approver", "POST", HOLDS, 201, {**HOLD, "subject": {"entity": "tailnum", "key": "N101"}}
        )["hold_id"]
        lifted = lift(api, other)
        time = {"matter": "13", "reason": "a time", "kinds": ["reads"], "since": "2026-01-01T00:00:00Z"}
        timed = api.call("approver", "POST", HOLDS, 201, time)
    put_back(house)
    with house.up() as client:
        api = house.api(client)
        found = api.call("developer", "GET", HOLDS, 200)["items"]
        assert found == [timed, lifted, {**held, "stopped": []}]
        shown = api.call("developer", "GET", f"{ERASURES}/{name}", 200)
        assert shown["state"] == "refused" and held["hold_id"] in shown["message"]
        rows = [r["resource"] for r in api.audit() if r["action"] == "hold.restore"]
        assert rows == [f"hold/flight-delay/{h}" for h in (held["hold_id"], other, timed["hold_id"])]
        for hold in (held, timed):
            lift(api, hold["hold_id"], "over as well")
    with house.up() as client:
        api = house.api(client)
        assert [h["lifted_by"] for h in api.call("developer", "GET", HOLDS, 200)["items"]] == [
            "admin@local"
        ] * 3
        assert len([r for r in api.audit() if r["action"] == "hold.restore"]) == 3, "once"


def test_a_lifting_since_comes_back_and_a_hold_that_cannot_be_read_keeps_it_down(house: House) -> None:
    started(house)
    with house.up() as client:
        held = house.api(client).call("approver", "POST", HOLDS, 201, HOLD)["hold_id"]
    shutil.copy(house.file, house.file.with_suffix(".kept"))
    with house.up() as client:
        lift(house.api(client), held)
    put_back(house)
    with house.up() as client:
        (row,) = house.api(client).call("developer", "GET", HOLDS, 200)["items"]
        assert (row["lifted_by"], row["lift_reason"]) == ("admin@local", "it is over")
    folder = house.settings.protection.erased_dir / "holds"
    (folder / f"{held}.json").write_text("{}")
    assert "place the hold again" in refused(house).replace("\n", " ")
    (folder / f"{held}.json").unlink()
    started_again = house.up()
    with started_again as client:
        assert house.api(client).call("developer", "GET", HOLDS, 200)["items"] == [row]


def test_a_hold_that_is_not_kept_beside_the_database_is_told_and_is_in_force(house: House) -> None:
    started(house)
    folder = house.settings.protection.erased_dir
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "holds").write_text("no folder")
    with house.up() as client:
        api = house.api(client)
        assert "ask once more" in api.call("approver", "POST", HOLDS, 503, HOLD)["message"]
        (row,) = api.call("developer", "GET", HOLDS, 200)["items"]
        assert row["lifted_at"] is None
        (folder / "holds").unlink()
        assert api.call("approver", "POST", HOLDS, 201, HOLD)["hold_id"] == row["hold_id"]
    assert [p.stem for p in (folder / "holds").iterdir()] == [row["hold_id"]]


def test_one_of_a_project_that_is_not_there_waits_for_it(house: House) -> None:
    started(house)
    house.certify("era_1", "other")
    with house.up() as client:
        api = house.api(client)
        api.call("developer", "POST", "/api/v1/projects", 201, {**PROJECT, "name": "other"})
        assert api.call("developer", "GET", "/api/v1/projects/other/erasures", 200)["items"] == []
    with house.up() as client:
        items = house.api(client).call("developer", "GET", "/api/v1/projects/other/erasures", 200)["items"]
        assert [item["erasure_id"] for item in items] == ["era_1"]


def refused(house: House) -> str:
    """Why it does not start."""
    with pytest.raises(BaseExceptionGroup) as caught, house.up():
        pass
    found, _ = caught.value.split(errors.Misconfigured)
    assert found is not None
    return "".join(traceback.format_exception(found))


def test_a_certificate_that_proves_nothing_is_not_put_on_record_and_nobody_is_served(house: House) -> None:
    started(house)
    sealed = house.certify("era_1")
    folder = house.settings.protection.erased_dir
    for damaged in (sealed.replace(b'"payload"', b'"payl0ad"'), b"{}"):
        ledger.keep(folder, "era_1", damaged)
        assert "restore that file, or a newer database" in refused(house)
    ledger.keep(folder, "era_1", sealed)
    ledger.keep(folder, "era_2", sealed)
    assert "it is of `era_1`" in refused(house)
    (folder / "certificates" / "era_2.json").unlink()
    (folder / "certificates" / "notes.json").write_text("nobody's")
    with house.up() as client:
        assert house.api(client).call("developer", "GET", f"{ERASURES}/era_1", 200)["state"] == "done"


def copies(house: House, *ages: float) -> list[Path]:
    made = []
    house.file.parent.mkdir(parents=True, exist_ok=True)
    for number, days in enumerate(ages):
        path = house.file.with_name(f"control.db.000{number}.backup")
        path.write_bytes(b"as it was")
        at = (NOW - timedelta(days=days)).timestamp()
        os.utime(path, (at, at))
        made.append(path)
    return made


def test_copies_are_removed_when_they_are_old_and_nothing_else_is(house: House) -> None:
    url = house.settings.control.database_url
    _young, old, torn = copies(house, 29.9, 30.1, 31)
    torn = torn.rename(torn.with_name("control.db.0002.backup.new"))
    others = [house.file.with_name(n) for n in ("control.db", "control.db.mine", "other.db.0001.backup")]
    for path in others:
        path.write_bytes(b"")
        os.utime(path, (0, 0))
    assert backup.sweep(url, 30, NOW) == [old, torn]
    assert [path.name for path, _ in backup.copies(url)] == ["control.db.0000.backup"]
    assert all(path.exists() for path in others) and backup.sweep(url, 30, NOW) == []
    assert backup.copies("postgresql+psycopg://a@b/c") == [] == backup.copies("sqlite+aiosqlite://")


def test_the_control_api_removes_them_by_itself(house: House) -> None:
    (old,) = copies(house, 400)
    started(house)
    assert not old.exists()


def test_a_copy_that_stays_is_told_and_stops_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(backup, "sweep", refuse)

    async def briefly() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(backup.sweep_forever(house.settings.control), 0.2)

    asyncio.run(briefly())
    assert "is too old and cannot be removed" in caplog.text


def test_an_erasure_names_the_copies_that_there_are_and_until_when(house: House) -> None:
    started(house)
    (path,) = copies(house, 0)
    os.utime(path)
    wanted = {"entity": "tailnum", "key": "N102", "ground": "objection", "reason": "a letter"}
    with house.up() as client:
        api = house.api(client)
        asked = api.call("developer", "POST", ERASURES, 202, wanted)
        (told,) = api.call("service", "GET", f"{ERASURES}/{asked['erasure_id']}", 200)["copies"]
        assert "control.db.0000.backup" in told["what"] and asked["copies"] == []
        left = datetime.fromisoformat(told["until"]) - base.utc_now()
        assert timedelta(days=29.9) < left < timedelta(days=30.1)
        assert "N102" not in json.dumps(told)
