"""Infer requests for endpoints by the native front: byte for byte what the app says, in the same books, whatever is asked."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import hypothesis
import numpy as np
import pytest
import serving_native_world as native_world
from hypothesis import strategies as st
from serving_both import Both
from serving_mutations import mutated
from serving_native_world import ROW, put
from serving_receiver import Receiver, attributes

from mainspring.core.contracts import inputs, metering
from mainspring.core.contracts.deployment import TrafficTable

pytestmark = pytest.mark.integration

MAX_ROWS: Final = 100
DATATYPES: Final = {
    "origin_stats__mean_delay": "FP32",
    "flight_stats__mean_delay": "FP32",
    "dep_us": "INT64",
    "distance": "FP32",
    "carrier": "BYTES",
    "origin_stats__weather": "BYTES",
}
#: As JSON has it: no value is missing but by an empty text.
COLUMNS: Final[Mapping[str, list[Any]]] = {
    "origin_stats__mean_delay": [1.5, -2, 0.1],
    "flight_stats__mean_delay": [0.0, 1e-5, 16777217],
    "dep_us": [7, -3, 2**63 - 1],
    "distance": [12, 1e22, -0.0],
    "carrier": ["UA", "", "DL"],
    "origin_stats__weather": ["fog", "a'b", 'a"b'],
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """`canaried` shares its traffic, `ranged` declares its inputs."""
    directory = tmp_path_factory.mktemp("infer")
    with native_world.serve(directory, max_rows_per_request=MAX_ROWS) as (pair, home):
        one, other = (native_world.write_network(home, seed) for seed in (1, 2))
        policy = native_world.POLICY.model_dump_json().encode()
        ranged = native_world.write_network(home, 4, extra_files={inputs.FILE: policy})
        tables = [
            TrafficTable(endpoint="flights", version=1, stable=one),
            TrafficTable(endpoint="canaried", version=1, stable=one, canary=other, canary_percent=40),
            TrafficTable(endpoint="ranged", version=1, stable=ranged),
        ]
        with contextlib.suppress(ImportError):
            tables.append(TrafficTable(endpoint="trees", version=1, stable=native_world.write_trees(home)))
        for table in tables:
            put(pair, table)
        yield pair


def path(endpoint: str, version: str = "") -> str:
    return f"/v2/models/{endpoint}{f'/versions/{version}' if version else ''}/infer"


def versions(both: Both, endpoint: str) -> list[str]:
    return list(both.front.get(f"/v2/models/{endpoint}").json()["versions"])


def raw(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "FP32":
        return struct.pack(f"<{len(values)}f", *values)
    if datatype == "INT64":
        return struct.pack(f"<{len(values)}q", *values)
    encoded = [v if isinstance(v, bytes) else v.encode() for v in values]
    return b"".join(struct.pack("<I", len(v)) + v for v in encoded)


def asked(
    columns: Mapping[str, Sequence[Any]],
    *,
    binary: Sequence[str] = (),
    ensure_ascii: bool = True,
    rows: int | None = None,
    **more: Any,
) -> tuple[bytes, dict[str, str]]:
    """A body and its fields; the columns named in `binary` follow the JSON part."""
    tensors, tail = [], b""
    for name, values in columns.items():
        tensor: dict[str, Any] = {
            "name": name,
            "shape": [len(values) if rows is None else rows],
            "datatype": DATATYPES.get(name, "FP32"),
        }
        if name in binary:
            data = raw(tensor["datatype"], values)
            tensor["parameters"] = {"binary_data_size": len(data)}
            tail += data
        else:
            tensor["data"] = list(values)
        tensors.append(tensor)
    head = json.dumps({"inputs": tensors, **more}, ensure_ascii=ensure_ascii).encode()
    return head + tail, {"inference-header-content-length": str(len(head))} if binary else {}


BINARY_OUT: Final = {"parameters": {"binary_data_output": True}}
ALL: Final = tuple(COLUMNS)


@pytest.mark.parametrize("endpoint", ["flights", "canaried", "trees"])
@pytest.mark.parametrize(
    ("body", "fields"),
    [
        asked(COLUMNS),
        asked({name: COLUMNS[name] for name in reversed(ALL)}, id="a-1"),
        asked(COLUMNS, **BINARY_OUT),
        asked(COLUMNS, outputs=[{"name": "score"}]),
        asked(COLUMNS, outputs=[{"name": "score", "parameters": {"binary_data": True}}], id="x"),
        asked(COLUMNS, binary=ALL, **BINARY_OUT),
        asked(COLUMNS, binary=ALL, outputs=[]),
        asked(COLUMNS, binary=("carrier", "distance")),
        asked(dict(COLUMNS) | {"distance": [math.nan, -math.nan, 1.5]}, binary=("distance",)),
        asked({name: values[:1] for name, values in COLUMNS.items()}),
        asked({name: values * 11 for name, values in COLUMNS.items()}, binary=ALL),
    ],
)
def test_what_is_usual_is_answered_by_the_front(
    both: Both, endpoint: str, body: bytes, fields: dict[str, str]
) -> None:
    if endpoint == "trees":
        pytest.importorskip("lightgbm")
    for version in ("", *versions(both, endpoint)):
        before = both.answered_by_the_front()
        answer = both.ask(path(endpoint, version), body, fields)
        assert answer.status_code == 200, answer.text
        assert both.answered_by_the_front() == before + 1
        if version:
            assert version.encode() in answer.content


def test_texts_beyond_ascii_are_the_fronts_where_no_key_is_made_of_them(both: Both) -> None:
    columns = dict(COLUMNS) | {"carrier": ["köln", "Zürich 😀", "\0\t"]}
    for more in ({"ensure_ascii": False}, {"ensure_ascii": True}, {"binary": ALL}):
        body, fields = asked(columns, **more)  # type: ignore[arg-type]
        before = both.answered_by_the_front()
        assert both.ask(path("flights"), body, fields).status_code == 200
        assert both.answered_by_the_front() == before + 1
        assert both.ask(path("canaried"), body, fields).status_code == 200
        assert both.answered_by_the_front() == before + 1
        assert both.ask(path("canaried", versions(both, "canaried")[1]), body, fields).status_code == 200
        assert both.answered_by_the_front() == before + 2


def without(name: str) -> dict[str, list[Any]]:
    return {n: v for n, v in COLUMNS.items() if n != name}


@pytest.mark.parametrize(
    ("endpoint", "asking", "status"),
    [
        ("flights", asked(without("carrier")), 400),
        ("flights", asked(dict(COLUMNS) | {"more": [1, 2, 3]}), 400),
        ("flights", asked(dict(COLUMNS) | {"carrier": ["UA"]}), 400),
        ("flights", asked(COLUMNS, rows=2), 400),
        ("flights", asked({n: v * 40 for n, v in COLUMNS.items()}), 400),
        ("flights", asked(dict(COLUMNS) | {"dep_us": [1, 2, 2**63]}), 400),
        ("flights", asked(dict(COLUMNS) | {"dep_us": [1, 2, 3.5]}), 400),
        ("flights", asked(dict(COLUMNS) | {"distance": [1, 2, 1e39]}), 400),
        ("flights", asked(dict(COLUMNS) | {"distance": [1, 2, None]}), 400),
        ("flights", asked(dict(COLUMNS) | {"distance": [[1], [2], [3]]}), 400),
        ("flights", asked(dict(COLUMNS) | {"carrier": ["UA", "AA", None]}), 400),
        ("flights", asked(dict(COLUMNS) | {"carrier": ["UA", "AA", 1]}), 400),
        ("flights", asked(dict(COLUMNS) | {"distance": [math.inf, 1, 2]}, binary=("distance",)), 400),
        ("flights", asked(dict(COLUMNS) | {"carrier": [b"\xff", "b", "c"]}, binary=("carrier",)), 400),
        ("flights", asked(COLUMNS, outputs=[{"name": "y"}]), 400),
        ("flights", asked(COLUMNS, outputs=[{"name": "score"}, {"name": "score"}]), 400),
        ("flights", asked(COLUMNS, parameters={"sequence_id": 1}), 400),
        ("flights", asked(COLUMNS, parameters={"priority": 1}), 200),
        ("flights", asked(COLUMNS, id="köln"), 200),
        ("flights", (b"", {}), 400),
        ("flights", (b"[]", {}), 400),
        ("flights", (asked(COLUMNS)[0], {"x-deadline-ms": "soon"}), 400),
        ("flights", (asked(COLUMNS)[0], {"inference-header-content-length": "0"}), 400),
        ("flights", (asked(COLUMNS)[0], {"x-mainspring-role": "stable"}), 403),
        ("nobody", asked(COLUMNS), 404),
    ],
)
def test_what_is_wrong_or_unusual_is_the_apps_to_answer(
    both: Both, endpoint: str, asking: tuple[bytes, dict[str, str]], status: int
) -> None:
    before = both.answered_by_the_front()
    assert both.ask(path(endpoint), *asking).status_code == status
    assert both.answered_by_the_front() == before


@pytest.mark.parametrize(
    ("changes", "is_the_fronts", "status"),
    [
        ({"distance": [0, 1000, 5]}, True, 200),
        ({"distance": [0, 1000.5, 5]}, False, 200),
        ({"dep_us": [-5, 7, 8]}, True, 200),
        ({"dep_us": [-6, 7, 8]}, False, 200),
        ({"carrier": ["UA", "", "AA"]}, False, 400),
        ({"flight_stats__mean_delay": [1, 2, math.nan]}, False, 400),
        ({"distance": [1, 2, math.nan]}, True, 200),
    ],
)
def test_policies_judge_tensors_as_they_judge_rows(
    both: Both, changes: dict[str, Any], is_the_fronts: bool, status: int
) -> None:
    usual = {"distance": [1, 2, 3], "dep_us": [1, 2, 3], "carrier": ["a", "b", "c"]}
    columns = dict(COLUMNS) | {"flight_stats__mean_delay": [1, 2, 3]} | usual | changes
    before = both.answered_by_the_front()
    assert both.ask(path("ranged"), *asked(columns, binary=ALL)).status_code == status
    assert both.answered_by_the_front() == before + is_the_fronts


@pytest.mark.parametrize(
    "fields",
    [
        {"x-deadline-ms": "1000"},
        {"x-deadline-ms": "0"},
        {"content-encoding": "br"},
        {"inference-header-content-length": "x"},
        {"accept-encoding": "gzip"},
        {"accept": "text/html"},
        {"x-mainspring-bundle": "sha256:0"},
    ],
)
def test_every_field_is_read_alike(both: Both, fields: dict[str, str]) -> None:
    for endpoint, version in itertools.product(("flights", "canaried"), ("", "1", "first")):
        chosen = versions(both, endpoint)[0] if version == "first" else version
        for body in (asked(COLUMNS)[0], b""):
            both.ask(path(endpoint, chosen), body, fields)


def test_what_is_long_is_compressed_by_the_app_for_who_takes_that(both: Both) -> None:
    many = {name: values * 33 for name, values in COLUMNS.items()}
    for body, fields in (asked(many, binary=ALL, id="i" * 300), asked(COLUMNS, id="i" * 1200)):
        before = both.answered_by_the_front()
        assert "content-encoding" not in both.ask(path("flights"), body, fields).headers
        gzip = both.ask(path("flights"), body, fields | {"accept-encoding": "gzip"})
        assert gzip.headers["content-encoding"] == "gzip"
        assert both.answered_by_the_front() == before + 1
        short = asked(COLUMNS)
        assert both.ask(path("flights"), short[0], short[1] | {"accept-encoding": "gzip"}).status_code == 200
        assert both.answered_by_the_front() == before + 2


floats = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e16, 1e15, 1e-4, 1e-5, 0.1, 1e39, 2**24 + 1]),
)
whole = st.one_of(st.sampled_from([7, -3, 0, -(2**63), 2**63 - 1, 2**63]), st.integers(-(2**63), 2**63 - 1))
texts = st.one_of(
    st.sampled_from(["UA", "AA", "", "a'b", 'a"b', "a'\"\\", "\t", "köln", "Zürich 😀"]), st.text(max_size=4)
)
OF: Final = {"FP32": floats, "INT64": whole, "BYTES": texts}
anything = st.one_of(floats, whole, texts, st.none(), st.booleans(), st.just([1]))


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(data=st.data())
def test_every_question_is_answered_alike(both: Both, data: st.DataObject) -> None:
    """Most are right, in any order of columns, in JSON or binary. Some are wrong in one place."""
    n = data.draw(st.integers(1, 4))
    columns = {
        name: data.draw(st.lists(OF[DATATYPES[name]], min_size=n, max_size=n))
        for name in data.draw(st.permutations(ALL))
    }
    binary = [name for name in ALL if data.draw(st.booleans()) and _packs(DATATYPES[name], columns[name])]
    if data.draw(st.integers(0, 3)) == 0:
        wrong = data.draw(st.sampled_from(ALL))
        if wrong not in binary:
            columns[wrong][-1] = data.draw(anything)
    more = data.draw(st.sampled_from([{}, BINARY_OUT, {"outputs": [{"name": "score"}]}, {"id": "7"}]))
    endpoint = data.draw(st.sampled_from(["flights", "canaried", "canaried", "ranged"]))
    body, fields = asked(columns, binary=binary, ensure_ascii=data.draw(st.booleans()), **more)
    both.ask(path(endpoint), body, fields)


def _packs(datatype: str, values: Sequence[Any]) -> bool:
    try:
        raw(datatype, values)
    except (struct.error, OverflowError):
        return False
    return True


PIECES: Final = (
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"0", b"-", b"1e9", b"\xff", b"\0", b"\\", b"\\u00e9"),
    *(b"null", b"true", b'"x"', b'"data"', b'"name"', b" "),
)
JSON: Final = asked(COLUMNS, id="a", outputs=[{"name": "score"}])[0]
BINARY, BINARY_FIELDS = asked(COLUMNS, binary=ALL, **BINARY_OUT)


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(data=st.data())
def test_every_mutation_is_answered_alike(both: Both, data: st.DataObject) -> None:
    is_binary = data.draw(st.booleans())
    body = mutated(data, BINARY if is_binary else JSON, PIECES)
    fields = {}
    if is_binary:
        length = int(BINARY_FIELDS["inference-header-content-length"])
        fields["inference-header-content-length"] = str(
            length + data.draw(st.sampled_from([0, 0, 0, 1, -1, 4, 1000]))
        )
    both.ask(path(data.draw(st.sampled_from(["flights", "canaried"]))), body, fields)


def test_tritonclient_is_answered_by_the_front(both: Both) -> None:
    triton = pytest.importorskip("tritonclient.http")
    with contextlib.closing(triton.InferenceServerClient(both.served.url.removeprefix("http://"))) as client:
        tensors = []
        for name, values in COLUMNS.items():
            kind = {"FP32": np.float32, "INT64": np.int64, "BYTES": np.object_}[DATATYPES[name]]
            tensor = triton.InferInput(name, [len(values)], DATATYPES[name])
            tensor.set_data_from_numpy(np.array(values, kind))
            tensors.append(tensor)
        stable, canary = versions(both, "canaried")
        before, scores = both.answered_by_the_front(), {}
        for version in (stable, canary):
            answer = client.infer("canaried", tensors, model_version=version)
            assert answer.get_response()["model_version"] == version
            scores[version] = answer.as_numpy("score")
        answer = client.infer("canaried", tensors)
        assert answer.get_response()["model_version"] in scores
        np.testing.assert_array_equal(
            answer.as_numpy("score"), scores[answer.get_response()["model_version"]]
        )
        assert both.answered_by_the_front() == before + 3


def post(client: httpx.Client, endpoint: str, version: str = "", **fields: str) -> httpx.Response:
    """The usual question."""
    return client.post(path(endpoint, version), content=asked(COLUMNS)[0], headers=fields)


def test_one_book_has_what_both_answered(tmp_path: Path) -> None:
    used: list[metering.ServingUsage] = []
    with native_world.serve(tmp_path, send_usage=used.extend) as (both, home):
        one, other = (native_world.write_network(home, seed) for seed in (1, 2))
        put(both, TrafficTable(endpoint="flights", version=1, stable=one, canary=other, canary_percent=50))
        roles: dict[str, int] = {}
        for i in range(40):
            body, _ = asked(dict(COLUMNS) | {"dep_us": [i, i, i]})
            client = both.app if i % 4 == 0 else both.front
            digest = client.post(path("flights"), content=body).json()["model_version"]
            roles[digest] = roles.get(digest, 0) + 1
        for client, version in ((both.front, other), (both.app, other), (both.front, one)):
            assert post(client, "flights", version).json()["model_version"] == version
        assert (
            both.front.post(native_world.path("flights"), content=native_world.body(rows=[ROW])).status_code
            == 200
        )
        assert both.answered_by_the_front() == 30 + 2 + 1
        answer = both.front.get("/v1/endpoints/flights/stats").json()
        seen = {(b["bundle_digest"], b["role"]): b["requests"] for b in answer["bundles"]}
        by_traffic = seen[one, "stable"] + seen[other, "canary"]
        assert by_traffic == 41
        assert {one: seen[one, "stable"], other: seen[other, "canary"]} in [
            {one: roles[one] + 1, other: roles[other]},
            {one: roles[one], other: roles[other] + 1},
        ]
        assert (seen[other, "chosen"], seen[one, "chosen"]) == (2, 1), "asked by version: not compared"
        stats = {s["version"]: s for s in both.front.get("/v2/models/flights/stats").json()["model_stats"]}
        assert {v: s["execution_count"] for v, s in stats.items()} == {
            one: roles[one] + 1,
            other: roles[other] + 2,
        }
        assert stats[one]["inference_count"] == 3 * stats[one]["execution_count"]
    assert sum(one.requests for one in used) == 44
    assert sum(one.predictions for one in used) == 3 * 43 + 1
    assert {(one.caller, one.project) for one in used} == {("anonymous", "plain-project")}


def test_who_is_unloaded_is_not_answered_until_it_is_loaded_again(tmp_path: Path) -> None:
    with native_world.serve(tmp_path) as (both, home):
        put(both, TrafficTable(endpoint="flights", version=1, stable=native_world.write_network(home, 1)))
        admin = native_world.token(both)
        for _ in range(2):
            before = both.answered_by_the_front()
            assert post(both.front, "flights").status_code == 200
            assert both.answered_by_the_front() == before + 1
            both.front.post("/v2/repository/models/flights/unload", headers=admin).raise_for_status()
            assert post(both.front, "flights").status_code == 503
            predicted = both.front.post(native_world.path("flights"), content=native_world.body(rows=[ROW]))
            assert predicted.status_code == 200, "its traffic is in force for predictions"
            assert both.answered_by_the_front() == before + 2
            both.front.post("/v2/repository/models/flights/load", headers=admin).raise_for_status()


def test_keys_limits_and_shadows_hold_for_tensors(tmp_path: Path) -> None:
    with native_world.serve(tmp_path, require_token=True) as (both, home):
        one, other = (native_world.write_network(home, seed) for seed in (1, 2))
        put(both, TrafficTable(endpoint="flights", version=1, stable=one))
        admin = native_world.token(both, "admin")
        key = {"x-api-key": native_world.key(both, "eager", "predict", project="shop")}
        rules = {"version": 1, "rules": [{"caller": "eager", "rows_per_day": 5, "endpoint": "flights"}]}
        both.front.put("/v1/limits", json=rules, headers=admin).raise_for_status()
        before = both.answered_by_the_front()
        assert post(both.front, "flights").status_code == 401
        assert post(both.front, "flights", **key).status_code == 200
        assert post(both.front, "flights", one, **key).status_code == 200
        assert both.answered_by_the_front() == before + 2
        answer = post(both.front, "flights", **key)
        assert (answer.status_code, answer.headers["x-error-code"]) == (429, "rate_limited")
        put(both, TrafficTable(endpoint="flights", version=2, stable=one, shadow=other))
        other_key = {"x-api-key": native_world.key(both, "calm", "predict")}
        assert post(both.front, "flights", **other_key).status_code == 200
        assert both.answered_by_the_front() == before + 2, "a shadow sees every request"


def test_every_answer_under_changing_traffic_is_one_of_the_two_and_counted_once(tmp_path: Path) -> None:
    used: list[metering.ServingUsage] = []
    with native_world.serve(tmp_path, send_usage=used.extend, usage_report_seconds=0.05) as (both, home):
        digests = [native_world.write_network(home, seed) for seed in (1, 2)]
        expected = {}
        for version, digest in enumerate(digests, 1):
            put(both, TrafficTable(endpoint="flights", version=version, stable=digest))
            expected[digest] = post(both.app, "flights").json()["outputs"]
        stop, answered = threading.Event(), [0, 0]

        def ask_on(i: int) -> None:
            with httpx.Client(base_url=both.served.url, trust_env=False) as client:
                while not stop.is_set():
                    answer = post(client, "flights").json()
                    assert answer["outputs"] == expected[answer["model_version"]]
                    answered[i] += 1

        threads = [threading.Thread(target=ask_on, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for version in range(3, 23):
            stable, canary = digests[version % 2], digests[(version + 1) % 2]
            put(
                both,
                TrafficTable(
                    endpoint="flights",
                    version=version,
                    stable=stable,
                    canary=canary if version % 3 == 0 else None,
                    canary_percent=50 if version % 3 == 0 else 0,
                ),
            )
            time.sleep(0.01)
        stop.set()
        for thread in threads:
            thread.join()
        assert min(answered) > 0
        assert both.answered_by_the_front() == sum(answered)
    assert sum(one.requests for one in used) == sum(answered) + 2
    assert sum(one.predictions for one in used) == 3 * (sum(answered) + 2)


TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traced_infer_request_is_told_as_the_app_tells_it(tmp_path: Path) -> None:
    receiver = Receiver()
    try:
        with native_world.serve(tmp_path, trace_endpoint=receiver.url, trace_share=0.0) as (both, home):
            digest = native_world.write_network(home, 1)
            put(both, TrafficTable(endpoint="flights", version=1, stable=digest))
            fields = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            for version in ("", digest.replace(":", "%3A")):
                both.ask(path("flights", version), asked(COLUMNS)[0], fields)
            assert both.answered_by_the_front() == 2
        spans = receiver.spans()
    finally:
        receiver.close()
    roots = sorted(
        (s for s in spans if s.get("parentSpanId") == PARENT), key=lambda s: int(s["startTimeUnixNano"])
    )

    def told(root: dict[str, Any]) -> list[Any]:
        inside = [s for s in spans if s.get("parentSpanId") == root["spanId"]]
        inside.sort(key=lambda s: int(s["startTimeUnixNano"]))
        ends = [int(s["endTimeUnixNano"]) for s in inside]
        assert int(root["startTimeUnixNano"]) <= int(inside[0]["startTimeUnixNano"])
        assert max(ends) == ends[0] <= int(root["endTimeUnixNano"]), "the model's part ends with the whole"
        return [(s["name"], s["kind"], attributes(s)) for s in (root, *inside)]

    first, the_apps, second, the_apps_second = (told(root) for root in roots)
    assert first == the_apps
    assert second == the_apps_second
    assert [name for name, *_ in first] == [f"POST {path('flights')}", "infer", "transform", "model"]
    assert second[0][0] == f"POST {path('flights', digest)}"
