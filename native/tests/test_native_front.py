"""The front answers infer requests itself, passes everything else on unchanged, and keeps its limits."""

from __future__ import annotations

import doctest
import errno
import hashlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import front_testing as testing
import hypothesis
import numpy as np
import pytest
from front_testing import ANSWER, JSON, PATH, Client, get, request
from hypothesis import strategies as st

from mainspring.native import front, mlp, status, trees


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with testing.app() as path:
        yield path


@pytest.fixture
def server(upstream: str) -> Iterator[front.Front]:
    with testing.serving(upstream) as running:
        yield running


@pytest.fixture
def client(server: front.Front) -> Iterator[Client]:
    with Client(server.port) as connected:
        yield connected


# ---- answered here


def test_a_json_request_is_answered_here(server: front.Front, client: Client) -> None:
    answer = client.ask(request(x_request_id="mine"))
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["x-request-id"] == "mine"
    versioned = client.ask(request("/v2/models/sum/versions/1/infer"))
    assert versioned.body == ANSWER
    assert versioned.fields["x-request-id"].startswith("front.")
    assert server.counts() | {"accepted": 1, "answered": 2, "passed": 0} == server.counts()


@pytest.mark.parametrize("padding", range(9))
def test_a_tensor_is_read_wherever_it_lies(client: Client, padding: int) -> None:
    answer = client.ask(testing.binary([[1, 2], [3, -4], [float("nan"), 1]], padding))
    assert answer.fields["content-type"] == "application/octet-stream"
    assert testing.floats(answer)[:2] == [3.0, -1.0]
    assert np.isnan(testing.floats(answer)[2])


@pytest.mark.parametrize("step", [1, 7, 100])
def test_a_request_may_come_in_pieces(client: Client, step: int) -> None:
    for data in (request(), testing.binary([[1, 2]] * 40)):
        for i in range(0, len(data), step):
            client.send(data[i : i + step])
        assert client.read().status == 200


def test_pipelined_requests_are_answered_in_their_order(server: front.Front, client: Client) -> None:
    sent = b"".join(
        request(x_request_id=f"r{i}") if i % 3 else get(f"/passed/{i}", x_request_id=f"r{i}")
        for i in range(300)
    )
    thread = threading.Thread(target=client.send, args=(sent,))
    thread.start()
    for i in range(300):
        answer = client.read()
        if i % 3:
            assert (answer.body, answer.fields["x-request-id"]) == (ANSWER, f"r{i}")
        else:
            assert answer.json()["line"] == f"GET /passed/{i} HTTP/1.1"
    thread.join()
    assert server.counts()["answered"] == 200


def test_a_client_that_said_all_still_gets_its_answers(client: Client) -> None:
    client.send(request() * 500)
    client.socket.shutdown(socket.SHUT_WR)
    for _ in range(500):
        assert client.read().body == ANSWER
    assert client.rest() == b""


def test_connection_close_is_kept(client: Client) -> None:
    answer = client.ask(request(connection="close"))
    assert answer.fields["connection"] == "close"
    assert client.rest() == b""


def test_expect_continue_is_answered_before_the_body(client: Client) -> None:
    head, body = request(expect="100-continue").split(b"\r\n\r\n")
    assert client.ask(head + b"\r\n\r\n").status == 100
    assert client.ask(body).body == ANSWER


def test_trees_answer_as_they_do_in_python(server: front.Front, client: Client) -> None:
    text = (
        '{"learner": {"learner_model_param": {"num_feature": "1", "num_class": "0", "base_score": "[1E0]"},'
        '"objective": {"name": "reg:squarederror"}, "gradient_booster": {"name": "gbtree", "model": {'
        '"tree_info": [0], "trees": [{"left_children": [1, -1, -1], "right_children": [2, -1, -1],'
        '"split_indices": [0, 0, 0], "split_conditions": [0.5, -1, 2], "default_left": [1, 0, 0]}]}}}}'
    )
    model = trees.Trees.from_xgboost(text)
    server.set_models([front.Model("t", "1", model, "features", "score", 8)])
    body = b'{"inputs":[{"name":"features","shape":[2,1],"datatype":"FP32","data":[[0.25],[0.5]]}]}'
    answer = client.ask(request("/v2/models/t/infer", body))
    assert answer.json()["outputs"][0]["data"] == [0.0, 3.0]
    expected = model.run(np.array([[0.25], [0.5]], np.float32))
    assert answer.json()["outputs"][0]["data"] == expected.ravel().tolist()


