"""The benchmark itself: it compares answers before it times, keeps wrong and losing rows, and prints one JSON object."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from mainspring.bench.native import __main__ as command
from mainspring.bench.native import cases, contestants, measure


@pytest.mark.parametrize("is_log1p", [True, False])
@pytest.mark.parametrize("rows", [1, 100])
def test_every_contestant_gives_the_answer(rows: int, is_log1p: bool) -> None:
    case = cases.make_case(rows, is_log1p=is_log1p)
    want = case.expected()
    assert want.shape == (rows, 16)
    group = contestants.contestants(case)
    assert group[0].name == "mainspring"
    assert "numpy" in [c.name for c in group]
    for c in group:
        assert cases.check(c.run(), want, bound=c.bound) is None, c.name


def test_check_sees_wrong_answers() -> None:
    want = np.ones((3, 2))
    good = np.ones((3, 2), np.float32)
    assert cases.check(good, want, bound=1e-6) is None
    assert "differs" in str(cases.check(good + np.float32(1e-3), want, bound=1e-6))
    assert "differs" in str(cases.check(np.full((3, 2), np.nan, np.float32), want, bound=1e-6))
    assert "expected" in str(cases.check(good[:2], want, bound=1e-6))
    assert "expected" in str(cases.check(np.asfortranarray(good), want, bound=1e-6))


def test_wrong_contestant_is_reported_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place where a contestant is replaced: by one that lies."""
    case = cases.make_case(5, is_log1p=False)
    honest = contestants.contestants(case)[0]
    liar = contestants.Contestant("liar", 1, lambda: np.zeros((5, 16), np.float32), bound=1e-6)
    monkeypatch.setattr(contestants, "contestants", lambda _: [honest, liar])
    ours, theirs = list(measure.measure([5], rounds=1))[-2:]  # the program without log1p
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
    assert {"dense/log1p/1/mainspring", "dense/plain/64/numpy"} <= names
    assert all(row["correct"] and row["value"] > 0 and row["ratio"] > 0 for row in result["results"])
    assert "dense/log1p" in captured.err
    assert "ratio to ours" in command.table(result)


def test_readme_quotes_the_stored_result() -> None:
    """Numbers in native/README.md come from the JSON beside us and nowhere else."""
    room = pathlib.Path(__file__).resolve().parents[1]
    readme = room.parents[1] / "native" / "README.md"
    stored = room / "results" / "dense-epyc.json"
    if not readme.exists() or not stored.exists():
        pytest.skip("neither is part of a package")
    result = json.loads(stored.read_text())
    assert command.readme_table(result) in readme.read_text()
    assert not result["quick"] and not result["machine"]["commit"].endswith("+")
