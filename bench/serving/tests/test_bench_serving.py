"""The suite measures what it says: its answers are checked, its peers are named, its rows are all there."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest

from mainspring.bench.serving import __main__ as suite
from mainspring.bench.serving import contestants, forms, goals, machine, measure, model, servers
from mainspring.bench.serving.peers import commands, environments


def test_a_wrong_answer_is_seen() -> None:
    y = model.forward(model.ROW).ravel()
    right = {"outputs": [{"data": y.tolist()}]}
    assert model.is_right(json.dumps(right).encode(), None)
    assert not model.is_right(json.dumps({"outputs": [{"data": (y + 1).tolist()}]}).encode(), None)
    body, length = model.binary_body()
    assert len(body) - length == 256


@pytest.mark.integration
def test_contestants_answer_rightly_and_take_turns() -> None:
    names = (servers.OURS, servers.FASTAPI, servers.ECHO, servers.FRONT, servers.PASSED)
    with contestants.running(*names, cpu=-1) as found:
        assert found.absent == {}
        found.hold_still()
        for name in names:
            server = found[name]
            form = forms.Form(name, "json")
            assert machine.is_stopped(server.pid)
            with server.turn():
                body, wrong = server.check(form)
                assert wrong == ""
                how: dict[str, Any] = {"seconds": 0.2, "connections": 2, "answers": (body,)}
                seen, cpu = measure.drive(server, forms.request_of(form), -1, **how)
                assert (seen.statuses, seen.wrong, seen.failed) == ({"200": seen.answers}, 0, 0)
                assert cpu >= 0
            assert machine.is_stopped(server.pid)
        for server in found.servers.values():
            with server.turn():
                if server.name in (servers.OURS, servers.FRONT):
                    assert server.check(forms.Form(server.name, "binary"))[1] == ""
                if server.name in (servers.PASSED, servers.FRONT):
                    passed = measure.metric(server, "mainspring_front_passed_total")
                    answered = measure.metric(server, "mainspring_front_answered_total")
                    assert (passed > 1) == (
                        server.name == servers.PASSED
                    )  # what is asked here is passed itself
                    assert (answered > 1) == (server.name == servers.FRONT)
    assert all(machine.family(server.pid) == [] for server in found.servers.values())


@pytest.mark.integration
def test_grpc_contestants_answer_rightly() -> None:
    with contestants.running(servers.OURS_GRPC, servers.GRPC_ECHO, servers.FRONT_GRPC, cpu=-1) as found:
        for name, server in found.servers.items():
            assert server.check(forms.Form(name, "grpc"))[1] == ""


@pytest.mark.integration
@pytest.mark.parametrize("name", [commands.TRITON, commands.MLSERVER, commands.LITSERVE, commands.BENTOML])
def test_a_peer_that_is_installed_answers_rightly(name: str) -> None:
    try:
        environments.found(name)
    except environments.NotInstalled as error:
        pytest.skip(str(error))
    with contestants.running(name, cpu=-1) as found:
        assert found.absent == {}
        for form in (*forms.PEERS, *forms.BATCHING):
            if form.contestant == name:
                assert found[name].check(form)[1] == ""


def test_a_peer_that_is_not_here_is_a_row_that_says_what_to_do(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "cache", lambda: tmp_path)
    asked = [forms.Form(commands.MLSERVER, "json"), forms.Form(commands.TRITON, "binary")]
    with contestants.running(commands.MLSERVER, commands.TRITON, cpu=-1) as found:
        rows = measure.throughput(found, asked, seconds=0.1, rounds=1)
        opened = measure.open_loop(found, asked[:1], seconds=0.1, rate=10, rounds=1)
    assert [row["name"] for row in opened] == ["open-loop/mlserver/json"]
    assert opened[0]["absent"] == rows[0]["absent"]
    for row in rows:
        assert row["absent"] == (
            f"not installed; run `python -m mainspring.bench.serving peers install {row['contestant']}`"
        )
    goal = goals.closed(rows, "x", servers.FRONT, "binary", (commands.TRITON,), 5.0)
    assert (goal["ok"], goal["value"]) == (False, None)
    assert goal["why"].startswith("triton: not installed")


def test_the_peers_command_says_what_is_there(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environments, "cache", lambda: tmp_path)
    assert suite.main(["peers", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[name, "absent"] for name in environments.NAMES]
    with pytest.raises(SystemExit) as stopped:
        suite.main(["peers", "install", "torchserve"])
    assert stopped.value.code == 2
    assert "no peer `torchserve`" in capsys.readouterr().err


def test_a_failed_installation_leaves_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(argv: list[Any], **_: Any) -> None:
        (tmp_path / pathlib.Path(argv[-1]).name).mkdir(parents=True, exist_ok=True)
        raise subprocess.CalledProcessError(1, argv)

    monkeypatch.setattr(environments, "cache", lambda: tmp_path)
    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(subprocess.CalledProcessError):
        environments.install("litserve")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(environments.NotInstalled):
        environments.found("litserve")


def test_every_peer_is_locked_by_exact_versions() -> None:
    for name in environments.NAMES:
        lines = (environments.LOCKS / f"{name}.txt").read_text().split()
        assert lines
        assert all(line.count("==") == 1 for line in lines)


def test_a_peer_that_dies_tells_its_last_words(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = [sys.executable, "-c", "raise SystemExit('no model here')"]
    monkeypatch.setattr(commands, "lay", lambda *_, **__: dying)
    with contestants.running(commands.MLSERVER, cpu=-1) as found:
        pass
    assert found.absent[commands.MLSERVER] == (
        "ended with 1 before it answered; its last words: no model here"
    )


def test_ports_differ() -> None:
    assert len(set(machine.free_ports(20))) == 20


def test_a_family_is_a_process_and_its_descendants() -> None:
    argv = ["/bin/sh", "-c", "sleep 30 & sleep 30"]
    with subprocess.Popen(argv, start_new_session=True) as process:
        try:
            while len(machine.family(process.pid)) < 3:
                assert process.poll() is None
            family = machine.family(process.pid)
            assert family[0] == process.pid
        finally:
            machine.tell(process.pid, signal.SIGKILL)
    assert machine.family(process.pid) == []


def result() -> dict[str, Any]:
    rows = []
    for form in (*forms.OURS, *forms.PEERS, *forms.SLOW):
        speed = (
            100.0
            if form.model == "slow"
            else {servers.FASTAPI: 1000.0, servers.FRONT: 50_000.0}.get(form.contestant, 5000.0)
        )
        rows.append(
            {
                "name": form.name,
                "contestant": form.contestant,
                "body": form.body,
                "model": form.model,
                "correct": True,
                "requests_per_second": speed,
                "rounds": [speed, speed],
                "cpu_us_per_request": 1e6 / speed,
                "p50_ms": 1.0,
                "p99_ms": 2.0,
                "resident_mb": 80.0,
            }
        )
    opened = [
        {"name": f"open-loop/{name}", "contestant": name, "rate": 250.0, "p99_ms": p99}
        for name, p99 in ((servers.FRONT, 1.0), (servers.OURS, 1.0), (commands.MLSERVER, 6.0))
    ]
    overload = {
        "name": "overload/2x", "seconds": 3.0, "goodput": 0.5, "run_without_answer": 3, "wrong": 0,
        "unanswered": 0, "accepted_p99_ms": 22.0,
    }  # fmt: skip
    priorities = {"alone_p99_ms": 5.0, "p99_ms": 5.5}
    changed = {"right": True, "answers": 10, "wrong": 0, "failed": 1, "not_200": 0, "seconds_away": 1.0}
    as_deployed = [
        {"name": "predict-by-entity", "correct": True, "p50_us": 200.0, "echo_p50_us": 80.0},
        {"name": "reload-and-shift", **changed},
        {"name": "kill-9", **changed},
        {"name": "kill-9-worker", **changed, "failed": 17},
        {"name": "start/native", "correct": True, "seconds": 0.4, "resident_mb": 70.0},
        {"name": "start/torch", "correct": False, "seconds": 0.4, "resident_mb": 70.0},
    ]
    return {"results": rows, "goals": goals.judge(rows, opened, [overload], priorities, as_deployed)}


def test_every_target_has_a_row_met_or_not() -> None:
    judged = result()["goals"]
    by_name = {g["name"]: g for g in judged}
    assert by_name["ASGI fast path, json, times against fastapi-pydantic"]["ratio"] == 5.0
    assert by_name["ASGI fast path, json, times against fastapi-pydantic"]["ok"]
    front = by_name["native front, binary, times against triton"]
    assert (front["ratio"], front["cpu_ratio"], front["peer_value"], front["ok"]) == (
        10.0,
        10.0,
        5000.0,
        True,
    )
    python = by_name["native front, binary, times the best Python server against mlserver"]
    assert (python["ratio"], python["ok"]) == (10.0, False)
    assert not by_name["native front, binary, p99 as a share against triton"]["ok"]
    assert by_name["open loop 250/s, mainspring-front, times lower p99 against mlserver"]["ok"]
    absent = by_name["open loop 250/s, mainspring-front, times lower p99 against bentoml"]
    assert (absent["ok"], absent["why"]) == (False, "not in this run")
    assert not by_name["overload 2x for 3 s, 20 ms deadlines, goodput"]["ok"]
    assert not by_name["overload 2x for 3 s, 20 ms deadlines, models run for nothing"]["ok"]
    assert by_name["overload 2x for 3 s, 20 ms deadlines, p99 of accepted to the deadline"]["ok"]
    assert by_name["with a model of 10 ms, times against mlserver"]["ratio"] == 1.0
    assert by_name["high priority at 2x overload, p99 beside its own alone"]["ok"]
    met = {
        "predict by entity, p50 beyond an echo of the same bytes": (120.0, True),
        "hot reload and canary shift under load, wrong answers": (0, True),
        "hot reload and canary shift under load, failed requests": (1, False),
        "kill -9 under load, wrong answers": (0, True),  # it may fail requests, never answer wrongly
        "kill -9 of one of two processes under load, not the right answer": (0, True),
        "kill -9 of one of two processes under load, connections lost": (17, False),
        "start to the first answer with one bundle, native": (0.4, True),
        "memory with one bundle, native": (70.0, False),
        "start to the first answer with one bundle, torch": (0.4, False),
    }
    assert {name: (by_name[name]["value"], by_name[name]["ok"]) for name in met} == met


def test_the_table_has_every_row() -> None:
    measured = result()
    gone = {"name": "ray-serve/json", "contestant": "ray-serve", "body": "json", "correct": True, "wrong": ""}
    measured["results"].append(gone | {"absent": "did not listen"})
    text = suite.table(measured)
    for form in (*forms.OURS, *forms.PEERS):
        assert form.name in text
    assert "ray-serve/json                   did not listen" in text
    assert text.count("NOT MET") == sum(not g["ok"] for g in measured["goals"])


def test_quick_and_full_exclude_one_another(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        suite.main(["--quick", "--full"])
    assert stopped.value.code == 2
    assert "exclude one another" in capsys.readouterr().err
