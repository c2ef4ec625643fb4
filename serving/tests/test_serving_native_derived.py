"""Predictions whose request-time features are declared: the native front makes them with the app's bits, or leaves them to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import hypothesis
import numpy as np
import pytest
import serving_native_world as native_world
import serving_world as world
from hypothesis import strategies as st
from serving_both import Both
from serving_native_world import body, path, put

from mainspring.core.contracts.deployment import TrafficTable

pytestmark = pytest.mark.integration

END_US: Final = 4_102_444_800_000_000
E = world.entity


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with native_world.serve(tmp_path_factory.mktemp("derived")) as (pair, home):
        put(pair, TrafficTable(endpoint="flights", version=1, stable=native_world.write_declared(home)))
        yield pair


def ask(both: Both, asked: bytes) -> bool:
    """Whether the front answers; the answer is the app's to the byte."""
    before = both.answered_by_the_front()
    answer = both.ask(path("flights"), asked, {})
    assert answer.status_code == 200, answer.text
    return both.answered_by_the_front() == before + 1


@pytest.mark.parametrize(
    ("asked", "is_the_fronts"),
    [
        ({"entities": [E()]}, True),
        ({"entities": [E(), E(origin="LGA", distance=None), E(carrier=None, dep_us=0), E(dep_us=END_US - 1)]}, True),
        ({"entities": [E()], "overrides": {"dep_us": 7, "distance": 0.1}}, True),
        ({"entities": [E()] * 3, "overrides": {"flight_stats__mean_delay": 0.1, "origin_stats__mean_delay": None}}, True),
        ({"entities": [E()], "overrides": {"hour_sin": 0.25, "weekday": 6, "spread": None}}, True),
        ({"entities": [E()], "overrides": {"distance": 1e-40, "pace": 3e38}}, True),
        ({"rows": [{"hour_sin": 1, "spread": 2, "pace": None, "distance": 4, "flight_stats__mean_delay": 5, "weekday": 2,
                    "carrier": "UA"}]}, True),
        # Clocks are known to it from 1970 to 2099.
        ({"entities": [E(dep_us=-1)]}, False),
        ({"entities": [E(), E(dep_us=END_US)]}, False),
        ({"entities": [E()], "overrides": {"dep_us": -(2**63)}}, False),
    ],
)  # fmt: skip
def test_what_is_declared_is_made_by_the_front(
    both: Both, asked: dict[str, Any], is_the_fronts: bool
) -> None:
    assert ask(both, body(as_of=world.AS_OF, **asked)) is is_the_fronts


def test_what_is_derived_counts(both: Both) -> None:
    """Scores move with each column that something is derived of, and with what is derived."""

    def score(entity: dict[str, Any], **overrides: Any) -> float:
        asked = body(entities=[entity], as_of=world.AS_OF, overrides=overrides)
        return float(both.front.post(path("flights"), content=asked).json()["predictions"][0]["score"])

    before, scores = both.answered_by_the_front(), [score(E())]
    scores += [score(E(dep_us=world.NOW_US + 5 * world.HOUR_US)), score(E(distance=7.0))]
    changes = {"hour_sin": 50, "weekday": 2, "spread": 90, "pace": -80, "distance": 60}
    changes |= {"flight_stats__mean_delay": 40, "origin_stats__mean_delay": -30}
    scores += [score(E(), **{name: value}) for name, value in changes.items()]
    assert len(set(scores)) == len(scores) == both.answered_by_the_front() - before


floats = st.one_of(
    st.none(),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e-45, 3e38, 0.1]),
)
times = st.one_of(
    st.integers(0, END_US - 1), st.sampled_from([0, END_US - 1, world.NOW_US, -1, END_US, 2**63 - 1])
)
OVERRIDES: Final = {
    "dep_us": times,
    "weekday": st.integers(-3, 9),
    **dict.fromkeys(("distance", "hour_sin", "spread", "pace", "origin_stats__mean_delay"), floats),
    "flight_stats__mean_delay": st.one_of(floats, st.floats(-1e38, 1e38)),
}


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(data=st.data())
def test_every_value_is_derived_alike(both: Both, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 4))
    at = np.full(n, world.NOW_US - 1)
    both.served.online.upsert(
        "origin_stats", {"origin": [f"d{i}" for i in range(n)]}, event_us=at, created_us=at,
        columns={
            "mean_delay": np.array([data.draw(st.floats(width=32)) for _ in range(n)], np.float32),
            "weather": ["fog"] * n,
        },
    )  # fmt: skip
    both.served.online.upsert(
        "flight_stats", {"carrier": ["Y"] * n, "flight": range(n)}, event_us=at, created_us=at,
        columns={"mean_delay": [data.draw(st.one_of(st.none(), st.floats(allow_nan=False))) for _ in range(n)]},
    )  # fmt: skip
    entities = [
        E(origin=f"d{i}", carrier="Y", flight=i, dep_us=data.draw(times), distance=data.draw(floats))
        for i in range(n)
    ]
    chosen = data.draw(st.lists(st.sampled_from([*OVERRIDES]), unique=True, max_size=3))
    overrides = {name: data.draw(OVERRIDES[name]) for name in chosen}
    asked = {"entities": entities, "as_of": world.AS_OF, "overrides": overrides}
    before = both.answered_by_the_front()
    answer = both.ask(path("flights"), json.dumps(asked).encode(), {})
    is_known = 0 <= overrides.get("dep_us", 0) < END_US and (
        "dep_us" in overrides or all(0 <= e["dep_us"] < END_US for e in entities)
    )
    if answer.status_code == 200:
        assert (both.answered_by_the_front() == before + 1) is is_known
