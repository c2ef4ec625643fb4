"""Traffic tables: versions, atomic documents, sticky shares."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.core.contracts.deployment import EndpointReleased, TrafficTable
from mainspring.serving import bundles, native_endpoints, traffic

A, B, C = ("sha256:" + c * 64 for c in "abc")


def table(version: int = 1, **changes: object) -> TrafficTable:
    return TrafficTable.model_validate(
        {"endpoint": "flight-delay", "version": version, "stable": A, **changes}
    )


def test_a_table_survives_a_restart(tmp_path: Path) -> None:
    traffic.TrafficStore(tmp_path).apply(table(canary=B, canary_percent=5))
    assert traffic.TrafficStore(tmp_path).table("flight-delay") == table(canary=B, canary_percent=5)


def test_versions_go_up_by_one(tmp_path: Path) -> None:
    store = traffic.TrafficStore(tmp_path)
    with pytest.raises(errors.Conflict, match="at version 0, got version 2"):
        store.apply(table(2))
    store.apply(table(1))
    store.apply(table(2, canary=B, canary_percent=5))
    with pytest.raises(errors.Conflict, match="at version 2, got version 4;.*send version 3"):
        store.apply(table(4))
    with pytest.raises(errors.Conflict, match="at version 2, got version 1"):
        store.apply(table(1))
    assert store.table("flight-delay").version == 2


def test_an_identical_repeat_changes_nothing_and_a_different_one_is_refused(tmp_path: Path) -> None:
    store = traffic.TrafficStore(tmp_path)
    store.apply(table(1))
    written = (tmp_path / "flight-delay.json").stat().st_mtime_ns
    assert store.apply(table(1)) == table(1)
    assert (tmp_path / "flight-delay.json").stat().st_mtime_ns == written
    with pytest.raises(errors.Conflict, match="with other content"):
        store.apply(table(1, shadow=C))


def test_of_two_racing_changes_one_wins(tmp_path: Path) -> None:
    store = traffic.TrafficStore(tmp_path)
    store.apply(table(1))
    outcomes: list[str] = []
    gate = threading.Barrier(8)

    def change(i: int) -> None:
        gate.wait()
        try:
            store.apply(table(2, set_by=f"run-{i}"))
            outcomes.append("applied")
        except errors.Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=change, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(outcomes) == ["applied"] + ["conflict"] * 7
    assert traffic.TrafficStore(tmp_path).table("flight-delay") == store.table("flight-delay")


def test_a_torn_write_leaves_the_table_in_force(tmp_path: Path) -> None:
    traffic.TrafficStore(tmp_path).apply(table(1))
    (tmp_path / "flight-delay.json.new").write_text('{"endpoint": "fli')
    assert traffic.TrafficStore(tmp_path).table("flight-delay") == table(1)
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("text", ["", "{", '{"endpoint": "flight-delay", "version": 0, "stable": "x"}'])
def test_a_corrupt_document_stops_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "flight-delay.json").write_text(text)
    with pytest.raises(
        errors.Misconfigured, match="`flight-delay.json` cannot be read.*; restore it or remove"
    ):
        traffic.TrafficStore(tmp_path)


def test_a_document_under_a_wrong_name_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(table(1).model_dump_json())
    with pytest.raises(errors.Misconfigured, match="name it `flight-delay.json`"):
        traffic.TrafficStore(tmp_path)


def test_an_unknown_endpoint_names_the_nearest(tmp_path: Path) -> None:
    store = traffic.TrafficStore(tmp_path)
    with pytest.raises(errors.NotFound, match="none has traffic yet"):
        store.table("flight-delay")
    store.apply(table(1))
    with pytest.raises(errors.NotFound, match="did you mean `flight-delay`") as caught:
        store.table("flight-delya")
    assert caught.value.did_you_mean == ("flight-delay",)


def released(version: int, **changes: object) -> EndpointReleased:
    return EndpointReleased.model_validate({"endpoint": "flight-delay", "version": version, **changes})


def test_what_is_released_is_gone_and_its_versions_go_on(tmp_path: Path) -> None:
    store = traffic.TrafficStore(tmp_path)
    with pytest.raises(errors.NotFound):
        store.release(released(1))
    store.apply(table(1))
    store.apply(table(2, stable=B))
    with pytest.raises(errors.Conflict, match="is at version 2, not 1; look at it again"):
        store.release(released(1))
    assert store.has("flight-delay") and store.released("flight-delay") is None
    first = store.release(released(2, by="eva"))
    assert store.release(released(2, by="kim")) == first, "again is no change"
    assert not store.has("flight-delay") and store.tables() == []
    later = traffic.TrafficStore(tmp_path)
    assert later.tables() == [] and later.released("flight-delay") == first
    with pytest.raises(errors.Conflict, match="at version 2, got version 1;.*send version 3"):
        later.apply(table(1))
    assert later.apply(table(3)).version == 3
    assert later.release(released(3)).version == 3
    assert later.released("../flight-delay") is None


def test_a_follower_sees_that_an_endpoint_was_released_and_came_back(tmp_path: Path) -> None:
    store, follower = traffic.TrafficStore(tmp_path), traffic.TrafficStore(tmp_path, follows=True)
    store.apply(table(1))
    assert follower.has("flight-delay")
    with pytest.raises(errors.Conflict):
        follower.release(released(1))
    store.release(released(1))
    assert not follower.has("flight-delay") and follower.tables() == []
    store.apply(table(2))
    assert [t.version for t in follower.tables()] == [2]
    store.release(released(2))
    assert not follower.leads_to(A, endpoints=frozenset({"flight-delay"}))
    (tmp_path / "released" / "flight-delay.json").write_text("{")
    with pytest.raises(errors.Misconfigured, match="remove it if the endpoint is new"):
        store.apply(table(3))


@given(st.text(), st.integers(1, 99))
def test_a_route_is_sticky_and_a_growing_share_keeps_its_keys(key: str, percent: int) -> None:
    small = traffic.route(table(canary=B, canary_percent=percent), key)
    assert small == traffic.route(table(9, canary=B, canary_percent=percent), key)
    if small == (B, "canary"):
        assert traffic.route(table(canary=B, canary_percent=percent + 1), key) == (B, "canary")


@given(st.text())
def test_all_or_nothing_shares(key: str) -> None:
    assert traffic.route(table(), key) == (A, "stable")
    assert traffic.route(table(canary=B, canary_percent=100), key) == (B, "canary")


@given(st.integers(1, 99), st.integers(0, 10**9))
def test_the_share_is_what_the_table_says(percent: int, salt: int) -> None:
    t, n = table(canary=B, canary_percent=percent), 4000
    hits = sum(traffic.route(t, f"{salt}/{i}")[1] == "canary" for i in range(n))
    p = percent / 100
    # Six standard deviations: about 1 in 5e8 runs of a fair hash would fail.
    assert abs(hits - n * p) <= 6 * (n * p * (1 - p)) ** 0.5 + 1


def test_two_endpoints_do_not_pick_the_same_keys() -> None:
    one = table(canary=B, canary_percent=50)
    two = table(canary=B, canary_percent=50, endpoint="other-delay")
    same = sum(traffic.route(one, str(i)) == traffic.route(two, str(i)) for i in range(4000))
    assert 1800 < same < 2200


def test_a_follower_has_a_change_as_soon_as_it_was_answered(tmp_path: Path) -> None:
    follower = traffic.TrafficStore(tmp_path, follows=True)
    assert not follower.has("flight-delay") and not follower.tables()
    writer = traffic.TrafficStore(tmp_path)
    for version in range(1, 200):
        canary = {"canary": B, "canary_percent": 5} if version % 2 else {}
        applied = writer.apply(table(version, **canary))
        assert follower.table("flight-delay") == applied
    assert follower.leads_to(B, endpoints=frozenset({"flight-delay"}))
    assert follower.tables() == writer.tables()
    with pytest.raises(errors.Conflict, match="follows the traffic of another one"):
        follower.apply(table(200))


@pytest.mark.parametrize("name", ["../secret", "a/b", "", "..", "flight-delay\0", "x" * 300])
def test_a_callers_name_is_no_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.json").write_text(table().model_dump_json())
    follower = traffic.TrafficStore(tmp_path / "traffic", follows=True)
    assert not follower.has(name)
    with pytest.raises(errors.NotFound):
        follower.table(name)


def test_a_follower_goes_on_with_what_it_read(tmp_path: Path) -> None:
    writer = traffic.TrafficStore(tmp_path)
    writer.apply(table())
    follower = traffic.TrafficStore(tmp_path, follows=True)
    (tmp_path / "flight-delay.json").unlink()
    assert follower.table("flight-delay") == table()
    (tmp_path / "flight-delay.json").write_text("{")
    with pytest.raises(errors.Misconfigured, match="cannot be read"):
        follower.table("flight-delay")


def test_where_scores_are_counted_the_app_answers_and_not_the_native_front() -> None:
    looked_up: list[str] = []

    class Shelf:
        def is_resident(self, digest: str) -> bool:
            looked_up.append(digest)
            return False

    shelf = cast(bundles.BundleShelf, Shelf())
    for version, counts in ((1, True), (2, False)):
        one = table(version).model_copy(update={"counts_scores": counts})
        assert native_endpoints.endpoint(one, shelf, {}, max_rows=10, infers=False) is None
        assert bool(looked_up) is not counts
