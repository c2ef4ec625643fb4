"""Parquet in a real S3-compatible store: joined, kept as sorted segments and queried; what the store refuses is told."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import integration_object_store as object_store
import pandas as pd
import polars as pl
import pytest

from mainspring.core import errors
from mainspring.core.features import feast_adapter as adapter
from mainspring.core.features import frames, lake, matching, objects, segment_file, segments, sql_query
from mainspring.core.features.feast_store import SqlSource

# isort: split

from feast import Entity, FeatureStore, FeatureView, FileSource, RepoConfig, ValueType
from feast.data_source import DataSource

pytestmark = [
    pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore"),  # Feast's own
]  # fmt: skip

T0 = datetime(2024, 5, 1, tzinfo=UTC)
ORDER = segment_file.Order(("driver",), "at", "made")
TIMES = matching.Times("as_of", "at", "made")
#: driver, minute of the event, minute of its making, trips
FACTS = [(1, 0, 1, 10), (2, 0, 1, 20), (1, 5, 6, 11), (1, 5, 7, 12), (None, 1, 1, 99)]
MORE = [(2, 8, 9, 21), (3, 2, 2, 30)]


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def rows(facts: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "driver": [f[0] for f in facts], "at": [at(f[1]) for f in facts], "made": [at(f[2]) for f in facts],
            "trips": [f[3] for f in facts],
        },
        schema={"driver": pl.Int64, "at": frames.TIME, "made": frames.TIME, "trips": pl.Int64},
    )  # fmt: skip


ASKED = pl.DataFrame(
    {"driver": [1, 1, 2, 3, 7], "as_of": [at(9), at(4), at(9), at(1), at(9)]},
    schema={"driver": pl.Int64, "as_of": frames.TIME},
)
ONE, BOTH = [12, 10, 20, None, None], [12, 10, 21, None, None]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object_store.ObjectStore]:
    with object_store.started(tmp_path_factory.mktemp("objects")) as running:
        yield running


@pytest.fixture
def folder(store: object_store.ObjectStore) -> str:
    """A folder of this test's own, with one object; its key with `/` at the end."""
    key = f"{secrets.token_hex(4)}/"
    store.put(f"{key}part-0.parquet", rows(FACTS))
    return key


def source(store: object_store.ObjectStore, key: str, **options: str) -> lake.Parquet:
    return lake.Parquet(f"s3://{object_store.BUCKET}/{key}", store.options(**options))


def trips(found: segments.Segments) -> list[int | None]:
    return found.match(ASKED, keys=["driver"], times=TIMES, columns=["trips"])["trips"].to_list()


def joined(parquet: lake.Parquet) -> list[int | None]:
    found = matching.match(ASKED, parquet.scan(), keys=["driver"], times=TIMES, columns=["trips"])
    return found["trips"].to_list()


def queried(parquet: lake.Parquet) -> list[int]:
    query = sql_query.SqlQuery("q", "SELECT sum(trips)::BIGINT AS n FROM t", {"t": parquet})
    return query.scan().collect()["n"].to_list()


@pytest.mark.parametrize("key", ["", "part-0.parquet"])
def test_a_folder_and_an_object_are_joined_sorted_and_queried(
    store: object_store.ObjectStore, folder: str, key: str, tmp_path: Path
) -> None:
    store.put(f"{folder}notes.txt", b"no rows")
    parquet = source(store, folder + key)
    found = segments.Segments(tmp_path, parquet, ORDER)
    made = found.refresh()
    assert (made.rows, made.rows_read, made.reason) == (4, 5, "there were none")
    assert found.refresh() == segments.Refreshed(rows=4, segments=1)
    assert trips(found) == joined(parquet) == ONE
    assert queried(parquet) == [152]
    assert parquet.scan().select("trips").head(2).collect()["trips"].to_list() == [10, 20]
    assert parquet.scan().filter(pl.col("trips") > 11).collect()["trips"].to_list() == [20, 12, 99]


