"""A project of a few thousand made-up rows, so that a training's activities run for real in a second or two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from mainspring.core import errors, projects
from mainspring.core.features import folders, ops, plan, schema
from mainspring.core.features.windows import CREATED, EVENT

_KEY: Final = schema.Column(name="carrier", dtype="string")
_VIEW: Final = schema.FeatureView(
    name="carrier_stats",
    keys=(_KEY,),
    fields=(schema.Column(name="late_share", dtype="float32"),),
    ttl_seconds=None,
)
SERVICE: Final = schema.FeatureService(name="tiny_v1", views=(_VIEW,))
START: Final = datetime(2013, 1, 1, tzinfo=UTC)
_CARRIERS: Final = ("AA", "DL", "UA", "WN")


@dataclass
class Tiny:
    """`rows` before sampling; what a test wants to go wrong is set on PROJECT."""

    rows: int = 3000
    seed: int = 1
    leaks: bool = False
    bad_rows: bool = False
    min_auc: float = 0.6
    alarm_auc: float = 0.99

    name = "tiny"
    label = "late"
    feature_service = "tiny_v1"
    request_columns = (
        schema.Column(name="x", dtype="float32"),
        schema.Column(name="y", dtype="float32"),
        schema.Column(name="due_us", dtype="int64"),
    )
    event_time_column = "due_us"
    horizon_seconds = 3600

    def ingest(self, lake_dir: Path, *, sample_fraction: float = 1.0) -> projects.IngestReport:
        n = int(self.rows * sample_fraction)

        def fill(new: Path) -> Mapping[str, Any]:
            rng = np.random.default_rng(self.seed)
            x, y = rng.normal(size=(2, n)).astype(np.float32)
            carrier = rng.integers(0, 4, n)
            late = rng.random(n) < 1 / (1 + np.exp(1.0 - 2.5 * x * y - (carrier - 1.5) / 2))
            pl.DataFrame(
                {
                    "carrier": [_CARRIERS[c] for c in carrier],
                    "x": x,
                    "y": y,
                    "as_of": [START + timedelta(minutes=i) for i in range(n)],
                    "late": late.astype(np.int8),
                }
            ).with_columns(due_us=(pl.col("as_of") + timedelta(hours=1)).dt.timestamp("us")).write_parquet(
                new / "rows.parquet"
            )
            return {}

        made = folders.publish(lake_dir, kind="tiny lake", inputs={"n": n, "seed": self.seed}, write=fill)
        table = projects.TableReport(
            name="rows", rows=n, files=1, bytes=1, digest=made.file_digest("rows.parquet")
        )
        return projects.IngestReport(
            project=self.name,
            source="made up",
            licence="none",
            sample_fraction=sample_fraction,
            tables=(table,),
            digest=made.digest,
            reused=made.reused,
        )

    def validate(self, lake_dir: Path) -> projects.ValidationReport:
        lake = folders.read(lake_dir, kind="tiny lake")
        check = projects.CheckResult(
            name="labels", expected="0 or 1", observed="2 in 7 rows", ok=not self.bad_rows
        )
        return projects.ValidationReport(dataset_digest=lake.digest, checks=(check,))

    def build_features(self, lake_dir: Path, feature_dir: Path) -> projects.FeatureReport:
        lake = folders.read(lake_dir, kind="tiny lake")

        def fill(new: Path) -> Mapping[str, Any]:
            rows = pl.read_parquet(lake_dir / "rows.parquet")
            rows.write_parquet(new / "rows.parquet")
            shares = rows.group_by("carrier").agg(late_share=pl.col("late").mean().cast(pl.Float32))
            stamp = pl.lit(START - timedelta(days=1), dtype=pl.Datetime("us", "UTC"))
            shares.sort("carrier").with_columns(stamp.alias(EVENT), stamp.alias(CREATED)).write_parquet(
                new / "carrier_stats.parquet"
            )
            return {}

        made = folders.publish(feature_dir, kind="tiny features", inputs={"lake": lake.digest}, write=fill)
        view = projects.ViewReport(
            view=_VIEW, rows=4, path=feature_dir / "carrier_stats.parquet", digest=made.digest
        )
        return projects.FeatureReport(
            lake_digest=lake.digest,
            digest=made.digest,
            service=SERVICE,
            views=(view,),
            registry=feature_dir / "registry.db",
            reused=made.reused,
        )

    def training_set(self, feature_dir: Path, out_dir: Path) -> projects.TrainingSetReport:
        features = folders.read(feature_dir, kind="tiny features")

        def fill(new: Path) -> Mapping[str, Any]:
            rows = pl.read_parquet(feature_dir / "rows.parquet")
            share = pl.read_parquet(feature_dir / "carrier_stats.parquet").select(
                "carrier", carrier_stats__late_share="late_share"
            )
            n = rows.height
            split = np.where(
                np.arange(n) < 0.6 * n, "train", np.where(np.arange(n) < 0.8 * n, "valid", "test")
            )
            joined = rows.with_columns(split=pl.Series(split)).join(
                share, on="carrier", how="left", maintain_order="left"
            )
            joined.write_parquet(new / "training.parquet")
            parts = {s: joined.filter(pl.col("split") == s)["late"] for s in ("train", "valid", "test")}
            return {
                "rows": {s: len(p) for s, p in parts.items()},
                "base_rate": {s: float(p.mean()) for s, p in parts.items()},  # type: ignore[arg-type]
            }

        made = folders.publish(
            out_dir, kind="tiny training set", inputs={"features": features.digest}, write=fill
        )
        return projects.TrainingSetReport(
            path=out_dir / "training.parquet",
            digest=made.digest,
            feature_digest=features.digest,
            label=self.label,
            columns=(*self.request_columns, *SERVICE.columns),
            rows=dict(made.detail["rows"]),
            base_rate=dict(made.detail["base_rate"]),
            reused=made.reused,
        )

    def leak_check(self, lake_dir: Path, *, cutoffs: int = 2) -> projects.LeakReport:
        moved = ("carrier_stats__late_share",) if self.leaks else ()
        return projects.LeakReport(cutoffs=cutoffs, compared_rows=100, perturbed_values=500, moved=moved)

    def derive(self, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
        return {}

    def declare_plan(self) -> plan.TransformPlan:
        numbers = ("x", "y", "carrier_stats__late_share")
        return plan.TransformPlan(
            name="tiny",
            columns=(
                *(plan.dense(name, ops.Impute(), ops.Standardise()) for name in numbers),
                plan.vocabulary("carrier"),
            ),
        )

    def model_spec(self) -> projects.ModelSpec:
        return projects.ModelSpec(
            embeddings=(projects.Embedding(column="carrier", dimensions=2),),
            hidden_sizes=(16,),
            dropout=0.0,
            epochs=8,
            batch_rows=128,
            learning_rate=1e-2,
            weight_decay=0.0,
            seed=1,
        )

    def quality_gates(self, *, relaxed: bool = False) -> projects.QualityGates:
        return projects.QualityGates(
            min_auc=0.51 if relaxed else self.min_auc,
            leak_alarm_auc=self.alarm_auc,
            min_auc_gain_over_baseline=-1.0 if relaxed else 0.0,
            max_calibration_gap=1.0,
            relaxed=relaxed,
        )

    def replay(self, feature_dir: Path, *, n: int) -> projects.ReplaySet:
        rows = pl.read_parquet(feature_dir / "rows.parquet")
        if n > rows.height:
            raise errors.InvalidRequest(f"`n` is {n}, there are {rows.height} rows", field="n")
        target = feature_dir.with_name(f"replay-{n}")
        target.mkdir(exist_ok=True)
        rows.tail(n).write_parquet(target / "requests.parquet")
        return projects.ReplaySet(
            requests=target / "requests.parquet",
            updates={"carrier_stats": feature_dir / "carrier_stats.parquet"},
            rows=n,
            label=self.label,
            keys=(_KEY,),
            request_columns=self.request_columns,
            service=SERVICE,
            digest="replay",
        )


PROJECT: Final = Tiny()
