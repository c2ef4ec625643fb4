"""A rolling split ends where it is told to, shares nothing between its parts, and leaves the shared training set alone."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mainspring.core import errors, projects, rolling
from mainspring.core.contracts.training import RollingSplit
from mainspring.core.features import schema

BEGIN = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def made(tmp_path: Path) -> projects.TrainingSetReport:
    """A row at each midnight of 100 days, late every other day, all of it `train`."""
    path = tmp_path / "shared" / "training.parquet"
    path.parent.mkdir()
    pl.DataFrame(
        {
            "x": range(100),
            "late": pl.Series([n % 2 for n in range(100)], dtype=pl.Int8),
            "as_of": pl.Series([BEGIN + n * DAY for n in range(100)], dtype=pl.Datetime("us", "UTC")),
            "split": ["train"] * 100,
        }
    ).write_parquet(path)
    return projects.TrainingSetReport(
        path=path,
        digest="sha256:" + "a" * 64,
        feature_digest="sha256:" + "b" * 64,
        label="late",
        columns=(schema.Column(name="x", dtype="int64"),),
        rows={"train": 100},
        base_rate={"train": 0.5},
    )


def window(day: int, **days: float) -> RollingSplit:
    return RollingSplit.model_validate({"until": BEGIN + day * DAY, "test_days": 10, "valid_days": 5, **days})


def days_of(report: projects.TrainingSetReport, name: str) -> list[int]:
    rows = pl.read_parquet(report.path).filter(pl.col("split") == name)
    return rows["x"].to_list()


def test_the_parts_follow_one_another_up_to_the_end_and_nothing_is_in_two(
    made: projects.TrainingSetReport, tmp_path: Path
) -> None:
    before = made.path.read_bytes()
    found = rolling.split(made, window(80), tmp_path / "run")
    assert days_of(found, "test") == list(range(71, 81)), "its end is in it, its beginning is not"
    assert days_of(found, "valid") == list(range(66, 71))
    assert days_of(found, "train") == list(range(66))
    assert found.rows == {"train": 66, "valid": 5, "test": 10} and found.base_rate["test"] == 0.5
    assert (found.feature_digest, found.label, found.columns) == (made.feature_digest, "late", made.columns)
    assert made.path.read_bytes() == before and found.path.parent == tmp_path / "run"


def test_old_rows_are_left_out_where_that_is_asked(made: projects.TrainingSetReport, tmp_path: Path) -> None:
    found = rolling.split(made, window(80, train_days=20), tmp_path / "run")
    assert days_of(found, "train") == list(range(46, 66))


def test_the_same_window_is_the_same_file_and_another_is_not(
    made: projects.TrainingSetReport, tmp_path: Path
) -> None:
    first = rolling.split(made, window(80), tmp_path / "run")
    content = first.path.read_bytes()
    again = rolling.split(made, window(80), tmp_path / "run")
    assert again == first and again.path.read_bytes() == content
    other = rolling.split(made, window(81), tmp_path / "run")
    assert other.path != first.path and other.digest != first.digest
    changed = made.model_copy(update={"digest": "sha256:" + "c" * 64})
    assert rolling.split(changed, window(80), tmp_path / "run").digest != first.digest


@pytest.mark.parametrize(("day", "part"), [(200, "valid"), (10, "train"), (-5, "train")])
def test_a_window_without_rows_says_which_part_is_empty(
    made: projects.TrainingSetReport, tmp_path: Path, day: int, part: str
) -> None:
    with pytest.raises(errors.DataInvalid, match=f"make `{part}_days` longer") as caught:
        rolling.split(made, window(day), tmp_path / "run")
    assert caught.value.failed == (part,)
    assert not (tmp_path / "run").exists(), "nothing is left of it"


def test_a_file_that_is_gone_or_broken_is_told(made: projects.TrainingSetReport, tmp_path: Path) -> None:
    made.path.write_bytes(b"PAR0")
    with pytest.raises(errors.CorruptArtifact, match="does not read"):
        rolling.split(made, window(80), tmp_path / "run")
    made.path.unlink()
    with pytest.raises(errors.NotFound, match="start the run again"):
        rolling.split(made, window(80), tmp_path / "run")
