"""A synthetic table is like the real one and has nobody's row; one that has is found and not written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mainspring.core import errors
from mainspring.core.contracts.protection import ColumnFinding
from mainspring.core.synthetic import copula, judging, marginals, marks, table

N = 4000


def patients(n: int = N, seed: int = 1) -> pl.DataFrame:
    """Ages and pressures that go together, a ward for each, an outcome that follows, and who it is."""
    rng = np.random.default_rng(seed)
    age = np.clip(rng.normal(60, 15, n), 18, 100)
    pressure = 90 + 0.8 * age + rng.normal(0, 8, n)
    is_old = rng.random(n) < 1 / (1 + np.exp(-(age - 65) / 5))
    ill = rng.random(n) < 1 / (1 + np.exp(-(pressure - 145) / 6))
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "patient": [f"p{i % (n // 2)}@example.org" for i in range(n)],
            "age": age.round().astype(np.int64),
            "pressure": pressure,
            "ward": np.where(is_old, "geriatrics", np.where(rng.random(n) < 0.5, "surgery", "medicine")),
            "admitted": [begun + timedelta(minutes=float(m)) for m in rng.uniform(0, 500_000, n)],
            "smokes": rng.random(n) < 0.3,
            "ill": ill,
        }
    ).with_columns(
        pressure=pl.when(pl.Series(rng.random(n) < 0.1)).then(None).otherwise(pl.col("pressure")),
        ward=pl.when(pl.Series(np.arange(n) < 3)).then(pl.lit("the one of the minister")).otherwise("ward"),
    )


@pytest.fixture(scope="module")
def real() -> pl.DataFrame:
    return patients()


@pytest.fixture(scope="module")
def made(real: pl.DataFrame) -> pl.DataFrame:
    (rows,) = copula.fit(real, identifiers=["patient"], target="ill", seed=3).rows(N, seed=4)
    return rows


def test_it_is_like_the_real_one(real: pl.DataFrame, made: pl.DataFrame) -> None:
    assert made.schema == real.schema and made.height == N
    assert made["pressure"].null_count() / N == pytest.approx(0.1, abs=0.03)
    for name in ("age", "pressure", "admitted"):
        assert judging._distance(made[name], patients(seed=9)[name]) < 0.05, name
    old = pl.col("ward") == "geriatrics"
    assert made.select(old.mean()).item() == pytest.approx(real.select(old.mean()).item(), abs=0.03)
    for a, b in (("age", "pressure"), ("pressure", "ill")):
        both = [f.drop_nulls([a, b]).select(pl.corr(a, b, method="spearman")).item() for f in (real, made)]
        assert both[0] > 0.3 and both[1] == pytest.approx(both[0], abs=0.08), (a, b)


def test_it_has_nobodys_values(real: pl.DataFrame, made: pl.DataFrame) -> None:
    assert set(made["patient"]) & set(real["patient"]) == set()
    assert made["patient"].n_unique() == pytest.approx(
        real["patient"].n_unique() * (1 - np.exp(-2)), rel=0.05
    )
    assert set(made["ward"]) == {"geriatrics", "surgery", "medicine", marginals.OTHER}, "three are too few"
    assert set(made["pressure"].drop_nulls()) & set(real["pressure"].drop_nulls()) == set()
    # The oldest and the youngest are averages over ten.
    assert real["pressure"].min() < made["pressure"].min()  # type: ignore[operator]
    assert made["pressure"].max() < real["pressure"].max()  # type: ignore[operator]


def test_the_same_seed_is_the_same_table_whatever_is_asked_for_at_a_time(
    real: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copula.fit(real, identifiers=["patient"], seed=3)
    assert pl.concat(model.rows(500, seed=1)).equals(pl.concat(model.rows(500, seed=1)))
    assert not pl.concat(model.rows(500, seed=1)).equals(pl.concat(model.rows(500, seed=2)))
    monkeypatch.setattr(copula, "CHUNK_ROWS", 100)
    assert [part.height for part in model.rows(250, seed=1)] == [100, 100, 50]


def judged(made: pl.DataFrame, real: pl.DataFrame, **more: Any) -> Any:
    return judging.judge(
        made, real, patients(seed=2), rows=made.height, seed=5, identifiers=["patient"], target="ill", **more
    )


def test_a_good_one_is_told_from_one_that_copies(real: pl.DataFrame, made: pl.DataFrame) -> None:
    good = judged(made, real)
    assert good.problems == () and good.is_private
    assert good.auc_of_real > 0.75 and good.auc_of_synthetic > good.auc_of_real - 0.03
    assert good.correlation_difference < 0.05 and max(c.distance for c in good.columns) < 0.06
    judging.require_private(good)
    copied = judged(real.sample(N, seed=1, shuffle=True), real)
    assert copied.copied == 1.0 and copied.nearer_to_fitted > 0.9 and copied.membership_auc > 0.9
    assert len(copied.problems) == 3
    with pytest.raises(
        errors.PolicyDenied, match=r"`synthetic.private` denies it: 100.00% of the rows are real"
    ):
        judging.require_private(copied)


def test_one_that_copies_a_tenth_or_blurs_each_row_is_found(real: pl.DataFrame, made: pl.DataFrame) -> None:
    tenth = pl.concat([made.head(N - N // 10), real.head(N // 10)])
    assert any("are real ones" in problem for problem in judged(tenth, real).problems)
    blurred = real.with_columns(
        pressure=pl.col("pressure") + 0.01, admitted=pl.col("admitted") + timedelta(seconds=30)
    )
    found = judged(blurred, real)
    assert found.copied == 0.0 and len(found.problems) == 2, "no row is equal, and each is somebody's"


@pytest.mark.parametrize(
    ("rows", "more", "says"),
    [
        (patients(150), {}, "150 rows are too few"),
        (patients(300), {"identifiers": ["name"]}, "no column `name`"),
        (patients(300), {"target": "ward"}, "no number or truth value"),
        (patients(300).with_columns(tags=pl.lit([1, 2])), {}, "`tags` is List"),
    ],
)
def test_what_cannot_be_made_is_said(rows: pl.DataFrame, more: dict[str, Any], says: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=says):
        copula.fit(rows, seed=1, **more)


def test_columns_of_few_or_no_values_are_no_error() -> None:
    n = 300
    odd = pl.DataFrame(
        {
            "constant": [7] * n,
            "nothing": pl.Series([None] * n, dtype=pl.Float64),
            "no_text": pl.Series([None] * n, dtype=pl.String),
            "nan": [float("nan")] * n,
            "rare": [f"word {i}" for i in range(n)],
            "day": [datetime(2026, 1, 1 + i % 20).date() for i in range(n)],
            "small": pl.Series([i % 3 for i in range(n)], dtype=pl.Int8),
            "price": pl.Series([i % 50 + 0.25 for i in range(n)]).cast(pl.Decimal(10, 2)),
            "grade": pl.Series(["a" if i > 2 else "b" for i in range(n)], dtype=pl.Enum(["a", "b"])),
        }
    )
    (made,) = copula.fit(odd, seed=1).rows(200, seed=1)
    assert made.schema == odd.schema
    assert set(made["constant"]) == {7} and set(made["rare"]) == {marginals.OTHER}
    assert made["nothing"].null_count() == made["no_text"].null_count() == made["nan"].null_count() == 200
    assert (made["price"].cast(pl.Float64) % 1 != 0).any(), "cents are kept"
    assert set(made["grade"]) <= {"a", None}, "three are too few, and an enumeration has no word for others"
    assert set(made["small"]) <= {0, 1, 2} and set(made["day"]) <= set(odd["day"])


def test_a_table_is_written_with_its_report_or_not_at_all(
    real: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.write_parquet(tmp_path / "real.parquet")
    scanned, out = pl.scan_parquet(tmp_path / "real.parquet"), tmp_path / "made.parquet"
    options: dict[str, Any] = {"rows": 1500, "seed": 7, "identifiers": ["patient"], "target": "ill"}
    report = table.synthesise(scanned, out, **options)
    assert pl.read_parquet(out).height == report.rows == 1500
    assert marks.is_synthetic([out]) and not marks.is_synthetic([tmp_path / "real.parquet"])
    assert (
        json.loads((tmp_path / "made.parquet.report.json").read_text())["fitted_rows"]
        == report.fitted_rows
        == 2000
    )
    before = out.read_bytes()
    table.synthesise(scanned, out, **options)
    assert pl.read_parquet(out).equals(pl.read_parquet(before))

    def copies(self: copula.Synthesiser, count: int, seed: int) -> Any:
        yield real.sample(count, seed=seed, with_replacement=True)

    monkeypatch.setattr(copula.Synthesiser, "rows", copies)
    with pytest.raises(errors.PolicyDenied):
        table.synthesise(scanned, tmp_path / "leaks.parquet", **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "made.parquet",
        "made.parquet.report.json",
        "real.parquet",
    ]


def test_of_a_large_table_a_sample_is_looked_at(real: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LOOKED_AT_ROWS", 1000)
    taken = table._taken(real.lazy(), 1)
    assert (
        taken.height == 1000
        and taken.join(real, on=real.columns, how="semi", nulls_equal=True).height == 1000
    )
    assert not taken.equals(real.head(1000))


def test_what_identifies_is_made_anew_by_its_kind() -> None:
    found = [
        ColumnFinding(column=name, kind=kind, classification="confidential", confidence=0.9)  # type: ignore[arg-type]
        for name, kind in (("mail", "email"), ("born", "birth_date"), ("id", "person_key"))
    ]
    assert table.identifiers_of(found) == {"mail", "id"}
