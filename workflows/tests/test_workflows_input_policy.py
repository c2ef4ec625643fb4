"""What a bundle declares of its inputs: ranges of what training saw, and whoever they tell of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from mainspring.core import projects
from mainspring.core.contracts import catalog
from mainspring.core.features import schema
from mainspring.workflows.training import input_policy

COLUMNS = tuple(
    schema.Column(name=name, dtype=dtype)  # type: ignore[arg-type]
    for name, dtype in (("age", "float32"), ("n", "int64"), ("empty", "float64"), ("city", "string"))
)


def report(folder: Path, **derived_from: tuple[str, ...]) -> projects.TrainingSetReport:
    path = folder / "training.parquet"
    pl.DataFrame(
        {
            "age": pl.Series([3.0, np.nan, np.inf, -1.5, None, 99.0], dtype=pl.Float32),
            "n": [5, 7, 2, 3, 4, 10**9],
            "empty": pl.Series([None, np.nan, np.inf, -np.inf, None, 1.0], dtype=pl.Float64),
            "city": list("abcdef"),
            "split": ["train"] * 5 + ["test"],
        }
    ).write_parquet(path)
    return projects.TrainingSetReport(
        path=path,
        digest="d",
        feature_digest="f",
        label="late",
        columns=COLUMNS,
        rows={},
        base_rate={},
        derived_from=derived_from,
    )


def view(name: str, *columns: catalog.CatalogColumn) -> catalog.CatalogEntry:
    return catalog.CatalogEntry(kind="view", name=f"view.{name}", owner="o", description="d", columns=columns)


def column(
    name: str, classification: catalog.Classification = "", *, key: bool = False
) -> catalog.CatalogColumn:
    return catalog.CatalogColumn(
        name=name, dtype="string", is_key=key, is_pii=bool(classification), classification=classification
    )


def test_ranges_are_of_finite_training_values(tmp_path: Path) -> None:
    declared = input_policy.declare(report(tmp_path), COLUMNS, ())
    assert {n: (c.low, c.high, c.out_of_range) for n, c in declared.columns.items()} == {
        "age": (-1.5, 3.0, "warn"),
        "n": (2.0, 7.0, "warn"),
    }
    assert declared.private == frozenset()


def test_people_are_told_of_by_keys_fields_and_what_is_derived_from_them(tmp_path: Path) -> None:
    entries = (
        view(
            "customer",
            column("customer_id", "confidential", key=True),
            column("phone", "restricted"),
            column("plan"),
        ),
        catalog.CatalogEntry(
            kind="dataset",
            name="lake.x",
            owner="o",
            description="d",
            columns=(column("street", "confidential"),),
        ),
    )
    rows = report(tmp_path, n=("customer_id", "customer__phone"), age=("customer__plan",))
    declared = input_policy.declare(rows, COLUMNS, entries)
    assert declared.private == {"customer_id", "customer__phone", "n"}
    assert declared.columns["n"].classification == "restricted", "the strictest of what it is made of"
    assert (declared.columns["n"].low, declared.columns["n"].high) == (2.0, 7.0)
    assert declared.columns["customer_id"].classification == "confidential"
