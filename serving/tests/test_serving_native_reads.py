"""Reads of features by the native front: byte for byte what the app says, for whatever is asked of both."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import hypothesis
import numpy as np
import pytest
import serving_world as world
from hypothesis import strategies as st
from serving_both import Both

from mainspring.core import ports
from mainspring.core.client import serving as client_module
from mainspring.core.features import online

pytestmark = pytest.mark.integration

PATH: Final = "/v1/features:read"
HOUR_US: Final = 3_600_000_000
MAX_ROWS: Final = 200
TEXTS: Final = ("", "plain", 'a"b\\c/', "\x00\x01\x1f\b\t\n\f\r", "\x7f\x80é€", "😀𝄞 and more", "\u2028]")

FLOATS: Final = ports.ViewSchema(
    "floats", ("driver",), tuple((f"f{i}", "float32") for i in range(9)), ttl_seconds=3600.0
)
DOUBLES: Final = ports.ViewSchema("doubles", ("city",), (("a", "float64"), ("b", "float64")), None)
MIXED: Final = ports.ViewSchema(
    "mixed",
    ("carrier", "flight"),
    (("flag", "bool"), ("count", "int64"), ("f32", "float32"), ("f64", "float64"), ("word", "string")),
    7200.5,
)
WORDS: Final = ports.ViewSchema("words", ("city",), (("word", "string"), ("a", "string")), None)
EMPTY: Final = ports.ViewSchema("empty", ("driver",), (("x", "float32"),), None)
VIEWS: Final = (FLOATS, DOUBLES, MIXED, WORDS, EMPTY)
REFS: Final = tuple(f"{view.name}:{field}" for view in VIEWS for field in view.field_names)
CITIES: Final = ("Graz", "köln", 'a"b\\', "", "😀")
ODD: Final = (0.0, -0.0, 0.1, 1e-7, 1e16, 3.4e12, math.nan, math.inf, -math.inf, 5e-324, 1.5, 16777216.0)


def fill(store: online.OnlineStore) -> None:
    """Rows of now, of times that age and are still to come, and of every value that is hard to write."""
    now = time.time_ns() // 1000
    generator = np.random.default_rng(7)

    def put(
        view: ports.ViewSchema, keys: ports.KeyColumns, age_us: Sequence[int], columns: Mapping[str, Any]
    ) -> None:
        times = now - np.array(age_us, np.int64)
        store.register(view)
        store.upsert(view.name, keys, event_us=times, created_us=times, columns=columns)

    n = 60
    ages = [(0, HOUR_US // 2 + i, 2 * HOUR_US, -24 * HOUR_US, now - i * 1000, 0)[i % 6] for i in range(n)]
    floats = generator.normal(size=(n, 9)) * 10.0 ** generator.integers(-12, 14, (n, 9))
    floats[:12, 0], floats[5:9] = ODD, math.nan
    put(FLOATS, {"driver": range(n)}, ages, {f"f{i}": floats[:, i].astype(np.float32) for i in range(9)})
    cells = [[None if math.isnan(v) else v for v in generator.permutation(ODD)] for _ in range(2)]
    put(DOUBLES, {"city": CITIES}, [1, 10**6, 999_999, now, 0], {"a": cells[0][:5], "b": cells[1][:5]})
    nulls = [None] * 3
    put(
        MIXED, {"carrier": ["UA", "UA", "AA", "", "ü"], "flight": [1, -(2**63), 2**63 - 1, 0, 1]},
        [0, 7_200_500_000 - 60_000_000, 9 * HOUR_US, 5, -10 * HOUR_US],
        {"flag": [True, False, *nulls], "count": [2**63 - 1, -(2**63), 0, 7, None],
         "f32": [0.1, -0.0, *nulls], "f64": [0.1, math.inf, 1e300, None, 0], "word": [*TEXTS[2:6], None]},
    )  # fmt: skip
    words = [[*TEXTS[1:5], None], [None, *TEXTS[3:]]]
    put(WORDS, {"city": CITIES}, [0] * 5, {"word": words[0], "a": words[1]})
    store.register(EMPTY)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with world.serve(tmp_path_factory.mktemp("reads"), front="on", max_rows_per_request=MAX_ROWS) as served:
        fill(served.online)
        pair = Both(served)
        yield pair
        pair.close()


def body(features: Sequence[str] | None, entities: Mapping[str, Any], **more: Any) -> bytes:
    return json.dumps({"features": features, "entities": entities, **more}, ensure_ascii=False).encode()


DRIVERS = body(["floats:f3", "floats:f0"], {"driver": [*range(70), None, 3]})


@pytest.mark.parametrize("path", [PATH, "/get-online-features"])
@pytest.mark.parametrize(
    "asked",
    [
        DRIVERS,
        body([f"floats:f{i}" for i in range(9)], {"driver": list(range(60))}, full_feature_names=True),
        body(["doubles:a", "doubles:b"], {"city": [*CITIES, None, "Wien"]}),
        body(["mixed:flag", "mixed:count", "mixed:f32", "mixed:f64", "mixed:word"],
             {"flight": [1, -(2**63), 2**63 - 1, 0, 1, None, 1, 9], "carrier": ["UA", "UA", "AA", "", "ü", "UA", None, "X"]}),
        body(["mixed:f32"], {"carrier": ["UA"], "flight": [1]}),  # floats alone are written as float32
        body(["words:word", "words:a"], {"city": CITIES}),
        body(["words:word", "floats:f1", "doubles:b", "floats:f2"],
             {"city": CITIES, "driver": [1, 2, 3, 4, 5], "other": ["x", 1, None, 2**63 - 1, "\t"]}),
        body(["floats:f0"], {"driver": [None, None]}),
        body(["words:word"], {"city": ["Graz"]}, feature_service=None, as_of=None, include_feature_view_version_metadata=True),
        b' {\n"entities" : {"city":["\\ud83d\\ude00", "k\\u00f6ln","a\\"b\\\\", "\\/\\u0000"] } , "features":[ "words:word" ]}\r\n',
    ],
)  # fmt: skip
def test_what_is_usual_is_answered_by_the_front(both: Both, path: str, asked: bytes) -> None:
    before = both.answered_by_the_front()
    answer = both.ask(path, asked, {})
    assert answer.status_code == 200, answer.text
    assert both.answered_by_the_front() == before + 1
    names = answer.json()["metadata"]["feature_names"]
    assert (
        len(names)
        == len(answer.json()["results"])
        == len(json.loads(asked)["features"]) + len(json.loads(asked)["entities"])
    )


ONE = {"driver": [1]}


@pytest.mark.parametrize(
    ("asked", "fields", "status"),
    [
        (body(["empty:x"], ONE), {}, 200),  # nothing was pushed: which keys it has is not known
        (body(["floats:f0"], ONE, as_of="2020-01-01T00:00:00Z"), {}, 200),
        (body(["floats:f0"], ONE), {"accept": "application/vnd.apache.arrow.stream"}, 200),
        (body(None, ONE, feature_service="none"), {}, 404),
        (body(["floats:f9"], ONE), {}, 404),
        (body(["float:f0"], ONE), {}, 404),
        (body(["floats"], ONE), {}, 400),
        (body(["words:a", "doubles:a"], {"city": ["x"]}), {}, 400),
        (body([], ONE), {}, 400),
        (body(["floats:f0"], {}), {}, 400),
        (body(["floats:f0"], {"driver": []}), {}, 400),
        (body(["floats:f0"], {"driver": [1], "x": [1, 2]}), {}, 400),
        (body(["floats:f0"], {"driver": ["1"]}), {}, 422),
        (body(["floats:f0"], {"driver": [1, "1"]}), {}, 422),
        (body(["words:a"], {"city": [1]}), {}, 422),
        (body(["floats:f0"], {"city": ["x"]}), {}, 400),
        (body(["floats:f0"], {"driver": [1.0]}), {}, 200),  # pydantic takes it for 1
        (body(["floats:f0"], {"driver": [2**63]}), {}, 422),
        (body(["floats:f0"], {"driver": [True]}), {}, 200),
        (body(["floats:f0"], {"driver": [1] * (MAX_ROWS + 1)}), {}, 400),
        (body(["floats:f0"], ONE, full_feature_names="yes"), {}, 200),
        (body(["floats:f0"], ONE, more=1), {}, 400),
        (b'{"features":["floats:f0"],"entities":{"driver":[-0]}}', {}, 200),
        (b'{"features":["floats:f0"],"entities":{"driver":[1],"driver":[2]}}', {}, 200),
        (b'{"features":["floats:f0"],"entities":{"driver":[01]}}', {}, 400),
        (b'{"features":["words:a"],"entities":{"city":["\\ud800"]}}', {}, 400),
        (b'{"features":["words:a"],"entities":{"city":["\xff"]}}', {}, 400),
        (b"", {}, 400),
        (DRIVERS, {"content-encoding": "br"}, 400),
        (DRIVERS, {"x-deadline-ms": "soon"}, 400),
    ],
)  # fmt: skip
def test_what_is_wrong_or_unusual_is_the_apps_to_answer(
    both: Both, asked: bytes, fields: dict[str, str], status: int
) -> None:
    before, passed = both.answered_by_the_front(), both.served.front.counts()["passed"]
    assert both.ask(PATH, asked, fields).status_code == status
    assert both.answered_by_the_front() == before
    assert both.served.front.counts()["passed"] == passed + 1


keys = {
    "driver": st.sampled_from([0, 1, 2, 3, 4, 5, 59, 60, -1, 2**62, None]),
    "city": st.sampled_from([*CITIES, "Wien", None]),
    "carrier": st.sampled_from(["UA", "AA", "", "ü", None]),
    "flight": st.sampled_from([1, 0, -(2**63), 2**63 - 1, None]),
    "other": st.sampled_from([1, "x", None]),
}
odd_value = st.one_of(
    st.integers(-(2**65), 2**65), st.text(max_size=5), st.floats(), st.booleans(), st.just([1]), st.none()
)


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    """Most are right: the front and the app answer. Some are wrong in one place."""
    features = draw(st.lists(st.sampled_from(REFS), min_size=1, max_size=8, unique=True))
    if draw(st.integers(0, 9)) == 0:
        features.append(draw(st.sampled_from(["floats:f0", "x", "floats:", ":f0", "floats:f99", "", "é:f0"])))
    rows = draw(st.integers(1, 6))
    names = draw(st.permutations([*keys][: draw(st.integers(4, 5))]))
    entities = {name: draw(st.lists(keys[name], min_size=rows, max_size=rows)) for name in names}
    if draw(st.integers(0, 9)) == 0:
        entities[draw(st.sampled_from([*keys, "é", 'a"']))] = draw(st.lists(odd_value, max_size=rows))
    asked: dict[str, Any] = {"features": features, "entities": entities}
    if draw(st.booleans()):
        asked["full_feature_names"] = draw(st.sampled_from([True, True, True, False, None, 1, "true"]))
    if draw(st.integers(0, 19)) == 0:
        asked[draw(st.sampled_from(["as_of", "feature_service", "nothing"]))] = draw(
            st.sampled_from([None, "x", "2026-01-01T00:00:00Z", 5])
        )
    return asked


@hypothesis.settings(max_examples=600, deadline=None)
@hypothesis.given(asked=questions(), is_ascii=st.booleans())
def test_every_question_is_answered_alike(both: Both, asked: dict[str, Any], is_ascii: bool) -> None:
    both.ask(PATH, json.dumps(asked, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass"), {})


PIECES: Final = (
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b'"',
        b"0",
        b"-",
        b"1e9",
        b"\xff",
        b"\0",
        b"\\",
        b"\\u00e9",
        b"\\ud800",
    ),
    *(b"null", b"true", b'"x"', b'"features"', b" ", b"\xc3\xa9", b"\xed\xa0\x80"),
)
QUESTION: Final = body(
    ["words:word", "floats:f1", "mixed:f32"],
    {"city": ["köln", 'a"b\\'], "driver": [1, None], "carrier": ["UA", "ü"], "flight": [1, -(2**63)]},
    full_feature_names=True,
)


@hypothesis.settings(max_examples=600, deadline=None)
@hypothesis.given(data=st.data())
def test_every_mutation_is_answered_alike(both: Both, data: st.DataObject) -> None:
    """Truncated, cut and spliced bodies."""
    asked = bytearray(QUESTION)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(asked)))
        match data.draw(st.integers(0, 3)):
            case 0:
                del asked[at:]
            case 1:
                del asked[at : at + data.draw(st.integers(1, 12))]
            case 2:
                asked[at:at] = data.draw(st.sampled_from(PIECES))
            case _:
                asked[at : at + 1] = data.draw(st.sampled_from(PIECES))
    both.ask(PATH, bytes(asked), {})


@pytest.mark.parametrize(
    "fields",
    [
        {"x-deadline-ms": "1000"},
        {"accept": "*/*"},
        {"accept": "application/json, application/vnd.apache.arrow.stream;q=0.1"},
        {"accept": "APPLICATION/VND.APACHE.ARROW.STREAM"},
        {"inference-header-content-length": "5"},
        {"accept-encoding": "gzip"},
        {"content-type": "text/plain"},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    ],
)
def test_every_field_is_read_alike(both: Both, fields: dict[str, str]) -> None:
    if "arrow" in fields.get("accept", ""):
        pytest.importorskip("pyarrow")
    both.ask(PATH, DRIVERS, fields)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    values=st.lists(
        st.tuples(st.floats(width=32), st.floats(), st.text(max_size=20), st.integers(-(2**63), 2**63 - 1)),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_every_value_is_written_alike(both: Both, values: list[tuple[float, float, str, int]]) -> None:
    """A batch is pushed, and read at once: alone by type, and all types of a view together."""
    store, n = both.served.online, len(values)
    f32, f64, texts, counts = zip(*values, strict=True)
    texts = tuple(text.encode("utf-8", "replace").decode() for text in texts)
    times = np.full(n, time.time_ns() // 1000)
    view = ports.ViewSchema(
        "any", ("k",), (("f32", "float32"), ("f64", "float64"), ("word", "string"), ("count", "int64")), None
    )
    store.register(view)
    store.upsert(
        "any", {"k": range(n)}, event_us=times, created_us=times,
        columns={"f32": np.array(f32, np.float32), "f64": f64, "word": texts, "count": counts},
    )  # fmt: skip
    before = both.answered_by_the_front()
    names = [f"any:{name}" for name in view.field_names]
    for refs in (names, names[:1], names[1:2], names[2:3]):
        both.ask(PATH, body(refs, {"k": list(range(n))}), {})
    assert both.answered_by_the_front() == before + 4


def test_long_texts_and_large_answers_are_the_apps(both: Both) -> None:
    store, now = both.served.online, np.array([time.time_ns() // 1000])
    store.register(ports.ViewSchema("long", ("k",), (("word", "string"),), None))
    store.upsert("long", {"k": [1]}, event_us=now, created_us=now, columns={"word": ["\n" * 200_000]})
    before = both.answered_by_the_front()
    asked = body(["long:word"], {"k": [1]})
    assert len(both.ask(PATH, asked, {}).json()["results"][1]["values"][0]) == 200_000
    both.ask(PATH, asked, {})
    many = body(
        [f"floats:f{i}" for i in range(9)], {"driver": [1] * 150, **{f"x{i}": [1] * 150 for i in range(30)}}
    )
    both.ask(PATH, many, {})
    assert both.answered_by_the_front() == before


def test_a_view_is_answered_from_its_first_push_on(tmp_path: Path) -> None:
    with world.serve(tmp_path, front="on") as served:
        pair = Both(served)
        served.online.register(EMPTY)
        asked = body(["empty:x"], {"driver": [1]})
        assert pair.ask(PATH, asked, {}).json()["results"][1]["statuses"] == ["NOT_FOUND"]
        assert pair.answered_by_the_front() == 0
        times = np.array([time.time_ns() // 1000])
        served.online.upsert("empty", {"driver": [1]}, event_us=times, created_us=times, columns={"x": [2.5]})
        assert pair.ask(PATH, asked, {}).json()["results"][1]["values"] == [2.5]
        assert pair.answered_by_the_front() == 1
        pair.close()


def test_services_are_answered_as_soon_as_their_bundle_is_loaded(tmp_path: Path) -> None:
    bundle = world.World()
    with world.serve(tmp_path, bundle, front="on") as served:
        pair = Both(served)
        entities = {"origin": ["JFK", "LGA", None], "carrier": ["UA", "UA", "AA"], "flight": [7, 8, 7]}
        asked = body(None, entities, feature_service="delays", full_feature_names=True)
        assert pair.ask(PATH, asked, {}).status_code == 404
        with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as client:
            client.load_bundle(bundle.digest)
        told = pair.ask(PATH, asked, {}).json()
        assert told["metadata"]["feature_names"][3:] == [
            "origin_stats__mean_delay", "origin_stats__weather", "flight_stats__mean_delay"
        ]  # fmt: skip
        assert told["results"][5]["values"] == [0.25, None, None]
        assert pair.answered_by_the_front() == 1
        for wrong in (
            body(None, entities, feature_service="delays"), body(None, entities, feature_service="delay"),
            body(REFS[:1], entities, feature_service="delays"), body(None, entities, feature_service=""),
        ):  # fmt: skip
            assert pair.ask(PATH, wrong, {}).status_code in (400, 404)
        assert pair.answered_by_the_front() == 1
        pair.close()


@pytest.mark.parametrize("how", [{"record_reads": 1.0}, {"log_requests": True}])
def test_reads_that_must_be_seen_by_the_app_are_passed_on(tmp_path: Path, how: dict[str, Any]) -> None:
    pytest.importorskip("pyarrow")
    with world.serve(tmp_path, front="on", **how) as served:
        fill(served.online)
        pair = Both(served)
        assert pair.ask(PATH, DRIVERS, {}).status_code == 200
        assert pair.answered_by_the_front() == 0
        pair.close()


def test_pushed_rows_are_read_at_once_while_others_read(both: Both) -> None:
    """Whoever pushed reads what it pushed, through the front, while two others read all the time."""
    store = both.served.online
    store.register(ports.ViewSchema("live", ("k",), (("x", "int64"),), None))
    stop = threading.Event()
    failures: list[str] = []

    def read_on() -> None:
        with client_module.ServingClient(both.served.url) as client:
            asked = client_module.features.FeatureRead(features=["live:x"], entities={"k": [1, 2]})
            while not stop.is_set():
                one, two = client.read_features(asked)["x"]
                if one != two:
                    failures.append(f"{one} beside {two} of one batch")

    readers = [threading.Thread(target=read_on) for _ in range(2)]
    with client_module.ServingClient(both.served.url) as client:
        asked = client_module.features.FeatureRead(features=["live:x"], entities={"k": [1, 2]})
        for i in range(300):
            times = np.full(2, time.time_ns() // 1000)
            store.upsert("live", {"k": [1, 2]}, event_us=times, created_us=times, columns={"x": [i, i]})
            assert client.read_features(asked)["x"] == [i, i]
            if i == 0:
                for reader in readers:
                    reader.start()
    stop.set()
    for reader in readers:
        reader.join(20)
    assert not failures


def test_a_closed_store_is_the_apps_to_word(tmp_path: Path) -> None:
    with world.serve(tmp_path, front="on") as served:
        fill(served.online)
        pair = Both(served)
        assert pair.ask(PATH, DRIVERS, {}).status_code == 200
        for table in served.online.tables().values():
            table.close()
        refused = pair.ask(PATH, DRIVERS, {})
        assert (refused.status_code, refused.headers["x-error-code"]) == (503, "dependency_down")
        assert pair.answered_by_the_front() == 1
        pair.close()


def test_metrics_have_what_the_front_read(both: Both) -> None:
    def counted(name: str) -> float:
        (line,) = (
            line for line in both.front.get("/metrics").text.splitlines() if line.startswith(name + " ")
        )
        return float(line.split(" ")[1])

    reads, rows = counted("mainspring_front_read_seconds_count"), counted("mainspring_front_read_rows_sum")
    passed, answered = (
        counted("mainspring_front_reads_passed_total"),
        counted("mainspring_front_answered_total"),
    )
    both.ask(PATH, body(["floats:f0"], {"driver": [1, 2, 3]}), {})
    both.ask(PATH, body(["floats:f99"], {"driver": [1, 2, 3]}), {})
    assert counted("mainspring_front_read_seconds_count") == reads + 1
    assert counted("mainspring_front_read_rows_sum") == rows + 3
    assert counted("mainspring_front_reads_passed_total") == passed + 1
    assert counted("mainspring_front_answered_total") == answered + 1
