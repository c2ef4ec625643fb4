"""JSON at its edges, to every operation that takes any: refused or taken as a value, by a typed 4xx, and never a 5xx."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any, Final

import platform_commits as commits
import platform_fuzz as fuzz
import pytest
from litestar.testing import TestClient

from mainspring.platform.http import bodies

_DEEP: Final = 100_000
_DIGITS: Final = 5_000
#: Documents that are no object of anybody's, or no JSON.
DOCUMENTS: Final = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "text": b'"text"',
    "a number": b"1",
    "not a number": b"NaN",
    "a huge number": b"9" * _DIGITS,
    "deep lists": b"[" * _DEEP + b"]" * _DEEP,
    "deep objects": b'{"a":' * _DEEP + b"1" + b"}" * _DEEP,
    "cut off": b'{"a":',
    "no UTF-8": b'{"a":"\xff\xfe"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "ten megabytes": b'{"a":"' + b"x" * 10_000_000 + b'"}',
    "a bomb of spaces": b" " * 2_000_000 + b"{}",
}
#: JSON texts in the place of a value.
VALUES: Final = (
    "null",
    "NaN",
    "-Infinity",
    "1e999",
    "-0.0",
    "9" * _DIGITS,
    "-9223372036854775809",
    "18446744073709551616",
    '"\\u0000"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"a\\u0000b\\ud83dz"',
    '"=1+1"',
    '"' + "x" * 100_000 + '"',
    '"' + "'; DROP TABLE audit; --" + '"',
    "[" * 900 + "]" * 900,
    "[]",
    "{}",
    "true",
)
_MARK: Final = "the place of a value"


def places(body: Any) -> Iterator[str]:
    """The body as text, with a hole in the place of each of its values in turn."""

    def walk(at: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        pairs = at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ()
        for key, value in pairs:
            yield (*path, key)
            yield from walk(value, (*path, key))

    for path in walk(body, ()):
        made = copy.deepcopy(body)
        parent = made
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = _MARK
        yield json.dumps(made)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fuzz.Fuzz]:
    folder = tmp_path_factory.mktemp("edges")
    app, launcher = commits.app(folder)
    with fuzz.witness() as seen, TestClient(app, raise_server_exceptions=False) as client:
        yield fuzz.Fuzz(commits.House(client, launcher, folder), seen)


def test_nesting_has_an_end_that_is_told(asked: fuzz.Fuzz) -> None:
    (operation,) = (o for o in asked.operations if o.label == "POST /api/v1/runs/{run_id}/events")
    for depth, status in ((bodies.MAX_DEPTH, 201), (bodies.MAX_DEPTH + 1, 400)):
        taken = commits.TAKEN["POST /runs/{}/events"](asked.house, asked.house.mark())
        # Two of them are the body and its `detail`.
        inner = json.loads("[" * (depth - 2) + "]" * (depth - 2))
        document = json.dumps({**taken.body, "detail": {"deep": inner}}).encode()
        answer = asked.send(operation, taken, document)
        assert answer.status_code == status, answer.text
    assert f"more than {bodies.MAX_DEPTH}" in answer.json()["detail"]


def test_a_number_of_more_than_64_bits_is_refused_where_it_is_kept(asked: fuzz.Fuzz) -> None:
    house = asked.house
    (operation,) = (o for o in asked.operations if o.label == "POST /api/v1/monitoring/reports")
    taken = commits.TAKEN["POST /monitoring/reports"](house, house.mark())
    for rows in (2**63, -(2**63) - 1):
        body = {**taken.body, "report": {**taken.body["report"], "rows": rows, "known": 0}}
        answer = asked.send(operation, taken, json.dumps(body).encode())
        assert answer.status_code == 400, answer.text
    assert house.client.get("/api/v1/events?until_idle=true&after=9" + "9" * 30).status_code < 500


def _bodied(asked: fuzz.Fuzz) -> Iterator[tuple[Any, commits.Taken]]:
    for operation in asked.operations:
        recipe = commits.TAKEN.get(commits.shape(operation.label))
        # Aliases are the same code.
        if (
            recipe is not None
            and operation.method.upper() in fuzz.CHANGING
            and operation.path.startswith("/api")
        ):
            taken = recipe(asked.house, asked.house.mark())
            if taken.body is not None:
                yield operation, taken


@pytest.mark.slow
def test_documents_that_are_none_are_refused(asked: fuzz.Fuzz) -> None:
    count = 0
    for operation, taken in _bodied(asked):
        for name, document in DOCUMENTS.items():
            answer = asked.send(operation, taken, document)
            is_empty = name in ("a byte order mark", "a bomb of spaces")  # an object of nothing may be taken
            assert answer.status_code in (400, 413) or is_empty, (operation.label, name, answer.text)
            count += 1
    assert not asked.faults, asked.faults[:10]
    assert count > 300


@pytest.mark.slow
def test_a_field_twice_is_one_of_both(asked: fuzz.Fuzz) -> None:
    for operation, taken in _bodied(asked):
        document = json.dumps(taken.body)
        first = next(iter(taken.body))
        asked.send(operation, taken, (document[:-1] + f', "{first}": null}}').encode())
        asked.send(operation, taken, (f'{{"{first}": null, ' + document[1:]).encode())
    assert not asked.faults, asked.faults[:10]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at_each", "floor"),
    [(3, 500), pytest.param(len(VALUES), 3000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])],
)
def test_values_at_the_edges_break_nothing(asked: fuzz.Fuzz, at_each: int, floor: int) -> None:
    values, count = itertools.cycle(VALUES), 0
    for operation, taken in _bodied(asked):
        for hole in places(taken.body):
            for value in itertools.islice(values, at_each):
                asked.send(operation, taken, hole.replace(json.dumps(_MARK), value).encode())
                count += 1
    assert not asked.faults, (len(asked.faults), asked.faults[:10])
    assert count > floor
    assert asked.house.call("root", "GET", "/api/v1/audit:verify")["ok"]
