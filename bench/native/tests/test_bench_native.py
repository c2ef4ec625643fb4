"""The benchmark itself: it compares answers before it times, keeps wrong and losing rows, and prints one JSON object."""

from __future__ import annotations

import importlib
import json
import pathlib
import re

import numpy as np
import pytest

from mainspring.bench import __main__ as door
from mainspring.bench.native import __main__ as command
from mainspring.bench.native import (
    cases,
    contest,
    contestants,
    ctr48,
    ctr48_contest,
    ctr48_goals,
    goals,
    measure,
    models_contest,
)
from mainspring.native import program


@pytest.mark.parametrize("is_log1p", [True, False])
@pytest.mark.parametrize("rows", [1, 100])
def test_every_contestant_gives_the_answer(rows: int, is_log1p: bool) -> None:
    case = cases.make_case(rows, is_log1p=is_log1p)
    assert case.expected().shape == (rows, 16)
    group = contestants.contest(case).contestants
    assert group[0].name == "mainspring"
    assert "numpy" in [c.name for c in group]
    for c in group:
        assert c.check(c.run()) is None, c.name


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3000])
def test_every_contestant_transforms_ctr48(rows: int) -> None:
    everybody = ctr48_contest.contest(rows).contestants
    names = [c.name for c in everybody]
    assert names[0] == ("mainspring-packed" if rows == 1 else "mainspring")
    assert set(names) >= {"mainspring", "mainspring-columns", "numpy"}
    for c in everybody:
        assert c.check(c.run()) is None, c.name


def test_ctr48_moves_the_bytes_it_says() -> None:
    plan = ctr48.make_plan()
    batch = ctr48.make_batch(plan, 5000)
    arrays = [batch.dense, batch.categorical, batch.now, batch.offsets, batch.times, batch.values]
    out = program.Program(plan.spec).run(batch.columns)
    total = sum(a.nbytes for a in arrays) + out.dense.nbytes + out.ids.nbytes
    assert abs(total / 5000 - ctr48.BYTES_PER_ROW) < 5
    head = batch.head(100)
    assert program.Program(plan.spec).run(head.columns).dense.tobytes() == out.dense[:100].tobytes()


def test_ctr48_check_sees_wrong_answers() -> None:
    """Ours is taken as it is; one id, one value or one hash that is out of place is not."""
    group = ctr48_contest.contest(70).contestants
    honest = group[0]
    dense, ids = (a.copy() for a in honest.run())
    assert honest.check((dense, ids)) is None
    peers = {c.name: c for c in group}
    wrong = ids.copy()
    wrong[3, 69] += 1
    assert "ids differ" in str(honest.check((dense, wrong)))
    worse = dense.copy()
    worse[69, 15] += 1e-3
    assert "dense differs" in str(honest.check((worse, ids)))
    if "polars" in peers:
        assert (
            peers["polars"].check((dense, np.where(ids > 2, ids - 1, ids))) is not None
        )  # vocabularies moved
        wrong = ids.copy()
        wrong[0] = 0
        assert "hashed ids" in str(peers["polars"].check((dense, wrong)))


