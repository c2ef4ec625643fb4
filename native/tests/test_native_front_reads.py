"""The front answers reads of features from native tables, and passes on what it does not know."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import front_testing as testing
import numpy as np
import pytest
from front_testing import Client, request

from mainspring.native import front, status, table

PATHS = ("/v1/features:read", "/get-online-features")
KINDS: dict[table.FieldType, list[Any]] = {
    "bool": [True, None], "int32": [1, 2], "int64": [-5, None], "float32": [0.1, None], "float64": [0.1, None],
    "timestamp_us": [1, 2], "string": ["é\n", None], "bytes": [b"x", None],
}  # fmt: skip


def stats(width: int = 2) -> table.OnlineTable:
    """Drivers 1 and 2, of now."""
    fields = tuple(table.Field(f"f{i}", "float32") for i in range(width))
    made = table.OnlineTable(table.Schema((table.Key("driver", "int64"),), fields))
    now = time.time_ns() // 1000
    values = {f.name: np.array([0.5, 1.5], np.float32) for f in fields}
    made.upsert([1, 2], [now, now], values)
    return made


@pytest.fixture
def server() -> Iterator[front.Front]:
    with testing.app() as upstream, testing.serving(upstream) as running:
        yield running


@pytest.fixture
def client(server: front.Front) -> Iterator[Client]:
    with Client(server.port) as connected:
        yield connected


def asked(*features: str, **entities: list[Any]) -> bytes:
    return json.dumps({"features": features, "entities": entities}).encode()


def is_passed(answer: testing.Answer) -> bool:
    return "x-seen" in answer.fields


@pytest.mark.parametrize("path", PATHS)
def test_reads_are_answered_from_the_table(server: front.Front, client: Client, path: str) -> None:
    server.set_views([front.View("stats", stats())], max_rows=8)
    answer = client.ask(request(path, asked("stats:f1", driver=[2, 3, None]), x_request_id="mine"))
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["x-request-id"] == "mine"
    told = answer.json()
    assert told["metadata"]["feature_names"] == ["driver", "f1"]
    keys, values = told["results"]
    assert keys["values"] == [2, 3, None]
    assert values["values"] == [1.5, None, None]
    assert values["statuses"] == ["PRESENT", "NOT_FOUND", "NOT_FOUND"]
    counts = server.read_counts()
    assert (counts.requests, counts.rows, counts.passed_on) == (1, 3, 0)
    assert sum(counts.latency) == sum(counts.row_sizes) == 1
    assert server.counts()["answered"] == 1


@pytest.mark.parametrize("step", [1, 7, 100])
def test_a_read_may_come_in_pieces(server: front.Front, client: Client, step: int) -> None:
    server.set_views([front.View("stats", stats())], max_rows=100)
    data = request(PATHS[0], asked("stats:f0", driver=[1] * 100))
    for i in range(0, len(data), step):
        client.send(data[i : i + step])
    assert client.read().json()["results"][1]["values"] == [0.5] * 100


def test_models_and_views_are_set_apart(server: front.Front, client: Client) -> None:
    server.set_views([front.View("stats", stats())], max_rows=8)
    server.set_models([])
    read = request(PATHS[0], asked("stats:f0", driver=[1]))
    assert not is_passed(client.ask(read))
    assert is_passed(client.ask(request()))
    server.set_models([testing.sum_model()])
    server.set_views([], max_rows=8)
    assert is_passed(client.ask(read))
    assert not is_passed(client.ask(request()))
    assert server.read_counts().requests == 1
    assert server.read_counts().passed_on == 0  # without views nobody asks the front


def test_services_are_names_for_features(server: front.Front, client: Client) -> None:
    views = [front.View("stats", stats()), front.View("more", stats(3))]
    services = [
        front.Service("all", [("more", "f2"), ("stats", "f1")]),
        front.Service("clash", [("more", "f1"), ("stats", "f1")]),
        front.Service("gone", [("more", "f1"), ("other", "f0")]),
    ]
    server.set_views(views, max_rows=8, services=services)

    def read(name: str, **more: Any) -> testing.Answer:
        body = json.dumps({"feature_service": name, "entities": {"driver": [2]}, **more}).encode()
        return client.ask(request(PATHS[0], body))

    told = read("all").json()
    assert told["metadata"]["feature_names"] == ["driver", "f2", "f1"]
    assert [result["values"] for result in told["results"]] == [[2], [1.5], [1.5]]
    full = read("clash", full_feature_names=True).json()
    assert full["metadata"]["feature_names"] == ["driver", "more__f1", "stats__f1"]
    for answer in (read("clash"), read("gone"), read("none"), read(""), read("all", features=["stats:f0"])):
        assert is_passed(answer)
    assert not is_passed(read("all", features=None))
    server.set_views(views, max_rows=8, services=[front.Service("all", [("stats", "f0")])])
    assert read("all").json()["metadata"]["feature_names"] == ["driver", "f0"]
    assert is_passed(read("clash", full_feature_names=True))


def test_other_views_and_rows_are_passed_on(server: front.Front, client: Client) -> None:
    server.set_views([front.View("stats", stats())], max_rows=2)
    for body in (
        asked("other:f0", driver=[1]), asked("stats:f9", driver=[1]), asked("stats:f0", driver=[1, 2, 3]),
        asked("stats:f0", driver=["1"]), asked("stats:f0", city=[1]), b"", b"{}",
    ):  # fmt: skip
        assert is_passed(client.ask(request(PATHS[0], body)))
    assert is_passed(client.ask(request(PATHS[0] + "?a=b", asked("stats:f0", driver=[1]))))
    assert is_passed(client.ask(testing.get(PATHS[0])))
    assert server.read_counts().passed_on == 7


@pytest.mark.parametrize("kind", KINDS)
def test_fields_of_every_type_are_answered_or_passed_on(
    server: front.Front, client: Client, kind: table.FieldType
) -> None:
    made = table.OnlineTable(table.Schema((table.Key("k", "string"),), (table.Field("x", kind),)))
    now = time.time_ns() // 1000
    made.upsert(["a", "b"], [now, now], {"x": KINDS[kind]})
    server.set_views([front.View("v", made)], max_rows=8)
    answer = client.ask(request(PATHS[0], asked("v:x", k=["a", "b", "c"])))
    if kind in ("int32", "timestamp_us", "bytes"):
        assert is_passed(answer)
    else:
        assert answer.json()["results"][1]["values"] == [*KINDS[kind], None]


def test_vectors_are_passed_on(server: front.Front, client: Client) -> None:
    made = table.OnlineTable(
        table.Schema((table.Key("k", "int64"),), (table.Field("x", "float32_vector", 3),))
    )
    server.set_views([front.View("v", made)], max_rows=8)
    assert is_passed(client.ask(request(PATHS[0], asked("v:x", k=[1]))))


def test_a_closed_table_is_the_apps(server: front.Front, client: Client) -> None:
    made = stats()
    server.set_views([front.View("stats", made)], max_rows=8)
    read = request(PATHS[0], asked("stats:f0", driver=[1]))
    assert not is_passed(client.ask(read))
    made.close()
    assert is_passed(client.ask(read))


def test_a_table_outlives_its_owner_while_it_is_set(server: front.Front, client: Client) -> None:
    server.set_views([front.View("stats", stats(50))], max_rows=8)
    read = request(PATHS[0], asked(*(f"stats:f{i}" for i in range(50)), driver=[1, 2]))
    for _ in range(20):
        assert client.ask(read).json()["results"][50]["values"] == [0.5, 1.5]
        server.set_views([front.View("stats", stats(50))], max_rows=8)


def test_arrow_and_compressed_bodies_are_passed_on(server: front.Front, client: Client) -> None:
    server.set_views([front.View("stats", stats())], max_rows=8)
    body = asked("stats:f0", driver=[1])
    assert is_passed(client.ask(request(PATHS[0], body, accept="application/vnd.apache.arrow.stream")))
    assert is_passed(client.ask(request(PATHS[0], body, content_encoding="gzip")))
    assert not is_passed(
        client.ask(request(PATHS[0], body, accept="application/json", accept_encoding="gzip"))
    )


def test_what_makes_no_sense_is_refused(server: front.Front, client: Client) -> None:
    server.set_views([front.View("stats", stats())], max_rows=8)
    with pytest.raises(status.NativeError, match="`max_rows` is 0"):
        server.set_views([], max_rows=0)
    with pytest.raises(status.NativeError, match="must be a native OnlineTable, got `NoneType`") as refused:
        server._front.set_views([("stats", None)], [], 8)
    assert refused.value.code == "bad_dtype"
    assert not is_passed(client.ask(request(PATHS[0], asked("stats:f0", driver=[1]))))
