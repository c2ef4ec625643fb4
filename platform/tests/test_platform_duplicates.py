"""`mainspring cost duplicates`: what is stored for nothing, by the folder of a project's features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from mainspring.platform.cli import main as cli


def run(*words: str, expect: int = 0) -> str:
    done = CliRunner().invoke(cli.cli, ["cost", "duplicates", *words])
    assert done.exit_code == expect, (done.output, done.exception)
    return done.output


def test_what_is_there_twice_is_told_with_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views, rng = tmp_path / "views", np.random.default_rng(1)
    views.mkdir()
    delay = rng.exponential(10, 500)
    keys: dict[str, Any] = {"origin": [f"A{i}" for i in range(500)], "event_timestamp": range(500)}
    pl.DataFrame({**keys, "delay": delay, "wind": rng.normal(size=500)}).write_parquet(
        views / "flights.parquet"
    )
    pl.DataFrame({**keys, "minutes": delay * 60}).write_parquet(views / "later.parquet")
    (found,) = json.loads(run(str(tmp_path), "--key", "origin", "--json"))["data"]
    assert (found["one"], found["other"], found["kind"]) == ("flights.delay", "later.minutes", "nearly")
    assert found["alike"] == 1.0 and 500 < found["bytes"] < 8000
    assert found["online_bytes"] == 500 * 8 and 0 < found["seconds"] < 5 and found["currency"] == "USD"
    monkeypatch.chdir(tmp_path)
    prices = "[cost]\nstorage_gib_month = 1073741824\nmemory_gib_hour = {}\ncpu_core_hour = {}\n"
    for memory, core, of in ((0, 0, "bytes"), (1 << 30, 0, "bytes+online"), (0, 3600, "bytes+making")):
        (tmp_path / "mainspring.toml").write_text(prices.format(memory, core))
        (found,) = json.loads(run(str(tmp_path), "--key", "origin", "--made-per-month", "4", "--json"))[
            "data"
        ]
        extra = {
            "bytes": 0,
            "bytes+online": 730 * found["online_bytes"],
            "bytes+making": 4 * found["seconds"],
        }
        assert found["cost_per_month"] == pytest.approx(found["bytes"] + extra[of], rel=1e-6), of
    assert "flights.delay" in run(str(tmp_path), "--key", "origin")
    assert "has none of the keys" in run(str(tmp_path), "--key", "dest", "--time", "at", expect=1)
    (views / "flights.parquet").unlink()
    (views / "later.parquet").unlink()
    assert "has no view" in run(str(tmp_path), "--key", "origin", expect=1)