def test_lightgbm_trees_take_and_give_doubles(server: front.Front, client: Client) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 3))
    booster = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(x, x[:, 0]), 5)
    model = trees.Trees.from_lightgbm(booster.model_to_string())
    server.set_models([front.Model("t", "7", model, "f", "s", 300)])
    tensor = {"name": "f", "shape": [5, 3], "datatype": "FP64", "data": x[:5].tolist()}
    body = json.dumps({"inputs": [tensor], "id": "a"}).encode()
    answer = client.ask(request("/v2/models/t/versions/7/infer", body)).json()
    assert answer["id"] == "a"
    assert answer["outputs"][0]["datatype"] == "FP64"
    assert answer["outputs"][0]["data"] == model.run(x[:5]).ravel().tolist()


# ---- passed on


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/v2/models/other/infer", JSON, {}),
        ("/v2/models/sum/versions/2/infer", JSON, {}),
        ("/v2/models/sum/infer?x=1", JSON, {}),
        ("/v2/models/s%75m/infer", JSON, {}),
        (PATH, JSON[:-1], {}),
        (PATH, b"", {}),
        (PATH, JSON, {"content_encoding": "gzip"}),
        (PATH, JSON, {"x_deadline_ms": "soon"}),
        (PATH, JSON, {"x_deadline_ms": "0"}),
        (PATH, JSON, {"inference_header_content_length": "9999"}),
        (PATH, JSON, {"inference_header_content_length": "0"}),
        (PATH, JSON.replace(b"[1,2]}", b"[1e39,2]}"), {}),
        (PATH, JSON.replace(b'"data":[1,2]', b'"data":[3e38,3e38]'), {}),
    ],
)
def test_what_is_wrong_or_unusual_is_the_apps(
    server: front.Front, client: Client, path: str, body: bytes, fields: dict[str, str]
) -> None:
    seen = client.ask(request(path, body, **fields)).json()
    assert seen["line"] == f"POST {path} HTTP/1.1"
    assert seen["digest"] == hashlib.sha256(body).hexdigest()
    assert server.counts()["answered"] == 0


