"""Feast with our offline store: the answers, what it keeps where Feast's default drops, and how bad files are told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mainspring.core import errors
from mainspring.core.features import feast_adapter as adapter
from mainspring.core.features.feast_store import MainspringOfflineStore

# isort: split

from feast import Entity, FeatureStore, FeatureView, FileSource, PushSource, RepoConfig, ValueType
from feast.data_source import PushMode
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast's own

T0 = datetime(2024, 5, 1, tzinfo=UTC)
TYPE = "mainspring.core.features.feast_store.MainspringOfflineStore"


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def rows(*facts: tuple[int | None, float, float, float | None]) -> pl.DataFrame:
    """(driver, event minute, created minute, rate) each."""
    return pl.DataFrame(
        {
            "driver": [f[0] for f in facts],
            "event_timestamp": [at(f[1]) for f in facts],
            "created": [at(f[2]) for f in facts],
            "rate": [f[3] for f in facts],
            "trips": [None if f[3] is None else int(f[3] * 10) for f in facts],
        },
        schema={
            "driver": pl.Int32, "event_timestamp": pl.Datetime("us", "UTC"), "created": pl.Datetime("us", "UTC"),
            "rate": pl.Float32, "trips": pl.Int64,
        },
    )  # fmt: skip


FACTS = rows(
    (1, 0, 5, 0.1), (1, 10, 12, 0.3), (1, 10, 11, 0.2), (2, 4, 4, None), (None, 1, 1, 9.0), (2, 50, 51, 0.9)
)


@pytest.fixture(scope="module", params=[None, "sorted"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FeatureStore, Path]]:
    """A store that joins from Parquet, and one that joins from sorted segments: all that is said here is of both."""
    folder = tmp_path_factory.mktemp("repo")
    config = RepoConfig(
        project="p", provider="local", repo_path=folder, offline_store={"type": TYPE, "segments": request.param}, online_store=None,
        registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}", "cache_ttl_seconds": 60},
        entity_key_serialization_version=3,
    )  # fmt: skip
    store = FeatureStore(config=config)
    driver = Entity(name="driver_entity", join_keys=["driver"], value_type=ValueType.INT64)
    source = FileSource(
        name="facts",
        path="facts.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    fields = [
        adapter.field("driver", "int64"),
        adapter.field("rate", "float32"),
        adapter.field("trips", "int64"),
    ]
    view = FeatureView(
        name="stats", entities=[driver], ttl=timedelta(minutes=20), schema=fields,
        source=PushSource(name="push", batch_source=source),
    )  # fmt: skip
    forever = FeatureView(name="forever", entities=[driver], ttl=timedelta(0), schema=fields, source=source)
    everyone = FeatureView(
        name="everyone",
        entities=[],
        ttl=timedelta(0),
        schema=[adapter.field("rate", "float32")],
        source=source,
    )
    FACTS.write_parquet(folder / "facts.parquet")
    store.apply([driver, view, forever, everyone])
    yield store, folder
    store.registry.write_engine.dispose()  # type: ignore[attr-defined]


@pytest.fixture
def store(world: tuple[FeatureStore, Path]) -> Iterator[FeatureStore]:
    FACTS.write_parquet(world[1] / "facts.parquet")
    yield world[0]


@pytest.fixture
def folder(world: tuple[FeatureStore, Path]) -> Path:
    return world[1]


ASKED = pd.DataFrame(
    {
        "event_timestamp": [at(60), at(9), at(10), at(30), at(30.001), at(9), at(-1), at(5)],
        "driver": [2, 1, 1, 1, 1, 7, 1, 2],
        "label": list("abcdefgh"),
    }
)
NULL = None


def ask(store: FeatureStore, frame: Any = ASKED, view: str = "stats", **options: Any) -> pl.DataFrame:
    job = store.get_historical_features(frame, [f"{view}:rate", f"{view}:trips"], **options)
    return pl.DataFrame(pl.from_arrow(job.to_arrow()))


def test_rows_stay_where_they_are_ties_go_to_the_latest_and_old_ones_are_null(store: FeatureStore) -> None:
    got = ask(store)
    assert got["label"].to_list() == list("abcdefgh") and got["driver"].to_list() == ASKED["driver"].tolist()
    assert got["trips"].to_list() == [9, 1, 3, 3, NULL, NULL, NULL, NULL]
    assert got["rate"].dtype == pl.Float32 and got["rate"].null_count() == 4
    assert got.columns == ["event_timestamp", "driver", "label", "rate", "trips"]


def test_a_ttl_of_zero_never_expires_and_names_may_be_full(store: FeatureStore) -> None:
    got = ask(store, view="forever", full_feature_names=True)
    assert got["forever__trips"].to_list() == [9, 1, 3, 3, 3, NULL, NULL, NULL]


def test_what_was_not_yet_created_is_passed_over(store: FeatureStore) -> None:
    frame = pd.DataFrame({"event_timestamp": [at(10), at(11), at(12), at(4.9)], "driver": [1] * 4})
    got = ask(store, frame, filter_by_created_timestamp=True)
    assert got["trips"].to_list() == [1, 2, 3, NULL]


def test_all_views_join_and_one_without_entities_answers_everybody(store: FeatureStore) -> None:
    job = store.get_historical_features(ASKED, ["stats:trips", "everyone:rate"])
    frame = job.to_df()
    assert len(frame) == len(ASKED)
    assert frame["rate"].round(3).fillna(-1).tolist()[:2] == [
        pytest.approx(0.9),
        -1,
    ]  # minute 9: driver 2's null


def test_entity_rows_may_be_sql_and_times_text(store: FeatureStore) -> None:
    sql = "SELECT 1::INTEGER AS driver, TIMESTAMPTZ '2024-05-01 00:10:00+00' AS event_timestamp"
    assert ask(store, sql)["trips"].to_list() == [3]
    text = pd.DataFrame({"event_timestamp": ["2024-05-01T00:10:00Z"], "driver": [1]})
    assert ask(store, text)["trips"].to_list() == [3]


def test_the_latest_row_of_each_key_within_the_dates(store: FeatureStore) -> None:
    source = store.get_feature_view("forever").batch_source
    pull = MainspringOfflineStore.pull_latest_from_table_or_query
    names = (["driver"], ["rate", "trips"], "event_timestamp", "created")
    found = pl.DataFrame(pl.from_arrow(pull(store.config, source, *names, at(0), at(49)).to_arrow()))
    assert found.sort("driver")["driver"].to_list() == [1, 2]  # and none of no driver
    assert found.sort("driver")["trips"].to_list() == [3, None]
    assert found.columns == ["driver", "rate", "trips", "event_timestamp", "created"]
    pull_all = MainspringOfflineStore.pull_all_from_table_or_query
    everything = pull_all(store.config, source, *names).to_df()
    assert len(everything) == FACTS.height and everything["driver"].tolist()[:3] == [1, 1, 1]
    assert len(pull_all(store.config, source, *names, start_date=at(50)).to_df()) == 1


def test_a_push_appends_and_a_wrong_one_changes_nothing(store: FeatureStore, folder: Path) -> None:
    new = pd.DataFrame(
        {"driver": [1], "event_timestamp": [at(40)], "created": [at(40)], "rate": [0.5], "trips": [5]}
    )
    store.push("push", new, to=PushMode.OFFLINE)
    assert pl.read_parquet(folder / "facts.parquet").height == FACTS.height + 1
    assert pl.read_parquet_schema(folder / "facts.parquet") == FACTS.schema
    assert ask(store, pd.DataFrame({"event_timestamp": [at(41)], "driver": [1]}))["trips"].to_list() == [5]
    with pytest.raises(errors.SchemaMismatch) as caught:
        store.push("push", new.assign(trips="many"), to=PushMode.OFFLINE)
    assert caught.value.feature == "trips"
    assert pl.read_parquet(folder / "facts.parquet").height == FACTS.height + 1
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_a_folder_gets_one_more_file(store: FeatureStore, tmp_path: Path) -> None:
    FACTS.write_parquet(tmp_path / "part-0.parquet")
    view = FeatureView(
        name="parts", entities=[store.get_entity("driver_entity")], schema=store.get_feature_view("stats").schema,
        source=FileSource(name="parts", path=str(tmp_path), timestamp_field="event_timestamp", created_timestamp_column="created"),
    )  # fmt: skip
    MainspringOfflineStore.offline_write_batch(store.config, view, FACTS.head(1).to_arrow(), None)
    assert len(list(tmp_path.iterdir())) == 2
    found = MainspringOfflineStore.pull_all_from_table_or_query(
        store.config, view.batch_source, ["driver"], ["rate"], "event_timestamp"
    )
    assert found.to_arrow().num_rows == FACTS.height + 1


def test_a_saved_dataset_comes_back_and_is_not_overwritten(store: FeatureStore, folder: Path) -> None:
    job = store.get_historical_features(ASKED, ["stats:rate", "stats:trips"])
    storage = SavedDatasetFileStorage(path="saved.parquet")
    (folder / "saved.parquet").unlink(missing_ok=True)
    saved = store.create_saved_dataset(job, "saved", storage)
    assert saved.to_df()["trips"].fillna(-1).tolist() == job.to_df()["trips"].fillna(-1).tolist()
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        store.create_saved_dataset(job, "saved", storage)
    assert len(store.get_saved_dataset("saved").to_df()) == len(ASKED)


def _damage(folder: Path, how: str) -> None:
    path = folder / "facts.parquet"
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "text times":
        FACTS.with_columns(pl.col("event_timestamp").cast(pl.String)).write_parquet(path)
    elif how == "no column":
        FACTS.drop("trips").write_parquet(path)
    elif how == "other key":
        FACTS.with_columns(pl.col("driver").cast(pl.String)).write_parquet(path)


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("gone", errors.NotFound, "no Parquet at"),
        ("cut", errors.CorruptArtifact, "facts.parquet` does not read"),
        ("text times", errors.SchemaMismatch, "`event_timestamp` of .* has type String, expected a timestamp"),
        ("no column", errors.SchemaMismatch, "has no column `trips`"),
        ("other key", errors.SchemaMismatch, "key `driver` of entity rows has type Int64, the view's rows have String"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told(
    store: FeatureStore, folder: Path, how: str, kind: type[Exception], words: str
) -> None:
    _damage(folder, how)
    with pytest.raises(kind, match=words):
        ask(store)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (ASKED.drop(columns="driver"), "entity rows has no column `driver`"),
        (ASKED.assign(event_timestamp=[*ASKED["event_timestamp"][:-1], pd.NaT]), "1 nulls"),
        (ASKED.assign(event_timestamp=["soon"] * len(ASKED)), "holds no times"),
        (ASKED.assign(driver=[1.5] * len(ASKED)), "key `driver` of entity rows has type Float64"),
    ],
)
def test_wrong_entity_rows_are_refused(store: FeatureStore, frame: pd.DataFrame, words: str) -> None:
    with pytest.raises(errors.SchemaMismatch, match=words):
        ask(store, frame)


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT driver FROM nobody", "SELECT * FROM 'none.parquet'"])
def test_wrong_sql_for_entity_rows_is_refused(store: FeatureStore, sql: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="SQL source of entity rows is refused"):
        ask(store, sql)


def test_a_range_without_entity_rows_is_refused(store: FeatureStore) -> None:
    with pytest.raises(errors.InvalidRequest, match="entity_df"):
        store.get_historical_features(None, ["stats:rate"], start_date=at(0))


def test_nanosecond_and_naive_times_are_utc_microseconds(store: FeatureStore, folder: Path) -> None:
    naive = FACTS.with_columns(pl.col("event_timestamp").dt.replace_time_zone(None).dt.cast_time_unit("ns"))
    naive.write_parquet(folder / "facts.parquet")
    assert ask(store)["trips"].to_list() == [9, 1, 3, 3, NULL, NULL, NULL, NULL]
    assert isinstance(naive.to_arrow(), pa.Table)


def test_stale_segments_are_refused_where_the_store_says_so(tmp_path: Path) -> None:
    config = RepoConfig(
        project="p", provider="local", repo_path=tmp_path, online_store=None, entity_key_serialization_version=3,
        offline_store={"type": TYPE, "segments": "sorted", "stale_segments": "refuse"},
        registry={"registry_type": "sql", "path": f"sqlite:///{tmp_path / 'registry.db'}"},
    )  # fmt: skip
    store = FeatureStore(config=config)
    driver = Entity(name="driver_entity", join_keys=["driver"], value_type=ValueType.INT64)
    source = FileSource(
        name="a/b", path="facts.parquet", timestamp_field="at", created_timestamp_column="created",
        field_mapping={"event_timestamp": "at", "rate": "speed"},
    )  # fmt: skip
    fields = [adapter.field("driver", "int64"), adapter.field("speed", "float32")]
    FACTS.write_parquet(tmp_path / "facts.parquet")
    store.apply([driver, FeatureView(name="stats", entities=[driver], schema=fields, source=source)])
    frame = pd.DataFrame({"event_timestamp": [at(60)], "driver": [2]})
    with pytest.raises(errors.NotFound, match="no segments"):
        store.get_historical_features(frame, ["stats:speed"]).to_df()
    store.config.offline_store.stale_segments = "refresh"
    assert store.get_historical_features(frame, ["stats:speed"]).to_df()["speed"].tolist() == [
        pytest.approx(0.9)
    ]
    store.config.offline_store.stale_segments = "refuse"
    assert len(store.get_historical_features(frame, ["stats:speed"]).to_df()) == 1
    FACTS.head(1).write_parquet(tmp_path / "facts.parquet")
    with pytest.raises(errors.Conflict, match="`facts.parquet` was written again"):
        store.get_historical_features(frame, ["stats:speed"]).to_df()
    store.registry.write_engine.dispose()  # type: ignore[attr-defined]