def test_a_new_object_is_appended_and_a_changed_or_absent_one_makes_all_anew(
    store: object_store.ObjectStore, folder: str, tmp_path: Path
) -> None:
    parquet = source(store, folder)
    found = segments.Segments(tmp_path, parquet, ORDER)
    found.refresh()
    store.put(f"{folder}part-1.parquet", rows(MORE))
    with pytest.raises(errors.Conflict, match="`part-1.parquet` is new"):
        trips(found)
    assert found.refresh().rows_read == 2
    assert trips(found) == joined(parquet) == BOTH
    # Of the same size, and within the second that the store's clock tells.
    store.put(f"{folder}part-1.parquet", rows([(2, 8, 9, 22), (3, 2, 2, 30)]))
    with pytest.raises(errors.Conflict, match="`part-1.parquet` was written again"):
        trips(found)
    assert found.refresh().rows_read == 7 and trips(found)[2] == 22
    store.delete(f"{folder}part-1.parquet")
    with pytest.raises(errors.Conflict, match="`part-1.parquet` is gone"):
        trips(found)
    found.refresh()
    assert trips(found) == ONE


REFRESHED = """
import json, pathlib, sys
from mainspring.core.features import lake, segment_file, segments
uri, options, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
order = segment_file.Order(("driver",), "at", "made")
print(segments.Segments(pathlib.Path(folder), lake.Parquet(uri, options), order).refresh().rows_read)
"""


