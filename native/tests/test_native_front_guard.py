"""Whom the front answers itself: keys, scopes, ends, and limits that the app takes from, too."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import front_testing as testing
import hypothesis
import numpy as np
import pytest
from front_testing import ANSWER, JSON, Client, request
from hypothesis import strategies as st

from mainspring.native import front, limits, status, table

SECRET = "Rk9ob3BlX25vYm9keV9ndWVzc2VzLXRoaXNfb25l_-xyz"
KEY = f"msk_0123456789ab_{SECRET}"
BEARER = f"Bearer {KEY}"


def key(secret: str = SECRET, id: str = "0123456789ab", **how: Any) -> front.Key:
    chosen = {"may_predict": True, "may_read": True, **how}
    return front.Key(id, "team-a", hashlib.sha256(secret.encode()).digest(), **chosen)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with testing.app() as path:
        yield path


@pytest.fixture(scope="module")
def server(upstream: str) -> Iterator[front.Front]:
    with testing.serving(upstream) as running:
        yield running


def is_answered_here(server: front.Front, data: bytes) -> bool:
    """By the front or, whole, by the app."""
    with Client(server.port) as client:
        answer = client.ask(data)
    assert answer.status == 200
    is_ours = answer.body == ANSWER
    assert is_ours or answer.json()["line"].startswith("POST ")
    return is_ours


def test_without_a_guard_nobody_is_asked(server: front.Front) -> None:
    server.set_guard()
    for fields in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic x", "x_api_key": "y"}):
        assert is_answered_here(server, request(**fields))


@pytest.mark.parametrize(
    ("fields", "is_known"),
    [
        ({"authorization": BEARER}, True),
        ({"authorization": f"bEaReR   {KEY}"}, True),
        ({"x_api_key": KEY}, True),
        ({}, False),
        ({"authorization": ""}, False),
        ({"authorization": KEY}, False),
        ({"authorization": f"Basic {KEY}"}, False),
        ({"authorization": f"Bearer{KEY}"}, False),
        ({"authorization": f"Bearer {KEY},"}, False),
        ({"authorization": f"Bearer {KEY} x"}, False),
        ({"authorization": f"Bearer {KEY}x"}, False),
        ({"authorization": f"Bearer {KEY[:-1]}"}, False),
        ({"authorization": "Bearer msk_0123456789ab_"}, False),
        ({"authorization": "Bearer msk_0123456789ab"}, False),
        ({"authorization": f"Bearer msk__{SECRET}"}, False),
        ({"authorization": f"Bearer msk_{SECRET}"}, False),
        ({"authorization": f"Bearer msk_ffffffffffff_{SECRET}"}, False),
        ({"authorization": f"Bearer MSK_0123456789ab_{SECRET}"}, False),
        ({"authorization": "Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2ln"}, False),
        ({"authorization": BEARER, "x_api_key": KEY}, False),
        ({"x_api_key": BEARER}, False),
        ({"x_api_key": ""}, False),
    ],
)
def test_only_a_key_that_is_surely_known_is_answered_here(
    server: front.Front, fields: dict[str, str], is_known: bool
) -> None:
    server.set_guard([key()], needs_key=True)
    passed = server.counts()["passed"]
    assert is_answered_here(server, request(**fields)) is is_known
    assert server.counts()["passed"] == passed + (not is_known)


def test_two_fields_that_could_tell_are_the_apps_and_arrive_there(server: front.Front) -> None:
    server.set_guard([key()], needs_key=True)
    twice = request(authorization=BEARER).replace(
        b"\r\n\r\n", f"\r\nauthorization: {BEARER}\r\n\r\n".encode(), 1
    )
    with Client(server.port) as client:
        seen = client.ask(twice).json()
    assert [v for k, v in seen["fields"] if k == "authorization"] == [BEARER, BEARER]
    assert seen["digest"] == hashlib.sha256(JSON).hexdigest()


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(
    secret=st.text("abcXYZ019_-", min_size=1, max_size=200),
    other=st.text("abcXYZ019_-", min_size=0, max_size=200),
)
def test_secrets_of_every_length_are_hashed_as_they_are_kept(
    server: front.Front, secret: str, other: str
) -> None:
    server.set_guard([key(secret)], needs_key=True)
    assert is_answered_here(server, request(authorization=f"Bearer msk_0123456789ab_{secret}"))
    shown = request(authorization=f"Bearer msk_0123456789ab_{other}")
    assert is_answered_here(server, shown) is (other == secret)


PIECES = st.sampled_from(
    ["Bearer ", "bearer", " ", "\t", "msk_", "_", "\xa0", "\x85", ",", "é", SECRET, "x", KEY]
)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(pieces=st.lists(PIECES, max_size=5), field=st.sampled_from(["authorization", "x-api-key"]))
def test_no_credential_is_taken_for_another(server: front.Front, pieces: list[str], field: str) -> None:
    """Whatever is shown, it is answered here only if what Python's rules make of it is the key itself."""
    server.set_guard([key()], needs_key=True)
    shown = "".join(pieces)
    data = request().replace(b"host: test", f"host: test\r\n{field}: {shown}".encode("latin-1"), 1)
    value = shown.strip(" \t")
    authorization = value if field == "authorization" else f"Bearer {value}"
    is_key = authorization[:7].lower() == "bearer " and authorization[7:].strip() == KEY
    with Client(server.port) as client:
        answer = client.ask(data)
    if answer.body == ANSWER:
        assert is_key
    elif is_key:
        assert authorization[7:].strip(" ") != KEY, "the plain forms are answered here"


