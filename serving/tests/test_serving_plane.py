"""The plane without HTTP: overrides, batches, overload, canary, shadow, and what counts as a bundle's error."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serving_world as world
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.contracts.prediction import PredictRequest
from mainspring.core.features import online, schema
from mainspring.serving import bundles, endpoints, plane, shadow, stats, traffic


class CountingStore(online.OnlineStore):
    """The real store; counts reads."""

    reads = 0

    def read(
        self, view: str, keys: ports.AskedKeys, *, now_us: int, fields: Sequence[str] | None = None
    ) -> ports.OnlineRows:
        self.reads += 1
        return super().read(view, keys, now_us=now_us, fields=fields)


class House:
    """Every part but HTTP, over one directory."""

    def __init__(self, directory: Path, *loaded: world.World, max_in_flight: int = 64) -> None:
        self.online = world.filled_store()
        self.shelf = bundles.BundleShelf(world.DictLoader({b.digest: b for b in loaded}), self.online)
        self.book = stats.StatsBook()
        self.tables = traffic.TrafficStore(directory)
        self.endpoints = endpoints.Endpoints(self.tables, self.shelf, self.book)
        self.plane = plane.Plane(
            tables=self.tables,
            shelf=self.shelf,
            online=self.online,
            book=self.book,
            max_rows=100_000,
            max_in_flight=max_in_flight,
            now_us=lambda: world.NOW_US,
        )
        for b in loaded:
            self.shelf.load(b.digest)

    def serve(self, stable: world.World, version: int = 1, **changes: object) -> None:
        self.endpoints.apply(
            TrafficTable.model_validate(
                {"endpoint": "flights", "version": version, "stable": stable.digest, **changes}
            )
        )

    def ask(self, *entities: dict[str, Any], **changes: Any) -> Any:
        request = PredictRequest.model_validate({"entities": list(entities) or [world.entity()], **changes})
        return self.plane.predict("flights", request, "req-1")

    def counts(self) -> dict[str, tuple[int, int]]:
        return {b.role: (b.requests, b.errors) for b in self.endpoints.stats("flights").bundles}


def test_a_batch_costs_the_calls_of_a_single_row(tmp_path: Path) -> None:
    bundle = world.World()
    house = House(tmp_path, bundle)
    store = house.online
    store.__class__ = CountingStore
    assert isinstance(store, CountingStore)
    house.serve(bundle)
    for n in (1, 5000):
        store.reads = 0
        bundle.calls.clear()
        answer = house.ask(*[world.entity(flight=i) for i in range(n)])
        assert len(answer.predictions) == n
        assert (store.reads, bundle.calls) == (2, ["derive", "prepare"])


def test_answers_keep_the_order_asked(tmp_path: Path) -> None:
    bundle = world.World()
    house = House(tmp_path, bundle)
    house.serve(bundle)
    distances = [float(d) for d in np.random.default_rng(5).permutation(50) - 25]
    batch = house.ask(*[world.entity(distance=d) for d in distances]).predictions
    singles = [house.ask(world.entity(distance=d)).predictions[0] for d in distances]
    assert [p.score for p in batch] == [p.score for p in singles]
    assert np.argsort([p.score for p in batch]).tolist() == np.argsort(distances).tolist()


def test_the_plan_gets_its_columns_typed_with_missing_values(tmp_path: Path) -> None:
    bundle = world.World()
    house = House(tmp_path, bundle)
    house.serve(bundle)
    house.ask(world.entity(), world.entity(origin="EWR", carrier=None, distance=None))
    (columns,) = bundle.seen
    assert columns["carrier"].tolist() == ["UA", None]
    assert columns["origin_stats__weather"].tolist() == [None, None]
    np.testing.assert_array_equal(columns["origin_stats__mean_delay"], np.float32([1.5, np.nan]))
    np.testing.assert_array_equal(columns["flight_stats__mean_delay"], np.float32([0.25, np.nan]))
    np.testing.assert_array_equal(columns["distance_km"], np.float32([100, np.nan]) * np.float32(1.609))


def test_an_expired_row_does_not_reach_the_plan(tmp_path: Path) -> None:
    bundle = world.World()
    house = House(tmp_path, bundle)
    house.serve(bundle)
    house.ask(world.entity(origin="LGA"))
    assert np.isnan(bundle.seen[0]["origin_stats__mean_delay"]).all()
    assert bundle.seen[0]["origin_stats__weather"].tolist() == [None]


def test_overrides_replace_looked_up_request_and_derived_columns(tmp_path: Path) -> None:
    bundle = world.World()
    house = House(tmp_path, bundle)
    house.serve(bundle)
    house.ask(world.entity(), world.entity(), overrides={"origin_stats__mean_delay": 7, "distance": 2.0})
    house.ask(overrides={"distance_km": 5.0, "origin_stats__weather": "fog"})
    first, second = bundle.seen
    assert first["origin_stats__mean_delay"].tolist() == [7.0, 7.0]
    assert first["distance"].tolist() == [2.0, 2.0]
    assert first["distance_km"] == pytest.approx([2 * 1.609] * 2)  # derived from the override
    assert (second["distance_km"].tolist(), second["distance"].tolist()) == ([5.0], [100.0])
    assert second["origin_stats__weather"].tolist() == ["fog"]


def test_an_unknown_or_mistyped_override_is_refused(tmp_path: Path) -> None:
    bundle = world.World()
    house = House(tmp_path, bundle)
    house.serve(bundle)
    with pytest.raises(errors.InvalidRequest, match="did you mean `distance_km`"):
        house.ask(overrides={"distance_kn": 1.0})
    with pytest.raises(errors.SchemaMismatch, match=r"`overrides\.distance` is string, expected float32"):
        house.ask(overrides={"distance": "far"})


def test_a_full_plane_says_when_to_come_back_and_recovers(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(batch: ports.ModelInput) -> NDArray[Any]:
        entered.set()
        assert leave.wait(30)
        return world.linear(batch)

    bundle = world.World(function=slow)
    house = House(tmp_path, bundle, max_in_flight=1)
    house.serve(bundle)
    thread = threading.Thread(target=house.ask)
    thread.start()
    assert entered.wait(30)
    with pytest.raises(errors.Overloaded) as caught:
        house.ask()
    assert caught.value.retry_after_seconds > 0
    leave.set()
    thread.join(30)
    house.ask()
    assert house.counts() == {"stable": (2, 0)}


def test_a_canary_gets_its_share_and_an_entity_stays_with_it(tmp_path: Path) -> None:
    stable, canary = world.World(), world.World(name="canary")
    house = House(tmp_path, stable, canary)
    house.serve(stable, canary=canary.digest, canary_percent=25)
    first = [house.ask(world.entity(flight=i)).role for i in range(400)]
    again = [house.ask(world.entity(flight=i, distance=5.0)).role for i in range(400)]
    assert first == again  # request columns do not move an entity
    assert 60 <= first.count("canary") <= 140
    seen = house.counts()
    assert seen["canary"][0] == 2 * first.count("canary")
    assert seen["stable"][0] + seen["canary"][0] == 800


def test_a_failing_canary_is_counted_against_itself(tmp_path: Path) -> None:
    stable = world.World()
    broken = world.World(name="broken", function=lambda b: np.full(b.n_rows, np.inf))
    house = House(tmp_path, stable, broken)
    house.serve(stable, canary=broken.digest, canary_percent=100)
    with pytest.raises(errors.InvariantViolated, match="1 of 1 scores that are not finite"):
        house.ask()
    assert house.counts() == {"canary": (1, 1)}


def test_a_shadow_sees_every_request_and_never_answers(tmp_path: Path) -> None:
    stable, other = world.World(), world.World(name="shadow")
    house = House(tmp_path, stable, other)
    house.serve(stable, shadow=other.digest)
    for i in range(20):
        assert house.ask(world.entity(flight=i)).model_version == stable.digest
    house.plane.close()
    assert house.counts() == {"stable": (20, 0), "shadow": (20, 0)}
    for ours, theirs in zip(stable.seen, other.seen, strict=True):
        assert all(np.array_equal(ours[n], theirs[n], equal_nan=ours[n].dtype.kind == "f") for n in ours)


def test_a_shadows_scores_are_compared_with_the_stable_ones(tmp_path: Path) -> None:
    shift = 0.25
    stable = world.World()
    other = world.World(
        name="shadow", function=lambda b: world.linear(b) + np.where(b.dense[:, 1] > 2, shift, 0)
    )
    house = House(tmp_path, stable, other)
    house.serve(stable, shadow=other.digest)
    overrides = {"flight_stats__mean_delay": 0.0}
    house.ask(*[world.entity(distance=-d) for d in (1.0, 2.0, 3.0)], overrides=overrides)
    house.ask(world.entity(distance=-5.0), overrides={"flight_stats__mean_delay": 3.0})
    house.plane.close()
    seen = {b.role: b for b in house.endpoints.stats("flights").bundles}
    difference = seen["shadow"].difference
    assert difference is not None and seen["stable"].difference is None
    assert (difference.rows, difference.share_above, difference.tolerance) == (
        4,
        0.25,
        stats.SHADOW_TOLERANCE,
    )
    assert difference.max_absolute == pytest.approx(shift, abs=1e-6)
    assert difference.mean_absolute == pytest.approx(shift / 4, abs=1e-6)
    house.serve(stable, version=2, shadow=other.digest)
    assert house.endpoints.stats("flights").bundles == [], "each traffic version has its own"


def test_scores_are_counted_by_bundle_where_traffic_says_so(tmp_path: Path) -> None:
    stable, canary, other = (world.World(name=n) for n in ("stable", "canary", "shadow"))
    house = House(tmp_path, stable, canary, other)
    house.serve(stable, canary=canary.digest, canary_percent=25, shadow=other.digest)
    house.ask()
    roles = {"canary": canary.digest, "canary_percent": 25, "shadow": other.digest}
    house.serve(stable, version=2, counts_scores=True, **roles)
    assert all(not b.score_counts for b in house.endpoints.stats("flights").bundles)
    for flight in (*range(100), *range(100)):
        house.ask(world.entity(flight=flight), world.entity(flight=flight, origin="EWR"))
    house.plane.close()
    seen = {b.role: b for b in house.endpoints.stats("flights").bundles}
    counted = {role: sum(b.score_counts) for role, b in seen.items()}
    assert counted["shadow"] == counted["stable"] + counted["canary"] == 100
    assert seen["shadow"].requests == 200 and 0 < counted["canary"] < counted["stable"]


def test_a_shadow_is_not_compared_with_what_the_canary_answered(tmp_path: Path) -> None:
    stable, canary, other = (world.World(name=n) for n in ("stable", "canary", "shadow"))
    house = House(tmp_path, stable, canary, other)
    house.serve(stable, canary=canary.digest, canary_percent=100, shadow=other.digest)
    house.ask()
    house.plane.close()
    assert house.counts() == {"canary": (1, 0), "shadow": (1, 0)}
    assert all(b.difference is None for b in house.endpoints.stats("flights").bundles)


@pytest.mark.parametrize(
    ("rows", "sent", "skipped"),
    [(1, shadow.MAX_BACKLOG + 9, 9), (40_000, 4, 3), (shadow.MAX_BACKLOG_ROWS + 1, 1, 1)],
)
def test_a_shadow_that_is_behind_skips_and_is_counted(
    tmp_path: Path, rows: int, sent: int, skipped: int
) -> None:
    leave = threading.Event()

    def slow(batch: ports.ModelInput) -> NDArray[Any]:
        assert leave.wait(60)
        return world.linear(batch)

    stable, behind = world.World(), world.World(name="shadow", function=slow)
    house = House(tmp_path, stable, behind)
    house.serve(stable, shadow=behind.digest)
    asked = [world.entity()] * rows
    for _ in range(sent):
        assert house.ask(*asked).model_version == stable.digest
    leave.set()
    house.plane.close()
    seen = {b.role: b for b in house.endpoints.stats("flights").bundles}
    assert seen["stable"].requests == sent
    compared = seen["shadow"].difference
    assert seen["shadow"].skipped == skipped
    assert (seen["shadow"].requests, 0 if compared is None else compared.rows) == (
        sent - skipped,
        (sent - skipped) * rows,
    )


def test_a_failing_shadow_hurts_nobody(tmp_path: Path) -> None:
    stable = world.World()
    broken = world.World(name="shadow", function=lambda batch: batch.no_such_attribute)  # type: ignore[attr-defined]
    house = House(tmp_path, stable, broken)
    house.serve(stable, shadow=broken.digest)
    house.ask()
    house.plane.close()
    assert house.counts() == {"stable": (1, 0), "shadow": (1, 1)}


def test_a_plan_column_that_nothing_gives_is_the_bundles_error(tmp_path: Path) -> None:
    bundle = world.World(input_columns={"distance": "float32", "humidity": "float32"})
    house = House(tmp_path, bundle)
    house.serve(bundle)
    with pytest.raises(errors.SchemaMismatch, match="wants column `humidity`"):
        house.ask()
    assert house.counts() == {"stable": (1, 1)}


def test_a_loader_that_gives_another_bundle_is_caught(tmp_path: Path) -> None:
    asked, given = world.World(), world.World(name="given")
    shelf = bundles.BundleShelf(world.DictLoader({asked.digest: given}), online.OnlineStore())
    with pytest.raises(errors.CorruptArtifact, match="the loader gave"):
        shelf.load(asked.digest)
    assert not shelf.holds(asked.digest)


def test_a_bundle_whose_view_changed_its_schema_does_not_load(tmp_path: Path) -> None:
    view = world.SERVICE.views[0].model_copy(update={"ttl_seconds": 60})
    changed = world.World(name="c", feature_service=schema.FeatureService(name="delays", views=(view,)))
    shelf = bundles.BundleShelf(world.DictLoader({changed.digest: changed}), world.filled_store())
    with pytest.raises(errors.Conflict, match="`origin_stats` is registered as"):
        shelf.load(changed.digest)
    assert not shelf.holds(changed.digest)
