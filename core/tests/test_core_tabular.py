"""Projects of tables: their steps give what a training needs, and what is wrong with them is said before anything is learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from mainspring.core import errors, projects
from mainspring.core.features import ops, plan, replay, schema
from mainspring.core.features.windows import CREATED, EVENT
from mainspring.core.synthetic import marks
from mainspring.core.tabular import leakage, tables, trial
from mainspring.core.tabular.project import TableProject

START = datetime(2013, 1, 1, tzinfo=UTC)
ROWS = 2000


class Shop(TableProject):
    """Is a basket bought? What the shop's other baskets came to by then is looked up; half of the signal is in it."""

    name = "shop"
    label = "bought"
    request_columns = (schema.Column(name="price", dtype="float32"),)
    event_time_column = ""
    horizon_seconds = 0
    views = (
        schema.FeatureView(
            name="shop_days",
            keys=(schema.Column(name="shop", dtype="string"),),
            fields=(schema.Column(name="sold", dtype="float32"),),
            ttl_seconds=86_400,
        ),
    )
    derived = (schema.Column(name="cheap", dtype="float32"),)
    derive = staticmethod(lambda columns: {"cheap": (columns["price"] < 0).astype(np.float32)})

    knows_the_future: ClassVar[bool] = False
    broken: ClassVar[str] = ""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.file.write_text("baskets of a made-up shop")

    def source(self) -> tables.Source:
        return tables.Source("made", "1", "none", (self.file,))

    def read(self, source: tables.Source, sample_fraction: float) -> Mapping[str, tables.Table]:
        rng = np.random.default_rng(1)
        price, mood = rng.normal(size=(2, ROWS)).astype(np.float32)
        at = [START + timedelta(minutes=10 * i) for i in range(ROWS)]
        baskets = pl.DataFrame(
            {
                "number": range(ROWS),
                "shop": [f"S{i % 4}" for i in range(ROWS)],
                "price": price,
                "as_of": at,
                "paid_at": [t + timedelta(hours=1) for t in at],
                "bought": (rng.random(ROWS) < 1 / (1 + np.exp(2 * price - 2 * mood))).astype(np.int8),
            },
            schema_overrides={"as_of": pl.Datetime("us", "UTC"), "paid_at": pl.Datetime("us", "UTC")},
        )
        moods = baskets.select("shop", known_at=pl.col("as_of"), sold=pl.Series(mood))
        baskets = tables.sampled(baskets, ["number"], sample_fraction)
        if self.broken == "empty":
            baskets = baskets.clear()
        return {
            "baskets": tables.Table(
                baskets,
                known_at="as_of",
                later={"bought": "paid_at"},
                fixed=("number", "shop"),
                may_vanish=False,
                description="baskets",
            ),
            "moods": tables.Table(moods, known_at="known_at", fixed=("shop",)),
        }

    def examples(self, found: Mapping[str, tables.Table]) -> pl.DataFrame:
        rows = found["baskets"].rows
        if self.broken == "one outcome":
            rows = rows.with_columns(bought=pl.lit(1, pl.Int8))
        part = pl.int_range(pl.len()) / pl.len()
        split = (
            pl.when(part < 0.6)
            .then(pl.lit("train"))
            .when(part < 0.8)
            .then(pl.lit("valid"))
            .otherwise(pl.lit("test"))
        )
        if self.knows_the_future:
            rows = rows.with_columns(
                price=pl.col("price") + pl.col("bought").mean().over("shop").cast(pl.Float32)
            )
        return rows.select("shop", "price", "as_of", "bought", split=split)

    def view_rows(self, found: Mapping[str, tables.Table]) -> Mapping[str, pl.DataFrame]:
        if self.broken == "no view":
            return {}
        known = pl.col("known_at")
        rows = (
            found["moods"].rows.select("shop", known.alias(EVENT), known.alias(CREATED), "sold").sort(EVENT)
        )
        return {"shop_days": pl.concat([rows, rows]) if self.broken == "twice" else rows}

    def declare_plan(self) -> plan.TransformPlan:
        names = ("price", "cheap", "shop_days__sold")
        return plan.TransformPlan(
            name="shop", columns=tuple(plan.dense(name, ops.Impute(), ops.Standardise()) for name in names)
        )

    def model_spec(self) -> projects.ModelSpec:
        return projects.ModelSpec(
            embeddings=(), hidden_sizes=(8,), dropout=0.0, epochs=6, batch_rows=64, learning_rate=0.02,
            weight_decay=0.0, seed=1,
        )  # fmt: skip

    def quality_gates(self, *, relaxed: bool = False) -> projects.QualityGates:
        return projects.QualityGates(
            min_auc=0.8,
            leak_alarm_auc=0.99,
            min_auc_gain_over_baseline=-0.05,
            max_calibration_gap=0.2,
            relaxed=relaxed,
        )


