"""What a pack tells beside the audit rows is held against them: whoever signs packs can change, add or leave out none of it."""

from __future__ import annotations

import base64
import dataclasses
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from platform_api import PROJECT, Api
from platform_bundles import signed

from mainspring.core import identity, settings
from mainspring.core.contracts import base, dpia
from mainspring.core.contracts.erasure import CertifiedPlace, ErasureCertificate, LegalGround
from mainspring.core.erasure import certificate
from mainspring.core.models import signing
from mainspring.platform import app as control_app
from mainspring.platform.audit import signers
from mainspring.platform.evidence import pack, verify
from mainspring.platform.policies import engine, kept
from mainspring.platform.runs import launcher as run_launcher

PLACE = "/api/v1/projects/flight-delay"
#: Every question that needs an answer has one.
ANSWERS = {
    name: "contract" if name == "lawful_basis" else False if field.annotation is bool else "in so many words"
    for name, field in dpia.DpiaAnswers.model_fields.items()
    if field.is_required()
}
Files = dict[str, bytes]


def sealed(s: settings.Settings, erasure_id: str) -> str:
    at = base.utc_now()
    told = ErasureCertificate(
        erasure_id=erasure_id,
        project="flight-delay",
        entity="person",
        subject_hash="a" * 64,
        ground=LegalGround.OBJECTION,
        requested_by="ana",
        requested_at=at,
        approved_by="ben",
        approved_at=at,
        erased_at=at,
        places=[CertifiedPlace(place="online store", rows_before=3, items_before=1, rows_after=0)],
    )
    return certificate.seal(told, signing.ensure_key(s.models.signing_key)).decode()


