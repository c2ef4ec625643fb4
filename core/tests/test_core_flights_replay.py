"""Online and offline agree: events pushed in order answer, as of each request, with the bits of the training set.

This is the proof that training and serving see the same features. It goes the whole way: rows and requests pass
through JSON, each request is derived alone, and every stored and derived column is compared bit for bit.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mainspring.core import errors, ports, projects
from mainspring.core.contracts import prediction
from mainspring.core.features import frames, online, replay, schema
from mainspring.core.reference.flight_delay import project, request_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """Ten days of real flights: the project, its folders, and its training rows by (departure, carrier, flight)."""

    mine: project.FlightDelay
    root: Path
    row_of: Mapping[tuple[int, str, int], int]
    offline: Mapping[str, np.ndarray[Any, Any]]

    def replayed(self, n: int) -> projects.ReplaySet:
        return self.mine.replay(self.root / "features", n=n)


@pytest.fixture(scope="module")
def world(flights_root: Path) -> World:
    mine = project.FlightDelay(flights_root / "csv")
    service = mine.build_features(flights_root / "lake", flights_root / "features").service
    rows = pl.read_parquet(mine.training_set(flights_root / "features", flights_root / "training").path)
    who = rows.select("scheduled_departure_us", "carrier", "flight").iter_rows()
    columns = (*service.columns, *request_time.DERIVED)
    row_of = {k: i for i, k in enumerate(who)}
    return World(mine, flights_root, row_of, frames.to_numpy(rows, columns))


def through_json(pushed: replay.Pushed) -> replay.Pushed:
    """What the serving process has in hand after a push over HTTP."""
    sent = prediction.FeaturePush(
        view=pushed.view, keys=pushed.keys, event_times=pushed.event_times, created_times=pushed.created_times,
        columns=pushed.columns,
    )  # fmt: skip
    got = prediction.FeaturePush.model_validate_json(sent.model_dump_json())
    return replay.Pushed(got.view, got.keys, got.event_times, got.created_times or [], dict(got.columns))


def microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def ask(
    store: ports.OnlineFeatures, replayed: projects.ReplaySet, entity: Mapping[str, Any], now_us: int
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, int]]:
    """Every column for one request, one row each, and each view's status."""
    columns = {c.name: np.array([entity[c.name]], c.numpy_dtype) for c in replayed.request_columns}
    status = {}
    for view in replayed.service.views:
        rows = store.read(view.name, {k.name: [entity[k.name]] for k in view.keys}, now_us=now_us)
        status[view.name] = int(rows.status[0])
        columns |= {schema.joined_name(view.name, f.name): rows.values[f.name] for f in view.fields}
    return columns | project.PROJECT.derive(columns), status


def differences(
    world: World, replayed: projects.ReplaySet, store: ports.OnlineFeatures, steps: Iterator[replay.Step]
) -> tuple[list[str], collections.Counter[tuple[str, int]], int]:
    """Names of columns whose bits differ, the statuses seen by view, and how many requests were compared."""
    wrong: list[str] = []
    seen: collections.Counter[tuple[str, int]] = collections.Counter()
    asked = 0
    for step in steps:
        for pushed in step.updates:
            replay.push_to(store, replay.Step(step.as_of, [through_json(pushed)], [], []))
        for entity in json.loads(json.dumps(step.entities)):
            got, status = ask(store, replayed, entity, microseconds(step.as_of))
            row = world.row_of[entity["scheduled_departure_us"], entity["carrier"], entity["flight"]]
            wrong += [n for n, a in world.offline.items() if got[n].tobytes() != a[row : row + 1].tobytes()]
            seen.update(status.items())
            asked += 1
    return wrong, seen, asked


def registered(store: online.OnlineStore, service: schema.FeatureService) -> online.OnlineStore:
    for view in service.views:
        store.register(view.online)
    return store


def test_online_equals_offline_bit_for_bit_for_every_view(world: World) -> None:
    replayed = world.replayed(400)
    store = registered(online.OnlineStore(), replayed.service)
    wrong, seen, asked = differences(world, replayed, store, replay.steps(replayed))
    assert asked == 400 == replayed.rows and wrong == []
    assert len(world.offline) == len(replayed.service.columns) + len(request_time.DERIVED) > 60
    # Every view answered, and both ways of having no answer were met: a comparison of empty rows would prove nothing.
    present, absent, outside = (
        {v for v, s in seen if s == status} for status in (ports.FeatureStatus.PRESENT, 1, 2)
    )
    assert present == {v.name for v in replayed.service.views}
    assert {"plane_static", "tail_last"} <= absent and {"origin_dep_1h", "carrier_origin_dep_3h"} <= outside