@pytest.mark.parametrize("argv", [["native", "--help"], ["--help"]])
def test_one_door_to_every_suite(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert door.main(argv) == 0
    except SystemExit as ended:  # argparse
        assert ended.code == 0
    assert f"python -m mainspring.bench {argv[0] if len(argv) > 1 else 'SUITE'}" in capsys.readouterr().out


@pytest.mark.parametrize(("argv", "words"), [([], "which suite?"), (["nativ"], "no suite `nativ`")])
def test_an_unknown_suite_is_told_which_there_are(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door.main(argv) == 2
    said = capsys.readouterr().err
    assert words in said and all(name in said for name in door.SUITES)


def test_every_suite_has_a_main() -> None:
    for name in door.SUITES:
        assert callable(importlib.import_module(door.module_of(name)).main)


def test_goals_are_judged_by_value_and_by_ratio() -> None:
    def record(rows: int, contestant: str, value: float | None) -> dict[str, object]:
        return {"name": f"ctr48/{rows}/{contestant}", "rows": rows, "contestant": contestant, "value": value}

    judged = ctr48_goals.judge(
        [record(1, "mainspring-packed", 0.09), record(1, "numba", 2.0), record(64, "mainspring", 0.05),
         record(64, "numba", 0.3), record(64, "numpy", None)],
        large=1000,
    )  # fmt: skip
    by_name = {g["name"]: g for g in judged}
    assert by_name["one packed row"]["ok"]
    assert not by_name["one packed row against numba"]["ok"]  # 22.2 times
    assert (
        "windows" in by_name["one packed row against numba"]["why"] and "why" not in by_name["one packed row"]
    )
    assert by_name["64 rows against numba"]["ok"] and by_name["64 rows against numba"]["ratio"] == 6.0
    assert (
        not by_name["64 rows against numpy"]["ok"]
        and "no answer from numpy" in by_name["64 rows against numpy"]["why"]
    )
    assert not by_name["4,096 rows, 1 thread against numba"]["ok"]
    assert all({"value", "unit", "ratio", "peer", "target", "ok"} <= set(g) for g in judged)


def test_targets_stay_in_where_nothing_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the families that only compare; the others would measure here."""
    monkeypatch.setattr(goals, "FAMILIES", {"ctr48": ctr48_contest, "models": models_contest})
    judged = goals.judge([], quick=True)
    assert all({"value", "unit", "ratio", "peer", "target", "ok", "why"} <= set(g) for g in judged)
    assert {"trees, batch 1 against onnxruntime", "MLP, batch 1 against onnxruntime"} <= {
        g["name"] for g in judged
    }
    assert not any(g["ok"] for g in judged)
    assert len({g["name"] for g in judged}) == len(judged)


def test_check_sees_wrong_answers() -> None:
    want = np.ones((3, 2))
    good = np.ones((3, 2), np.float32)
    assert cases.check(good, want, bound=1e-6) is None
    assert "differs" in str(cases.check(good + np.float32(1e-3), want, bound=1e-6))
    assert "differs" in str(cases.check(np.full((3, 2), np.nan, np.float32), want, bound=1e-6))
    assert "expected" in str(cases.check(good[:2], want, bound=1e-6))
    assert "expected" in str(cases.check(np.asfortranarray(good), want, bound=1e-6))


def test_wrong_contestant_is_reported_and_not_timed() -> None:
    case = cases.make_case(5, is_log1p=False)
    honest = contestants.contest(case).contestants[0]
    liar = contest.Contestant("liar", 1, lambda: np.zeros((5, 16), np.float32), honest.check)
    group = contest.Contest("dense/plain", 5, [honest, liar])
    ours, theirs = measure.measure([lambda: group], rounds=1)
    assert ours["correct"] and ours["value"] > 0 and ours["ratio"] == 1.0
    assert not theirs["correct"] and theirs["value"] is None and "differs" in theirs["wrong"]


@pytest.mark.slow
def test_command_prints_one_json_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cases, "QUICK_ROWS", (1, 64))
    monkeypatch.setattr(measure, "QUICK_ROUNDS", 1)
    assert command.main(["--quick", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["suite"] == "native" and result["quick"] is True
    assert {"cpu", "commit", "target_in_force", "governor", "load_average_1m"} <= set(result["machine"])
    names = {row["name"] for row in result["results"]}
    assert {
        "dense/log1p/4096/mainspring",
        "dense/log1p/4096/numpy",
        "ctr48/1/mainspring-packed",
        "ctr48/64/numba",
    } <= names
    assert all(row["correct"] and row["value"] > 0 and row["ratio"] > 0 for row in result["results"])
    assert "dense/log1p" in captured.err
    table = command.table(result)
    assert "ratio to ours" in table
    assert table.count("NOT MET") == sum(not goal["ok"] for goal in result["goals"])


def test_readme_quotes_the_stored_result() -> None:
    """Numbers in native/README.md come from the JSON beside us and nowhere else."""
    room = pathlib.Path(__file__).resolve().parents[1]
    if not (room.parents[1] / ".git").exists():
        pytest.skip("neither is part of a package")
    readme = room.parents[1] / "native" / "README.md"
    named = re.search(r"<!-- From bench/native/results/([\w-]+\.json)", readme.read_text())
    assert named is not None
    result = json.loads((room / "results" / named[1]).read_text())
    assert command.readme_table(result) in readme.read_text()
    assert command.readme_goals(result) in readme.read_text()
    assert not result["quick"] and not result["machine"]["commit"].endswith("+")
