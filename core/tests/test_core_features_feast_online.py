"""Feast with our online store. Each test is a row of the conformance table in docs/features.md."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mainspring.core import errors, ports
from mainspring.core.features import feast_adapter as adapter
from mainspring.core.features import row_log

# isort: split

from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
    ValueType,
)
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Float64, Int32, Int64, UnixTimestamp

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast's own

TYPE = "mainspring.core.features.feast_store.MainspringOnlineStore"
REFS = ["stats:rate", "stats:trips", "stats:city"]
NOW = datetime.now(UTC)


def config(folder: Path, project: str = "p", path: str | None = "online.db") -> RepoConfig:
    return RepoConfig(
        project=project, provider="local", repo_path=folder, offline_store={"type": TYPE.replace("Online", "Offline")},
        online_store={"type": TYPE, "path": path, "refresh_seconds": 0.0, "freeze_after_warm_up": False},
        registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}", "cache_ttl_seconds": 600},
        entity_key_serialization_version=3,
    )  # fmt: skip


def definitions() -> list[Any]:
    driver = Entity(name="driver_entity", join_keys=["driver"], value_type=ValueType.INT64)
    place = Entity(name="place", join_keys=["place"], value_type=ValueType.STRING)
    source = PushSource(
        name="push",
        batch_source=FileSource(name="f", path="f.parquet", timestamp_field="event_timestamp", created_timestamp_column="created"),
    )  # fmt: skip
    key = adapter.field("driver", "int64")
    stats = FeatureView(
        name="stats", entities=[driver], ttl=timedelta(hours=1), source=source,
        schema=[key, *(adapter.field(n, t) for n, t in (("rate", "float32"), ("trips", "int64"), ("city", "string")))],
    )  # fmt: skip
    pairs = FeatureView(
        name="pairs", entities=[place, driver], ttl=timedelta(0), source=FileSource(name="g", path="g", timestamp_field="event_timestamp"),
        schema=[key, adapter.field("place", "string"), Field(name="vector", dtype=Array(Float32)),
                Field(name="seen", dtype=UnixTimestamp), Field(name="small", dtype=Int32)],
    )  # fmt: skip

    @on_demand_feature_view(
        sources=[stats],
        schema=[Field(name="twice", dtype=Float64), Field(name="more", dtype=Int64)],
        mode="python",
    )
    def doubled(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"twice": [None if v is None else v * 2 for v in inputs["rate"]],
                "more": [None if v is None else v + 1 for v in inputs["trips"]]}  # fmt: skip

    return [driver, place, stats, pairs, doubled, FeatureService(name="svc", features=[stats])]


def opened(folder: Path, **options: Any) -> FeatureStore:
    store = FeatureStore(config=config(folder, **options))
    store.apply(definitions())
    store.refresh_registry()
    return store


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    store = opened(tmp_path_factory.mktemp("repo"))
    yield store
    store.registry.write_engine.dispose()  # type: ignore[attr-defined]


_next = iter(range(1000, 10_000))


@pytest.fixture
def driver() -> int:
    """One that no other test writes."""
    return next(_next)


def push(
    store: FeatureStore, driver: int, ago: timedelta = timedelta(0), *, created: datetime = NOW, **values: Any
) -> None:
    row = {
        "driver": driver,
        "event_timestamp": NOW - ago,
        "created": created,
        "rate": 0.1,
        "trips": 3,
        "city": "Bonn",
    }
    frame = pd.DataFrame([row | values]).astype({"driver": "int64", "rate": "float32"})
    store.write_to_online_store("stats", frame)


def ask(store: FeatureStore, drivers: list[Any], refs: Any = None, **options: Any) -> Any:
    return store.get_online_features(refs or REFS, {"driver": drivers}, **options)


def test_values_come_back_as_feast_gives_them(world: FeatureStore, driver: int) -> None:
    push(world, driver)
    want = {"driver": [driver], "rate": [float(np.float32(0.1))], "trips": [3], "city": ["Bonn"]}
    assert ask(world, [driver]).to_dict() == want
    rows = world.get_online_features(REFS, [{"driver": driver}, {"driver": driver}]).to_dict()
    assert rows == {name: column * 2 for name, column in want.items()}
    full = ask(world, [driver], full_feature_names=True).to_dict()
    assert set(full) == {"driver", "stats__rate", "stats__trips", "stats__city"}
    assert ask(world, [driver], world.get_feature_service("svc")).to_dict() == want


def test_each_question_is_answered_as_asked_whatever_was_asked_before(
    world: FeatureStore, driver: int
) -> None:
    push(world, driver, rate=float("inf"))
    service = world.get_feature_service("svc")
    refs = ["stats:trips"]
    for _ in range(2):
        assert ask(world, [driver], refs).to_dict() == {"driver": [driver], "trips": [3]}
        assert list(ask(world, [driver], service).to_dict()) == ["driver", "rate", "trips", "city"]
        full = world.get_online_features(refs, [{"driver": driver}], full_feature_names=True).to_dict()
        assert full == {"driver": [driver], "stats__trips": [3]}
        # The caller's list is the caller's: what it was is no answer to what it is.
        refs[0] = "stats:rate"
        assert ask(world, [driver], refs).to_dict() == {"driver": [driver], "rate": [float("inf")]}
        refs[0] = "stats:trips"
        for rows in ({"driver": [driver, 1]}, [{"driver": driver}, {"driver": 1}]):
            assert world.get_online_features(refs, rows).to_dict()["trips"] == [3, None]
        for rows in ({"driver": [np.int64(driver)]}, {"driver": (driver,)}, {"driver_entity": [driver]}):
            assert world.get_online_features(refs, rows).to_dict() == {"driver": [driver], "trips": [3]}
        extra = world.get_online_features(refs, [{"driver": driver, "note": "kept out"}]).to_dict()
        assert extra["trips"] == [3]


def test_every_form_of_the_answer_says_the_same(world: FeatureStore, driver: int) -> None:
    push(world, driver, city=None)
    for drivers in ([driver], [driver, 1, driver]):
        answer = ask(world, drivers)
        want = answer.to_dict()
        assert want["rate"] == [None if d == 1 else float(np.float32(0.1)) for d in drivers]
        assert want["city"] == [None] * len(drivers)
        proto = answer.proto
        by_name = dict(zip(proto.metadata.feature_names.val, proto.results, strict=True))
        assert [v.float_val if v.WhichOneof("val") else None for v in by_name["rate"].values] == want["rate"]
        assert answer.to_df().equals(pd.DataFrame(want)) and answer.to_arrow().to_pydict() == want
        arrays = answer.to_numpy()
        assert arrays["rate"].dtype == np.float32 and np.isnan(arrays["rate"]).tolist() == [
            d == 1 for d in drivers
        ]
        tensors = ask(world, drivers[:1]).to_tensor()
        assert tensors["trips"].tolist() == [3]


def test_a_row_older_than_the_ttl_is_not_answered(world: FeatureStore, driver: int) -> None:
    push(world, driver, timedelta(minutes=45))  # the suite may be here minutes after NOW
    assert ask(world, [driver]).to_dict()["trips"] == [3]
    other = next(_next)
    push(world, other, timedelta(minutes=61))
    answer = ask(world, [other, driver])
    assert answer.to_dict()["trips"] == [None, 3]
    assert answer.statuses()["trips"] == [ports.FeatureStatus.OUTSIDE_MAX_AGE, ports.FeatureStatus.PRESENT]
    assert answer.proto.results[1].statuses[0] == FieldStatus.OUTSIDE_MAX_AGE


def test_an_entity_never_seen_is_not_found(world: FeatureStore) -> None:
    for drivers in ([1], [1, 2]):
        answer = ask(world, drivers)
        assert answer.to_dict()["rate"] == [None] * len(drivers)
        assert list(answer.proto.results[1].statuses) == [FieldStatus.NOT_FOUND] * len(drivers)
        assert answer.proto.results[1].event_timestamps[0].seconds == 0


def test_a_null_of_a_live_row_is_present(world: FeatureStore, driver: int) -> None:
    push(world, driver, city=None)
    answer = ask(world, [driver], ["stats:city"])
    assert answer.to_dict()["city"] == [None] and answer.proto.results[1].statuses[0] == FieldStatus.PRESENT


def test_an_older_push_never_overwrites_a_newer_value(world: FeatureStore, driver: int) -> None:
    push(world, driver, timedelta(minutes=1), trips=10)
    push(world, driver, timedelta(minutes=2), trips=20)
    assert ask(world, [driver]).to_dict()["trips"] == [10]
    push(world, driver, timedelta(minutes=1), trips=30, created=NOW - timedelta(days=1))
    assert ask(world, [driver]).to_dict()["trips"] == [10]
    push(world, driver, timedelta(minutes=1), trips=40)
    assert ask(world, [driver]).to_dict()["trips"] == [40]


def test_microseconds_of_event_times_survive(world: FeatureStore, driver: int) -> None:
    push(world, driver)
    at = ask(world, [driver]).proto.results[1].event_timestamps[0]
    assert at.ToDatetime(tzinfo=UTC) == NOW and NOW.microsecond
    assert ask(world, [driver]).to_dict(include_event_timestamps=True)["rate__ts"] == [int(NOW.timestamp())]


def test_keys_of_two_columns_and_types_that_feast_converts(world: FeatureStore, driver: int) -> None:
    frame = pd.DataFrame(
        {"driver": [driver], "place": ["x"], "event_timestamp": [NOW], "vector": [[1.0, 2.0]], "seen": [NOW], "small": [7]}
    )  # fmt: skip
    world.write_to_online_store("pairs", frame)
    refs = ["pairs:vector", "pairs:seen", "pairs:small"]
    got = world.get_online_features(refs, {"place": ["x", "y"], "driver": [driver, driver]}).to_dict()
    assert got["vector"] == [[1.0, 2.0], None] and got["small"] == [7, None]
    assert got["seen"] == [NOW.replace(microsecond=0), None]  # Feast's proto has whole seconds


def test_on_demand_views_are_computed_over_our_rows(world: FeatureStore, driver: int) -> None:
    push(world, driver, trips=5)
    got = ask(world, [driver], ["doubled:more", "stats:city"]).to_dict()
    assert got == {"driver": [driver], "city": ["Bonn"], "more": [6]}


def test_the_async_calls_answer_the_same(world: FeatureStore, driver: int) -> None:
    push(world, driver)
    assert world._get_provider().async_supported.online.read
    got = asyncio.run(world.get_online_features_async(REFS, {"driver": [driver]}))
    assert got.to_dict() == ask(world, [driver]).to_dict()


def test_feasts_own_read_path_gets_the_same_rows(world: FeatureStore, driver: int) -> None:
    from feast.infra.online_stores.online_store import OnlineStore

    push(world, driver, city=None)
    other = next(_next)
    push(world, other, timedelta(hours=2))
    store = world._get_provider().online_store
    drivers = [driver, 1, other, driver]
    theirs = OnlineStore.get_online_features(
        store, world.config, REFS, {"driver": drivers}, world.registry, world.project
    )
    assert theirs.to_dict() == ask(world, drivers).to_dict()


def test_unknown_views_are_kept_too(world: FeatureStore, driver: int) -> None:
    """Feast's precomputed vectors use a view that no registry has."""
    store = world._get_provider().online_store
    key = EntityKey(join_keys=["driver"], entity_values=[Value(int64_val=driver)])
    store.write_precomputed_vector(world.config, "svc", "p", key, b"\x00vector")
    unknown = EntityKey(join_keys=["driver"], entity_values=[Value(int64_val=-1)])
    assert store.read_precomputed_vectors(world.config, "svc", "p", [key, unknown]) == [b"\x00vector", None]


