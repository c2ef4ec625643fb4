"""Attacks on the control API that no other file has: each as somebody would try it, and what they get.

`docs/security.md` has the whole list, with a test each.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import platform_commits as commits
import platform_fuzz as fuzz
import platform_tenants as tenants
import pytest
from litestar.testing import TestClient

from mainspring.core import errors
from mainspring.platform.evidence import verify
from mainspring.platform.monitoring import webhooks

#: What the platform itself sets, of anything; whoever could send it would be who he is not.
OURS = (
    *("created_by", "requested_by", "decided_by", "put_by", "reported_by", "platform_roles", "is_admin"),
    *("state", "stage", "cost_nanos", "billed_cost", "outcome", "sequence", "version", "created_at"),
)
INJECTIONS = (
    *("' OR '1'='1", "'; DROP TABLE audit; --", '" OR ""="', "1) UNION SELECT * FROM members --"),
    *("%", "_", "*", "\\", "a' || 'lpha"),
)


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[fuzz.Fuzz]:
    app, launcher = commits.app(tmp_path)
    with fuzz.witness() as seen, TestClient(app, raise_server_exceptions=False) as client:
        yield fuzz.Fuzz(commits.House(client, launcher, tmp_path), seen)


def test_nobody_sets_what_the_platform_sets(asked: fuzz.Fuzz) -> None:
    """Mass assignment: a field that a request has not is refused, and nothing of the rest is done."""
    schemas = asked.house.client.get("/schema/openapi.json").json()["components"]["schemas"]
    refused = 0
    for operation in asked.operations:
        recipe = commits.TAKEN.get(commits.shape(operation.label))
        if recipe is None or operation.method.upper() not in fuzz.CHANGING or "/lineage" in operation.path:
            continue  # lineage is OpenLineage's document, whose producers add what they like
        taken = recipe(asked.house, asked.house.mark())
        if taken.body is None:
            continue
        (content,) = operation.definition.raw["requestBody"]["content"].values()
        declared = schemas[content["schema"]["$ref"].rpartition("/")[2]]["properties"]
        for name in (name for name in OURS if name not in declared):
            before = asked.seen.audited
            answer = asked.send(operation, taken, json.dumps({**taken.body, name: "root"}).encode())
            if taken.who == "worker" and answer.is_success:
                # Of processes, which may be of a newer version: it is let go, and nothing is made of it.
                (row,) = asked.house.call("root", "GET", "/api/v1/audit?newest=true&limit=1")["items"]
                kept = {k: v for k, v in row["detail"].items() if k != "authorisation"}
                assert row["actor"] != "root" and '"root"' not in json.dumps(kept), (operation.label, row)
                continue
            assert answer.status_code == 400 and name in answer.json()["detail"], (
                operation.label,
                answer.text,
            )
            assert asked.seen.audited == before, operation.label
            refused += 1
    assert refused > 500


def _post(asked: fuzz.Fuzz, who: str, path: str, body: Any, **headers: str) -> httpx.Response:
    sent = {"Authorization": f"Bearer {who}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    answer: httpx.Response = asked.house.client.post(path, json=body, headers=sent)
    return answer


def test_an_approval_counts_once_and_for_what_it_was_given(asked: fuzz.Fuzz) -> None:
    house = asked.house
    first, second = house.run("one"), house.run("two")
    tag = house.client.get(f"/api/v1/runs/{first}", headers={"Authorization": "Bearer root"}).headers["etag"]
    yes = {"approve": True, "reason": "as it was shown"}
    sent = {"If_Match": tag, "Idempotency_Key": "approval-1"}
    assert _post(asked, "root", f"/api/v1/runs/{first}/decision", yes, **sent).status_code == 200
    # Again as it was, again without its key, by somebody else, and for another run: with the key, and with the tag.
    again = _post(asked, "root", f"/api/v1/runs/{first}/decision", yes, **sent)
    assert again.headers["idempotent-replayed"] == "true"
    assert _post(asked, "root", f"/api/v1/runs/{first}/decision", yes).status_code in (200, 409)
    assert _post(asked, "ana", f"/api/v1/runs/{first}/decision", {"approve": False}).status_code in (403, 409)
    assert _post(asked, "root", f"/api/v1/runs/{second}/decision", yes, **sent).status_code == 409
    assert _post(asked, "root", f"/api/v1/runs/{second}/decision", yes, If_Match=tag).status_code == 412
    assert house.launcher.decisions.keys() == {first} and house.launcher.decisions[first].approve
    rows = house.call("root", "GET", f"/api/v1/audit?resource=run/{second}&limit=500")["items"]
    assert "run.decide" not in {r["action"] for r in rows if r["outcome"] != "denied"}


def test_what_was_approved_is_not_what_came_later(asked: fuzz.Fuzz) -> None:
    house = asked.house
    # An assessment is signed by its content: the old one's signature is none of the new one's.
    place = f"{commits.PLACE}/dpia"
    old = house.call("ana", "POST", place, {**tenants.DPIA, "purpose": "what was shown to whoever signs"})
    new = house.call("ana", "POST", place, {**tenants.DPIA, "purpose": "what is meant to be signed then"})
    signed = {"sign": True, "reason": "it is well", "digest": old["digest"]}
    assert _post(asked, "root", f"{place}:decide", signed).status_code == 409
    assert _post(asked, "root", f"{place}:decide", {**signed, "digest": new["digest"]}).status_code == 200
    # A role that was given back does not come again by the same approval.
    names = commits.TAKEN["POST /projects/{}/access-requests/{}/decision"](house, house.mark()).names
    request = f"{commits.PLACE}/access-requests/{names['request_id']}"
    assert _post(asked, "root", f"{request}/decision", {"approve": True}).status_code == 200
    assert _post(asked, "ana", f"{request}/revoke", commits.WORDS).status_code == 200
    assert _post(asked, "root", f"{request}/decision", {"approve": True}).status_code == 409


def test_a_name_is_a_name_and_no_part_of_a_query(asked: fuzz.Fuzz) -> None:
    house = asked.house
    house.call("ana", "PUT", f"/api/v1/catalog/{commits.PROJECT}", commits._catalog(house, "m1").body)
    rows = house.call("root", "GET", "/api/v1/audit:verify")["rows"]
    looked = 0
    for operation, evil in itertools.product(asked.operations, INJECTIONS):
        if operation.method.upper() != "GET" or operation.path.endswith(fuzz.STREAMS):
            continue
        parameters = operation.definition.raw.get("parameters", [])
        free = [
            p["name"]
            for p in parameters
            if p["in"] == "query" and p["schema"].get("type") == "string" and "enum" not in p["schema"]
        ]
        names = {p["name"]: evil for p in parameters if p["in"] == "path"}
        path = fuzz._path(operation, {**names, **({"project": commits.PROJECT} if free else {})})
        for name in free or [""]:
            query = {name: evil} if name else None
            answer = house.client.get(path, params=query, headers={"Authorization": "Bearer root"})
            place = (operation.label, name, evil, answer.text[:300])
            assert answer.status_code < 500 or answer.status_code == 503, place
            # A list by such a name has nothing; where one begins in a list is no filter.
            if answer.status_code == 200 and name not in ("", "after", "before", "since", "until", "below"):
                assert not answer.json().get("items"), place
            if names and not free:
                assert answer.status_code in (400, 404, 503), place
            looked += 1
    assert looked > 400
    verified = house.call("root", "GET", "/api/v1/audit:verify")
    assert verified["ok"] and verified["rows"] == rows


def test_a_pack_that_grows_when_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify.MAX_BYTES == 1 << 31
    monkeypatch.setattr(verify, "MAX_BYTES", 1 << 20)
    pack = tmp_path / "bomb.zip"
    with zipfile.ZipFile(pack, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(2 << 20))
    assert pack.stat().st_size < 10_000
    with pytest.raises(verify.NotProved, match="unpacks to more than"):
        verify.verify(pack)


def test_a_webhook_goes_to_the_address_that_was_looked_at_and_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that turns to an address inside once it was looked at, and an answer that sends us there."""
    answers, sent = [["93.184.216.34"], ["169.254.169.254"]], []

    class Loop:
        async def getaddrinfo(self, _host: str, port: int, **_: Any) -> list[Any]:
            return [(0, 0, 0, "", (address, port)) for address in answers.pop(0)]

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append((request.url.host, request.headers["host"], request.extensions["sni_hostname"]))
        return httpx.Response(302, headers={"Location": "http://169.254.169.254/latest/meta-data"})

    client = httpx.AsyncClient

    def mocked(**how: Any) -> httpx.AsyncClient:
        assert how["trust_env"] is False
        return client(transport=httpx.MockTransport(answer), **how)

    async def post() -> None:
        monkeypatch.setattr(webhooks.asyncio, "get_running_loop", Loop)
        await webhooks.post(
            "https://hooks.example.org/x",
            b"{}",
            key=b"k" * 32,
            delivery_id="d",
            timeout_seconds=5,
            allow_private=False,
        )

    monkeypatch.setattr(webhooks.httpx, "AsyncClient", mocked)
    with pytest.raises(errors.DependencyDown, match="answered 302"):
        asyncio.run(post())
    monkeypatch.undo()
    assert sent == [("93.184.216.34", "hooks.example.org", "hooks.example.org")] and len(answers) == 1
