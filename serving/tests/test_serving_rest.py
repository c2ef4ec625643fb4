"""An endpoint at rest has its weights not in memory, and answers whoever asks: one load, however many ask at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import serving_native_world as native_world
from serving_both import Both
from serving_bundles import Home
from serving_native_world import ROW, body, path, put

from mainspring.core import errors
from mainspring.core.client.serving import ServingClient
from mainspring.core.contracts.deployment import EndpointRelease, TrafficTable

pytestmark = pytest.mark.integration

ASKED = body(rows=[ROW])


class House:
    """A server with the native front: `one` and `two` share a bundle, `own` has its own, `kept` is pinned."""

    def __init__(self, pair: Both, home: Home) -> None:
        self.both, self.home = pair, home
        self.shared, self.alone, self.pinned = (native_world.write_network(home, seed) for seed in (1, 2, 3))
        for name, digest in (
            ("one", self.shared),
            ("two", self.shared),
            ("own", self.alone),
            ("kept", self.pinned),
        ):
            put(pair, TrafficTable(endpoint=name, version=1, stable=digest))

    def client(self, who: str = "service@local") -> ServingClient:
        return ServingClient(self.both.served.url, token=self.both.served.tokens.token_of(who))

    def resident(self) -> set[str]:
        with self.client() as client:
            return {view.digest for view in client.bundles() if view.resident}

    def loads(self) -> float:
        lines = self.both.front.get("/metrics").text.splitlines()
        (line,) = [line for line in lines if line.startswith("mainspring_bundle_loads_total ")]
        return float(line.split()[1])


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    serving = {"bundle_dir": tmp_path / "bundles", "pinned_endpoints": "kept"}
    with native_world.serve(tmp_path, **serving) as (pair, home):
        yield House(pair, home)


def test_its_weights_leave_and_come_back_with_the_first_request(house: House) -> None:
    before = house.both.ask(path("own"), ASKED, {})
    with house.client() as client:
        rested = client.rest("own")
        assert rested.bundles == [house.alone] and rested.freed_bytes > 0
        assert client.rest("own").freed_bytes == 0  # again
        assert house.resident() == {house.shared, house.pinned}
        assert client.endpoint("own").traffic.stable == house.alone
    loads, answers = house.loads(), []

    def ask() -> None:
        answers.append(house.both.front.post(path("own"), content=ASKED))

    asking = [threading.Thread(target=ask) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["predictions"][0]["score"] for answer in answers} == {
        before.json()["predictions"][0]["score"]
    }
    assert house.loads() == loads + 1 and house.alone in house.resident()
    # The front answers for it again.
    seen = house.both.answered_by_the_front()
    assert house.both.ask(path("own"), ASKED, {}).status_code == 200
    assert house.both.answered_by_the_front() == seen + 1


def test_what_another_endpoint_answers_by_stays_and_so_does_what_is_pinned(house: House) -> None:
    with house.client() as client:
        assert client.rest("one").bundles == []
        with pytest.raises(errors.Conflict, match="pinned_endpoints"):
            client.rest("kept")
        with pytest.raises(errors.NotFound):
            client.rest("nowhere")
    assert house.resident() == {house.shared, house.alone, house.pinned}
    with house.client("approver@local") as client, pytest.raises(errors.PermissionDenied):
        client.rest("own")


def test_nobody_is_refused_while_it_rests_again_and_again(house: House) -> None:
    stop, statuses = threading.Event(), []

    def load() -> None:
        with httpx.Client(base_url=house.both.served.url, trust_env=False) as http:
            while not stop.is_set():
                statuses.append(http.post(path("own"), content=ASKED).status_code)

    asking = [threading.Thread(target=load) for _ in range(2)]
    for thread in asking:
        thread.start()
    with house.client() as client:
        for _ in range(20):
            client.rest("own")
            time.sleep(0.02)
    stop.set()
    for thread in asking:
        thread.join()
    assert set(statuses) == {200} and len(statuses) > 40, len(statuses)


def test_a_released_endpoint_answers_nobody_until_it_gets_traffic_again(house: House) -> None:
    """Over the native front and the app alike; what others answer by stays, and its counts do not meet their own past."""
    assert house.both.ask(path("own"), ASKED, {}).status_code == 200
    wrong = EndpointRelease(version=2)
    asked = EndpointRelease(version=1, reason="nobody asks", set_by="run_1")
    with house.client() as client:
        with pytest.raises(errors.Conflict, match="is at version 1, not 2"):
            client.release("own", wrong)
        with pytest.raises(errors.NotFound):
            client.release("nowhere", asked)
        with pytest.raises(errors.NotFound):
            client.release("No slug at all", asked)
        with pytest.raises(errors.Conflict, match="pinned_endpoints"):
            client.release("kept", asked)
        with pytest.raises(errors.NotFound, match="never released"):
            client.released("own")
        put(
            house.both,
            TrafficTable(
                endpoint="two", version=2, stable=house.shared, canary=house.alone, canary_percent=5
            ),
        )
        with pytest.raises(errors.Conflict, match="canary in flight"):
            client.release("two", EndpointRelease(version=2))
        put(house.both, TrafficTable(endpoint="two", version=3, stable=house.shared))
        gone = client.release("own", asked)
        assert (gone.version, gone.bundles, gone.by, gone.reason) == (
            1,
            [house.alone],
            "run_1",
            "nobody asks",
        )
        assert client.release("own", asked) == gone == client.released("own")
        assert house.resident() == {house.shared, house.pinned}
        assert "own" not in [view.endpoint for view in client.endpoints()]
        assert house.both.ask(path("own"), ASKED, {}).status_code == 404
        assert client.release("one", asked).bundles == [house.shared]
        assert house.both.ask(path("two"), ASKED, {}).status_code == 200, "it has the same bundle"
        client.load_bundle(house.alone)
        put(house.both, TrafficTable(endpoint="own", version=2, stable=house.alone))
        assert house.both.ask(path("own"), ASKED, {}).status_code == 200
        (seen,) = client.stats("own").bundles
        assert (seen.requests, client.stats("own").traffic_version) == (2, 2)
    with house.client("approver@local") as client, pytest.raises(errors.PermissionDenied):
        client.release("own", EndpointRelease(version=2))
