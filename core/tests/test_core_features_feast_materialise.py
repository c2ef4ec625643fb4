"""Views into Feast's online stores: Feast's own calls through our stores, and ours in slices, which go on after a kill."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mainspring.core import errors
from mainspring.core.features import feast_adapter as adapter
from mainspring.core.features import materialise
from mainspring.core.features.feast_store import materialising

# isort: split

from feast import Entity, FeatureStore, FeatureView, FileSource, RepoConfig, ValueType

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast's own

T0 = datetime(2024, 5, 1, tzinfo=UTC)
OURS = "mainspring.core.features.feast_store."
BIG = 2**60 + 1  # no float holds it
#: driver, minute, created minute, trips, speed
FACTS = [
    (1, 1, 1, 10, 0.5), (2, 1, 1, 20, 1.5), (1, 5, 9, 11, 2.5), (1, 5, 6, 12, 3.5), (2, 8, 8, None, None), (3, 7, 7, BIG, 4.5),
    (None, 7, 7, 1, 1.0),
]  # fmt: skip
LATER = [(2, 12, 12, 21, 5.5), (4, 13, 13, 40, 6.5)]


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def write(folder: Path, rows: list[Any]) -> None:
    frame = pl.DataFrame(
        {
            "driver": [r[0] for r in rows], "happened": [at(r[1]) for r in rows], "created": [at(r[2]) for r in rows],
            "n": [r[3] for r in rows], "speed": [r[4] for r in rows],
        },
        schema_overrides={"speed": pl.Float32},
    )  # fmt: skip
    frame.write_parquet(folder / "facts.parquet")


def opened(folder: Path, online: dict[str, Any] | None = None) -> FeatureStore:
    folder.mkdir(exist_ok=True)
    write(folder, FACTS)
    config = RepoConfig(
        project="p", provider="local", repo_path=folder, entity_key_serialization_version=3,
        offline_store={"type": f"{OURS}MainspringOfflineStore", "segments": "segments"},
        online_store=online or {"type": f"{OURS}MainspringOnlineStore", "path": "online.db"},
        registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}", "cache_ttl_seconds": 0},
    )  # fmt: skip
    return FeatureStore(config=config)


def apply(store: FeatureStore) -> None:
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    source = FileSource(
        name="facts", path="facts.parquet", timestamp_field="happened", created_timestamp_column="created",
        field_mapping={"n": "trips"},
    )  # fmt: skip
    fields = [adapter.field("trips", "int64"), adapter.field("speed", "float32")]
    ttl = timedelta(days=36_500)
    store.apply(
        [
            driver,
            FeatureView(
                name="stats",
                entities=[driver],
                ttl=ttl,
                source=source,
                schema=[adapter.field("driver", "int64"), *fields],
            ),
            FeatureView(name="everyone", entities=[], ttl=ttl, source=source, schema=fields),
        ]
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    store = opened(tmp_path / "repo")
    apply(store)
    yield store
    store.registry.write_engine.dispose()  # type: ignore[attr-defined]


def trips(store: FeatureStore) -> list[int | None]:
    asked = {"driver": [1, 2, 3, 4]}
    return list(store.get_online_features(["stats:trips"], asked).to_dict()["trips"])


def speed_of_everyone(store: FeatureStore) -> list[float | None]:
    found = store.get_online_features(["stats:trips", "everyone:speed"], {"driver": [1]}).to_dict()
    return list(found["speed"])


def test_feasts_own_materialisation_goes_through_our_stores(store: FeatureStore, tmp_path: Path) -> None:
    store.materialize(at(0), at(7), feature_views=["stats"])
    assert trips(store) == [11, 20, BIG, None]
    write(tmp_path / "repo", [*FACTS, *LATER])
    store.materialize_incremental(at(13), feature_views=["stats", "everyone"])
    # Feast takes whole numbers through floats where a batch has a null among them.
    assert trips(store) == [11, 21, BIG - 1, 40]
    assert speed_of_everyone(store) == [6.5]


def test_ours_is_the_same_by_slices_and_feasts_goes_on_after_it(store: FeatureStore, tmp_path: Path) -> None:
    told: list[materialise.Progress] = []
    mark = tmp_path / "marks" / "stats"
    done = materialising.materialise_view(
        store, "stats", until=at(10), state=mark, slice_rows=2, progress=told.append
    )
    assert trips(store) == [11, None, BIG, None]
    assert done.rows == done.of_rows == len(FACTS) and done.watermark == at(8) and done.taken is None
    assert len(told) == 4
    write(tmp_path / "repo", [*FACTS, *LATER])
    assert materialising.materialise_view(store, "stats", until=at(12), state=mark).rows == 2
    assert trips(store) == [11, 21, BIG, None]
    assert store.get_feature_view("stats").most_recent_end_time == at(12)
    store.materialize_incremental(at(20), feature_views=["stats"])
    assert trips(store) == [11, 21, BIG, 40]
    materialising.materialise_view(store, "everyone", until=at(20))
    assert speed_of_everyone(store) == [6.5]


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_core_features_feast_materialise as here
from mainspring.core.features.feast_store import materialising
folder = Path(sys.argv[1])
def die(done):
    if done.rows >= 3:
        os.kill(os.getpid(), 9)
materialising.materialise_view(
    here.opened(folder / "repo"), "stats", until=here.at(10), state=folder / "mark", slice_rows=2, progress=die
)
"""


def test_a_run_that_is_killed_goes_on_where_it_was(store: FeatureStore, tmp_path: Path) -> None:
    arguments = [str(tmp_path), str(Path(__file__).parent)]
    died = subprocess.run([sys.executable, "-c", KILLED, *arguments], timeout=120, check=False)
    assert died.returncode == -9
    done = materialising.materialise_view(store, "stats", until=at(10), state=tmp_path / "mark")
    assert 0 < done.rows < len(FACTS)
    store.refresh_registry()
    assert trips(opened(tmp_path / "repo")) == [11, None, BIG, None]


def test_what_is_wrong_is_told(store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match="no view `stat`; its views are") as caught:
        materialising.materialise_view(store, "stat", until=at(10))
    assert caught.value.did_you_mean == ("stats",)
    facts = pl.read_parquet(tmp_path / "repo" / "facts.parquet")
    facts.with_columns(n=pl.lit("many")).write_parquet(tmp_path / "repo" / "facts.parquet")
    with pytest.raises(
        errors.SchemaMismatch, match="`trips` of view `p.stats` has type String, expected INT64"
    ):
        materialising.materialise_view(store, "stats", until=at(10), state=tmp_path / "mark")
    facts.drop("n").write_parquet(tmp_path / "repo" / "facts.parquet")
    with pytest.raises(errors.SchemaMismatch, match="no column `trips`"):
        materialising.materialise_view(store, "stats", until=at(10))
    assert not (tmp_path / "mark").exists() and trips(store) == [None] * 4


def test_a_store_that_is_down_is_told_and_nothing_is_marked(tmp_path: Path) -> None:
    closed = {"type": "redis", "connection_string": "127.0.0.1:1,socket_connect_timeout=1"}  # nobody listens
    store = opened(tmp_path / "repo")
    apply(store)
    down = opened(tmp_path / "repo", closed)
    with pytest.raises(errors.DependencyDown, match="run the materialisation again"):
        materialising.materialise_view(down, "stats", until=at(10), state=tmp_path / "mark")
    assert not (tmp_path / "mark").exists()
    assert materialising.materialise_view(store, "stats", until=at(10), state=tmp_path / "mark").rows == len(
        FACTS
    )