def test_scopes_are_kept_where_a_key_is_demanded(upstream: str) -> None:
    made = table.OnlineTable(
        table.Schema((table.Key("driver", "int64"),), (table.Field("delay", "float32"),))
    )
    now = time.time_ns() // 1000
    made.upsert([1], [now], {"delay": np.ones(1, np.float32)})
    asked = json.dumps({"features": ["stats:delay"], "entities": {"driver": [1, 2]}}).encode()
    accounts = limits.Limits()
    accounts.set_rules([limits.Rule("team-a", "features", rows_per_day=1000)])
    with testing.serving(upstream) as server, Client(server.port) as client:
        server.set_views([front.View("stats", made)], max_rows=8)
        infer = request(authorization=BEARER)
        read = request("/v1/features:read", asked, authorization=BEARER)

        def here(data: bytes) -> bool:
            return "x-seen" not in client.ask(data).fields

        for is_demanded in (True, False):
            server.set_guard([key(may_predict=False)], needs_key=is_demanded, limited_by=accounts)
            assert [here(infer), here(read)] == [not is_demanded, True]
            server.set_guard([key(may_read=False)], needs_key=is_demanded, limited_by=accounts)
            assert [here(infer), here(read)] == [True, not is_demanded]
        accounts.set_rules([limits.Rule("team-a", "features", rows_per_day=7)])  # six are used up
        assert [here(read), here(read), here(infer)] == [True, False, True], "reads count as `features`"


def test_a_key_ends_when_it_does(server: front.Front) -> None:
    now_us = time.time_ns() // 1000
    server.set_guard([key(expires_us=now_us + 400_000)], needs_key=True)
    assert is_answered_here(server, request(authorization=BEARER))
    time.sleep(0.45)
    assert not is_answered_here(server, request(authorization=BEARER))
    server.set_guard([key(expires_us=1)], needs_key=True)
    assert not is_answered_here(server, request(authorization=BEARER))


def test_a_key_that_is_taken_away_counts_no_more_at_once(server: front.Front) -> None:
    """Also for a request whose head was read before, and on a connection that showed it a hundred times."""
    server.set_guard([key()], needs_key=True)
    with Client(server.port) as client, Client(server.port) as slow:
        for _ in range(100):
            assert client.ask(request(authorization=BEARER)).body == ANSWER
        slow.send(request(authorization=BEARER)[:-5])
        time.sleep(0.05)
        server.set_guard([], needs_key=True)
        assert client.ask(request(authorization=BEARER)).json()["size"] == len(JSON)
        slow.send(request()[-5:])
        assert slow.read().json()["size"] == len(JSON), "the app gets it whole"
        server.set_guard([key()], needs_key=True)
        assert client.ask(request(authorization=BEARER)).body == ANSWER


def test_a_body_of_a_stranger_is_not_collected(server: front.Front) -> None:
    server.set_guard([key()], needs_key=True)
    body = b"[" * (1 << 20)
    head = f"POST {testing.PATH} HTTP/1.1\r\nhost: a\r\ncontent-length: {2 * len(body)}\r\n\r\n".encode()
    with Client(server.port) as client:
        client.send(head + body)
        time.sleep(0.05)
        assert server.counts()["held_bytes"] == 0
        client.send(body)
        assert client.read().json()["size"] == 2 * len(body)


def test_limits_are_of_a_caller_and_who_shows_nothing_is_anonymous(server: front.Front) -> None:
    accounts = limits.Limits()
    accounts.set_rules([limits.Rule(requests_per_day=3, endpoint="sum")])
    server.set_guard([key()], limited_by=accounts)
    for shown in ({"authorization": BEARER}, {}):
        assert [is_answered_here(server, request(**shown)) for _ in range(5)] == [True] * 3 + [False] * 2
    assert accounts.refused() == [], "the app refuses, and counts it"
    assert not is_answered_here(server, request(authorization="Bearer unknown")), (
        "whose is for the app to say"
    )
    server.set_guard([key()])
    assert is_answered_here(server, request(authorization="Bearer unknown"))


