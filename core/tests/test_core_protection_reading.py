"""How a table that is to be read protects those it tells of: the least protected column decides, and doubt is classified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mainspring.core.contracts import catalog
from mainspring.core.contracts.data_reads import DataRead, ReadDataset
from mainspring.core.protection import reading, sealing
from mainspring.core.synthetic import marks

COLUMNS = ["mail", "ssn", "age"]


def table(**changed: Any) -> ReadDataset:
    return ReadDataset.model_validate({"name": "lake.people", "columns": COLUMNS, **changed})


def found(*tables: ReadDataset, known: reading.Known | None = None) -> tuple[str, str, tuple[str, ...]]:
    told = reading.found(DataRead(environment="dev", datasets=list(tables)), known or {})
    return told.form, told.classification, told.columns


KNOWN = {"lake.people": {"mail": "confidential", "ssn": "restricted", "age": "internal"}}


@pytest.mark.parametrize(
    ("changed", "known", "expected"),
    [
        ({}, {}, ("open", "", ())),
        ({}, {"lake.people": {"age": "internal"}}, ("open", "", ())),
        ({}, KNOWN, ("clear", "restricted", ("lake.people.mail", "lake.people.ssn"))),
        ({"personal": ["mail"]}, {}, ("clear", "confidential", ("lake.people.mail",))),
        ({"personal": ["mail"], "classification": "public"}, {}, ("clear", "confidential", ("lake.people.mail",))),
        ({"classification": "restricted"}, {}, ("clear", "restricted", tuple(f"lake.people.{c}" for c in sorted(COLUMNS)))),
        ({"sealed": ["mail"]}, KNOWN, ("clear", "restricted", ("lake.people.ssn",))),
        ({"sealed": ["mail", "ssn"]}, KNOWN, ("sealed", "restricted", ("lake.people.mail", "lake.people.ssn"))),
        ({"is_synthetic": True}, KNOWN, ("synthetic", "restricted", ("lake.people.mail", "lake.people.ssn"))),
        ({"name": "rows.parquet"}, KNOWN, ("open", "", ())),
        ({"name": "rows.parquet", "is_uncatalogued": True}, KNOWN, ("clear", "restricted", ("rows.parquet.mail", "rows.parquet.ssn"))),
    ],
)  # fmt: skip
def test_what_is_classified_and_how_it_is_there(
    changed: dict[str, Any], known: reading.Known, expected: Any
) -> None:
    assert found(table(**changed), known=known) == expected


@given(st.lists(st.sampled_from(["synthetic", "sealed", "clear", "open"]), min_size=1, max_size=5))
def test_the_least_protected_table_decides(forms: list[str]) -> None:
    made = [
        table(
            name=f"lake.t{i}",
            personal=[] if form == "open" else ["mail"],
            sealed=["mail"] if form == "sealed" else [],
            is_synthetic=form == "synthetic",
        )
        for i, form in enumerate(forms)
    ]
    order = ("open", "synthetic", "sealed", "clear")
    form, _, columns = found(*made)
    assert form == max(forms, key=order.index)
    assert len(columns) == (0 if form == "open" else forms.count(form))


def test_the_catalog_says_which_columns_tell_of_persons_or_all_do() -> None:
    def entry(*columns: catalog.CatalogColumn) -> dict[str, Any]:
        return reading.of_entry(catalog.CatalogEntry(kind="dataset", name="lake.x", columns=columns))

    personal = catalog.CatalogColumn(name="mail", is_pii=True, classification="internal")
    other = catalog.CatalogColumn(name="bonus", classification="restricted")
    assert entry(personal, other) == {"mail": "confidential"}
    assert entry(other) == {"bonus": "restricted"}


@pytest.mark.parametrize("field", ["personal", "sealed"])
def test_a_column_that_there_is_not_is_refused(field: str) -> None:
    with pytest.raises(ValidationError, match="`name`, which is no column"):
        table(**{field: ["name"]})


def test_columns_are_sealed_only_if_every_value_is() -> None:
    cipher = sealing.Cipher({"0a0a0a0a": bytes(32)}, current="0a0a0a0a")
    field = sealing.Field("lake.people", "mail", "random")
    sealed = cipher.seal(pl.Series("mail", ["a", None, "b"]), field)
    rows = pl.DataFrame({"all": sealed, "most": [*sealed[:2], "plain"], "none": [None] * 3, "n": [1, 2, 3]})
    rows = rows.with_columns(pl.col("none").cast(pl.String))
    assert sealing.sealed_columns(rows.lazy()) == {"all"}
    assert sealing.sealed_columns(rows.select("n").lazy()) == frozenset()
    assert sealing.sealed_columns(pl.LazyFrame()) == frozenset()


def test_a_mark_is_of_every_file_and_does_not_outlive_a_change(tmp_path: Path) -> None:
    rows = pl.DataFrame({"a": [1]})
    marked, plain, other = (tmp_path / name for name in ("marked.parquet", "plain.parquet", "x.csv"))
    table = rows.to_arrow()
    pq.write_table(table.cast(marks.mark(table.schema, "sha256:1")), marked)
    rows.write_parquet(plain)
    other.write_text("a\n1\n")
    assert marks.is_synthetic([marked]) and marks.is_synthetic([marked, marked])
    assert not marks.is_synthetic([]) and not marks.is_synthetic([marked, plain])
    assert not marks.is_synthetic([other])
    pl.read_parquet(marked).vstack(rows).write_parquet(marked)
    assert not marks.is_synthetic([marked])