def shop(folder: Path, **changes: Any) -> Shop:
    return type("Shop", (Shop,), changes)(folder / "source.txt")


def test_a_trial_goes_the_whole_way_and_again_is_the_same(tmp_path: Path) -> None:
    mine = shop(tmp_path)
    assert isinstance(mine, projects.Project)
    found = trial.run(mine, tmp_path / "work")
    assert found.metrics["test"].auc > 0.8 and found.rows == {"train": 1200, "valid": 400, "test": 400}
    assert found.gates["min_auc"]["got"] == found.metrics["test"].auc
    again = trial.run(mine, tmp_path / "work")
    assert again.metrics == found.metrics and again.plan.digest == found.plan.digest
    assert again.summary["test_auc"] == found.summary["test_auc"]
    sample = trial.run(mine, tmp_path / "work", sample_fraction=0.5, gated=False)
    assert 800 < sum(sample.rows.values()) < 1200 and sample.gates == {}


def test_steps_are_reused_until_data_or_code_changes(tmp_path: Path) -> None:
    mine = shop(tmp_path)
    lake, features, training = (tmp_path / name for name in ("lake", "features", "training"))

    def steps() -> list[bool]:
        made = mine.ingest(lake), mine.build_features(lake, features), mine.training_set(features, training)
        return [report.reused for report in made]

    assert steps() == [False, False, False]
    assert steps() == [True, True, True]
    mine.file.write_text("baskets of another shop")
    assert steps() == [False, False, False]


def test_the_training_set_says_what_it_is_of(tmp_path: Path) -> None:
    mine = shop(tmp_path)
    report = mine.ingest(tmp_path / "lake")
    assert [(t.name, t.rows) for t in report.tables] == [("baskets", ROWS), ("moods", ROWS)]
    assert mine.validate(tmp_path / "lake").checks
    features = mine.build_features(tmp_path / "lake", tmp_path / "features")
    made = mine.training_set(tmp_path / "features", tmp_path / "training")
    assert [c.name for c in made.columns] == ["price", "shop_days__sold", "cheap"]
    rows = pl.read_parquet(made.path)
    assert rows["cheap"].to_list() == [float(p < 0) for p in rows["price"]]
    assert features.service.views[0].name == "shop_days" and features.lake_digest == report.digest


def test_a_replay_asks_what_was_asked(tmp_path: Path) -> None:
    mine = shop(tmp_path)
    mine.ingest(tmp_path / "lake")
    mine.build_features(tmp_path / "lake", tmp_path / "features")
    asked = list(replay.steps(mine.replay(tmp_path / "features", n=20)))
    assert len(asked) == 20 and set(asked[0].entities[0]) == {"shop", "price"}
    with pytest.raises(errors.InvalidRequest, match="expected 1 to 400"):
        mine.replay(tmp_path / "features", n=401)