def test_two_processes_that_refresh_at_once_read_the_objects_once(
    store: object_store.ObjectStore, folder: str, tmp_path: Path
) -> None:
    parquet = source(store, folder)
    asked = [sys.executable, "-c", REFRESHED, parquet.uri, json.dumps(store.options()), str(tmp_path)]
    both = [subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [int(process.communicate(timeout=60)[0]) for process in both]
    assert sorted(said) == [0, 5]
    assert trips(segments.Segments(tmp_path, parquet, ORDER)) == ONE


Reading = Callable[[lake.Parquet, Path], object]
READINGS = [
    lambda parquet, _: joined(parquet),
    lambda parquet, _: queried(parquet),
    lambda parquet, folder: segments.Segments(folder, parquet, ORDER).refresh(),
]


@pytest.mark.parametrize("read", READINGS)
def test_what_the_store_refuses_is_told(
    store: object_store.ObjectStore, folder: str, read: Reading, tmp_path: Path
) -> None:
    wrong = {"aws_access_key_id": "nobody"}, {"aws_secret_access_key": "guessed"}
    other = {"aws_access_key_id": "other", "aws_secret_access_key": "other-secret"}
    for options in (*wrong, other):
        with pytest.raises(errors.PermissionDenied, match="check the access key"):
            read(source(store, folder, **options), tmp_path)
    with pytest.raises(errors.PermissionDenied, match="check the access key"):
        read(source(store, f"{folder}part-0.parquet", **other), tmp_path)
    for absent in (f"{folder}part-7.parquet", "nothing/here/"):
        with pytest.raises(errors.NotFound, match="no Parquet at"):
            read(source(store, absent), tmp_path)
    with pytest.raises(errors.NotFound, match="no Parquet at"):
        read(lake.Parquet("s3://no-such-bucket/rows/", store.options()), tmp_path)
    with pytest.raises(errors.DependencyDown, match="check its endpoint"):
        read(source(store, folder, aws_endpoint_url="http://127.0.0.1:9"), tmp_path)
    with pytest.raises(errors.InvalidRequest, match="options of"):
        read(source(store, folder, aws_favourite_colour="blue"), tmp_path)
    for uri in ("s3://lake", "gs://lake/rows/"):
        with pytest.raises(errors.InvalidRequest, match="expected s3://BUCKET/KEY"):
            read(lake.Parquet(uri, store.options()), tmp_path)
    store.put(f"{folder}part-1.parquet", b"PAR1 and no more")
    with pytest.raises(errors.CorruptArtifact):
        read(source(store, folder), tmp_path)
    assert not list(tmp_path.glob("*.arrow"))


@pytest.mark.parametrize("after", [rows(MORE), rows([(1, 0, 1, 70), *FACTS[1:]]), None])
def test_an_object_that_is_replaced_meanwhile_is_no_answer(
    store: object_store.ObjectStore,
    folder: str,
    after: pl.DataFrame | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parquet, key = source(store, folder), f"{folder}part-0.parquet"
    before = parquet.scan()

    def replace() -> None:
        if after is None:
            store.delete(key)
        else:
            store.put(key, after)

    replace()
    gone = (errors.Conflict, errors.NotFound)
    with pytest.raises(gone, match=r"changed while it was read|no Parquet"):
        before.collect()
    store.put(key, rows(FACTS))
    once = list[int]()

    def and_replace(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            if not once:
                once.append(1)
                replace()
            return call(*args, **options)

        return called

    monkeypatch.setattr(objects, "read", and_replace(objects.read))
    with pytest.raises(gone, match=r"was replaced while it was read|no Parquet"):
        queried(parquet)
    assert once.pop() == 1
    store.put(key, rows(FACTS))
    monkeypatch.setattr(segment_file, "write", and_replace(segment_file.write))
    with pytest.raises(gone, match=r"changed while its segments were made|no Parquet"):
        segments.Segments(tmp_path, parquet, ORDER).refresh()
    assert once == [1] and not list(tmp_path.glob("segment-*"))
    store.put(key, rows(FACTS))
    found = segments.Segments(tmp_path, parquet, ORDER)
    found.refresh()
    assert trips(found) == ONE


def test_a_query_reads_its_objects_and_no_others(store: object_store.ObjectStore, folder: str) -> None:
    store.put("secret/pay.parquet", rows(MORE))
    tables = {"t": source(store, folder)}
    for text in (
        "SELECT * FROM read_parquet('s3://lake/secret/pay.parquet')",
        "SELECT * FROM read_parquet('mainspring://1.parquet')",
        f"SELECT * FROM '{store.endpoint}/lake/secret/pay.parquet'",
        "SELECT * FROM glob('mainspring://*')",
    ):
        with pytest.raises(errors.InvalidRequest, match="is refused"):
            sql_query.SqlQuery("q", text, tables).scan().collect()
    both = tables | {"pay": source(store, "secret/pay.parquet")}
    query = sql_query.SqlQuery("q", "SELECT trips FROM t JOIN pay USING (driver)", both)
    with pytest.raises(errors.InvalidRequest, match="Ambiguous"):
        query.scan()
    query = sql_query.SqlQuery("q", "SELECT pay.trips AS n FROM t JOIN pay USING (driver)", both)
    assert query.scan().collect()["n"].to_list() == [21]


@pytest.mark.parametrize("kept", [None, "sorted"])
def test_feast_joins_materialises_and_appends(
    store: object_store.ObjectStore,
    folder: str,
    kept: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "owner-secret")
    ours, uri = "mainspring.core.features.feast_store.", f"s3://{object_store.BUCKET}/{folder}"
    config = RepoConfig(
        project="p", provider="local", repo_path=tmp_path, entity_key_serialization_version=3,
        offline_store={"type": f"{ours}MainspringOfflineStore", "segments": kept},
        online_store={"type": f"{ours}MainspringOnlineStore"},
        registry={"registry_type": "sql", "path": f"sqlite:///{tmp_path / 'registry.db'}", "cache_ttl_seconds": 0},
    )  # fmt: skip
    feast = FeatureStore(config=config)
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    fields = [adapter.field("driver", "int64"), adapter.field("trips", "int64")]
    files = FileSource(
        name="files", path=uri, timestamp_field="at", created_timestamp_column="made",
        s3_endpoint_override=store.endpoint,
    )  # fmt: skip
    sql = SqlSource(
        name="sql", tables={"t": uri}, timestamp_field="at", s3_endpoint_override=store.endpoint,
        query='SELECT driver, "at", max(trips) AS most FROM t GROUP BY ALL',
    )  # fmt: skip
    assert DataSource.from_proto(sql.to_proto()) == sql
    feast.apply(
        [
            driver,
            FeatureView(name="stats", entities=[driver], ttl=timedelta(days=1), schema=fields, source=files),
            FeatureView(name="most", entities=[driver], ttl=timedelta(days=1), source=sql),
        ]
    )
    asked = pd.DataFrame({"driver": [1, 2, 7], "event_timestamp": [at(9)] * 3})
    got = feast.get_historical_features(asked, ["stats:trips", "most:most"]).to_df().fillna(-1)
    assert got["trips"].tolist() == [12, 20, -1] and got["most"].tolist() == [12, 20, -1]
    feast.materialize(at(-1), at(60))
    online = feast.get_online_features(["stats:trips"], [{"driver": 1}, {"driver": 7}]).to_dict()
    # It happened in 2024: older than a day.
    assert online["trips"] == [None, None]
    feast.write_to_offline_store("stats", rows(MORE).to_pandas(), reorder_columns=False)
    got = feast.get_historical_features(asked, ["stats:trips"]).to_df().fillna(-1)
    assert got["trips"].tolist() == [12, 21, -1]
    feast.registry.write_engine.dispose()  # type: ignore[attr-defined]
