"""The tiny project, a bundle of its training, and what a serving process logged of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import score_world
import tiny_project
from retraining_doubles import REQUEST

from mainspring.core import settings, workspace
from mainspring.core.monitoring import prediction_log
from mainspring.workflows.ray_jobs import train_messages
from mainspring.workflows.retraining import activities, messages


class House:
    """The tiny project, a bundle of its training, and what a serving process logged of it."""

    def __init__(self, directory: Path) -> None:
        self.settings = settings.load(
            {
                "MAINSPRING_STACK_STATE_DIR": str(directory),
                "MAINSPRING_SERVING_BUNDLE_DIR": str(directory / "bundles"),
                "MAINSPRING_SERVING_TRUSTED_KEYS_DIR": str(directory / "trusted"),
                "MAINSPRING_SERVING_PREDICTIONS_DIR": str(directory / "predictions"),
            },
            directory=directory,
        )
        self.space = workspace.Workspace(directory, "tiny", 1.0)
        project = tiny_project.PROJECT
        project.ingest(self.space.lake)
        project.build_features(self.space.lake, self.space.features)
        made = project.training_set(self.space.features, self.space.training)
        self.rows = pl.read_parquet(made.path)
        fitted = project.declare_plan().fit(self.rows.filter(pl.col("split") == "train").lazy())
        self.digest = score_world.write_bundle(directory, fitted)
        self._leave_training()

    def _leave_training(self) -> None:
        """Predictions that say the truth on average, as a training's are."""
        folder = self.space.run("run_1")
        folder.mkdir(parents=True)
        held_out = self.rows.filter(pl.col("split") != "train")
        scores = pl.Series("score", self.scores(held_out), pl.Float32)
        held_out.select(
            "split", pl.col("late").alias("label"), scores, scores.alias("baseline_score")
        ).write_parquet(folder / "predictions.parquet")
        output = train_messages.TrainOutput(
            weights_path=folder / "w",
            baseline_weights_path=folder / "b",
            architecture={},
            baseline_architecture={},
            predictions_path=folder / "predictions.parquet",
            epochs=(),
            best_epoch=0,
            wall_seconds=1.0,
            cpu_seconds=1.0,
            num_workers=1,
        )
        (folder / "train-output-0.json").write_text(output.model_dump_json())

    def scores(self, rows: pl.DataFrame) -> Any:
        """The chance by which the project makes its labels."""
        carrier = rows["carrier"].replace_strict(
            {name: i for i, name in enumerate(tiny_project._CARRIERS)}, return_dtype=pl.Int64
        )
        x, y = rows["x"].to_numpy(), rows["y"].to_numpy()
        return (1 / (1 + np.exp(1.0 - 2.5 * x * y - (carrier.to_numpy() - 1.5) / 2))).astype(np.float32)

    def log(self, rows: pl.DataFrame, scores: Any, *, role: str = "stable", **entry: Any) -> None:
        log = prediction_log.PredictionLog(self.settings.serving.predictions_dir, max_bytes=1 << 24)
        for i, row in enumerate(rows.iter_rows(named=True)):
            # Shortly before it is due: of one carrier's rows the next to be due is then this one.
            as_of = row["due_us"] - 30_000_000
            log.add(
                prediction_log.Entry(
                    time_us=as_of + entry.get("later_us", 0),
                    as_of_us=as_of,
                    endpoint="tiny",
                    model_version=entry.get("digest", self.digest),
                    traffic_version=1,
                    role=role,
                    request_id=f"req_{i}",
                    caller="somebody",
                    keys={"carrier": np.array([row["carrier"]], object)},
                    key_types={"carrier": "string"},
                    features={},
                    scores=np.array([scores[i]], np.float32),
                    latency_seconds=0.001,
                    private=frozenset(),
                )
            )
        log.close()

    def check(self, **changes: Any) -> messages.Checked:
        made = activities.RetrainingActivities(self.settings, httpx.AsyncClient())
        request = REQUEST.model_copy(update={"window_days": 0.5, **changes})

        async def main() -> messages.Checked:
            return await made.check(request)

        return asyncio.run(main())