@dataclasses.dataclass
class World:
    api: Api
    settings: settings.Settings
    folder: Path

    def assess(self, words: str, *, sign: bool | None = True) -> str:
        made = self.api.call("developer", "POST", f"{PLACE}/dpia", 201, {**ANSWERS, "purpose": words})
        if sign is not None:
            body = {"digest": made["digest"], "sign": sign, "reason": "read it all"}
            self.api.call("approver", "POST", f"{PLACE}/dpia:decide", 200, body)
        return str(made["dpia_id"])

    def erase(self) -> str:
        body = {"entity": "person", "key": "p-1", "ground": "objection", "reason": "asked for it"}
        erasure_id = str(self.api.call("developer", "POST", f"{PLACE}/erasures", 202, body)["erasure_id"])
        told = {"state": "done", "rows_erased": 3, "certificate": sealed(self.settings, erasure_id)}
        self.api.call("service", "POST", f"{PLACE}/erasures/{erasure_id}/report", 200, told)
        return erasure_id

    def bind(self, *words: str) -> None:
        entry = {"kind": "view", "name": "view.one", "owner": "o", "description": "because"}
        self.api.call("service", "PUT", "/api/v1/catalog/flight-delay", 200, {"entries": [entry]})
        asked = {"purposes": list(words), "reason": "as we told them"}
        self.api.call_with({"If-Match": "*"}, "approver", "PUT", f"{PLACE}/purposes/view.one", 200, asked)

    def pack(self, since: str = "2020-01-01T00:00:00Z") -> Files:
        body = {"since": since, "until": "2100-01-01T00:00:00Z"}
        made = self.api.call("approver", "POST", f"{PLACE}/evidence", 200, body)
        out = self.folder / "pack.zip"
        out.write_bytes(base64.b64decode(made["content"]))
        with zipfile.ZipFile(out) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def resigned(self, files: Files) -> Path:
        """By somebody who has the log's key."""
        manifest = json.loads(files[verify.MANIFEST])
        made = ("README.md", "verify.py", "articles.json")
        own = {
            n: d for n, d in files.items() if n not in (verify.MANIFEST, verify.SIGNATURE, verify.KEY, *made)
        }
        about = {n: v for n, v in manifest.items() if n not in ("files", "schema")}
        signer = signers.FileSigner(self.settings.stack.state_dir / "keys" / "audit.key")
        path = self.folder / "resigned.zip"
        path.write_bytes(pack.build(about, own, signer).content)
        return path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    s = settings.load({"MAINSPRING_RAY_TRAIN_WORKERS": "3"}, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    signed(tmp_path)  # so that there is a key that is trusted
    app = control_app.create_app(s, issuer=issuer, launcher=run_launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        api = Api(client, issuer)
        for name in ("flight-delay", "secret-project"):
            api.call("developer", "POST", "/api/v1/projects", 201, {**PROJECT, "name": name})
        yield World(api, s, tmp_path)


def now() -> str:
    return (datetime.now(UTC) + timedelta(milliseconds=1)).isoformat()


def test_everything_that_held_in_the_time_is_in_it_and_is_proved(world: World) -> None:
    world.bind("care")
    first = world.assess("to see who comes late")
    world.bind("care", "billing")
    erasure_id = world.erase()
    rejected = world.assess("to see who comes early", sign=False)
    waiting = world.assess("to see who never comes", sign=None)
    files = world.pack()
    found = verify.verify(world.folder / "pack.zip", world.settings.stack.state_dir / "audit" / "public.pem")
    assert (found["assessments"], found["erasures"], found["policy_sets"]) == (3, 1, 1)
    told = {one["dpia_id"]: one for one in json.loads(files["dpias.json"])}
    assert set(told) == {first, rejected, waiting}
    assert told[first]["answers"]["purpose"] == "to see who comes late"
    assert (told[first]["submitted"]["actor"], told[first]["submitted"]["risk"]) == ("developer@local", "low")
    assert (told[first]["decided"]["actor"], told[first]["decided"]["sign"]) == ("approver@local", True)
    assert told[rejected]["decided"]["sign"] is False and "decided" not in told[waiting]
    (bound,) = json.loads(files["purposes.json"])
    assert (bound["entry"], bound["purposes"], bound["actor"]) == (
        "view.one",
        ["billing", "care"],
        "approver@local",
    )
    (erasure,) = json.loads(files["erasures.json"])
    assert erasure["erasure_id"] == erasure_id and json.loads(erasure["report"]["certificate"])["payload"]
    (one,) = json.loads(files["policies/sets.json"])
    rows = [json.loads(line)["row"] for line in files["audit/rows.jsonl"].splitlines()]
    assert one["decisions"] == sum("authorisation" in row["detail"] for row in rows) > 5
    texts = {p["id"]: p["text"] for p in json.loads(files[f"policies/{one['file']}"])}
    assert "permit" in texts["evidence.export"]


def test_what_was_signed_before_the_time_and_holds_in_it_is_there_with_its_rows(world: World) -> None:
    world.bind("care")
    dpia_id = world.assess("to see who comes late")
    world.erase()
    files = world.pack(since=now())
    assert [one["dpia_id"] for one in json.loads(files["dpias.json"])] == [dpia_id]
    earlier = [json.loads(line)["row"]["action"] for line in files["audit/earlier.jsonl"].splitlines()]
    assert earlier == ["purpose.decide", "dpia.submit", "dpia.decide"]
    rows = [json.loads(line)["row"]["action"] for line in files["audit/rows.jsonl"].splitlines()]
    assert rows == ["evidence.export"], "what is earlier is no part of the time"
    assert json.loads(files["erasures.json"]) == []
    assert verify.verify(world.folder / "pack.zip")["assessments"] == 1


def test_a_set_that_decided_once_is_there_when_another_is_in_force(world: World) -> None:
    (own := world.folder / "own").mkdir()
    text = '@id("own.x")\n@advice("ask")\nforbid (principal, action == Action::"quota.set", resource);\n'
    (own / "own.cedar").write_text(text)
    s = settings.load({"MAINSPRING_CONTROL_POLICIES_DIR": str(own)}, directory=world.folder)
    issuer = identity.TokenIssuer.load(s.control.tokens_file)
    app = control_app.create_app(s, issuer=issuer, launcher=run_launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        later = World(Api(client, issuer), s, world.folder)
        later.assess("to see who comes late")
        files = later.pack()
        assert verify.verify(world.folder / "pack.zip")["policy_sets"] == 2
        before, after = json.loads(files["policies/sets.json"])
        sets = [{p["id"] for p in json.loads(files[f"policies/{x['file']}"])} for x in (before, after)]
        assert sets[1] - sets[0] == {"own.x"} and before["last"] < after["first"]
        gone = s.stack.state_dir / kept.FOLDER / before["file"]
        gone.write_text("[]")  # what is not what it was called by is as good as none
        told = json.loads(later.pack()["policies/sets.json"])
        assert [bool(one["file"]) for one in told] == [False, True]
        assert verify.verify(world.folder / "pack.zip")["policy_sets"] == 1


def _json(name: str, change: Callable[[Any], Any]) -> Callable[[Files], None]:
    def attack(files: Files) -> None:
        told = json.loads(files[name])
        other = change(told)
        files[name] = pack.to_json(other if isinstance(other, list) else told)

    return attack


def _set(change: Callable[[Any], Any]) -> Callable[[Files], None]:
    def attack(files: Files) -> None:
        (one,) = json.loads(files["policies/sets.json"])
        _json(f"policies/{one['file']}", change)(files)

    return attack


def _rows_without(action: str) -> Callable[[Files], None]:
    def attack(files: Files) -> None:
        lines = files["audit/rows.jsonl"].splitlines(keepends=True)
        files["audit/rows.jsonl"] = b"".join(x for x in lines if f'"action":"{action}"'.encode() not in x)

    return attack


ATTACKS: dict[str, Callable[[Files], None]] = {
    "another answer": _json("dpias.json", lambda x: x[0]["answers"].update(special_categories=True)),
    "another digest": _json("dpias.json", lambda x: x[0]["submitted"].update(digest="sha256:" + "0" * 64)),
    "another risk": _json("dpias.json", lambda x: x[0]["submitted"].update(risk="high")),
    "another finding": _json("dpias.json", lambda x: x[0]["submitted"].update(findings=["none"])),
    "another signer": _json("dpias.json", lambda x: x[0]["decided"].update(actor="root@local")),
    "signed, not rejected": _json("dpias.json", lambda x: x[1]["decided"].update(sign=True)),
    "no decision": _json("dpias.json", lambda x: x[1].pop("decided")),
    "an assessment left out": _json("dpias.json", lambda x: x[:1]),
    "an assessment added": _json("dpias.json", lambda x: [*x, {**x[0], "dpia_id": "dpia_x"}]),
    "one twice": _json("dpias.json", lambda x: [*x, x[0]]),
    "other purposes": _json("purposes.json", lambda x: x[0].update(purposes=["care", "sale"])),
    "purposes left out": _json("purposes.json", lambda _: []),
    "another approval": _json("approvals.json", lambda x: x[0].update(actor="root@local")),
    "another decision": _json("decisions.json", lambda x: x[0]["authorisation"].update(decisions=[])),
    "an erasure left out": _json("erasures.json", lambda _: []),
    "an erasure of another": _json("erasures.json", lambda x: x[0].update(erasure_id="era_other")),
    "another report": _json("erasures.json", lambda x: x[0]["report"].update(rows_erased=4)),
    "another certificate": _json("erasures.json", lambda x: x[0]["report"].update(certificate="{}")),
    "a policy of other words": _set(
        lambda x: x[0]["body"].update(
            conditions=[],
            resource={"op": "All"},
            effect="permit",
            principal={"op": "All"},
            action={"op": "All"},
        )
    ),
    "a policy of another text": _set(lambda x: x[0].update(text="permit (principal, action, resource);")),
    "a policy left out": _set(lambda x: x[1:]),
    "a policy added": _set(lambda x: [*x, {**x[0], "id": "mine"}]),
    "another version": _json("policies/sets.json", lambda x: x[0].update(version="sha256:" + "0" * 16)),
    "another share": _json("policies/sets.json", lambda x: x[0].update(decisions=1)),
    "a set that decided nothing": lambda files: files.update({"policies/0.json": b"[]\n"}),
    "rows left out": _rows_without("dpia.decide"),
    "the proof left out": lambda files: files.update({"audit/proof.json": b"[]\n"}),
}


def test_nobody_who_signs_packs_changes_what_they_tell(world: World) -> None:
    world.bind("care")
    world.assess("to see who comes late")
    world.assess("to see who comes early", sign=False)
    world.erase()
    files = world.pack()
    assert verify.verify(world.resigned(files), text_of=engine.text_of)["assessments"] == 2
    for name, attack in ATTACKS.items():
        changed = dict(files)
        attack(changed)
        assert changed != files, name
        with pytest.raises((verify.NotProved, ValueError, KeyError)):
            verify.verify(world.resigned(changed), text_of=engine.text_of)
            pytest.fail(f"{name} was not found")


def test_a_certificate_of_a_stranger_is_in_the_pack_and_not_proved(world: World, tmp_path: Path) -> None:
    body = {"entity": "person", "key": "p-1", "ground": "objection", "reason": "asked for it"}
    erasure_id = world.api.call("developer", "POST", f"{PLACE}/erasures", 202, body)["erasure_id"]
    report = {"state": "done", "certificate": '{"signatures": [{"keyid": "../../etc"}]}'}
    world.api.call("service", "POST", f"{PLACE}/erasures/{erasure_id}/report", 200, report)
    assert erasure_id in world.pack()["erasures.json"].decode()
    with pytest.raises((verify.NotProved, KeyError)):
        verify.verify(world.folder / "pack.zip")


def test_articles_know_what_speaks_to_them(world: World) -> None:
    world.assess("to see who comes late")
    articles = {(a["framework"], a["id"]): a for a in json.loads(world.pack()["articles.json"])}
    for key, name in (
        (("GDPR", "Art. 35"), "dpias.json"),
        (("GDPR", "Art. 17"), "erasures.json"),
        (("GDPR", "Art. 5(1)(b)"), "purposes.json"),
        (("EU AI Act", "Art. 9"), "dpias.json"),
        (("EU AI Act", "Art. 26(6)"), "access/callers.json"),
    ):
        assert name in articles[key]["evidence"]
    assert all(a["evidence"] or a["missing"] for a in articles.values())
