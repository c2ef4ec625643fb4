"""Bundles that are withdrawn or revoked: unloaded, denied to whoever loads or deploys them, by the front and the app alike."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import serving_native_world as native_world
import serving_world as world
from serving_both import Both
from serving_bundles import Home
from serving_native_world import ROW, body, path, put

from mainspring.core import errors
from mainspring.core.contracts import prediction
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.features import online
from mainspring.core.models import signing, withdrawn
from mainspring.serving import bundles

pytestmark = pytest.mark.integration

ASKED = body(rows=[ROW])
_TYPES = {"carrier": "BYTES", "dep_us": "INT64", "origin_stats__weather": "BYTES"}
INFER = {
    "inputs": [
        {
            "name": name,
            "shape": [1],
            "datatype": _TYPES.get(name, "FP32"),
            "data": ["UA" if name in _TYPES and name != "dep_us" else 7],
        }
        for name in ROW
    ]
}


class House:
    """A server with the native front before it, over a store of signed bundles."""

    def __init__(self, pair: Both, home: Home) -> None:
        self.both, self.home = pair, home
        self.admin = {"authorization": f"Bearer {pair.served.tokens.token_of('admin@local')}"}

    def post(self, verb: str, **asked: Any) -> httpx.Response:
        return self.both.front.post(f"/v1/bundles:{verb}", json=asked, headers=self.admin)

    def withdraw(self, digest: str, expect: int = 200, **more: Any) -> Any:
        answer = self.post("withdraw", digest=digest, **{"reason": "it leaks", **more})
        assert answer.status_code == expect, answer.text
        return answer.json()

    def predict(self, endpoint: str) -> httpx.Response:
        """The same by the front and by the app: `Both.ask` compares."""
        return self.both.ask(path(endpoint), ASKED, {})

    def loaded(self) -> set[str]:
        found = self.both.front.get("/v1/bundles", headers=self.admin).json()
        return {view["digest"] for view in found}

    def table(self, endpoint: str) -> TrafficTable:
        answer = self.both.front.get(f"/v1/endpoints/{endpoint}", headers=self.admin)
        return TrafficTable.model_validate(answer.json()["traffic"])


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with native_world.serve(tmp_path, bundle_dir=tmp_path / "bundles") as (pair, home):
        yield House(pair, home)


def denied(answer: httpx.Response) -> bool:
    found = answer.json()
    return (answer.status_code, found["code"], found["details"].get("rule_id")) == (
        403,
        "policy_denied",
        "bundle.withdrawn",
    )


def test_what_serves_is_not_withdrawn_and_what_is_withdrawn_is_not_used(house: House) -> None:
    one, other = (native_world.write_network(house.home, seed) for seed in (1, 2))
    put(house.both, TrafficTable(endpoint="flights", version=1, stable=one, shadow=other))
    for digest in (one, other):
        refused = house.withdraw(digest, 409)
        assert "in the traffic of `flights`; deploy another one" in refused["detail"]
    put(house.both, TrafficTable(endpoint="flights", version=2, stable=other))
    made = house.withdraw(one)
    assert (made["by"], made["reason"], made["is_revocation"]) == ("admin@local", "it leaks", False)
    assert house.withdraw(one, reason="said otherwise", is_revocation=True) == made
    assert house.loaded() == {other} and house.predict("flights").status_code == 200
    assert denied(house.post("load", digest=one))
    back = {"endpoint": "flights", "version": 3, "stable": one}
    answer = house.both.front.put("/v1/endpoints/flights/traffic", json=back, headers=house.admin)
    assert denied(answer) and "withdrawn by `admin@local`: it leaks" in answer.json()["detail"]
    trust = signing.TrustedKeys.load(house.home.trusted)
    with pytest.raises(errors.PolicyDenied, match="bundle.withdrawn"):
        house.home.store.open(one, trust)
    assert house.home.store.open(one, trust, even_withdrawn=True).digest == one


def test_a_revoked_bundle_answers_nobody_and_others_go_on(house: House) -> None:
    one, other = (native_world.write_network(house.home, seed) for seed in (1, 2))
    put(house.both, TrafficTable(endpoint="gone", version=1, stable=one))
    put(house.both, TrafficTable(endpoint="stays", version=1, stable=other))
    for http in (house.both.front, house.both.app):
        assert http.post("/v2/models/gone/infer", json=INFER).status_code == 200
    before = house.both.answered_by_the_front()
    assert house.predict("gone").status_code == 200
    assert house.both.answered_by_the_front() == before + 1
    house.withdraw(one, is_revocation=True)
    answer = house.predict("gone")
    assert denied(answer) and "was revoked by `admin@local`: it leaks" in answer.json()["detail"]
    for http in (house.both.front, house.both.app):  # and by the other protocol
        inferred = http.post("/v2/models/gone/infer", json=INFER)
        assert inferred.status_code == 403 and "was revoked" in inferred.text, inferred.text
        assert http.post("/v2/models/stays/infer", json=INFER).status_code == 200
    assert house.predict("stays").status_code == 200
    put(house.both, TrafficTable(endpoint="gone", version=2, stable=other))
    assert house.predict("gone").status_code == 200


def test_a_revoked_canary_or_shadow_leaves_the_traffic(house: House) -> None:
    one, other = (native_world.write_network(house.home, seed) for seed in (1, 2))
    put(
        house.both,
        TrafficTable(
            endpoint="flights", version=1, stable=one, canary=other, canary_percent=90, shadow=other
        ),
    )
    house.withdraw(other, is_revocation=True)
    left = house.table("flights")
    assert left == TrafficTable(endpoint="flights", version=2, stable=one, set_by="admin@local")
    for _ in range(3):
        assert house.predict("flights").json()["model_version"] == one


def test_a_mark_of_another_process_is_seen_by_those_that_answer(house: House) -> None:
    digest = native_world.write_network(house.home, 1)
    put(house.both, TrafficTable(endpoint="flights", version=1, stable=digest))
    assert house.predict("flights").status_code == 200
    at = datetime(2026, 11, 1, tzinfo=UTC)
    told = prediction.BundleWithdrawal(digest=digest, reason="elsewhere", by="eva", at=at, is_revocation=True)
    withdrawn.mark(house.home.store.root, told)
    deadline = time.monotonic() + 10
    while house.both.front.post(path("flights"), content=ASKED).status_code == 200:
        assert time.monotonic() < deadline, "it goes on answering"
        time.sleep(0.05)
    assert denied(house.predict("flights"))


def test_a_start_with_a_revoked_bundle_answers_for_the_others(tmp_path: Path) -> None:
    again = tmp_path / "again"
    for folder in (tmp_path / "first", again):
        folder.mkdir()
    serving = {"bundle_dir": tmp_path / "first" / "bundles", "traffic_dir": tmp_path / "traffic"}
    with native_world.serve(tmp_path / "first", **serving) as (pair, home):
        first = House(pair, home)
        one, other = (native_world.write_network(home, seed) for seed in (1, 2))
        put(pair, TrafficTable(endpoint="gone", version=1, stable=one))
        put(pair, TrafficTable(endpoint="stays", version=1, stable=other))
        first.withdraw(one, is_revocation=True)
    with world.serve(again, loaded_by=home.loader, **{"front": "on"} | serving) as served:
        pair = Both(served)
        second = House(pair, home)
        assert denied(second.predict("gone")) and second.predict("stays").status_code == 200
        pair.close()


@pytest.mark.parametrize(
    ("asked", "field"),
    [({"reason": "x"}, "reason"), ({"digest": "sha256:no"}, "digest"), ({"force": True}, "force")],
)
def test_what_is_no_withdrawal_is_refused(house: House, asked: dict[str, Any], field: str) -> None:
    digest = native_world.write_network(house.home, 1)
    answer = house.post("withdraw", **{"digest": digest, "reason": "it leaks", **asked})
    assert answer.status_code == 400 and field in answer.text
    assert withdrawn.marked(house.home.store.root) == frozenset()


def test_only_admins_withdraw(house: House) -> None:
    digest = native_world.write_network(house.home, 1)
    for who, expect in (("approver@local", 403), ("", 401)):
        headers = {"authorization": f"Bearer {house.both.served.tokens.token_of(who)}"} if who else {}
        answer = house.both.front.post(
            "/v1/bundles:withdraw", json={"digest": digest, "reason": "it leaks"}, headers=headers
        )
        assert answer.status_code == expect, answer.text
    assert withdrawn.marked(house.home.store.root) == frozenset()


class _Loading(world.DictLoader):
    """Calls `meanwhile` in the middle of a load."""

    def __init__(self, *worlds: world.World) -> None:
        super().__init__({w.digest: w for w in worlds})
        self.meanwhile = lambda: None

    def load(self, digest: str) -> world.World:
        found = super().load(digest)
        self.meanwhile()
        return found


def test_a_bundle_that_is_marked_while_it_loads_is_not_shelved_and_one_that_is_dropped_stays_away() -> None:
    one, other = world.World(name="one"), world.World(name="other")
    marks: set[str] = set()

    def check(digest: str) -> None:
        if digest in marks:
            raise errors.PolicyDenied("denied", rule_id=withdrawn.RULE)

    loader = _Loading(one, other)
    shelf = bundles.BundleShelf(loader, online.OnlineStore(), check=check)
    shelf.load(one.digest)

    def drop_one() -> None:
        marks.add(one.digest)
        shelf.drop(one.digest)

    loader.meanwhile = drop_one
    shelf.load(other.digest)  # and comes back with nothing but itself
    assert [view.digest for view in shelf.views()] == [other.digest]
    with pytest.raises(errors.PolicyDenied):
        shelf.get(one.digest)
    loader.meanwhile = lambda: marks.add(other.digest)
    shelf.drop(other.digest)
    with pytest.raises(errors.PolicyDenied):
        shelf.load(other.digest)
    assert shelf.views() == []
