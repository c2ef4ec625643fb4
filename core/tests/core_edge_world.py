"""Signed bundles of small real networks, exported; and rows for them with everything that can be missing."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mainspring.core import canonical
from mainspring.core.edge import export
from mainspring.core.features import ops, plan, schema
from mainspring.core.models import architecture, bundle, network, signing

SERVICE = schema.FeatureService(
    name="demo",
    views=(
        schema.FeatureView(
            name="stats",
            keys=(schema.Column(name="carrier", dtype="string"),),
            fields=(schema.Column(name="share", dtype="float32"),),
        ),
    ),
)


def frame(rows: int = 400, seed: int = 1) -> pl.DataFrame:
    """Columns of a plan, with nulls, NaN, empty and unknown strings."""
    rng = np.random.default_rng(seed)
    x = rng.normal(scale=1e3, size=rows).astype(np.float32)
    x[rng.random(rows) < 0.1] = np.nan
    carriers = np.array(["AA", "UA", "WN", "ÜB", "", None], dtype=object)
    return pl.DataFrame(
        {
            "stats__share": pl.Series(rng.random(rows).astype(np.float32)),
            "x": pl.Series(x),
            "carrier": pl.Series(carriers[rng.integers(0, 6, rows)].tolist(), dtype=pl.String),
            "gate": pl.Series(rng.integers(0, 9, rows)),
        }
    )


def fit() -> plan.FittedPlan:
    declared = plan.TransformPlan(
        name="demo",
        columns=(
            plan.dense("stats__share", ops.Impute(), ops.Standardise()),
            plan.dense(
                "x",
                ops.Impute(),
                ops.Clip(lower=-900.0, upper=1500.0),
                ops.Log1p(),
                ops.Standardise(),
                ops.Indicator(),
            ),
            plan.vocabulary("carrier", min_count=2),
            plan.vocabulary("gate", dtype="int64", max_values=5),
        ),
    )
    return declared.fit(frame(300, seed=2))


def device_environment() -> dict[str, str]:
    """Python of a device: NumPy, and nothing of ours on its path."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MAINSPRING_"))}
    return {**kept, "PYTHONPATH": str(Path(np.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass
class World:
    directory: Path
    fitted: plan.FittedPlan = field(default_factory=fit)

    def __post_init__(self) -> None:
        self.key = signing.ensure_key(self.directory / "signing.pem")
        self.key.publish(self.directory / "trusted")
        self.trust = signing.TrustedKeys.load(self.directory / "trusted")

    def bundle(self, *, seed: int = 3, hidden: tuple[int, ...] = (16, 8), **changes: Any) -> bundle.Bundle:
        program = self.fitted.compile()
        sizes = dict(zip(program.id_names, program.id_sizes, strict=True))
        spec = architecture.Architecture.parse(
            {
                "dense_width": len(program.dense_names),
                "id_columns": tuple(sizes),
                "tables": [
                    {"column": c, "rows": n, "dimensions": 4 if hidden else 1} for c, n in sizes.items()
                ],
                "hidden_sizes": hidden,
                "dropout": 0.1,
            }
        )
        values: dict[str, Any] = {
            "name": "demo",
            "project": "demo",
            "plan": self.fitted.to_bytes(),
            "model": spec.model_dump(mode="json"),
            "weights": network.save_weights(network.EmbeddingMlp(spec, seed=seed)),
            "card": "# demo\n",
            "service": SERVICE,
            "request_columns": (),
            "input_columns": self.fitted.inputs,
            "metrics": {},
            "data_digest": canonical.digest("data"),
            "training_run_id": f"run_{seed}",
            "code_version": "0",
        }
        contents = bundle.BundleContents(**(values | changes))
        return bundle.BundleStore(self.directory / "bundles").write(contents, self.key)

    def trees(self) -> bundle.Bundle:
        """XGBoost's JSON: a tree over the share, one over the carrier's id."""
        compiled = self.fitted.compile()
        width, ids = len(compiled.dense_names), len(compiled.id_names)

        def tree(feature: int, threshold: float, low: float, high: float) -> dict[str, Any]:
            return {
                "left_children": [1, -1, -1],
                "right_children": [2, -1, -1],
                "split_indices": [feature, 0, 0],
                "split_conditions": [threshold, low, high],
                "default_left": [1, 0, 0],
            }

        forest = {"tree_info": [0, 0], "trees": [tree(0, 0.1, 0.3, 0.7), tree(width, 2.0, 0.01, 0.2)]}
        document = {
            "learner": {
                "learner_model_param": {
                    "num_feature": str(width + ids),
                    "num_class": "0",
                    "base_score": "[0E0]",
                },
                "objective": {"name": "reg:squarederror"},
                "gradient_booster": {"name": "gbtree", "model": forest},
            },
        }
        model = {"format": "xgboost", "dense_width": width, "id_columns": list(compiled.id_names)}
        return self.bundle(kind="trees", model=model, weights=json.dumps(document).encode())

    def export(self, name: str, **changes: Any) -> export.Exported:
        return export.export(self.bundle(**changes), self.directory / name, self.key)
