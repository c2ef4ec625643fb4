"""The response cache: what makes two answers the same, what it holds, and what statistics make of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_access_world as access_world
import serving_world as world
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mainspring.core.contracts.deployment import TrafficTable
from mainspring.serving.access import callers
from mainspring.serving.response_cache import ENTRY_BYTES, ResponseCache, key_of

A, B = ("sha256:" + c * 64 for c in "ab")
WHO = callers.ANONYMOUS


def scores(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def text(*values: str | None) -> NDArray[Any]:
    return np.array(values, object)


def test_what_is_kept_is_answered_and_cannot_be_changed() -> None:
    cache, given_scores = ResponseCache(10_000), scores(0.25, 0.5)
    assert cache.get(b"k") is None
    cache.put(b"k", given_scores)
    given_scores[:] = 9
    found = cache.get(b"k")
    assert found is not None and found.tolist() == [0.25, 0.5]
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
    assert (cache.counts.hits, cache.counts.misses) == (1, 1)


def test_the_budget_holds_and_the_longest_unused_go_first() -> None:
    cache = ResponseCache(3 * (ENTRY_BYTES + 4))
    for key in (b"a", b"b", b"c"):
        cache.put(key, scores(1))
    assert cache.get(b"a") is not None
    cache.put(b"d", scores(1))
    assert [cache.get(k) is not None for k in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    cache.put(b"d", scores(1))
    assert (cache.held_bytes, cache.counts.evicted) == (3 * (ENTRY_BYTES + 4), 1)
    cache.put(b"large", np.zeros(10_000, np.float32))
    assert cache.get(b"large") is None and cache.counts.evicted == 1
    wide = np.zeros((2 * ENTRY_BYTES) // 4, np.float32)
    cache.put(b"wide", wide)
    assert cache.get(b"wide") is not None
    assert cache.held_bytes <= 3 * (ENTRY_BYTES + 4)


def test_threads_never_exceed_the_budget_or_see_anothers_scores() -> None:
    budget = 20 * (ENTRY_BYTES + 4)
    cache, wrong = ResponseCache(budget), []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for n in rng.integers(0, 60, size=2000).tolist():
            found = cache.get(b"%d" % n)
            if found is None:
                cache.put(b"%d" % n, scores(n))
            elif found[0] != n:
                wrong.append(n)
            if cache.held_bytes > budget:
                wrong.append(-1)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.counts.hits + cache.counts.misses == 8000


@pytest.mark.parametrize(
    "other",
    [
        {"x": scores(1.0, 2.5), "s": text("a", None)},
        {"x": scores(1.0, 2.0), "s": text("a", "None")},
        {"x": scores(1.0, 2.0), "s": text("a", "")},
        {"x": scores(1.0, 2.0), "s": text("a', None, 'b", None)},
        {"x": scores(1.0, 2.0).astype(np.float64), "s": text("a", None)},
        {"x": scores(1.0, 2.0), "t": text("a", None)},
        {"x": scores(1.0), "s": text("a")},
        {"x": scores(1.0, 2.0)},
        {"s": scores(1.0, 2.0), "x": text("a", None)},
    ],
)
def test_other_inputs_have_another_key(other: dict[str, NDArray[Any]]) -> None:
    inputs = {"x": scores(1.0, 2.0), "s": text("a", None)}
    assert key_of(A, inputs, WHO) == key_of(A, dict(reversed(inputs.items())), WHO)
    assert key_of(A, inputs, WHO) != key_of(A, other, WHO)


def test_bundles_and_permissions_are_kept_apart() -> None:
    inputs = {"x": scores(np.nan), "s": text("\ud800")}
    who = [
        callers.Caller("a", frozenset({"predict"})),
        callers.Caller("a", frozenset({"predict", "read"})),
        callers.Caller("a", frozenset({"predict"}), "shop"),
    ]
    keys = {key_of(digest, inputs, caller) for digest in (A, B) for caller in who}
    assert len(keys) == 6
    assert key_of(A, inputs, callers.Caller("b", frozenset({"predict"}))) == key_of(A, inputs, who[0])


@given(st.lists(st.text() | st.none(), min_size=1), st.lists(st.text() | st.none(), min_size=1))
def test_texts_have_one_key_only_if_they_are_the_same(a: list[str | None], b: list[str | None]) -> None:
    same = key_of(A, {"s": np.array(a, object)}, WHO) == key_of(A, {"s": np.array(b, object)}, WHO)
    assert same == (a == b)


class Asked:
    """A house with a cache, and what its bundles were asked."""

    def __init__(self, house: access_world.House) -> None:
        self.house = house

    def predict(self, key: str = "", **changes: Any) -> dict[str, Any]:
        body = {"entities": [world.entity(**{"distance": -1.0, **changes})], "as_of": world.AS_OF}
        answer = self.house.ask(access_world.PREDICT, body, key)
        assert answer.status_code == 200, answer.text
        return {k: v for k, v in answer.json().items() if k != "request_id"}

    def metric(self, name: str) -> float:
        lines = httpx.get(self.house.served.url + "/metrics", trust_env=False).text.splitlines()
        return float(
            next(line.split()[1] for line in lines if line.startswith(f"mainspring_response_cache_{name} "))
        )


@pytest.mark.integration
@pytest.mark.parametrize("way", world.WAYS)
def test_the_same_question_is_computed_once_and_a_fresh_feature_is_another(tmp_path: Path, way: str) -> None:
    bundle = world.World()
    more = {"response_cache_bytes": 1 << 20, **world.WAYS[way]}
    with access_world.opened(tmp_path, bundle, **more) as house:
        house.take(TrafficTable(endpoint="flights", version=1, stable=bundle.digest), bundle)
        asked = Asked(house)
        first = asked.predict()
        assert asked.predict() == first
        assert bundle.calls.count("prepare") == 1
        assert (asked.metric("hits_total"), asked.metric("misses_total")) == (1, 1)
        assert asked.metric("bytes") == ENTRY_BYTES + 4
        asked.predict(house.key("team", "predict"))
        assert bundle.calls.count("prepare") == 2, "of other permissions"
        now = np.array([world.NOW_US], np.int64)
        house.served.online.upsert(
            "origin_stats",
            {"origin": ["JFK"]},
            event_us=now,
            created_us=now,
            columns={"mean_delay": [-3.5], "weather": ["fog"]},
        )
        assert asked.predict()["predictions"][0]["score"] != first["predictions"][0]["score"]
        assert bundle.calls.count("prepare") == 3
        (seen,) = house.http.get("/v1/endpoints/flights/stats").json()["bundles"]
        assert (seen["requests"], seen["rows"]) == (4, 4), "a hit is a request"


@pytest.mark.integration
def test_two_bundles_never_answer_for_each_other_and_hits_have_no_latency(tmp_path: Path) -> None:
    stable = world.World()
    canary = world.World(name="canary", function=lambda b: world.linear(b) / 2)
    with access_world.opened(tmp_path, stable, canary, response_cache_bytes=1 << 20, front="off") as house:
        table = TrafficTable(endpoint="flights", version=1, stable=stable.digest)
        house.take(table, stable, canary)
        asked = Asked(house)
        whole = asked.predict()["predictions"][0]["score"]
        taken = {"canary": canary.digest, "canary_percent": 100, "version": 2}
        house.take(table.model_copy(update=taken))
        answers = [asked.predict()["predictions"][0]["score"] for _ in range(3)]
        assert answers == [pytest.approx(whole / 2)] * 3
        house.take(table.model_copy(update={"version": 3}))
        assert asked.predict()["predictions"][0]["score"] == whole
        (seen,) = house.http.get("/v1/endpoints/flights/stats").json()["bundles"]
        assert (seen["requests"], seen["latency_p95_ms"]) == (1, 0.0), "nothing was computed under this table"