def test_two_stores_of_one_project_name_do_not_disturb_each_other(
    world: FeatureStore, driver: int, tmp_path: Path
) -> None:
    other = opened(tmp_path, path=None)
    push(world, driver, trips=1)
    push(other, driver, trips=2)
    for _ in range(3):
        assert ask(world, [driver]).to_dict()["trips"] == [1] and ask(other, [driver]).to_dict()["trips"] == [
            2
        ]
    other.registry.write_engine.dispose()  # type: ignore[attr-defined]


def test_rows_are_on_disk_and_other_processes_see_them(world: FeatureStore, driver: int) -> None:
    push(world, driver, trips=77)
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_core_features_feast_online as t
from pathlib import Path
store = t.FeatureStore(config=t.config(Path({str(world.config.repo_path)!r})))
assert t.ask(store, [{driver}]).to_dict()["trips"] == [77]
t.push(store, {driver}, trips=78, created=t.NOW)
t.push(store, {driver + 5000}, trips=79)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=90)
    assert ask(world, [driver + 5000]).to_dict()["trips"] == [79]


def test_a_question_asked_before_the_first_row_is_answered_rightly_after_it(tmp_path: Path) -> None:
    store = opened(tmp_path, path=None)
    for refs in (["stats:trips"], ["stats:city", "stats:rate"]):
        assert set(ask(store, [1], refs).to_dict()) == {"driver", *(r.split(":")[1] for r in refs)}
    push(store, 1, trips=8)
    assert ask(store, [1], ["stats:trips"]).to_dict()["trips"] == [8]
    assert ask(store, [1, 2], ["stats:city", "stats:rate"]).to_dict()["city"] == ["Bonn", None]
    store.registry.write_engine.dispose()  # type: ignore[attr-defined]


