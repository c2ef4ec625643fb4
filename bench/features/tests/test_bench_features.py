"""The judge of the features' targets: by ratio, and a wrong answer is not met."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from mainspring.bench.features import __main__ as bench
from mainspring.bench.features import offline_contest, offline_world, server_contest, servers, world


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


def over_http(
    rows: int, features: int, ours: float, fastapi: float, peer: float | None
) -> list[dict[str, Any]]:
    group = f"server/{features}f/{rows}/"
    found = {
        "mainspring": ours,
        "mainspring-asgi": 1.0,
        "mainspring-fastapi": fastapi,
        "feast-serve-redis": peer,
    }
    return [{"name": group + who, "value": value} for who, value in found.items()]


def test_a_server_has_a_target_of_python_and_one_of_the_native_front() -> None:
    goals = server_contest.judge([*over_http(1, 10, 1.5, 10.0, 60.0), *over_http(32, 50, 1.0, 1.0, None)])
    assert [(g["target"], g["ratio"], g["ok"]) for g in goals] == [
        (4.0, 6.0, True), (50.0, 40.0, False), (60.0, None, False), (150.0, None, False)
    ]  # fmt: skip
    assert all("why" in g for g in goals if not g["ok"])


OFFLINE = {
    "call/10/mainspring-segments": 10.0, "call/10/mainspring-parquet": 100.0, "call/10/feast-duckdb": 600.0,
    "sorted/10/mainspring-segments": 5.0, "sorted/10/polars": 40.0, "sorted/10/duckdb": 4.0,
    "parquet/10/mainspring": 50.0, "parquet/10/polars": 90.0, "parquet/10/duckdb": 60.0,
    "memory/10/mainspring-segments": 0.0, "memory/10/mainspring-parquet": 100.0, "memory/10/feast-file": 400.0,
}  # fmt: skip


def offline_goals(**changed: float | None) -> list[tuple[float, float | None, bool]]:
    found = [{"name": f"offline/{name}", "value": value} for name, value in (OFFLINE | changed).items()]
    return [(g["target"], g["ratio"], g["ok"]) for g in offline_contest.judge(found)]


def test_an_offline_target_is_against_the_better_peer_and_never_met_without_an_answer() -> None:
    assert offline_goals() == [
        (50.0, 60.0, True), (50.0, 120.0, True), (4.0, 6.0, True), (1.0, 0.8, False), (1.0, 1.2, True),
        (5.0, 400.0, True), (5.0, 4.0, False),
    ]  # fmt: skip
    without = offline_goals(**{"sorted/10/duckdb": None, "call/10/mainspring-parquet": None})
    assert [ratio for _, ratio, _ in without] == [60.0, 120.0, None, None, 1.2, 400.0, 4.0]
    assert not without[2][2] and not without[3][2]


def test_all_joins_give_the_plain_answer_and_a_wrong_one_is_told() -> None:
    with offline_world.world(rows=2_000, questions=300) as made:
        for contest in (offline_contest._sorted(made), offline_contest._from_parquet(made)):
            for who in contest.contestants:
                got = who.run()
                assert who.check(got) is None, who.name
                assert "rows for 300 questions" in str(who.check(got.head(299)))
                assert who.check(got.with_columns(f3=pl.col("f3") + 1)) == "other values than the plain join"
        assert 0 < made.expected["f0"].null_count() < 300


@pytest.mark.integration
@pytest.mark.parametrize("way", server_contest.OURS)
def test_our_server_answers_the_question_and_ends_with_its_block(way: str) -> None:
    with servers.ours(50, 3, way) as connection:
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