def test_rows_are_charged_and_what_is_passed_on_costs_nothing_here(server: front.Front) -> None:
    accounts = limits.Limits()
    accounts.set_rules([limits.Rule(requests_per_day=3, rows_per_day=5)])
    server.set_guard(limited_by=accounts)
    odd = request(body=JSON.replace(b'"data"', b'"dat"'))
    for _ in range(20):
        assert not is_answered_here(server, odd)
    with Client(server.port) as client:
        assert testing.floats(client.ask(testing.binary([[1, 2]] * 4))) == [3.0] * 4
    assert is_answered_here(server, request())
    assert not is_answered_here(server, request()), "five rows are used up, the third request is not"
    assert accounts.admit("anonymous", "sum", time.monotonic(), time.time()) == limits.Refusal(
        "rows_per_day", 5.0, pytest.approx(86_400 - time.time() % 86_400, abs=5)
    )


def test_limits_that_come_into_force_hold_for_the_next_request(server: front.Front) -> None:
    accounts = limits.Limits()
    server.set_guard(limited_by=accounts)
    with Client(server.port) as client, Client(server.port) as slow:
        assert client.ask(request()).body == ANSWER
        slow.send(request(authorization="Bearer unknown")[:-5])
        time.sleep(0.05)
        accounts.set_rules([limits.Rule(requests_per_day=1)])
        assert [client.ask(request()).body == ANSWER for _ in range(2)] == [True, False]
        slow.send(request()[-5:])
        assert slow.read().json()["size"] == len(JSON)
        accounts.set_rules([])
        assert client.ask(request()).body == ANSWER


def test_front_and_app_together_never_exceed_a_limit(upstream: str) -> None:
    """Eight connections of the front and four threads that take as the app does, from one account, to the last one."""
    allowed, accounts, over = 4000, limits.Limits(), threading.Event()
    with testing.serving(upstream, threads=2) as server:
        accounts.set_rules([limits.Rule(requests_per_day=allowed)])
        server.set_guard([key()], needs_key=True, limited_by=accounts)
        odd = request(body=b"{}", authorization=BEARER)

        def ask(i: int) -> int:
            answered = 0
            with Client(server.port) as client:
                while not over.is_set():
                    answered += client.ask(request(authorization=BEARER)).body == ANSWER
                    if i == 0:
                        client.ask(odd)  # taken, and given back
            return answered

        def take(_: int) -> int:
            taken = refused = 0
            while refused < 2000:
                if accounts.admit("team-a", "sum", time.monotonic(), time.time()) is None:
                    taken += 1
                    time.sleep(0.0002)
                else:
                    refused += 1
            return taken

        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(ask, i) for i in range(8)]
            taken = [pool.submit(take, i) for i in range(4)]
            by_app = [one.result(60) for one in taken]
            over.set()
            by_front = [one.result(60) for one in asked]
        # Given back last, it is there for the next one.
        rest = 0
        while accounts.admit("team-a", "sum", time.monotonic(), time.time()) is None:
            rest += 1
    assert sum(by_app) + sum(by_front) + rest == allowed
    assert rest <= 1 and sum(by_app) > 0 and sum(by_front) > 0


def test_keys_change_while_requests_run(upstream: str) -> None:
    """Each answer is by the keys before or after; a key that is always there is always answered."""
    with testing.serving(upstream, threads=2) as server:
        always, sometimes = key(), key("other", "1")
        server.set_guard([always, sometimes], needs_key=True)
        over = threading.Event()

        def ask(shown: str) -> list[bool]:
            seen = []
            with Client(server.port) as client:
                while not over.is_set():
                    seen.append(client.ask(request(authorization=shown)).body == ANSWER)
            return seen

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            steady = [pool.submit(ask, BEARER) for _ in range(2)]
            changing = [pool.submit(ask, "Bearer msk_1_other") for _ in range(2)]
            for i in range(300):
                server.set_guard([always, sometimes] if i % 2 else [always], needs_key=True)
                time.sleep(0.001)
            over.set()
            assert all(all(one.result(30)) for one in steady)
            seen = [x for one in changing for x in one.result(30)]
    assert True in seen and False in seen


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (front.Key("1", "a", b"short"), "`secret_sha256` of key `1` has 5 bytes"),
        (front.Key("1", "", b"0" * 32), "key `1` has no caller"),
    ],
)
def test_keys_that_make_no_sense_change_nothing(server: front.Front, wrong: front.Key, words: str) -> None:
    server.set_guard([key()], needs_key=True)
    with pytest.raises(status.NativeError, match=words) as refused:
        server.set_guard([wrong], needs_key=False)
    assert refused.value.code == "bad_spec"
    assert is_answered_here(server, request(authorization=BEARER))
    assert not is_answered_here(server, request())