def test_a_changed_view_keeps_its_rows_and_a_deleted_one_loses_them(tmp_path: Path) -> None:
    store = opened(tmp_path)
    push(store, 1)
    made = definitions()
    wide = made[2]
    wide.features.append(Field(name="extra", dtype=Float64))
    store.apply([wide])
    store.refresh_registry()
    got = ask(store, [1], [*REFS, "stats:extra"]).to_dict()
    assert got["trips"] == [3] and got["extra"] == [None]
    storage = store._get_provider().online_store._storage(store.config)
    assert set(storage.tables) == {"p_stats"}  # a table is made by its first row
    store.teardown()
    assert storage.tables == {}


def test_a_refused_batch_is_neither_durable_nor_visible(
    world: FeatureStore, driver: int, tmp_path: Path
) -> None:
    """A key of another type than the rows have, a row larger than the table takes: no process ever meets them."""
    push(world, driver, trips=1)
    view, online = world.get_feature_view("stats"), world._get_provider().online_store
    log = row_log.RowLog(Path(world.config.repo_path) / "online.db")  # type: ignore[arg-type]
    before = log.since(0)

    def write(key: Value, city: str) -> None:
        row = (
            EntityKey(join_keys=["driver"], entity_values=[key]),
            {"city": Value(string_val=city)},
            NOW,
            NOW,
        )
        online.online_write_batch(world.config, view, [row], None)

    with pytest.raises(errors.SchemaMismatch, match="keys of this table are int"):
        write(Value(string_val="seven"), "Bonn")
    with pytest.raises(errors.InvalidRequest, match="store a reference"):
        write(Value(int64_val=driver), "x" * (17 << 20))
    write(Value(int64_val=driver), "ü" * (7 << 20))  # 14 MiB are not too many
    assert len(log.since(0)) == len(before) + 1
    log.close()
    assert len(ask(world, [driver], ["stats:city"]).to_dict()["city"][0]) == 7 << 20


@pytest.mark.parametrize("key", ["7", 7.0, True])
def test_a_key_of_another_type_is_refused(world: FeatureStore, key: Any) -> None:
    with pytest.raises(errors.SchemaMismatch, match="key `driver` is int"):
        ask(world, [key])


def test_a_missing_key_ragged_columns_and_no_rows_are_refused(world: FeatureStore) -> None:
    with pytest.raises(errors.InvalidRequest, match="was not sent"):
        world.get_online_features(REFS, {"place": ["x"]})
    with pytest.raises(errors.InvalidRequest, match="1 values, others have 2"):
        world.get_online_features(["pairs:small"], {"driver": [1, 2], "place": ["x"]})
    with pytest.raises(errors.InvalidRequest, match="no entity rows"):
        world.get_online_features(REFS, [])
    with pytest.raises(errors.InvalidRequest, match="the same in every row"):
        world.get_online_features(REFS, [{"driver": 1}, {"place": "x"}])