def test_fields_are_passed_on_and_those_of_one_connection_are_not(client: Client) -> None:
    seen = client.ask(
        get(
            "/x?y=%20", "PUT", Accept="a", connection="keep-alive, X-Mine", x_mine="1", te="trailers"
        ).replace(
            b"\r\n\r\n", b"\r\nx-two: 1\r\nx-two: 2\r\nupgrade: h2c\r\nx-forwarded-for: 9.9.9.9\r\n\r\n"
        )
    ).json()
    assert seen["line"] == "PUT /x?y=%20 HTTP/1.1"
    names = [name for name, _ in seen["fields"]]
    assert names == ["host", "accept", "x-two", "x-two", "x-forwarded-for", "x-request-id"]
    fields = dict(seen["fields"])
    assert fields["x-forwarded-for"] == "9.9.9.9, 127.0.0.1"
    assert fields["x-request-id"].startswith("front.")
    mine = client.ask(get("/x", x_request_id="a.b:c-d_1")).json()
    assert dict(mine["fields"])["x-request-id"] == "a.b:c-d_1"
    replaced = client.ask(get("/x", x_request_id="a b")).json()
    assert dict(replaced["fields"])["x-request-id"].startswith("front.")


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_bodies_stream_both_ways(client: Client, size: int) -> None:
    body = random.Random(size).randbytes(size)
    digest = hashlib.sha256(body).hexdigest()
    seen = client.ask(request("/up", body)).json()
    assert (seen["size"], seen["digest"]) == (size, digest)
    # The same in chunks of every size, with extensions and trailers, which end here.
    chunks = b""
    for i, at in enumerate(range(0, size, 40_000)):
        piece = body[at : at + 40_000]
        chunks += b"%X%s\r\n%s\r\n" % (len(piece), b";x=1" if i % 2 else b"", piece)
    head = b"POST /up HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    seen = client.ask(head + chunks + b"0\r\nt: x\r\n\r\n").json()
    assert (seen["size"], seen["digest"]) == (size, digest)
    assert "t" not in dict(seen["fields"])
    size -= size % 256
    answer = client.ask(get(f"/bytes/{size}"))
    assert answer.body == bytes(range(256)) * (size // 256)


def test_a_slow_reader_holds_up_the_app_and_not_the_front(server: front.Front, client: Client) -> None:
    size = 64 << 20
    client.send(get(f"/bytes/{size}"))
    before = resident_bytes()
    time.sleep(0.3)
    assert resident_bytes() - before < 80 << 20  # the app's own copy, and little more
    with Client(server.port) as other:
        assert other.ask(request()).body == ANSWER
    answer = client.read()
    assert len(answer.body) == size


def resident_bytes() -> int:
    with open("/proc/self/statm") as text:
        return int(text.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_answers_of_every_framing_arrive_whole(client: Client) -> None:
    for path in ("/plain", "/chunked", "/until-close"):
        answer = client.ask(get(path))
        assert answer.fields["x-seen"] == "yes"
        assert answer.json()["line"] == f"GET {path} HTTP/1.1"
    assert client.ask(get("/plain", "HEAD"), method="HEAD").fields["content-length"] != "0"
    for code in (204, 304):
        assert client.ask(get(f"/status/{code}")).status == code
    assert client.ask(request()).body == ANSWER


def test_an_old_client_gets_no_chunks(server: front.Front) -> None:
    for path in ("/plain", "/chunked", "/until-close"):
        with Client(server.port) as old:
            answer = old.ask(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert "transfer-encoding" not in answer.fields
            assert answer.fields["connection"] == "close"
            assert answer.json()["line"] == f"GET {path} HTTP/1.1"
            assert old.rest() == b""


def test_an_early_answer_arrives_though_the_body_does_not(server: front.Front) -> None:
    with Client(server.port) as client:
        client.send(b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n" + bytes(100_000))
        answer = client.read()
        assert (answer.status, answer.body) == (413, b"no\n")
        assert answer.fields["connection"] == "close"


def test_a_connection_goes_on_after_an_early_answer_to_a_short_request() -> None:
    def script(connection: socket.socket) -> None:
        for _ in range(2):
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1)
            connection.sendall(b"HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\nno")
            body = b""
            while len(body) < 1000:
                body += connection.recv(1000 - len(body))

    with testing.scripted(script) as path, testing.serving(path) as server, Client(server.port) as client:
        data = request("/x", bytes(1000))
        for _ in range(2):  # the second time on the same connection to the app
            client.send(data[:-1000])
            answer = client.read()
            assert (answer.status, answer.body) == (400, b"no")
            assert "connection" not in answer.fields
            client.send(data[-1000:-1])
            time.sleep(0.02)
            client.send(data[-1:])
        assert client.ask(request()).body == ANSWER
        assert server.counts()["accepted"] == 1


def test_whoever_waits_to_send_a_body_hears_first() -> None:
    def script(connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        path = head.split(b" ")[1]
        if path == b"/refused":
            connection.sendall(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno")
        else:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert connection.recv(5) == b"hello"
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")

    with testing.scripted(script) as path, testing.serving(path) as server:
        with Client(server.port) as client:
            assert client.ask(request("/taken", b"hello", expect="100-continue")[:-5]).status == 100
            assert client.ask(b"hello").body == b"ok"
        with Client(server.port) as client:
            answer = client.ask(request("/refused", b"hello", expect="100-continue")[:-5])
            # What the client sends next may be the body or another request: nobody can tell.
            assert (answer.status, answer.fields["connection"]) == (403, "close")
            client.send(request())
            assert client.rest() == b""


# ---- the app fails


def test_without_an_app_models_are_answered_and_the_rest_is_503() -> None:
    with testing.serving("/nowhere/app.sock") as server, Client(server.port) as client:
        assert client.ask(request()).body == ANSWER
        problem = client.ask(get("/v1/x", x_request_id="mine"))
        assert (problem.status, problem.fields["retry-after"]) == (503, "1")
        assert problem.fields["content-type"] == "application/problem+json"
        said = problem.json()
        assert (said["code"], said["status"], said["request_id"]) == ("dependency_down", 503, "mine")
        assert said["detail"] == said["message"]
    with testing.serving("/nowhere/app.sock") as server, Client(server.port) as client:
        refusal = client.ask(get("/v2/models/x"))
        assert list(refusal.json()) == ["error"]
        assert refusal.fields["x-error-code"] == "dependency_down"


@pytest.mark.parametrize(
    "said", [b"", b"tea\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", b"HTTP/1.1 101 S\r\n\r\n"]
)
def test_an_app_that_breaks_is_502(said: bytes) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(said)

    with testing.scripted(script) as path, testing.serving(path) as server, Client(server.port) as client:
        refusal = client.ask(get("/x"))
        assert (refusal.status, refusal.json()["code"]) == (502, "dependency_down")
        assert server.counts()["upstream_failures"] == 1


def test_an_answer_that_breaks_off_breaks_off_here_too() -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    with testing.scripted(script) as path, testing.serving(path) as server, Client(server.port) as client:
        client.send(get("/x"))
        assert client.rest().endswith(b"\r\n\r\nhalf")


def test_a_body_that_breaks_after_the_answer_began_ends_the_connection() -> None:
    """A refusal would be taken for a part of the answer."""
    sent = threading.Event()

    def script(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nfirst")
        sent.wait(10)
        time.sleep(0.1)

    with testing.scripted(script) as path, testing.serving(path) as server, Client(server.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        while b"first" not in bytes(client.held):
            client.more()
        client.send(b"no chunk\r\n")
        sent.set()
        assert client.rest().endswith(b"\r\n\r\nfirst")


def test_an_app_that_says_nothing_is_504() -> None:
    done = threading.Event()
    with testing.scripted(lambda _: (done.wait(20), None)[1]) as path:
        with testing.serving(path, answer_seconds=0.2) as server, Client(server.port) as client:
            refusal = client.ask(get("/x"))
            assert (refusal.status, refusal.json()["code"]) == (504, "deadline_exceeded")
        done.set()


def test_a_client_that_leaves_takes_its_request_along() -> None:
    left = threading.Event()

    def script(connection: socket.socket) -> None:
        while connection.recv(1 << 16):
            pass
        left.set()

    with testing.scripted(script) as path, testing.serving(path) as server:
        with Client(server.port) as client:
            client.send(get("/x"))
            time.sleep(0.05)
            assert not left.is_set()
        assert left.wait(10)


# ---- limits


def test_heads_that_two_readers_read_differently_end_the_connection(server: front.Front) -> None:
    for head in (
        b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET /a HTTP/1.1\nhost: a\n\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nX\r\n",
    ):
        with Client(server.port) as client:
            client.send(head + request())
            refusal = client.read()
            assert (refusal.status, refusal.json()["code"]) == (400, "invalid_request")
            assert client.rest() == b"", "the bytes behind it are no request"
    assert server.counts()["answered"] == 0


def test_large_heads_are_431(upstream: str) -> None:
    with testing.serving(upstream, max_head_bytes=1000) as server:
        for data in (get("/x", x="y" * 1000), b"GET /" + b"x" * 1500):
            with Client(server.port) as client:
                assert client.ask(data).status == 431
                assert client.rest() == b""
        with Client(server.port) as client:
            assert client.ask(get("/x", x="y" * 900)).status == 200


def test_slow_heads_and_bodies_are_408(upstream: str) -> None:
    with testing.serving(upstream, head_seconds=0.2, body_seconds=0.2) as server:
        began = time.monotonic()
        with Client(server.port) as client:
            for i in range(100):  # a byte now and then does not help
                try:
                    client.send(b"G" if i == 0 else b"x")
                    time.sleep(0.05)
                except OSError:
                    break
                if time.monotonic() - began > 0.4:
                    break
            assert client.read().status == 408
        for path in (PATH, "/passed"):
            with Client(server.port) as client:
                refusal = client.ask(request(path)[:-1])
                assert refusal.status == 408
                assert "no more of the body came" in refusal.body.decode()
                assert client.rest() == b""
        assert server.counts()["timed_out"] == 3


def test_idle_connections_are_closed(upstream: str) -> None:
    with testing.serving(upstream, idle_seconds=0.2) as server:
        with Client(server.port) as client:
            assert client.ask(request()).status == 200
            assert client.rest() == b""
        with Client(server.port) as client:
            assert client.rest() == b""
        assert server.counts()["connections"] == 0


def test_too_many_connections_are_told_to_come_back(upstream: str) -> None:
    with testing.serving(upstream, max_connections=2) as server:
        with Client(server.port) as one, Client(server.port) as two:
            assert one.ask(request()).status == two.ask(request()).status == 200
            with Client(server.port) as three:
                refusal = three.read()
                assert (refusal.status, refusal.json()["code"]) == (503, "overloaded")
        wait_for(lambda: server.counts()["connections"] == 0)
        with Client(server.port) as again:
            assert again.ask(request()).status == 200


def test_bodies_beyond_the_memory_for_them_stream_to_the_app(upstream: str) -> None:
    with testing.serving(upstream, max_held_bytes=100_000, max_body_bytes=90_000) as server:
        with Client(server.port) as holder, Client(server.port) as client:
            holder.send(request(body=bytes(80_000))[:-1])
            wait_for(lambda: server.counts()["held_bytes"] == 80_000)
            for size in (70_000, 95_000):
                data = request(body=bytes(size))
                client.send(data[:100])
                time.sleep(0.02)
                assert client.ask(data[100:]).json()["size"] == size
            assert server.counts()["held_bytes"] == 80_000
            assert holder.ask(b"\0").json()["size"] == 80_000
        assert server.counts()["held_bytes"] == 0


def wait_for(condition: Any) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_connections_that_wait_take_little_memory(server: front.Front) -> None:
    before = resident_bytes()
    clients = [Client(server.port) for _ in range(200)]
    try:
        for client in clients:
            client.send(get("/x", x="y" * 15_000)[:-4])
        wait_for(lambda: server.counts()["connections"] == 200)
        with Client(server.port) as other:
            assert other.ask(request()).body == ANSWER
        assert resident_bytes() - before < 200 * (64 << 10)
        for client in clients:
            assert client.ask(b"\r\n\r\n").status == 200
    finally:
        for client in clients:
            client.socket.close()


def test_who_asks_and_does_not_read_is_not_read_either(server: front.Front, client: Client) -> None:
    before, sent = resident_bytes(), 0
    asked = request() * 100
    client.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        while True:
            sent += client.socket.send(asked[sent % len(request()) :])
    assert resident_bytes() - before < 8 << 20
    with Client(server.port) as other:
        assert other.ask(request()).body == ANSWER
    client.socket.settimeout(20)
    for _ in range(sent // len(request())):
        assert client.read().body == ANSWER


# ---- models, counts, the end


def test_models_are_swapped_while_requests_run(upstream: str) -> None:
    """Each answer is one of the versions' own, and none fails."""
    double = mlp.make(2, [mlp.Layer(np.full((1, 2), 2, np.float32))])
    versions = [("1", testing.SUM, 3.0), ("2", double, 6.0)]
    with testing.serving(upstream, threads=2) as server:
        stop = threading.Event()
        seen: set[tuple[str, float]] = set()
        wrong: list[Any] = []

        def ask() -> None:
            with Client(server.port) as client:
                while not stop.is_set():
                    answer = client.ask(request())
                    if answer.status != 200:
                        wrong.append(answer.body)
                        return
                    said = answer.json()
                    seen.add((said["model_version"], said["outputs"][0]["data"][0]))

        askers = [threading.Thread(target=ask) for _ in range(4)]
        for asker in askers:
            asker.start()
        for i in range(300):
            version, model, _ = versions[i % 2]
            server.set_models([testing.sum_model(version, model=model)])
            time.sleep(0.001)
        stop.set()
        for asker in askers:
            asker.join()
        assert not wrong
        assert seen == {(version, expected) for version, _, expected in versions}
        counts = {c.version: c for c in server.model_counts()}
        assert sum(c.requests for c in counts.values()) == server.counts()["answered"]
        assert counts["1"].requests == sum(counts["1"].latency) == sum(counts["1"].row_sizes)


def test_a_model_that_is_taken_away_is_the_apps_at_once(server: front.Front, client: Client) -> None:
    assert client.ask(request()).body == ANSWER
    server.set_models([testing.sum_model("2", is_default=False)])
    assert client.ask(request()).json()["line"] == f"POST {PATH} HTTP/1.1"
    assert client.ask(request("/v2/models/sum/versions/2/infer")).json()["model_version"] == "2"
    server.set_models([])
    assert "line" in client.ask(request("/v2/models/sum/versions/2/infer")).json()
    assert [(c.version, c.requests, c.passed_on) for c in server.model_counts()] == [("1", 1, 0), ("2", 1, 0)]


def test_counts_say_what_happened(server: front.Front, client: Client) -> None:
    before = time.time_ns() // 1_000_000
    for rows in (1, 3, 64):
        client.ask(testing.binary([[1, 2]] * rows))
    client.ask(request(body=b"{}"))
    (counts,) = server.model_counts()
    assert (counts.name, counts.version, counts.requests, counts.rows, counts.passed_on) == (
        "sum",
        "1",
        3,
        68,
        1,
    )
    assert counts.row_sizes == [1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert sum(counts.latency) == 3
    assert len(counts.latency) == len(front.LATENCY_EDGES) + 1
    assert before <= counts.last_ms <= time.time_ns() // 1_000_000
    assert min(counts.input_nanos, counts.infer_nanos, counts.output_nanos) > 0


def test_stopping_lets_requests_end_and_refuses_new_ones(upstream: str) -> None:
    going = threading.Event()

    def script(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        going.set()
        time.sleep(0.3)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    with testing.scripted(script) as path, testing.serving(path) as server:
        with Client(server.port) as idle, Client(server.port) as client:
            assert idle.ask(request()).status == 200
            client.send(get("/x"))
            assert going.wait(10)
            stopper = threading.Thread(target=server.stop, args=(10.0,))
            stopper.start()
            time.sleep(0.05)
            last = idle.ask(request())
            assert (last.body, last.fields["connection"]) == (ANSWER, "close"), "asked in time"
            assert idle.rest() == b""
            answer = client.read()
            assert (answer.body, answer.fields["connection"]) == (b"ok", "close")
            assert client.rest() == b""
            stopper.join()
        with pytest.raises(OSError):
            Client(server.port)


def test_stopping_closes_what_does_not_end(upstream: str) -> None:
    with testing.serving(upstream) as server, Client(server.port) as client:
        client.send(b"GET /half")
        time.sleep(0.05)
        began = time.monotonic()
        server.stop(0.2)
        assert time.monotonic() - began < 5
        assert client.rest() == b""


def test_a_taken_port_is_refused_and_threads_share_one(upstream: str) -> None:
    with testing.serving(upstream, threads=2) as server:
        with pytest.raises(OSError) as refused:
            front.listen("127.0.0.1", server.port, threads=2)
        assert refused.value.errno == errno.EADDRINUSE
        for _ in range(20):
            with Client(server.port) as client:
                assert client.ask(request()).status == 200


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"model": object()}, "bad_dtype", "must be a native Mlp or Trees"),
        ({"name": 'a"b'}, "bad_spec", "`name` must be"),
        ({"name": "a/versions/1"}, "bad_spec", "`name` must have no"),
        ({"version": "1%2f"}, "bad_spec", "`version` must have no"),
        ({"output": ""}, "bad_spec", "`output` must be"),
        ({"max_rows": 0}, "bad_spec", "allow at least 1"),
        (
            {
                "model": mlp.make(
                    1,
                    [mlp.Layer(np.ones((1, 2), np.float32))],
                    tables=[mlp.Table(np.ones((3, 1), np.float32), 0)],
                    n_ids=1,
                )
            },
            "bad_spec",
            "takes ids",
        ),
    ],
)
def test_models_that_only_the_app_can_serve_are_refused(
    server: front.Front, client: Client, wrong: dict[str, Any], code: str, words: str
) -> None:
    fields = {"name": "sum", "version": "2", "model": testing.SUM, "input": "x", "output": "y", "max_rows": 4}
    with pytest.raises(status.NativeError, match=words) as refused:
        server.set_models([testing.sum_model("3"), front.Model(**(fields | wrong))])
    assert refused.value.code == code
    assert client.ask(request()).json()["model_version"] == "1", "nothing changed"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"upstream": ""}, "a path of 1 to 107 bytes"),
        ({"upstream": "x" * 200}, "a path of 1 to 107 bytes"),
        ({"max_head_bytes": 0}, "`max_head_bytes` is 0"),
        ({"idle_seconds": -1.0}, "`idle_seconds` is -1.0"),
        ({"idle_seconds": float("nan")}, "`idle_seconds` is nan"),
        ({"request_id": "a b"}, "`request_id` is"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    (one,) = front.listen("127.0.0.1", 0, threads=1)
    with one, pytest.raises(status.NativeError, match=words):
        front.Front([one], front.Options(**({"upstream": "/x"} | options)))
    with pytest.raises(status.NativeError, match="start 1 to 64"):
        front.listen("127.0.0.1", 0, threads=0)


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(front) == (0, 5)


# ---- anything at all

PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\n", b" ", b":", b"\0", b"\xff", b"POST ", b"HTTP/1.1", b"0\r\n\r\n", b"5\r\nhello\r\n"),
        *(
            b"content-length: 3\r\n",
            b"transfer-encoding: chunked\r\n",
            b"host: b\r\n",
            b"expect: 100-continue\r\n",
        ),
    ]
)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(data=st.data())
def test_no_bytes_hurt(fuzzed: front.Front, data: st.DataObject) -> None:
    """Truncated, cut, spliced requests: an answer or none, and the next caller gets his."""
    text = bytearray(
        data.draw(st.sampled_from([request(), get("/x"), testing.binary([[1, 2]]), request("/up")]))
    )
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(text)))
        match data.draw(st.integers(0, 3)):
            case 0:
                del text[at:]
            case 1:
                del text[at : at + data.draw(st.integers(1, 9))]
            case 2:
                text[at:at] = data.draw(PIECES)
            case _:
                text[at : at + 1] = data.draw(st.binary(min_size=1, max_size=2))
    with Client(fuzzed.port) as client:
        client.send(bytes(text))
        client.socket.shutdown(socket.SHUT_WR)
        try:
            said = client.rest()
        except ConnectionResetError:
            said = b""
        assert said == b"" or said.startswith(b"HTTP/1.1 ")
        if said:
            assert int(said[9:12]) in (100, 200, 400, 408, 417, 431, 501, 505)
    with Client(fuzzed.port) as client:
        assert client.ask(request()).body == ANSWER


@pytest.fixture(scope="module")
def fuzzed(upstream: str) -> Iterator[front.Front]:
    with testing.serving(upstream, body_seconds=0.2, head_seconds=0.2) as running:
        yield running


ANSWERS = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nt: u\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
)


