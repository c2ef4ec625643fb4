"""What is measured of serving as it is deployed is what it says: right scores, changes that took place, a process that was killed."""

from __future__ import annotations

import pathlib

import pytest

from mainspring.bench.serving import deployed, measure, shipped

pytestmark = pytest.mark.integration


def test_a_prediction_by_entity_is_the_networks(tmp_path: pathlib.Path) -> None:
    home = deployed.Home(tmp_path)
    digests = [home.write(seed) for seed in (0, 1)]
    assert len(set(digests)) == 2
    assert abs(home.score(0) - home.score(1)) > 1e-3
    home.put_traffic(digests[1])
    with deployed.serving(home) as server:
        answer = deployed.ask(server.port)
    (prediction,) = answer["predictions"]
    assert prediction["score"] == pytest.approx(home.score(1), abs=1e-5)
    assert answer["model_version"] == digests[1]


def test_by_entity_beside_the_echo() -> None:
    record = deployed.by_entity(seconds=0.3, rounds=1)
    assert record["correct"]
    assert record["answers"] > 10
    assert min(record["p50_us"], record["echo_p50_us"]) > 0


def test_callers_see_changes_and_a_kill_and_nothing_wrong() -> None:
    moved, killed = deployed.changes(seconds=4.0)
    assert moved["right"] and killed["right"]
    assert moved["changes"] >= 4
    assert moved["answers"] > 50
    assert (moved["wrong"], moved["failed"], moved["not_200"]) == (0, 0, 0)
    assert killed["seconds_away"] > 0
    assert killed["failed"] > 0, "nobody was asking when it was killed"
    assert killed["answers"] > 50
    assert killed["wrong"] == 0


def test_a_worker_that_is_killed_takes_its_connections_and_nothing_else() -> None:
    record = shipped.killed_worker(seconds=3.0)
    assert record["right"]
    assert record["killed"] == 1.0
    assert record["answers"] > 50
    assert (record["wrong"], record["not_200"]) == (0, 0)
    assert 0 < record["failed"] <= 16


def test_a_process_that_does_not_start_says_why(tmp_path: pathlib.Path) -> None:
    home = deployed.Home(tmp_path)
    home.put_traffic("sha256:" + "0" * 64)
    with pytest.raises(RuntimeError, match="needs bundle"):
        with deployed.serving(home):
            pass


def test_urgent_requests_are_measured_alone_and_beside_others() -> None:
    record = measure.priorities(seconds=1.0)
    assert record["wrong"] == 0
    assert record["good"] > 10
    assert record["alone_p99_ms"] > 0
    assert record["others_good_per_second"] > 0
