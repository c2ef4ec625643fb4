"""One suite over every implementation of `ports.OnlineFeatures`: the same answers, statuses and refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core import errors, ports
from mainspring.core.features import online

PRESENT, NOT_FOUND, OUTSIDE = (int(s) for s in ports.FeatureStatus)
US = 1_000_000

VIEW = ports.ViewSchema(
    name="origin_dep",
    join_keys=("origin",),
    fields=(
        ("delay", "float32"),
        ("exact", "float64"),
        ("count", "int64"),
        ("open", "bool"),
        ("runway", "string"),
    ),
    ttl_seconds=3600,
)
PAIR = ports.ViewSchema("route", ("carrier", "flight"), (("late", "float32"),), None)

Make = Callable[[], ports.OnlineFeatures]


def _memory(_: Path) -> ports.OnlineFeatures:
    return online.OnlineStore()


def _directory(path: Path) -> ports.OnlineFeatures:
    return online.OnlineStore(path / "online")


class Reopened:
    """The store with a directory, closed and opened again before every call: what is on disk answers as memory does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._alone = threading.Lock()  # one process has the directory once

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._alone, online.OnlineStore(self._path) as store:
                return getattr(store, name)(*args, **kwargs)

        return call

    def close(self) -> None:
        """Nothing is open between calls."""


def _reopened(path: Path) -> ports.OnlineFeatures:
    return Reopened(path / "online")


