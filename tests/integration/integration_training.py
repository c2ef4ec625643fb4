"""A training set that half of the signal hides in, and the spec of a training on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mainspring.core import projects
from mainspring.core.features import ops, plan
from mainspring.workflows.ray_jobs import train_messages

SPEC = projects.ModelSpec(
    embeddings=(projects.Embedding(column="carrier", dimensions=4),),
    hidden_sizes=(32, 16),
    dropout=0.1,
    epochs=14,
    batch_rows=200,
    learning_rate=8e-4,
    weight_decay=1e-4,
    seed=1,
)


DECLARED = plan.TransformPlan(
    name="synthetic",
    columns=(
        plan.dense("a", ops.Impute(), ops.Standardise(), ops.Indicator()),
        plan.dense("b", ops.Impute(), ops.Standardise()),
        plan.vocabulary("carrier"),
    ),
)


def synthetic(rows: int = 20_000) -> pl.DataFrame:
    """The label follows the product of two columns, and the carrier: half of the signal is out of a line's reach."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, rows)).astype(np.float32)
    carrier = rng.integers(0, 8, rows)
    late = rng.random(rows) < 1 / (1 + np.exp(-(2 * a * b + (carrier - 4) / 4)))
    a[rng.random(rows) < 0.05] = np.nan
    return pl.DataFrame(
        {
            "a": pl.Series(a, nan_to_null=True),
            "b": b,
            "carrier": [f"C{c}" for c in carrier],
            "late": late.astype(np.int8),
            "split": rng.choice(["train", "valid", "test"], rows, p=[0.7, 0.1, 0.2]),
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = synthetic()
    rows.write_parquet(folder / "set.parquet")
    fitted = DECLARED.fit(rows.filter(pl.col("split") == "train"))
    (folder / "plan.json").write_bytes(fitted.to_bytes())
    return folder


def spec_for(data: Path, folder: Path, **changes: Any) -> train_messages.TrainSpec:
    return train_messages.TrainSpec.model_validate(
        {
            "training_set": data / "set.parquet",
            "plan": data / "plan.json",
            "label": "late",
            "model_spec": SPEC,
            "num_workers": 2,
            "seed": 7,
            "run_name": "one",
            "storage_path": folder / "storage",
            "out_dir": folder / "out",
            "progress": folder / "out" / "progress.json",
            **changes,
        }
    )
