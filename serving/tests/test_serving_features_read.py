"""Online reads over HTTP: our route, and Feast's own remote client at Feast's path."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
import serving_world as world

from mainspring.core import canonical
from mainspring.core.client import serving as client_module

pytestmark = pytest.mark.integration

STABLE = world.World()
REFS = ["origin_stats:mean_delay", "origin_stats:weather"]


@pytest.fixture(scope="module", params=world.WAYS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[world.Served]:
    directory = tmp_path_factory.mktemp("serving")
    with world.serve(directory, STABLE, max_rows_per_request=50, **world.WAYS[request.param]) as s:
        with client_module.ServingClient(s.url, token=s.tokens.token_of("service@local")) as client:
            client.load_bundle(STABLE.digest)
        yield s


def ask(served: world.Served, *, accept: str = "*/*", **body: Any) -> httpx.Response:
    body = {"features": REFS, "entities": {"origin": ["JFK"]}, "as_of": world.AS_OF} | body
    body = {name: value for name, value in body.items() if value is not None}
    return httpx.post(
        f"{served.url}/v1/features:read", json=body, headers={"accept": accept}, trust_env=False
    )


def test_values_statuses_and_times_come_back_in_feasts_shape(served: world.Served) -> None:
    answer = ask(served, entities={"origin": ["JFK", "LGA", "EWR", None]}).json()
    assert answer["metadata"]["feature_names"] == ["origin", "mean_delay", "weather"]
    keys, delays, weather = answer["results"]
    assert keys["values"] == ["JFK", "LGA", "EWR", None] and keys["statuses"] == ["PRESENT"] * 4
    assert delays["values"] == [1.5, None, None, None]
    assert weather["values"] == [None, None, None, None]
    assert (
        delays["statuses"] == weather["statuses"] == ["PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND", "NOT_FOUND"]
    )
    assert delays["event_timestamps"] == [
        "2013-12-01T11:13:20Z", "2013-12-01T09:13:20Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"
    ]  # fmt: skip


def test_a_service_of_a_loaded_bundle_and_full_names(served: world.Served) -> None:
    entities = {"origin": ["LGA", "JFK"], "carrier": ["UA", "UA"], "flight": [8, 7]}
    answer = ask(
        served, features=None, feature_service="delays", entities=entities, full_feature_names=True
    ).json()
    assert answer["metadata"]["feature_names"][3:] == [
        "origin_stats__mean_delay", "origin_stats__weather", "flight_stats__mean_delay"
    ]  # fmt: skip
    assert answer["results"][5]["values"] == [None, 0.25]


def test_arrow_says_the_same_as_json(served: world.Served) -> None:
    entities = {"origin": ["JFK", "LGA", "EWR"]}
    response = ask(served, accept="application/vnd.apache.arrow.stream", entities=entities)
    assert response.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(response.content).read_all()
    assert table.column_names == [
        "origin",
        "mean_delay",
        "weather",
        "origin_stats__status",
        "origin_stats__event_time",
    ]
    assert table["mean_delay"].type == pa.float32() and table["mean_delay"].to_pylist() == [1.5, None, None]
    assert table["origin_stats__status"].to_pylist() == [0, 2, 1]
    times = table["origin_stats__event_time"]
    assert times.type == pa.timestamp("us", "UTC") and times.null_count == 1
    assert times.cast(pa.int64()).to_pylist()[0] == world.NOW_US - world.HOUR_US


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"features": ["origin_stat:mean_delay"]}, 404, "did you mean `origin_stats`"),
        ({"features": ["origin_stats:mean_dely"]}, 404, "did you mean `mean_delay`"),
        ({"features": ["mean_delay"]}, 400, "write `view:feature`"),
        ({"features": []}, 400, "at least 1"),
        ({"features": None}, 400, "either `features` or `feature_service`"),
        ({"features": None, "feature_service": "delay"}, 404, "did you mean `delays`"),
        ({"features": [REFS[0], REFS[0]]}, 400, "full_feature_names"),
        ({"entities": {"city": ["JFK"]}}, 400, "`origin` was not sent"),
        ({"entities": {"origin": ["JFK"], "x": []}}, 400, "send one a row"),
        ({"entities": {"origin": []}}, 400, "expected 1 to 50"),
        ({"entities": {"origin": ["JFK"] * 51}}, 400, "split the request"),
        ({"entities": {"origin": [7]}}, 422, "send it as string"),
        ({"entities": {"origin": [1.5]}}, 400, "entities"),
        ({"feature": ["a:b"]}, 400, "feature"),
    ],
)  # fmt: skip
def test_a_bad_question_says_what_to_do(
    served: world.Served, body: dict[str, Any], status: int, words: str
) -> None:
    answer = ask(served, **body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


def test_the_two_features_of_one_name_need_full_names(served: world.Served) -> None:
    entities = {"origin": ["JFK"], "carrier": ["UA"], "flight": [7]}
    refs = ["origin_stats:mean_delay", "flight_stats:mean_delay"]
    assert ask(served, features=refs, entities=entities).status_code == 400
    full = ask(served, features=refs, entities=entities, full_feature_names=True).json()
    assert [r["values"] for r in full["results"][3:]] == [[1.5], [0.25]]


def test_many_reads_in_a_row_stay_right(served: world.Served) -> None:
    """The first are answered in threads, then on the loop: the same answer."""
    want = ask(served).content
    assert all(ask(served).content == want for _ in range(30))


def test_feasts_remote_client_reads_from_here(served: world.Served, tmp_path: Path) -> None:
    """A team that has Feast changes `online_store` to `type: remote` and our address, nothing else."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float32, String

    now = time.time_ns() // 1000
    served.online.upsert(
        "origin_stats", {"origin": ["BOS"]}, event_us=np.array([now]), created_us=np.array([now]),
        columns={"mean_delay": [2.5], "weather": ["sun"]},
    )  # fmt: skip
    store = FeatureStore(
        config=RepoConfig(
            project="p", provider="local", repo_path=tmp_path, entity_key_serialization_version=3,
            online_store={"type": "remote", "path": served.url}, offline_store={"type": "dask"},
            registry={"registry_type": "sql", "path": f"sqlite:///{tmp_path / 'registry.db'}"},
        )
    )  # fmt: skip
    origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
    view = FeatureView(
        name="origin_stats", entities=[origin], ttl=timedelta(hours=2),
        schema=[Field(name="origin", dtype=String), Field(name="mean_delay", dtype=Float32), Field(name="weather", dtype=String)],
        source=FileSource(name="rows", path="rows.parquet", timestamp_field="event_timestamp"),
    )  # fmt: skip
    store.registry.apply_entity(origin, "p")
    store.registry.apply_feature_view(view, "p")
    before = served.front.counts().get("answered")
    answer = store.get_online_features(REFS, [{"origin": "BOS"}, {"origin": "nowhere"}]).to_dict()
    assert answer == {"origin": ["BOS", "nowhere"], "mean_delay": [2.5, None], "weather": ["sun", None]}
    if before is not None:  # what Feast sends, the front understands
        assert served.front.counts()["answered"] > before


def test_the_routes_are_described(served: world.Served) -> None:
    paths = httpx.get(f"{served.url}/openapi.json", trust_env=False).json()["paths"]
    operations = [paths[p]["post"]["operationId"] for p in ("/v1/features:read", "/get-online-features")]
    assert len(set(operations)) == 2
    assert canonical.digest(paths["/v1/features:read"]["post"]["requestBody"]) == canonical.digest(
        paths["/get-online-features"]["post"]["requestBody"]
    )
