"""What the training job reads and answers, without Ray: what is wrong is named before a worker starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mainspring.core import errors, projects
from mainspring.core.features import ops, plan
from mainspring.workflows.ray_jobs import job_files, train_data, train_messages

SPEC: dict[str, Any] = {
    "label": "late",
    "model_spec": projects.ModelSpec(
        embeddings=(),
        hidden_sizes=(4,),
        dropout=0.0,
        epochs=3,
        batch_rows=8,
        learning_rate=0.01,
        weight_decay=0.0,
        seed=1,
    ),
    "seed": 7,
    "run_name": "run_1",
}
ROWS = pl.DataFrame(
    {
        "delay": pl.Series([1.0, None, 3.0, 4.0, 5.0], dtype=pl.Float32),
        "carrier": ["UA", "AA", None, "UA", "ZZ"],
        "late": pl.Series([0, 1, 0, 1, 1], dtype=pl.Int8),
        "split": ["train", "test", "train", "valid", "test"],
    }
)
DECLARED = plan.TransformPlan(
    name="demo", columns=(plan.dense("delay", ops.Impute()), plan.vocabulary("carrier"))
)


@pytest.fixture
def spec(tmp_path: Path) -> train_messages.TrainSpec:
    ROWS.write_parquet(tmp_path / "set.parquet")
    (tmp_path / "plan.json").write_bytes(DECLARED.fit(ROWS).to_bytes())
    return train_messages.TrainSpec(
        training_set=tmp_path / "set.parquet",
        plan=tmp_path / "plan.json",
        storage_path=tmp_path,
        out_dir=tmp_path,
        **SPEC,
    )


def test_each_split_keeps_its_rows_and_their_order(spec: train_messages.TrainSpec) -> None:
    prepared = train_data.prepare(spec)
    assert {name: part.rows.tolist() for name, part in prepared.parts.items()} == {
        "train": [0, 2],
        "valid": [3],
        "test": [1, 4],
    }
    test = prepared.parts["test"]
    assert test.labels.tolist() == [1, 1] and test.labels.dtype == np.float32
    assert test.inputs.dense[:, 0].tolist() == [3.5, 5.0]  # the median of what is there fills the gap
    assert test.inputs.ids.shape == (2, 1)
    assert prepared.dense_width == 1 and prepared.id_columns == {"carrier": 5}


def test_identity_follows_what_decides_the_weights(spec: train_messages.TrainSpec) -> None:
    first = train_data.prepare(spec).identity
    assert train_data.prepare(spec.model_copy(update={"out_dir": Path("/elsewhere")})).identity == first
    others = [{"seed": 8}, {"epochs": 4}, {"num_workers": 1}]
    changed = {train_data.prepare(spec.model_copy(update=other)).identity for other in others}
    ROWS.with_columns(delay=pl.col("delay") + 1).write_parquet(spec.training_set)
    changed.add(train_data.prepare(spec).identity)
    assert len(changed | {first}) == 5


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        (ROWS.drop("delay"), errors.SchemaMismatch, "delay"),
        (ROWS.with_columns(pl.col("delay").cast(pl.Float64)), errors.SchemaMismatch, "delay"),
        (ROWS.rename({"late": "lat"}), errors.SchemaMismatch, "did you mean `lat`"),
        (ROWS.with_columns(late=pl.lit("yes")), errors.SchemaMismatch, "number or bool"),
        (ROWS.with_columns(late=pl.lit(2)), errors.DataInvalid, "5 of 5 rows"),
        (ROWS.with_columns(late=pl.lit(None, pl.Int8)), errors.DataInvalid, "without an outcome"),
        (ROWS.drop("split"), errors.SchemaMismatch, "split"),
        (ROWS.with_columns(split=pl.lit(1)), errors.SchemaMismatch, "split"),
        (ROWS.filter(pl.col("split") != "valid"), errors.DataInvalid, "valid"),
        (ROWS.with_columns(split=pl.lit(None, pl.String)), errors.DataInvalid, "train"),
        (ROWS.clear(), errors.DataInvalid, "train"),
    ],
)
def test_a_wrong_training_set_is_named(
    spec: train_messages.TrainSpec, rows: pl.DataFrame, error: type[errors.MainspringError], words: str
) -> None:
    rows.write_parquet(spec.training_set)
    with pytest.raises(error, match=words):
        train_data.prepare(spec)


@pytest.mark.parametrize("name", ["training_set", "plan"])
def test_absent_and_corrupt_files_are_named(spec: train_messages.TrainSpec, name: str) -> None:
    path: Path = getattr(spec, name)
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    with pytest.raises(errors.CorruptArtifact):
        train_data.prepare(spec)
    path.unlink()
    with pytest.raises(errors.NotFound, match=path.name):
        train_data.prepare(spec)


def test_spec_round_trips_and_its_epochs_and_seed_win(spec: train_messages.TrainSpec, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(spec.model_dump_json())
    assert train_messages.read_spec(path) == spec
    assert (spec.model.seed, spec.model.epochs) == (7, 3)
    assert spec.model_copy(update={"epochs": 1}).model.epochs == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"num_workers": 0}, "num_workers"),
        ({"epochs": 0}, "epochs"),
        ({"run_name": "../up"}, "run_name"),
        ({"model_spec": {}}, "model_spec.embeddings"),
        ({"seed": "soon"}, "seed"),
    ],
)
def test_a_wrong_spec_is_refused_by_field(
    spec: train_messages.TrainSpec, tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({**spec.model_dump(mode="json"), **change}))
    with pytest.raises(errors.InvalidRequest, match=field) as refused:
        train_messages.read_spec(path)
    assert refused.value.field == field
    with pytest.raises(errors.NotFound):
        train_messages.read_spec(tmp_path / "absent.json")


def test_answers_and_errors_come_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.json"
    with pytest.raises(errors.NotFound, match="submit it again"):
        train_messages.read_output(path)
    answer = train_messages.TrainOutput(
        weights_path=tmp_path / "w",
        baseline_weights_path=tmp_path / "b",
        architecture={"dense_width": 1},
        baseline_architecture={"dense_width": 1},
        predictions_path=tmp_path / "p",
        epochs=(train_messages.Epoch(epoch=0, train_loss=0.5, valid_auc=0.7),),
        best_epoch=0,
        wall_seconds=1.5,
        cpu_seconds=2.5,
        num_workers=2,
    )
    job_files.write_output(path, answer)
    assert train_messages.read_output(path) == answer
    error = errors.JobFailed("training loss became nan", status="diverged")
    job_files.write_output(path, error)
    with pytest.raises(errors.JobFailed) as raised:
        train_messages.read_output(path)
    assert errors.to_wire(raised.value) == errors.to_wire(error)
    assert [p.name for p in path.parent.iterdir()] == ["out.json"]
    path.write_text("{")
    with pytest.raises(errors.CorruptArtifact):
        train_messages.read_output(path)
    path.write_text("{}")
    with pytest.raises(errors.CorruptArtifact):
        train_messages.read_output(path)