@pytest.fixture(scope="module")
def badly_served() -> Iterator[tuple[front.Front, list[bytes]]]:
    said: list[bytes] = []

    def script(connection: socket.socket) -> None:
        while b"\r\n\r\n" not in connection.recv(1 << 16):
            pass
        connection.sendall(said[-1])

    with testing.scripted(script) as path, testing.serving(path, answer_seconds=0.5) as running:
        yield running, said


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(data=st.data())
def test_no_bytes_of_the_app_hurt(badly_served: tuple[front.Front, list[bytes]], data: st.DataObject) -> None:
    """Whatever the app says and wherever it stops: a whole answer, a refusal, or one that visibly breaks off."""
    running, said = badly_served
    text = bytearray(data.draw(st.sampled_from(ANSWERS)))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text)))
        match data.draw(st.integers(0, 2)):
            case 0:
                del text[at:]
            case 1:
                text[at:at] = data.draw(PIECES)
            case _:
                text[at : at + 1] = data.draw(st.binary(min_size=1, max_size=2))
    said.append(bytes(text))
    with Client(running.port) as client:
        client.send(get("/x", data.draw(st.sampled_from(["GET", "HEAD"])), connection="close"))
        got = client.rest()
        if got:
            assert got.startswith(b"HTTP/1.1 ")
            status = int(got[9:12])
            assert 100 <= status <= 999
    with Client(running.port) as client:
        assert client.ask(request()).body == ANSWER
