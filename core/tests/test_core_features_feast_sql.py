"""SQL sources: the answers of the same rows in a file, the way through Feast's registry, and what a query may not do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from mainspring.core import errors
from mainspring.core.features import lake, sql_query
from mainspring.core.features.feast_store import MainspringOfflineStore, SqlSource

# isort: split

from feast import Entity, FeatureStore, FeatureView, RepoConfig, ValueType
from feast.data_source import DataSource
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast's own

T0 = datetime(2024, 5, 1, tzinfo=UTC)
OURS = "mainspring.core.features.feast_store."


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


#: driver, minute of the trip, its fare
TRIPS = [(1, 0, 4.0), (1, 30, 6.0), (2, 10, 3.0), (1, 70, 8.0), (2, 75, None), (3, 5, 1.0)]
QUERY = """
SELECT t.driver, time_bucket(INTERVAL 1 HOUR, t.happened) + INTERVAL 1 HOUR AS "hour", -- what an hour was is known at its end
       avg(t.fare)::FLOAT AS mean_fare, count(*) AS trips
FROM trips t JOIN drivers d USING (driver) WHERE d.active
GROUP BY ALL;
"""
#: driver, hour's end in minutes, mean fare, trips
HOURS = [(1, 60, 5.0, 2), (1, 120, 8.0, 1), (2, 60, 3.0, 1), (2, 120, None, 1)]


def write(folder: Path) -> None:
    for part in (0, 1):
        path = folder / "trips" / f"month={part}" / "part.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = TRIPS[part * 3 : part * 3 + 3]
        frame = pl.DataFrame(
            {
                "driver": [r[0] for r in rows],
                "happened": [at(r[1]) for r in rows],
                "fare": [r[2] for r in rows],
            }
        )
        frame.write_parquet(path)
    pl.DataFrame({"driver": [1, 2, 3], "active": [True, True, False]}).write_parquet(
        folder / "drivers.parquet"
    )


def source(**changed: Any) -> SqlSource:
    asked = {
        "name": "hours", "query": QUERY, "timestamp_field": "hour",
        "tables": {"trips": "trips/", "drivers": "drivers.parquet"},
    }  # fmt: skip
    return SqlSource(**(asked | changed))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FeatureStore, Path]]:
    folder = tmp_path_factory.mktemp("repo")
    write(folder)
    config = RepoConfig(
        project="p", provider="local", repo_path=folder, entity_key_serialization_version=3,
        offline_store={"type": f"{OURS}MainspringOfflineStore", "segments": "segments"},
        online_store={"type": f"{OURS}MainspringOnlineStore", "path": "online.db"},
        registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}", "cache_ttl_seconds": 0},
    )  # fmt: skip
    store = FeatureStore(config=config)
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    store.apply([driver, FeatureView(name="hours", entities=[driver], ttl=timedelta(0), source=source())])
    yield store, folder
    store.registry.write_engine.dispose()  # type: ignore[attr-defined]


@pytest.fixture
def store(world: tuple[FeatureStore, Path]) -> FeatureStore:
    write(world[1])
    return world[0]


ASKED = pd.DataFrame(
    {"driver": [1, 1, 2, 3, 1], "event_timestamp": [at(60), at(125), at(130), at(60), at(59)]}
)


def test_the_join_answers_what_the_query_knew(store: FeatureStore) -> None:
    got = store.get_historical_features(ASKED, ["hours:mean_fare", "hours:trips"]).to_df()
    assert got["mean_fare"].fillna(-1).tolist() == [5.0, 8.0, -1, -1, -1]
    assert got["trips"].fillna(-1).tolist() == [2, 1, 1, -1, -1]


def test_feast_infers_types_and_the_registry_keeps_the_query(store: FeatureStore) -> None:
    view = store.get_feature_view("hours")
    assert {f.name: f.dtype.to_value_type().name for f in view.schema} == {
        "driver": "INT64", "mean_fare": "FLOAT", "trips": "INT64"
    }  # fmt: skip
    kept = view.batch_source
    assert isinstance(kept, SqlSource) and kept == source() and hash(kept) == hash(source())
    assert kept.query == QUERY and kept.tables == source().tables
    assert store.get_data_source("hours") == source()
    assert source(query="SELECT 1") != source() != object()
    with_all = source(
        created_timestamp_column="made", field_mapping={"a": "b"}, description="d", tags={"k": "v"}, owner="o"
    )
    assert DataSource.from_proto(with_all.to_proto()) == with_all


def test_all_and_latest_rows_and_the_online_store_get_them(store: FeatureStore) -> None:
    names = (["driver"], ["mean_fare", "trips"], "hour", None)
    kept = store.get_feature_view("hours").batch_source
    everything = MainspringOfflineStore.pull_all_from_table_or_query(store.config, kept, *names).to_df()
    found = zip(everything["driver"], everything["hour"], everything["trips"], strict=True)
    assert sorted(found) == [(driver, at(minute), n) for driver, minute, _, n in HOURS]
    latest = MainspringOfflineStore.pull_latest_from_table_or_query(
        store.config, kept, *names, at(0), at(119)
    )
    assert sorted(latest.to_df()["trips"].tolist()) == [1, 2]
    store.materialize(at(0), at(121), feature_views=["hours"], disable_event_timestamp=False)
    online = store._get_provider().online_read(
        store.config, store.get_feature_view("hours"), [entity_key(1)], ["trips"]
    )
    assert online[0][0] == at(120) and online[0][1]["trips"].int64_val == 1


def entity_key(driver: int) -> Any:
    return EntityKey(join_keys=["driver"], entity_values=[Value(int64_val=driver)])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELEC 1", "syntax error"),
        ("", "empty `query`"),
        ("-- nothing", "it is no statement, expected one SELECT"),
        ("SELECT 1; SELECT 2", "it is SELECT, SELECT, expected one SELECT"),
        ("COPY trips TO 'out.parquet'", "it is COPY"),
        ("CREATE TABLE t AS FROM trips", "it is CREATE"),
        ("INSTALL httpfs", "it is LOAD"),
        ("SET enable_external_access = true", "it is SET"),
        ("ATTACH 'other.db'", "it is ATTACH"),
        ("SELECT * FROM nobody", "nobody does not exist.* its tables are .'drivers', 'trips'"),
        ("SELECT fares FROM trips", '"fares" not found'),
        ("SELECT * FROM 'drivers.parquet'", "reads its tables"),
        ("SELECT * FROM read_text('/etc/hostname')", "reads its tables"),
        ("SELECT * FROM 'https://localhost/x.parquet'", "reads its tables"),
        ("SELECT * FROM TRIPS_FRAME", "does not exist"),
    ],
)
def test_what_a_query_may_not_do_is_told(store: FeatureStore, query: str, words: str) -> None:
    TRIPS_FRAME = pl.DataFrame({"driver": [1]})
    assert TRIPS_FRAME.height
    with pytest.raises(errors.InvalidRequest, match=words):
        source(query=query).validate(store.config)
    assert not (Path(store.config.repo_path or "") / "out.parquet").exists()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT driver FROM trips", "no column `hour`"),
        ('SELECT driver, 1.5 AS "hour" FROM trips', "type Decimal.*no feature has"),
        (
            'SELECT driver, sum(driver) AS trips, max(happened) AS "hour" FROM trips GROUP BY 1',
            "`trips` .*cast it to BIGINT",
        ),
        ("SELECT driver, 'now' AS \"hour\" FROM trips", "`hour` .* has type String, expected a timestamp"),
    ],
)
def test_columns_that_are_absent_or_of_a_wrong_type_are_refused(
    store: FeatureStore, query: str, words: str
) -> None:
    with pytest.raises(errors.SchemaMismatch, match=words):
        source(query=query).validate(store.config)


def test_apply_refuses_a_bad_query_and_keeps_nothing(store: FeatureStore) -> None:
    bad = FeatureView(
        name="bad",
        entities=[store.get_entity("driver")],
        source=source(name="bad", query="SELECT x FROM trips"),
    )
    with pytest.raises(errors.InvalidRequest, match='SQL source bad is refused: .*"x" not found'):
        store.apply([bad])
    assert "bad" not in [view.name for view in store.list_feature_views()]


def ask(store: FeatureStore, query: str) -> pd.DataFrame:
    view = store.get_feature_view("hours")
    view.batch_source = source(query=query)
    job = MainspringOfflineStore.get_historical_features(
        store.config, [view], ["hours:mean_fare", "hours:trips"], ASKED, store.registry, "p"
    )
    return job.to_df()


def test_what_only_the_rows_tell_is_told_when_they_are_read(store: FeatureStore, world: Any) -> None:
    fine = 'SELECT driver, happened AS "hour", fare::FLOAT AS mean_fare, 1 AS trips FROM trips'
    assert len(ask(store, fine)) == len(ASKED)
    with pytest.raises(errors.SchemaMismatch, match="no column `trips`.*"):
        ask(store, 'SELECT driver, happened AS "hour", fare::FLOAT AS mean_fare FROM trips')
    with pytest.raises(errors.SchemaMismatch, match="does not fit its type: .*Could not convert"):
        ask(
            store,
            "SELECT driver, happened AS \"hour\", fare AS mean_fare, ('x' || driver)::INTEGER AS trips FROM trips",
        )
    with pytest.raises(errors.SchemaMismatch, match="key `driver` of entity rows has type Int64"):
        ask(
            store,
            'SELECT driver::VARCHAR AS driver, happened AS "hour", fare AS mean_fare, 1 AS trips FROM trips',
        )
    (world[1] / "drivers.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(errors.CorruptArtifact, match="table `drivers`"):
        ask(store, fine)
    (world[1] / "drivers.parquet").unlink()
    with pytest.raises(errors.NotFound, match="no Parquet at .*drivers"):
        ask(store, fine)


def test_a_registry_entry_that_is_none_of_ours_is_refused() -> None:
    proto = source().to_proto()
    proto.custom_options.configuration = b"{}"
    with pytest.raises(errors.CorruptArtifact, match="apply it again"):
        DataSource.from_proto(proto)
    with pytest.raises(errors.InvalidRequest, match="empty `timestamp_field`"):
        source(timestamp_field="")


def test_only_the_columns_in_use_are_selected_and_rows_may_be_limited(tmp_path: Path) -> None:
    write(tmp_path)
    query = sql_query.SqlQuery(
        "q", "SELECT driver, fare, ('x' || driver)::INTEGER AS broken FROM trips ORDER BY happened",
        {"trips": lake.Parquet(f"{tmp_path}/trips/")},
    )  # fmt: skip
    assert query.scan().select("driver").collect()["driver"].to_list() == [1, 3, 2, 1, 1, 2]
    assert query.scan().select("fare", "driver").head(2).collect().columns == ["fare", "driver"]
    assert query.scan().filter(pl.col("fare") > 3).select("driver").collect().height == 3
    with pytest.raises(errors.SchemaMismatch, match="TRY_CAST"):
        query.scan().collect()
