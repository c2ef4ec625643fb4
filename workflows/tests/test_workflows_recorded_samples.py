"""What a training records for its bundle to be asked: rows of the validation split, and nothing of a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mainspring.core import errors, trainers
from mainspring.core.features import ops, plan, schema
from mainspring.core.models import samples
from mainspring.core.models.architecture import Architecture
from mainspring.core.models.network import EmbeddingMlp, save_weights
from mainspring.workflows.training import recorded_samples

COLUMNS = tuple(
    schema.Column(name=name, dtype=dtype)  # type: ignore[arg-type]
    for name, dtype in (("age", "float32"), ("city", "string"), ("house", "int64"))
)


def rows(folder: Path, n_valid: int) -> Path:
    n = n_valid + 20
    frame = pl.DataFrame(
        {
            "age": pl.Series([float(i) if i % 3 else None for i in range(n)], dtype=pl.Float32),
            "city": [f"city {i % 4}" for i in range(n)],
            "house": list(range(1000, 1000 + n)),
            "person": [f"somebody {i}" for i in range(n)],
            "split": ["train"] * 10 + ["valid"] * n_valid + ["test"] * 10,
        }
    )
    frame.write_parquet(folder / "training.parquet")
    return folder / "training.parquet"


@pytest.mark.parametrize("n_valid", [1, recorded_samples.ROWS, 1000])
def test_rows_are_spread_over_the_validation_split(tmp_path: Path, n_valid: int) -> None:
    made = recorded_samples.rows_of(rows(tmp_path, n_valid), COLUMNS, frozenset())
    houses = made["house"]
    assert len(houses) == min(n_valid, recorded_samples.ROWS)
    assert (houses[0], houses[-1]) == (1010, 1010 + n_valid - 1)
    assert np.unique(houses).size == len(houses)
    assert set(made) == {"age", "city", "house"}  # a key that the plan does not read is not there at all


def test_personal_columns_are_not_recorded(tmp_path: Path) -> None:
    made = recorded_samples.rows_of(rows(tmp_path, 50), COLUMNS, frozenset({"age", "city", "house"}))
    assert np.isnan(made["age"]).all()
    assert set(made["city"]) == {None}
    assert set(made["house"]) == {0}
    half = recorded_samples.rows_of(rows(tmp_path, 50), COLUMNS, frozenset({"city"}))
    assert set(half["city"]) == {None}
    assert np.nanmax(half["age"]) > 10


def test_a_split_without_rows_is_a_typed_end(tmp_path: Path) -> None:
    with pytest.raises(errors.DataInvalid, match="`valid`"):
        recorded_samples.rows_of(rows(tmp_path, 0), COLUMNS, frozenset())


def test_answers_are_recorded_where_the_kernel_gives_the_same_everywhere(tmp_path: Path) -> None:
    training_set = rows(tmp_path, 50)
    declared = plan.TransformPlan(
        name="people",
        columns=(
            plan.dense("age", ops.Impute(), ops.Standardise()),
            plan.vocabulary("city"),
            plan.vocabulary("house", dtype="int64", max_values=5),
        ),
    )
    fitted = declared.fit(pl.read_parquet(training_set).filter(pl.col("split") == "train"))
    compiled = fitted.compile()
    spec = Architecture.parse(
        {
            "dense_width": 1,
            "id_columns": ("city", "house"),
            "tables": [{"column": "city", "rows": 6, "dimensions": 2}],
            "hidden_sizes": (4,),
        }
    )
    asked = recorded_samples.rows_of(training_set, fitted.inputs, frozenset({"house"}))

    def learned(weights: bytes) -> trainers.Learned:
        return trainers.Learned("embedding_mlp", spec.model_dump(mode="json"), weights)

    network = learned(save_weights(EmbeddingMlp(spec, seed=3)))
    written = recorded_samples.write(asked, compiled, network)
    assert written == recorded_samples.write(asked, compiled, network)
    read = samples.parse(written, "b")
    assert len(read.scores) == read.n_rows == recorded_samples.ROWS
    assert len(set(read.scores)) > 4

    half = learned(save_weights(EmbeddingMlp(spec, seed=3).half()))  # the kernel has float32 only
    program = trainers.Learned("torch_export", {"dense_width": 1}, b"")
    for other in (half, program):
        assert samples.parse(recorded_samples.write(asked, compiled, other), "b").scores == ()