@pytest.fixture(params=[_memory, _directory, _reopened], ids=["memory", "directory", "reopened"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Each call gives an empty store; all are closed at the end."""
    made: list[Any] = []

    def new() -> ports.OnlineFeatures:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(request.param(folder))
        return made[-1]  # type: ignore[no-any-return]

    yield new
    for store in made:
        store.close()


@pytest.fixture
def store(make: Make) -> ports.OnlineFeatures:
    store = make()
    store.register(VIEW)
    store.register(PAIR)
    return store


def push(
    store: ports.OnlineFeatures,
    origins: Sequence[str],
    events: Sequence[int],
    delays: Sequence[Any],
    created: Sequence[int] | None = None,
) -> int:
    n = len(origins)
    return store.upsert(
        "origin_dep",
        {"origin": list(origins)},
        event_us=np.array(events, np.int64),
        created_us=np.array(created if created is not None else events, np.int64),
        columns={
            "delay": list(delays),
            "exact": [0.1] * n,
            "count": [3] * n,
            "open": [True] * n,
            "runway": ["4L"] * n,
        },
    )


def delays(store: ports.OnlineFeatures, origins: Sequence[Any], now_us: int) -> tuple[list[float], list[int]]:
    rows = store.read("origin_dep", {"origin": list(origins)}, now_us=now_us, fields=["delay"])
    return rows.values["delay"].tolist(), rows.status.tolist()


def test_values_types_and_masks_come_back_as_declared(store: ports.OnlineFeatures) -> None:
    assert push(store, ["JFK"], [5 * US], [1.5]) == 1
    rows = store.read("origin_dep", {"origin": ["JFK", "XXX"]}, now_us=6 * US)
    assert {n: a.dtype for n, a in rows.values.items()} == {
        "delay": np.float32, "exact": np.float64, "count": np.int64, "open": np.bool_, "runway": np.object_
    }  # fmt: skip
    assert [a[0] for a in rows.values.values()] == [1.5, 0.1, 3, True, "4L"]
    assert np.isnan(rows.values["delay"][1]) and np.isnan(rows.values["exact"][1])
    assert (rows.values["count"][1], rows.values["open"][1], rows.values["runway"][1]) == (0, False, "")
    assert all(mask.tolist() == [True, False] for mask in rows.valid.values())
    assert rows.status.dtype == np.uint8 and rows.status.tolist() == [PRESENT, NOT_FOUND]
    assert rows.event_us.dtype == np.int64 and rows.event_us.tolist() == [5 * US, 0]


def test_a_null_in_a_present_row_is_told_from_an_absent_row(store: ports.OnlineFeatures) -> None:
    store.upsert(
        "origin_dep", {"origin": ["JFK", "EWR"]}, event_us=np.array([1, 1]), created_us=np.array([1, 1]),
        columns={"delay": [None, 2.0], "exact": [float("nan"), 1.0], "count": [None, 7], "open": [None, False], "runway": [None, ""]},
    )  # fmt: skip
    rows = store.read("origin_dep", {"origin": ["JFK", "EWR"]}, now_us=2)
    assert rows.status.tolist() == [PRESENT, PRESENT]
    assert all(mask.tolist() == [False, True] for mask in rows.valid.values())


def test_order_is_kept_and_duplicates_too(store: ports.OnlineFeatures) -> None:
    push(store, ["JFK", "EWR"], [1, 1], [1.0, 2.0])
    values, status = delays(store, ["EWR", "XXX", "JFK", "EWR"], 1)
    assert status == [PRESENT, NOT_FOUND, PRESENT, PRESENT]
    assert (values[0], values[2], values[3]) == (2.0, 1.0, 2.0)


def test_no_keys_give_no_rows(store: ports.OnlineFeatures) -> None:
    rows = store.read("origin_dep", {"origin": []}, now_us=1)
    assert rows.status.shape == (0,) and rows.values["delay"].shape == (0,)
    assert push(store, [], [], []) == 0


def test_age_of_exactly_the_ttl_is_alive_and_one_microsecond_more_is_not(store: ports.OnlineFeatures) -> None:
    push(store, ["JFK"], [10 * US], [1.0])
    assert delays(store, ["JFK"], 3610 * US) == ([1.0], [PRESENT])
    rows = store.read("origin_dep", {"origin": ["JFK"]}, now_us=3610 * US + 1)
    assert rows.status.tolist() == [OUTSIDE] and np.isnan(rows.values["delay"][0])
    assert not rows.valid["delay"][0] and rows.event_us.tolist() == [10 * US]  # its age can still be told


def test_a_view_without_ttl_never_ages(store: ports.OnlineFeatures) -> None:
    store.upsert(
        "route",
        {"carrier": ["UA"], "flight": [15]},
        event_us=np.array([1]),
        created_us=np.array([1]),
        columns={"late": [0.5]},
    )
    rows = store.read("route", {"carrier": ["UA"], "flight": [15]}, now_us=2**62)
    assert rows.status.tolist() == [PRESENT] and rows.values["late"].tolist() == [0.5]


def test_a_row_from_the_future_is_not_found(store: ports.OnlineFeatures) -> None:
    push(store, ["JFK"], [10 * US], [1.0])
    assert delays(store, ["JFK"], 10 * US - 1)[1] == [NOT_FOUND]
    assert delays(store, ["JFK"], 10 * US)[1] == [PRESENT]


def test_an_older_push_never_overwrites(store: ports.OnlineFeatures) -> None:
    assert push(store, ["JFK"], [10], [1.0], created=[20]) == 1
    assert push(store, ["JFK"], [9], [2.0], created=[99]) == 0
    assert push(store, ["JFK"], [10], [3.0], created=[19]) == 0
    assert delays(store, ["JFK"], 100)[0] == [1.0]
    assert push(store, ["JFK"], [10], [4.0], created=[21]) == 1  # a correction of the same event
    assert delays(store, ["JFK"], 100)[0] == [4.0]


def test_a_repeated_push_changes_nothing(store: ports.OnlineFeatures) -> None:
    for _ in range(3):
        assert push(store, ["JFK", "EWR"], [10, 11], [1.0, 2.0]) == 2
    assert delays(store, ["JFK", "EWR"], 100)[0] == [1.0, 2.0]


def test_one_batch_with_many_rows_of_a_key_keeps_the_newest(store: ports.OnlineFeatures) -> None:
    assert push(store, ["JFK", "JFK", "EWR", "JFK"], [5, 9, 1, 7], [5.0, 9.0, 1.0, 7.0]) == 2
    assert delays(store, ["JFK", "EWR"], 10)[0] == [9.0, 1.0]


def test_many_keys_grow_the_table(store: ports.OnlineFeatures) -> None:
    names = [f"A{i}" for i in range(1000)]
    assert push(store, names, list(range(1000)), list(range(1000))) == 1000
    values, status = delays(store, [*names, "A1000"], 1000)
    assert values[:1000] == list(range(1000)) and status == [PRESENT] * 1000 + [NOT_FOUND]


def test_keys_of_several_columns_and_types(store: ports.OnlineFeatures) -> None:
    store.upsert(
        "route", {"carrier": ["UA", "UA", "AA"], "flight": np.array([1, 2, 1])},  # type: ignore[dict-item]
        event_us=np.array([1, 1, 1]), created_us=np.array([1, 1, 1]), columns={"late": np.array([0.1, 0.2, 0.3], np.float32)},  # type: ignore[dict-item]
    )  # fmt: skip
    rows = store.read("route", {"flight": [1, 2, 2], "carrier": ["AA", "UA", "AA"]}, now_us=5)
    assert rows.status.tolist() == [PRESENT, PRESENT, NOT_FOUND]
    assert rows.values["late"][:2].tolist() == [np.float32(0.3), np.float32(0.2)]


def test_a_null_key_is_not_found(store: ports.OnlineFeatures) -> None:
    push(store, ["JFK"], [1], [1.0])
    assert delays(store, [None, "JFK"], 5)[1] == [NOT_FOUND, PRESENT]
    assert delays(store, [None], 5)[1] == [NOT_FOUND]


def test_what_was_pushed_and_what_was_read_are_copies(store: ports.OnlineFeatures) -> None:
    late = np.array([0.5], np.float32)
    store.upsert(
        "route",
        {"carrier": ["UA"], "flight": [1]},
        event_us=np.array([1]),
        created_us=np.array([1]),
        columns={"late": late},
    )  # type: ignore[dict-item]
    late[0] = 9.0
    rows = store.read("route", {"carrier": ["UA"], "flight": [1]}, now_us=5)
    rows.values["late"][0] = 7.0
    assert store.read("route", {"carrier": ["UA"], "flight": [1]}, now_us=5).values["late"].tolist() == [0.5]


def test_registering_again_is_no_change_and_another_schema_is_a_conflict(store: ports.OnlineFeatures) -> None:
    push(store, ["JFK"], [1], [1.0])
    store.register(VIEW)
    assert delays(store, ["JFK"], 1)[0] == [1.0]
    assert store.views() == (VIEW, PAIR)
    with pytest.raises(errors.Conflict, match="`origin_dep`"):
        store.register(ports.ViewSchema("origin_dep", ("origin",), (("delay", "float32"),), 3600))
    assert store.views() == (VIEW, PAIR)


@pytest.mark.parametrize(
    "view",
    [
        ports.ViewSchema("", ("k",), (("f", "float32"),), None),
        ports.ViewSchema("v", (), (("f", "float32"),), None),
        ports.ViewSchema("v", ("k",), (), None),
        ports.ViewSchema("v", ("k",), (("k", "float32"),), None),
        ports.ViewSchema("v", ("k",), (("f", "int8"),), None),  # type: ignore[arg-type]
        ports.ViewSchema("v", ("k",), (("f", "float32"),), 0),
        ports.ViewSchema("v", ("k",), (("f", "float32"),), float("nan")),
    ],
)
def test_a_view_that_means_nothing_is_refused(store: ports.OnlineFeatures, view: ports.ViewSchema) -> None:
    with pytest.raises(errors.InvalidRequest):
        store.register(view)
    assert len(store.views()) == 2


def test_unknown_names_come_back_with_close_ones(store: ports.OnlineFeatures) -> None:
    with pytest.raises(errors.NotFound) as view:
        store.read("origin_depp", {"origin": ["JFK"]}, now_us=1)
    assert view.value.did_you_mean == ("origin_dep",)
    with pytest.raises(errors.NotFound) as field:
        store.read("origin_dep", {"origin": ["JFK"]}, now_us=1, fields=["dealy"])
    assert field.value.did_you_mean == ("delay",)
    with pytest.raises(errors.NotFound):
        store.upsert(
            "nothing", {}, event_us=np.array([], np.int64), created_us=np.array([], np.int64), columns={}
        )


_GOOD = {
    "delay": [1.0, 2.0],
    "exact": [1.0, 2.0],
    "count": [1, 2],
    "open": [True, False],
    "runway": ["a", "b"],
}
_TIMES = np.array([50, 50], np.int64)


@pytest.mark.parametrize(
    ("feature", "keys", "event_us", "columns"),
    [
        ("origin", {}, _TIMES, _GOOD),
        ("dest", {"origin": ["a", "b"], "dest": ["a", "b"]}, _TIMES, _GOOD),
        ("origin", {"origin": ["JFK", None]}, _TIMES, _GOOD),
        ("origin", {"origin": ["JFK", 3]}, _TIMES, _GOOD),
        ("origin", {"origin": [1.5, 2.5]}, _TIMES, _GOOD),
        ("origin", {"origin": [True, False]}, _TIMES, _GOOD),
        ("origin", {"origin": [2**70, 1]}, _TIMES, _GOOD),
        ("event_us", {"origin": ["JFK", "LGA"]}, np.array([50]), _GOOD),
        ("event_us", {"origin": ["JFK", "LGA"]}, np.array([50.0, 51.0]), _GOOD),
        ("event_us", {"origin": ["JFK", "LGA"]}, np.array([50, -1]), _GOOD),
        ("delay", {"origin": ["JFK", "LGA"]}, _TIMES, {n: v for n, v in _GOOD.items() if n != "delay"}),
        ("late", {"origin": ["JFK", "LGA"]}, _TIMES, {**_GOOD, "late": [1, 2]}),
        ("delay", {"origin": ["JFK", "LGA"]}, _TIMES, {**_GOOD, "delay": [1.0]}),
        ("delay", {"origin": ["JFK", "LGA"]}, _TIMES, {**_GOOD, "delay": [1.0, "2"]}),
        ("delay", {"origin": ["JFK", "LGA"]}, _TIMES, {**_GOOD, "delay": [1.0, True]}),
        ("count", {"origin": ["JFK", "LGA"]}, _TIMES, {**_GOOD, "count": [1, 2.5]}),
        ("count", {"origin": ["JFK", "LGA"]}, _TIMES, {**_GOOD, "count": [1, 2**70]}),
        ("open", {"origin": ["JFK", "LGA"]}, _TIMES, {**_GOOD, "open": [True, 1]}),
        ("runway", {"origin": ["JFK", "LGA"]}, _TIMES, {**_GOOD, "runway": ["a", 4]}),
    ],
)
def test_a_wrong_batch_is_refused_by_name_and_nothing_of_it_is_kept(
    store: ports.OnlineFeatures, feature: str, keys: Any, event_us: Any, columns: Any
) -> None:
    push(store, ["JFK"], [10], [1.0])
    with pytest.raises(errors.SchemaMismatch) as caught:
        store.upsert("origin_dep", keys, event_us=event_us, created_us=_TIMES, columns=columns)
    assert caught.value.feature == feature
    assert delays(store, ["JFK", "LGA"], 100) == (
        [1.0, pytest.approx(np.nan, nan_ok=True)],
        [PRESENT, NOT_FOUND],
    )


def test_a_key_of_another_type_than_the_rows_is_refused(store: ports.OnlineFeatures) -> None:
    keys: dict[str, Any] = {"carrier": ["UA"], "flight": [15]}
    store.upsert("route", keys, event_us=np.array([1]), created_us=np.array([1]), columns={"late": [0.5]})
    with pytest.raises(errors.SchemaMismatch) as read:
        store.read("route", {"carrier": ["UA"], "flight": ["15"]}, now_us=5)
    assert (read.value.feature, read.value.expected, read.value.got) == ("flight", "int64", "string")
    with pytest.raises(errors.SchemaMismatch):
        store.upsert(
            "route",
            {"carrier": ["UA"], "flight": ["15"]},
            event_us=np.array([1]),
            created_us=np.array([1]),
            columns={"late": [0.5]},
        )


def test_readers_never_see_half_a_row_or_half_a_batch(make: Make) -> None:
    view = ports.ViewSchema("v", ("k",), (("a", "float64"), ("b", "float64")), None)
    store = make()
    store.register(view)
    keys, rounds = ["x", "y", "z"], 60
    torn: list[Any] = []
    stop = threading.Event()

    def write(sign: float) -> None:
        for i in range(1, rounds):
            value = [sign * i] * 3
            times = np.full(3, i, np.int64)
            store.upsert("v", {"k": keys}, event_us=times, created_us=times, columns={"a": value, "b": value})

    def read() -> None:
        while not stop.is_set():
            rows = store.read("v", {"k": keys}, now_us=rounds)
            seen = (
                {*rows.values["a"].tolist(), *rows.values["b"].tolist()}
                if rows.status[0] == PRESENT
                else {0.0}
            )
            if len(seen) != 1 or len(set(rows.event_us.tolist())) != 1:
                torn.append(rows)

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(sign,)) for sign in (1.0, -1.0)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not torn
    assert store.read("v", {"k": keys}, now_us=rounds).event_us.tolist() == [rounds - 1] * 3


ROW = st.tuples(st.sampled_from("abc"), st.integers(0, 12), st.integers(0, 3), st.integers(0, 99))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(ROW, max_size=6), max_size=6), st.integers(0, 30), st.sampled_from([None, 4]))
def test_random_pushes_answer_as_a_plain_dict_does(
    make: Make, batches: list[Any], now: int, ttl: int | None
) -> None:
    store = make()
    store.register(ports.ViewSchema("v", ("k",), (("x", "float32"),), ttl))
    model: dict[str, tuple[int, int, int]] = {}
    for batch in batches:
        touched: set[str] = set()
        for key, event, created, value in batch:
            if key not in model or (event, created) >= model[key][:2]:
                model[key] = (event, created, value)
                touched.add(key)
        accepted = store.upsert(
            "v", {"k": [r[0] for r in batch]}, event_us=np.array([r[1] * US for r in batch], np.int64),
            created_us=np.array([r[2] for r in batch], np.int64), columns={"x": [float(r[3]) for r in batch]},
        )  # fmt: skip
        assert accepted == len(touched)
    rows = store.read("v", {"k": list("abcd")}, now_us=now * US)
    for i, key in enumerate("abcd"):
        event, _, value = model.get(key, (10**6, 0, 0))
        want = NOT_FOUND if event > now else OUTSIDE if ttl is not None and now - event > ttl else PRESENT
        assert rows.status[i] == want
        assert rows.values["x"][i] == value if want == PRESENT else np.isnan(rows.values["x"][i])
