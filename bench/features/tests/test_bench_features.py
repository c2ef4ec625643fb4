"""The judge of the features' targets: by ratio, and a wrong answer is not met."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.bench.features import __main__ as bench
from mainspring.bench.features import server_contest, servers, world


def result(name: str, value: float | None) -> dict[str, Any]:
    return {"name": f"online/{name}", "value": value}


def results(ours: float | None) -> list[dict[str, Any]]:
    found = []
    for group in ("10f/1/", "10f/256/", "50f/256/"):
        found += [result(group + who, ours) for who in ("mainspring", "mainspring-numpy")]
        found.append(result(group + "feast-redis", 300.0))
    return found


@pytest.mark.parametrize(
    ("ours", "met"), [(5.0, [True, False, False]), (0.3, [True, True, True]), (6.0, [False] * 3)]
)
def test_a_target_is_met_by_its_ratio(ours: float, met: list[bool]) -> None:
    goals = bench.judge(results(ours))
    assert [goal["ok"] for goal in goals] == met
    assert [goal["ratio"] for goal in goals] == [pytest.approx(300 / ours)] * 3


def test_a_wrong_answer_is_never_met() -> None:
    assert all(
        not goal["ok"] and goal["ratio"] is None and goal["why"] for goal in bench.judge(results(None))
    )


def over_http(rows: int, features: int, ours: float | None, peer: float | None) -> list[dict[str, Any]]:
    group = f"server/{features}f/{rows}/"
    return [
        {"name": group + who, "value": value}
        for who, value in (("mainspring", ours), ("feast-serve-redis", peer))
    ]


def test_a_server_has_a_target_of_python_and_one_of_the_native_front() -> None:
    goals = server_contest.judge([*over_http(1, 10, 10.0, 60.0), *over_http(32, 50, 1.0, None)])
    assert [(g["target"], g["ratio"], g["ok"]) for g in goals] == [
        (4.0, 6.0, True), (50.0, 6.0, False), (60.0, None, False), (150.0, None, False)
    ]  # fmt: skip
    assert all("why" in g for g in goals if not g["ok"])


@pytest.mark.integration
def test_our_server_answers_the_question_and_ends_with_its_block() -> None:
    with servers.ours(50, 3) as connection:
        got = servers.values_of(connection.ask(servers.question(3, [7, 0])))
        want = world.values(50, 3)
        assert got == {"driver": [7.0, 0.0]} | {
            f"f{j}": [float(want[7, j]), float(want[0, j])] for j in range(3)
        }
        with pytest.raises(RuntimeError, match="404"):
            connection.ask(servers.question(3, [7]).replace(b"stats:", b"other:"))
    connection.close()
    with pytest.raises(OSError):
        connection.ask(b"{}")