def test_the_whole_stream_answers_as_the_few_rows_of_a_replay(world: World) -> None:
    """A replay pushes only rows that were newest when somebody asked; production pushes all of them."""
    replayed = world.replayed(40)
    features = world.mine.build_features(world.root / "lake", world.root / "features")
    whole = replayed.model_copy(update={"updates": {v.view.name: v.path for v in features.views}})
    assert sum(v.rows for v in features.views) > 20 * sum(
        pl.read_parquet(p).height for p in replayed.updates.values()
    )
    store = registered(online.OnlineStore(), whole.service)
    wrong, seen, asked = differences(world, whole, store, replay.steps(whole))
    assert asked == 40 and wrong == []
    few = registered(online.OnlineStore(), replayed.service)
    # Why a row has no values is the same too: too old is not the same as never seen.
    assert differences(world, replayed, few, replay.steps(replayed))[1] == seen


def test_a_store_closed_and_opened_again_goes_on_with_the_same_bits(world: World, tmp_path: Path) -> None:
    replayed = world.replayed(40)
    steps = list(replay.steps(replayed))
    asked = 0
    for part in (steps[: len(steps) // 2], steps[len(steps) // 2 :]):
        with online.OnlineStore(tmp_path / "online") as store:
            wrong, _, n = differences(world, replayed, registered(store, replayed.service), iter(part))
            asked += n
            assert wrong == []
    assert asked == 40


def test_skew_would_be_seen(world: World) -> None:
    """The comparison can fail: a store that is one update behind, or one that holds the future, answers otherwise."""
    replayed = world.replayed(40)
    late = registered(online.OnlineStore(), replayed.service)
    behind = (
        replay.Step(step.as_of, [p for p in step.updates if p.view != "origin_dep_1h"], step.entities, [])
        for step in replay.steps(replayed)
    )
    wrong, _, _ = differences(world, replayed, late, behind)
    assert {n.split("__")[0] for n in wrong} == {"origin_dep_1h"}
    ahead = registered(online.OnlineStore(), replayed.service)
    steps = list(replay.steps(replayed))
    for step in steps:
        replay.push_to(ahead, step)
    wrong, _, _ = differences(world, replayed, ahead, iter(steps[len(steps) // 2 :][:3]))
    assert len(set(wrong)) > 20


def test_requests_come_in_time_order_evenly_spread_with_their_labels(world: World) -> None:
    replayed = world.replayed(200)
    steps = list(replay.steps(replayed))
    times = [s.as_of for s in steps]
    assert times == sorted(set(times)) and sum(len(s.entities) for s in steps) == 200
    assert {t.day for t in times} >= {1, 2, 3, 4} and {t.month for t in times} == {11}
    labels = [label for s in steps for label in s.labels]
    rows = pl.read_parquet(world.root / "training" / "training.parquet")
    late = rows["late"].to_list()
    assert labels == [
        late[world.row_of[e["scheduled_departure_us"], e["carrier"], e["flight"]]]
        for s in steps
        for e in s.entities
    ]
    assert 0 < sum(labels) < 200
    assert all(pl.read_parquet(path).is_unique().all() for path in replayed.updates.values())  # each row once
    for step in steps:
        assert all(t <= step.as_of for p in step.updates for t in p.event_times)


def test_a_replay_is_reused_and_survives_json(world: World) -> None:
    first, second = world.replayed(40), world.replayed(40)
    assert first == second
    assert projects.ReplaySet.model_validate_json(first.model_dump_json()) == first
    assert world.replayed(41).digest != first.digest


@pytest.mark.parametrize("n", [0, -1, 10**6])
def test_a_number_of_requests_that_there_are_not_is_refused(world: World, n: int) -> None:
    with pytest.raises(errors.InvalidRequest, match="expected 1 to"):
        world.replayed(n)
    assert not (world.root / f"features-replay-{n}").exists()


def test_damaged_replays_are_refused_by_name(world: World, tmp_path: Path) -> None:
    replayed = world.replayed(40)
    with pytest.raises(errors.NotFound, match="make the replay again"):
        list(replay.steps(replayed.model_copy(update={"requests": tmp_path / "gone.parquet"})))
    (tmp_path / "cut.parquet").write_bytes(replayed.requests.read_bytes()[:-50])
    with pytest.raises(errors.CorruptArtifact, match="cut.parquet"):
        list(replay.steps(replayed.model_copy(update={"requests": tmp_path / "cut.parquet"})))
    pl.read_parquet(replayed.requests).drop("distance_miles").write_parquet(tmp_path / "narrow.parquet")
    with pytest.raises(errors.SchemaMismatch) as caught:
        list(replay.steps(replayed.model_copy(update={"requests": tmp_path / "narrow.parquet"})))
    assert caught.value.feature == "distance_miles"
