"""Evidently's page: what it has of outcomes, for whom, what it says where it has nothing, and that it lets nothing out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mainspring.core import errors
from mainspring.core.monitoring import evidently_adapter

SLICES = {"carrier": ("AA", "UA", "B6")}


def rows(n: int = 900, *, seed: int = 0, shift: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    scores = rng.beta(2, 4, n)
    return pl.DataFrame(
        {
            "distance": rng.normal(size=n),
            "carrier": rng.choice(["AA", "UA", "B6"], n, p=[0.5, 0.4, 0.1]),
            "score": scores,
            "late": (rng.random(n) < scores + shift).astype(np.int8),
        }
    )


def unknown(frame: pl.DataFrame, known: int) -> pl.DataFrame:
    return frame.with_columns(pl.when(pl.int_range(frame.height) < known).then("late").alias("late"))


def test_known_outcomes_are_target_drift_and_performance_of_all_and_of_each_slice() -> None:
    page = evidently_adapter.full_report(
        rows(), unknown(rows(seed=1, shift=0.2), 800), label="late", slices=SLICES
    )
    assert "Target drift and performance: the 800 of the sample's 900 answers whose outcome is known" in page
    for shown in ("Drift in column 'late'", "ROC AUC", "carrier = AA: ", "carrier = UA: "):
        assert shown in page, shown
    assert page.index("carrier = AA: ") < page.index("carrier = UA: ") < page.index("carrier = B6: ")
    of_few = page[page.index("carrier = B6: ") :]
    assert "outcomes of training are known here, and 200 are needed" in of_few[:2000]


def test_without_outcomes_the_page_is_of_the_data_and_says_so() -> None:
    page = evidently_adapter.full_report(rows(), unknown(rows(seed=1), 0), label="late", slices=SLICES)
    assert "0 outcomes of the window are known here, and 200 are needed" in page
    assert "ROC AUC" not in page and "carrier = " not in page
    same = rows(seed=1).with_columns(late=pl.lit(0))
    assert "all outcomes of the window here are the same" in evidently_adapter.full_report(
        rows(), same, label="late"
    )
    assert "outcome" not in evidently_adapter.full_report(rows().drop("late"), same.drop("late"))


def test_more_slices_than_are_shown_are_counted() -> None:
    names = tuple(f"C{i}" for i in range(9))
    many = [rows(2700, seed=i).with_columns(carrier=pl.Series(names * 300)) for i in (1, 2)]
    page = evidently_adapter.full_report(*many, label="late", slices={"carrier": names})
    assert page.count("carrier = C") == evidently_adapter.MAX_SLICES
    assert "3 smaller slices have no section of their own" in page


def test_what_people_sent_is_no_markup_and_nothing_is_fetched() -> None:
    nasty = "</script><script>fetch('https://example.org')</script>"
    sent = rows(seed=1).with_columns(
        carrier=pl.when(pl.col("carrier") == "AA").then(pl.lit(nasty)).otherwise("carrier")
    )
    page = evidently_adapter.full_report(rows(), sent, label="late", slices={"carrier": (nasty,)})
    assert "<script>fetch" not in page and "\\u2039script>fetch" in page
    head = page[: page.index("<style")]
    assert "default-src 'none'" in head and "connect-src" not in head


def test_other_columns_and_too_few_rows_are_refused() -> None:
    with pytest.raises(errors.SchemaMismatch, match="on one side only"):
        evidently_adapter.full_report(rows(), rows().drop("distance"), label="late")
    with pytest.raises(errors.DataInvalid, match="a report needs 200"):
        evidently_adapter.full_report(rows(), rows(199), label="late")
