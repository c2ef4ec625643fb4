"""Models that a project trains itself: judged by the runtime that will serve them, and refused with a word where they cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from mainspring.core import errors, projects, trainers
from mainspring.core.features import ops, plan
from mainspring.core.models import exported

SPEC = projects.ModelSpec(
    embeddings=(), hidden_sizes=(), dropout=0.0, epochs=1, batch_rows=8, learning_rate=0.1, weight_decay=0.0, seed=1
)  # fmt: skip


def rows() -> pl.DataFrame:
    x = np.linspace(-2, 2, 60).astype(np.float32)
    return pl.DataFrame({"x": x, "y": (x > 0.3).astype(np.int8), "split": ["train", "valid", "test"] * 20})


@pytest.fixture
def training_set(tmp_path: Path) -> Path:
    rows().write_parquet(tmp_path / "training.parquet")
    return tmp_path / "training.parquet"


FITTED = plan.TransformPlan(name="line", columns=(plan.dense("x", ops.Impute()),)).fit(rows())


class Line(nn.Module):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        return (dense * self.slope)[:, 0]


def program(slope: float) -> trainers.Learned:
    made = torch.export.export(
        Line(slope).eval(), (torch.zeros(3, 1),), dynamic_shapes=({0: torch.export.Dim("rows", min=1)},)
    )
    return trainers.Learned("torch_export", {"dense_width": 1, "activation": "sigmoid"}, exported.save(made))


class Own:
    """What a test wants of a project's `train`."""

    def __init__(self, **answer: Any) -> None:
        self.answer = {"epochs": (trainers.Epoch(0, 0.5, 0.9),), "best_epoch": 0, **answer}
        self.seen: set[str] = set()

    def train(self, rows: pl.DataFrame, fitted: Any, spec: Any, *, threads: int) -> trainers.Trained:
        self.seen = set(rows["split"].to_list())
        if isinstance(error := self.answer.get("error"), Exception):
            raise error
        return trainers.Trained(
            self.answer.get("candidate") or program(3.0),
            program(0.5),
            self.answer["epochs"],
            self.answer["best_epoch"],
        )


def fit(project: Own, training_set: Path) -> trainers.Fitted:
    return trainers.fit(project, training_set, "y", FITTED, SPEC, threads=1)


def test_scores_are_those_of_the_runtime_and_test_rows_are_not_seen(training_set: Path) -> None:
    mine = Own()
    assert isinstance(mine, trainers.Trainer)
    found = fit(mine, training_set).predictions
    assert mine.seen == {"train", "valid"}
    judged = rows().filter(pl.col("split") != "train")
    assert found["split"].to_list() == judged["split"].to_list()
    assert found["label"].to_list() == judged["y"].to_list()
    for column, slope in (("score", 3.0), ("baseline_score", 0.5)):
        wanted = 1 / (1 + np.exp(-slope * judged["x"].to_numpy()))
        np.testing.assert_allclose(found[column].to_numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            {"error": ZeroDivisionError("by zero")},
            errors.JobFailed,
            "failed with ZeroDivisionError: by zero; mend it",
        ),
        ({"error": errors.DataInvalid("no", dataset="d")}, errors.DataInvalid, "no"),
        ({"epochs": ()}, errors.JobFailed, "tells of 0 epochs"),
        ({"best_epoch": 3}, errors.JobFailed, "calls epoch 3 the best"),
        (
            {"candidate": trainers.Learned("torch_export", {"dense_width": 2}, b"")},
            errors.CorruptArtifact,
            "takes",
        ),
        (
            {"candidate": trainers.Learned("torch_export", {"dense_width": 1}, b"no")},
            errors.CorruptArtifact,
            "program",
        ),
        (
            {"candidate": trainers.Learned("ensemble", {}, b"")},
            errors.InvalidRequest,
            "trains no model of kind",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(
    training_set: Path, answer: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        fit(Own(**answer), training_set)


def test_a_training_set_without_a_split_or_a_file_is_said(tmp_path: Path) -> None:
    rows().filter(pl.col("split") != "valid").write_parquet(tmp_path / "training.parquet")
    with pytest.raises(errors.DataInvalid, match="split `valid` has no rows"):
        fit(Own(), tmp_path / "training.parquet")
    with pytest.raises(errors.NotFound, match="is gone"):
        fit(Own(), tmp_path / "none.parquet")
