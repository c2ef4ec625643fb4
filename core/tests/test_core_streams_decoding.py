"""Events from bytes: what fits becomes columns, what does not becomes a letter with a reason, and nothing else moves."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.core.features import windows
from mainspring.core.features.streams.decoding import Decoder
from mainspring.core.features.streams.definition import (
    AvroFormat,
    Field,
    JsonFormat,
    StreamDefinition,
    WindowedView,
)
from mainspring.core.features.streams.records import records

FIELDS = (
    Field("who", "string", is_required=True),
    Field("at", "int64"),
    Field("n", "int64"),
    Field("x", "float64"),
    Field("ok", "bool"),
    Field("a-b c", "string"),
)
JSON = StreamDefinition(
    name="s", topic="t", fields=FIELDS, event_time="at", event_id="who", hop=timedelta(minutes=1),
    views=(WindowedView("v", ("who",), timedelta(minutes=1), (windows.Aggregate("n", "rows"),)),),
)  # fmt: skip
SCHEMA: dict[str, Any] = {
    "type": "record", "name": "e",
    "fields": [
        {"name": "who", "type": ["null", "string"]},
        {"name": "extra", "type": {"type": "array", "items": "int"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "n", "type": ["null", "int"]},
        {"name": "x", "type": "float"},
        {"name": "ok", "type": ["boolean", "null"]},
    ],
}  # fmt: skip
AVRO = replace(JSON, format=AvroFormat(((0, json.dumps(SCHEMA)),)))


def decode(
    stream: StreamDefinition, *values: bytes | None
) -> tuple[dict[str, list[Any]], list[tuple[int, str]]]:
    events, dead = Decoder(stream).decode(records(values, timestamp_us=0))
    found = {name: column.to_pylist() for name, column in events.columns.items()}
    assert events.event_us.tolist() == [at * (1000 if stream.time_unit == "ms" else 1) for at in found["at"]]
    assert all(d.value == values[d.offset] and d.message for d in dead)
    assert sorted([*events.place.tolist(), *(d.offset for d in dead)]) == list(range(len(values)))
    return found, [(d.offset, d.reason) for d in dead]


def avro(event: dict[str, Any], schema: dict[str, Any] = SCHEMA) -> bytes:
    to = io.BytesIO()
    fastavro.schemaless_writer(to, fastavro.parse_schema(schema), event)
    return to.getvalue()


def test_json_fields_are_columns_and_what_is_not_declared_is_passed_over() -> None:
    found, dead = decode(
        JSON, b'{"who": "a", "at": 7, "n": -3, "x": 1, "ok": true, "a-b c": "\\u00e9", "extra": {"deep": [1]}}',
        b' {"at":8,"who":"b","x":null}\n',
    )  # fmt: skip
    assert dead == []
    assert found == {
        "who": ["a", "b"], "at": [7, 8], "n": [-3, None], "x": [1.0, None], "ok": [True, None], "a-b c": ["\u00e9", None]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"   ", "malformed"),
        (b"{", "malformed"),
        (b'{"who": "a", "at": 1} {"who": "b", "at": 2}', "malformed"),
        (b'{"who": "a", "at": 1},{"who": "b", "at": 2}', "malformed"),
        (b'{"who": "\xff", "at": 1}', "malformed"),
        (b'{"who": "a", "at": 1, "x": NaN}', "malformed"),
        (b"[" * 100_000, "schema_mismatch"),
        (b'{"who": "\\ud800", "at": 1}', "malformed"),
        (b'{"who": "a", "at": 1, "extra": ' + b"[" * 100_000, "malformed"),
        (b"[1]", "schema_mismatch"),
        (b"null", "schema_mismatch"),
        (b'{"at": 1}', "schema_mismatch"),
        (b'{"who": null, "at": 1}', "schema_mismatch"),
        (b'{"who": "a"}', "schema_mismatch"),
        (b'{"who": "a", "at": null}', "schema_mismatch"),
        (b'{"who": 5, "at": 1}', "schema_mismatch"),
        (b'{"who": "a", "at": "1"}', "schema_mismatch"),
        (b'{"who": "a", "at": 1, "n": 1.5}', "schema_mismatch"),
        (b'{"who": "a", "at": 1, "n": 9223372036854775808}', "schema_mismatch"),
        (b'{"who": "a", "at": 1, "n": true}', "schema_mismatch"),
        (b'{"who": "a", "at": 1, "ok": 1}', "schema_mismatch"),
        (b'{"who": "a", "at": -1}', "out_of_range"),
        (b'{"who": "a", "at": 253402300800000000}', "out_of_range"),
    ],
)
def test_a_bad_json_record_is_a_letter_and_its_neighbours_are_events(
    value: bytes | None, reason: str
) -> None:
    good = b'{"who": "a", "at": 1}'
    found, dead = decode(JSON, good, value, good)
    assert dead == [(1, reason)] and found["who"] == ["a", "a"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=40)), max_size=5), st.sampled_from([JSON, AVRO]))
@example([b"\0"], AVRO)
def test_no_bytes_raise(values: list[bytes | None], stream: StreamDefinition) -> None:
    decode(stream, *values)


def test_nothing_at_all_is_no_events() -> None:
    found, dead = decode(JSON)
    assert found["at"] == [] and dead == []


def test_times_may_be_milliseconds() -> None:
    found, dead = decode(replace(JSON, time_unit="ms"), b'{"who": "a", "at": 1700000000123}')
    assert found["at"] == [1700000000123] and dead == []


def test_avro_fields_are_columns_and_a_time_stays_a_number() -> None:
    event = {"who": "a", "extra": [1, 2], "at": 1_700_000_000_000_001, "n": None, "x": 0.5, "ok": True}
    found, dead = decode(AVRO, avro(event), avro(event | {"who": None}), avro(event)[:-1], avro(event) + b"!")
    assert found == {
        "who": ["a"],
        "at": [event["at"]],
        "n": [None],
        "x": [0.5],
        "ok": [True],
        "a-b c": [None],
    }
    assert dead == [(1, "schema_mismatch"), (2, "malformed"), (3, "malformed")]


def test_framed_avro_is_read_with_the_schema_that_its_frame_names() -> None:
    older = SCHEMA | {"fields": [f for f in SCHEMA["fields"] if f["name"] != "ok"]}
    stream = replace(JSON, format=AvroFormat(((7, json.dumps(older)), (8, json.dumps(SCHEMA)))))
    event = {"who": "a", "extra": [], "at": 1, "n": 2, "x": 0.5, "ok": False}
    frame = {number: b"\0" + number.to_bytes(4, "big") for number in (7, 8, 9)}
    found, dead = decode(
        stream,
        frame[7] + avro(event, older),
        frame[8] + avro(event),
        frame[9] + avro(event),
        avro(event),
        b"\0\0",
    )
    assert found["ok"] == [None, False]
    assert [offset for offset, _ in dead] == [2, 3, 4]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ([f for f in SCHEMA["fields"] if f["name"] != "at"], "without the required field `at`"),
        ([f | {"type": "string"} if f["name"] == "n" else f for f in SCHEMA["fields"]], "reads `n` as int64"),
        ([f | {"type": "no such"} if f["name"] == "n" else f for f in SCHEMA["fields"]], "does not parse"),
    ],
)
def test_an_avro_schema_that_cannot_hold_the_fields_is_refused(fields: list[Any], match: str) -> None:
    text = json.dumps(SCHEMA | {"fields": fields})
    with pytest.raises(errors.InvalidRequest, match=match):
        Decoder(replace(AVRO, format=AvroFormat(((0, text),))))
    with pytest.raises(errors.InvalidRequest, match="does not parse"):
        Decoder(replace(AVRO, format=AvroFormat(((0, "{"),))))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": ""}, "needs a name"),
        ({"views": ()}, "needs a name, a topic and a view"),
        ({"fields": (*FIELDS, Field("n", "bool"))}, "names field `n` twice"),
        ({"fields": (*FIELDS, Field("d", "date"))}, "type `date`"),
        ({"event_time": "x"}, "no int64 field `x`"),
        ({"event_id": "x"}, "no string or int64 field `x`"),
        ({"hop": timedelta(0)}, "hop of 0"),
        ({"allowed_lateness": timedelta(-1)}, "negative lateness"),
        ({"remembered_ids": 3}, "at least 16"),
        ({"views": JSON.views * 2}, "names view `v` twice"),
        ({"views": (replace(JSON.views[0], keys=("x",)),)}, "key `x`"),
        ({"views": (replace(JSON.views[0], keys=("who", "who")),)}, "names `who` twice"),
        ({"views": (replace(JSON.views[0], keys=()),)}, "without a name, a key"),
        ({"views": (replace(JSON.views[0], window=timedelta(seconds=90)),)}, "no multiple of the hop"),
        (
            {"views": (replace(JSON.views[0], aggregates=(windows.Aggregate("m", "mean", "x"),)),)},
            "`mean` needs",
        ),
        (
            {"views": (replace(JSON.views[0], aggregates=(windows.Aggregate("m", "last", "who"),)),)},
            "`last` needs",
        ),
        (
            {"views": (replace(JSON.views[0], aggregates=(windows.Aggregate("m", "count", "y"),)),)},
            "unknown field `y`",
        ),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=match):
        replace(JSON, **changes)


def test_a_digest_names_what_state_depends_on() -> None:
    assert (
        JSON.digest() == replace(JSON, name="other").digest() == replace(JSON, format=JsonFormat()).digest()
    )
    assert JSON.digest() != replace(JSON, hop=timedelta(seconds=30)).digest()
    assert JSON.digest() != replace(JSON, event_id=None).digest()
