"""Keys that are withdrawn while serving runs: what only they signed is denied, by the front and the app alike, and no other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import serving_native_world as native_world
import serving_world as world
from serving_both import Both
from serving_bundles import Home
from serving_native_world import ROW, body, path, put

from mainspring.core import errors
from mainspring.core.client.serving import ServingClient
from mainspring.core.contracts import base, keys
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.models import signing, withdrawn_keys

pytestmark = pytest.mark.integration

ASKED = body(rows=[ROW])


class House:
    """A server with the native front, and two bundles; the second is signed by another key than the first."""

    def __init__(self, pair: Both, home: Home, directory: Path) -> None:
        self.both, self.home = pair, home
        self.one, self.other = (native_world.write_network(home, seed) for seed in (1, 2))
        self.second = signing.ensure_key(directory / "second.pem")
        self.second.publish(home.trusted)
        home.store.sign_again(self.other, self.second, signing.TrustedKeys.load(home.trusted))
        for name, digest in (("one", self.one), ("other", self.other)):
            put(pair, TrafficTable(endpoint=name, version=1, stable=digest))

    def withdraw(self, key_id: str) -> None:
        mark = keys.KeyWithdrawal(
            key_id=key_id, reason="it leaked", by="ana", at=base.utc_now(), is_compromised=True
        )
        withdrawn_keys.mark(self.home.trusted, mark)

    def status(self, endpoint: str) -> int:
        return self.both.front.post(path(endpoint), content=ASKED).status_code

    def until(self, endpoint: str, status: int) -> None:
        deadline = time.monotonic() + 10
        while self.status(endpoint) != status:
            assert time.monotonic() < deadline, f"`{endpoint}` is not at {status}"
            time.sleep(0.05)

    def client(self) -> ServingClient:
        return ServingClient(self.both.served.url, token=self.both.served.tokens.token_of("service@local"))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with native_world.serve(
        tmp_path, bundle_dir=tmp_path / "bundles", trusted_keys_dir=tmp_path / "trusted"
    ) as (
        pair,
        home,
    ):
        yield House(pair, home, tmp_path)


def denied(answer: httpx.Response) -> bool:
    found = answer.json()
    return (answer.status_code, found["details"].get("rule_id")) == (403, signing.WITHDRAWN_RULE)


def test_a_withdrawn_keys_bundles_answer_no_more_and_come_back_when_another_signs(house: House) -> None:
    first = house.home.key.key_id
    assert house.status("one") == house.status("other") == 200
    with house.client() as client:
        assert set(client.trusted_keys().trusted) == {first, house.second.key_id}
        house.withdraw(first)
        house.until("one", 403)
        told = client.trusted_keys()
        assert (told.trusted, told.withdrawn) == ([house.second.key_id], [first])
        answer = house.both.ask(path("one"), ASKED, {})
        assert denied(answer) and "it leaked" in answer.json()["detail"]
        assert house.both.ask(path("other"), ASKED, {}).status_code == 200
        with pytest.raises(errors.PolicyDenied, match="it leaked"):
            client.load_bundle(house.one)
        trust = signing.TrustedKeys.load(house.home.trusted, even_withdrawn=True)
        house.home.store.sign_again(house.one, house.second, trust)
        client.load_bundle(house.one)
    before = house.both.answered_by_the_front()
    assert house.both.ask(path("one"), ASKED, {}).status_code == 200
    assert house.both.answered_by_the_front() == before + 1


def test_what_was_signed_again_in_time_goes_on_from_memory(house: House) -> None:
    house.home.store.sign_again(house.one, house.second, signing.TrustedKeys.load(house.home.trusted))
    house.withdraw(house.home.key.key_id)
    ends = time.monotonic() + 2.5  # serving looks twice a second
    while time.monotonic() < ends:
        assert house.status("one") == house.status("other") == 200
        time.sleep(0.02)
    with house.client() as client:
        assert {view.digest for view in client.bundles()} == {house.one, house.other}


def test_a_start_answers_for_what_others_signed(tmp_path: Path) -> None:
    again = tmp_path / "again"
    for folder in (tmp_path / "first", again):
        folder.mkdir()
    serving = {
        "bundle_dir": tmp_path / "first" / "bundles",
        "traffic_dir": tmp_path / "traffic",
        "trusted_keys_dir": tmp_path / "first" / "trusted",
    }
    with native_world.serve(tmp_path / "first", **serving) as (pair, home):
        first = House(pair, home, tmp_path)
        first.withdraw(home.key.key_id)
        first.until("one", 403)
    with world.serve(again, loaded_by=home.loader, **{"front": "on"} | serving) as served:
        pair = Both(served)
        assert denied(pair.ask(path("one"), ASKED, {}))
        assert pair.ask(path("other"), ASKED, {}).status_code == 200
        pair.close()


def test_an_api_key_is_rotated_while_it_is_used(tmp_path: Path) -> None:
    with native_world.serve(tmp_path, bundle_dir=tmp_path / "bundles", require_token=True) as (pair, home):
        rotated(House(pair, home, tmp_path))


def rotated(house: House) -> None:
    tokens, front = house.both.served.tokens, house.both.front
    admin = {"authorization": f"Bearer {tokens.token_of('admin@local')}"}
    old = front.post("/v1/keys", json={"caller": "shop"}, headers=admin).json()
    place = f"/v1/keys/{old['view']['key_id']}:rotate"
    answer = front.post(place, json={"overlap_minutes": 0.02}, headers=admin)
    assert answer.status_code == 201 and answer.headers["cache-control"] == "no-store"
    new = answer.json()

    def asked(key: str) -> int:
        return front.post(path("one"), content=ASKED, headers={"x-api-key": key}).status_code

    assert asked(old["key"]) == asked(new["key"]) == 200
    deadline = time.monotonic() + 10
    while asked(old["key"]) == 200:
        assert time.monotonic() < deadline, "the old key counts for ever"
        time.sleep(0.05)
    assert (asked(old["key"]), asked(new["key"])) == (401, 200)
    refused = front.post(place, json={}, headers=admin)
    assert refused.status_code == 409 and "was replaced by" in refused.text
    nobody = {"authorization": f"Bearer {tokens.token_of('service@local')}"}
    assert front.post(place, json={}, headers=nobody).status_code == 403
    assert front.post("/v1/keys/nobody:rotate", json={}, headers=admin).status_code == 404