def test_a_feature_of_the_future_is_found(tmp_path: Path) -> None:
    honest = shop(tmp_path)
    honest.ingest(tmp_path / "lake")
    report = honest.leak_check(tmp_path / "lake")
    assert report.ok and report.perturbed_values > ROWS and report.cutoffs == 2
    # A mean over all baskets of a shop: too small a leak to be seen in a model's quality.
    peeking = shop(tmp_path, knows_the_future=True)
    with pytest.raises(errors.LeakDetected, match="first `cheap`|first `price`") as caught:
        peeking.leak_check(tmp_path / "lake")
    assert "price" in caught.value.features
    with pytest.raises(errors.InvalidRequest, match="`cutoffs` is 0"):
        honest.leak_check(tmp_path / "lake", cutoffs=0)


def test_a_leak_check_that_could_find_nothing_is_no_proof(tmp_path: Path) -> None:
    mine = shop(tmp_path)
    undated = {
        name: replace(table, known_at="", later={}) for name, table in mine.read(mine.source(), 1.0).items()
    }
    with pytest.raises(errors.DataInvalid, match="proves nothing"):
        leakage.check(undated, mine.examples, [START + timedelta(days=1)], ignored=frozenset())


@pytest.mark.parametrize(
    ("broken", "step", "error", "words"),
    [
        ("empty", "ingest", errors.DataInvalid, "table `baskets` has no rows"),
        ("one outcome", "validate", errors.DataInvalid, "check `outcomes` expects both outcomes"),
        ("no view", "features", errors.NotFound, "gives no rows of view `shop_days`"),
        ("twice", "features", errors.DataInvalid, "unique"),
    ],
)
def test_what_is_wrong_is_said_by_its_step(
    tmp_path: Path, broken: str, step: str, error: type[Exception], words: str
) -> None:
    mine = shop(tmp_path, broken=broken)

    def go() -> None:
        mine.ingest(tmp_path / "lake")
        if step == "validate":
            mine.validate(tmp_path / "lake")
        mine.build_features(tmp_path / "lake", tmp_path / "features")

    with pytest.raises(error, match=words):
        go()
    assert not (tmp_path / ("lake" if step == "ingest" else "features")).exists() or step == "validate"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"known_at": "paid"}, "no column `paid`"),
        ({"known_at": "price"}, "column `price` of table `t` has type"),
        ({"later": {"bought": "never"}}, "no column `never`"),
        ({"fixed": ("nmber",)}, "did you mean `number`"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    mine = shop(tmp_path)
    table = mine.read(mine.source(), 1.0)["baskets"]
    tables.check("t", table)
    with pytest.raises(errors.SchemaMismatch, match=words):
        tables.check("t", replace(table, **change))


def test_a_small_sample_is_part_of_a_larger_one() -> None:
    rows = pl.DataFrame({"a": range(5000), "b": ["x", None] * 2500})
    small, large = (set(tables.sampled(rows, ["a", "b"], f)["a"].to_list()) for f in (0.1, 0.3))
    assert small < large and 400 < len(small) < 600 and 1300 < len(large) < 1700
    assert tables.sampled(rows, ["a"], 1.0) is rows
    for fraction in (0.0, -1.0, 1.1):
        with pytest.raises(errors.InvalidRequest, match="expected above 0"):
            tables.sampled(rows, ["a"], fraction)


def test_what_is_made_of_rows_of_nobody_says_so(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "source")
    real = shop.ingest(tmp_path / "lake")
    assert (
        not real.is_synthetic and not shop.build_features(tmp_path / "lake", tmp_path / "views").is_synthetic
    )
    table = pl.DataFrame({"a": [1]}).to_arrow()
    pq.write_table(table.cast(marks.mark(table.schema, "sha256:1")), shop.file)
    for _ in range(2):  # made, and found again
        told = shop.ingest(tmp_path / "lake")
        assert told.is_synthetic and told.digest != real.digest
        assert shop.build_features(tmp_path / "lake", tmp_path / "views").is_synthetic
