"""The shelf of bundles: its budget of memory, who makes room, who comes back, and what a failed load leaves."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import serving_world as world

from mainspring.core import errors
from mainspring.core.features import online
from mainspring.serving import bundles


def bundle(name: str, memory_bytes: int = 100) -> world.World:
    service = world.SERVICE.model_copy(update={"name": f"service-of-{name}"})
    return world.World(name=name, memory_bytes=memory_bytes, feature_service=service)


A, B, C, D = (bundle(name) for name in "abcd")


@dataclasses.dataclass
class Shelf:
    loader: world.DictLoader
    shelf: bundles.BundleShelf

    def resident(self) -> str:
        return "".join(view.name for view in self.shelf.views() if view.resident)


def shelf(
    *worlds: world.World, budget: int = 0, pinned: Callable[[str], bool] = lambda digest: False
) -> Shelf:
    loader = world.DictLoader({w.digest: w for w in worlds})
    return Shelf(
        loader,
        bundles.BundleShelf(loader, online.OnlineStore(), budget_bytes=budget, is_pinned=pinned),
    )


def test_without_a_budget_all_stay() -> None:
    it = shelf(A, B, C, D)
    for one in (A, B, C, D):
        it.shelf.load(one.digest)
    assert it.resident() == "abcd"
    assert it.shelf.memory_bytes == 400
    assert it.shelf.counts == bundles.ShelfCounts(loads=4, let_go=0)


def test_whoever_was_asked_longest_ago_makes_room() -> None:
    it = shelf(A, B, C, D, budget=300)
    for one in (A, B, C):
        it.shelf.load(one.digest)
    it.shelf.get(A.digest)
    it.shelf.load(D.digest)
    assert it.resident() == "acd"
    it.shelf.get(C.digest)
    it.shelf.get(B.digest)  # comes back, and A goes: it was asked before D came
    assert it.resident() == "bcd"
    assert it.shelf.memory_bytes == 300
    assert it.shelf.counts == bundles.ShelfCounts(loads=5, let_go=2)
    assert [w.name for d in it.loader.loads for w in (A, B, C, D) if w.digest == d] == list("abcdb")


def test_as_many_make_room_as_must() -> None:
    big = bundle("big", 250)
    it = shelf(A, B, C, big, budget=300)
    for one in (A, B, C):
        it.shelf.load(one.digest)
    it.shelf.load(big.digest)
    assert it.resident() == "big"
    it.shelf.get(A.digest)
    assert it.resident() == "a"


def test_what_is_pinned_stays() -> None:
    it = shelf(A, B, C, budget=200, pinned=lambda digest: digest == A.digest)
    for one in (A, B, C):
        it.shelf.load(one.digest)
    assert it.resident() == "ac"
    it.shelf.get(B.digest)
    assert it.resident() == "ab"


def test_what_does_not_fit_beside_the_pinned_is_refused_and_nobody_goes() -> None:
    big = bundle("big", 150)
    it = shelf(A, B, big, budget=200, pinned=lambda digest: digest == A.digest)
    it.shelf.load(A.digest)
    it.shelf.load(B.digest)
    with pytest.raises(errors.DependencyDown, match=r"150 bytes.*\(200\) beside the pinned ones \(100\)"):
        it.shelf.load(big.digest)
    assert it.resident() == "ab"
    assert not it.shelf.holds(big.digest)
    with pytest.raises(errors.NotFound):
        it.shelf.get(big.digest)
    alone = bundle("alone", 201)
    with pytest.raises(errors.DependencyDown, match="raise it or pin fewer"):
        shelf(alone, budget=200).shelf.load(alone.digest)


def test_one_that_made_room_is_still_known() -> None:
    it = shelf(A, B, budget=100)
    it.shelf.load(A.digest)
    it.shelf.load(B.digest)
    assert not it.shelf.is_resident(A.digest) and it.shelf.holds(A.digest)
    assert it.shelf.view(A.digest).input_columns == dict(A.input_columns)
    assert [s.name for s in it.shelf.services()] == ["service-of-a", "service-of-b"]
    assert [(v.name, v.resident, v.memory_bytes) for v in it.shelf.views()] == [
        ("a", False, 100),
        ("b", True, 100),
    ]
    assert it.shelf.get(A.digest) is A
    # It is the same as before, and no newer.
    assert [s.name for s in it.shelf.services()] == ["service-of-a", "service-of-b"]


def test_one_that_cannot_come_back_is_the_operators_matter() -> None:
    it = shelf(A, B, budget=100)
    it.shelf.load(A.digest)
    it.shelf.load(B.digest)
    del it.loader.bundles[A.digest]
    with pytest.raises(errors.DependencyDown, match="had made room for others and cannot be loaded again"):
        it.shelf.get(A.digest)
    assert it.resident() == "b"
    it.loader.bundles[A.digest] = A
    assert it.shelf.get(A.digest) is A


def test_it_is_loaded_once_however_many_ask() -> None:
    it = shelf(A, B, budget=100)
    it.shelf.load(A.digest)
    it.shelf.load(B.digest)
    it.loader.loads.clear()
    begun, may_end = threading.Event(), threading.Event()
    load = it.loader.load

    def slowly(digest: str) -> world.World:
        begun.set()
        assert may_end.wait(10)
        return load(digest)

    it.loader.load = slowly  # type: ignore[method-assign]
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(it.shelf.get, A.digest) for _ in range(8)]
        assert begun.wait(10)
        assert it.shelf.get(B.digest) is B, "who is there answers meanwhile"
        may_end.set()
        assert all(one.result(10) is A for one in asked)
    assert it.loader.loads == [A.digest]


def test_a_reload_takes_the_place_only_once_it_stands() -> None:
    it = shelf(A, budget=100)
    it.shelf.load(A.digest)
    newer = dataclasses.replace(A, memory_bytes=60)
    it.loader.bundles[A.digest] = newer
    assert it.shelf.reload(A.digest).bundle is newer
    assert it.shelf.get(A.digest) is newer
    assert it.shelf.memory_bytes == it.shelf.view(A.digest).memory_bytes == 60
    for broken in (dataclasses.replace(B), dataclasses.replace(A, memory_bytes=101)):
        it.loader.bundles[A.digest] = broken
        with pytest.raises((errors.CorruptArtifact, errors.DependencyDown)):
            it.shelf.reload(A.digest)
        assert it.shelf.get(A.digest) is newer


def test_what_may_be_loaded_when_it_is_asked_for_is(tmp_path: Path) -> None:
    wanted, other = world.World(name="wanted"), world.World(name="other")
    loader = world.DictLoader({b.digest: b for b in (wanted, other)})
    shelf = bundles.BundleShelf(loader, world.filled_store(), may_load={wanted.digest}.__contains__)
    assert shelf.get(wanted.digest) is wanted
    assert shelf.get(wanted.digest) is wanted and loader.loads == [wanted.digest]
    with pytest.raises(errors.NotFound, match="is not loaded"):
        shelf.get(other.digest)
