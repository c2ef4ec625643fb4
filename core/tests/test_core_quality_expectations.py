"""Each expectation on a batch that holds it, on one that does not, and on one of which it cannot be asked."""

from __future__ import annotations

import doctest
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from mainspring.core import errors
from mainspring.core.quality import expectations as expect
from mainspring.core.quality import measures
from mainspring.core.quality.report import QualityReport

ROWS = pl.DataFrame(
    {
        "id": [1, 2, 3, 4],
        "kind": ["a", "b", None, "a"],
        "size": [1.0, 2.5, float("nan"), None],
        "at": [datetime(2026, 1, d, tzinfo=UTC) for d in (1, 2, 3, 4)],
    },
    schema_overrides={"at": pl.Datetime("us", "UTC")},
)
KINDS = pl.DataFrame({"code": ["a", "b", "b"]})


def suite(*claims: expect.Expectation) -> expect.Suite:
    return expect.Suite(dataset="things", expectations=claims)


def check(claim: expect.Expectation, rows: pl.DataFrame | pl.LazyFrame = ROWS) -> tuple[bool, str]:
    report = measures.evaluate(suite(claim), rows, others={"kinds": KINDS})
    (found,) = report.checks
    return found.ok, found.observed


@pytest.mark.parametrize(
    ("holds", "fails", "observed"),
    [
        (expect.Rows(at_least=4, at_most=4), expect.Rows(at_least=5), "4"),
        (expect.Columns(types={"id": "Int64"}), expect.Columns(types={"id": "Int32", "no": "String"}), "id Int64, no absent"),
        (expect.NotNull(columns=("id", "at")), expect.NotNull(columns=("id", "kind")), "0.25 (1 of 4"),
        (expect.NotNull(columns=("size",), at_most=0.5), expect.NotNull(columns=("size",), at_most=0.49), "0.5 (2 of 4"),
        (expect.Range(column="size", low=1, high=2.5), expect.Range(column="size", low=1, high=2.4), "0.25 (1 of 4"),
        (expect.Unique(columns=("id",)), expect.Unique(columns=("kind",)), "0.25 (1 of 4"),
        (expect.Unique(columns=("kind", "id")), expect.Unique(columns=("kind",)), "repeat"),
        (expect.Share(says="x", where="size > 0"), expect.Share(says="x", where="size > 2"), "0.666667 (2 of 3"),  # NaN is above all
        (
            expect.Share(says="x", where="kind = 'a'", at_least=0.6, at_most=0.7),
            expect.Share(says="x", where="kind = 'a'", at_least=0.0, at_most=0.5),
            "0.666667 (2 of 3",
        ),
        (
            expect.References(columns=("kind",), of="kinds", to=("code",)),
            expect.References(columns=("kind",), of="kinds", to=("code",), null_passes=False),
            "0.25 (1 of 4",
        ),
    ],
)  # fmt: skip
def test_a_claim_holds_or_says_how_far_it_is_off(
    holds: expect.Expectation, fails: expect.Expectation, observed: str
) -> None:
    assert check(holds)[0]
    ok, found = check(fails)
    assert not ok and observed in found


def test_a_reference_that_repeats_multiplies_nothing() -> None:
    both = suite(expect.Rows(), expect.References(columns=("kind",), of="kinds", to=("code",)))
    assert measures.evaluate(both, ROWS, others={"kinds": KINDS}).rows == 4


def test_references_of_two_columns_meet_together() -> None:
    others = pl.DataFrame({"id": [1, 2, 4], "kind": ["a", "a", "a"]})
    claim = expect.References(columns=("id", "kind"), of="pairs")
    (found,) = measures.evaluate(suite(claim), ROWS, others={"pairs": others}).checks
    assert not found.ok and "(1 of 4" in found.observed  # (2, b); the row without a kind refers to nothing


@pytest.mark.parametrize(
    "claim",
    [
        expect.NotNull(columns=("gone",)),
        expect.Range(column="at", low=0, high=1),
        expect.Share(says="x", where="gone > 1"),
        expect.Share(says="x", where="this is no condition"),
        expect.References(columns=("id",), of="kinds", to=("code",)),
        expect.References(columns=("kind",), of="kinds", to=("gone",)),
        expect.Distribution(column="gone"),
    ],
)
def test_what_cannot_be_asked_fails_and_the_rest_is_asked(claim: expect.Expectation) -> None:
    report = measures.evaluate(suite(claim, expect.Rows()), ROWS, others={"kinds": KINDS})
    assert [c.ok for c in report.checks] == [False, True]
    assert report.failed[0].observed


def test_a_wrong_schema_stops_before_the_claims_about_rows() -> None:
    report = measures.evaluate(
        suite(expect.Columns(types={"size": "Float32"}), expect.NotNull(columns=("kind",))), ROWS
    )
    assert [c.name for c in report.checks] == ["things: columns and types"] and report.failed
    assert report.rows == 4 and not report.columns


def test_a_warning_does_not_fail_a_batch() -> None:
    report = measures.evaluate(suite(expect.NotNull(columns=("kind",), fatal=False)), ROWS)
    assert not report.failed and [c.name for c in report.warnings] == ["things: kind not null"]


def test_an_empty_batch_has_no_share() -> None:
    claims = (expect.NotNull(columns=("kind",)), expect.Share(says="x", where="size > 0"))
    assert all(c.ok for c in measures.evaluate(suite(*claims), ROWS.clear()).checks)
    assert measures.evaluate(suite(expect.Rows()), ROWS.clear()).failed


def test_statistics_tell_numbers_and_no_texts() -> None:
    by_name = {c.name: c for c in measures.evaluate(suite(expect.Rows()), ROWS.lazy()).columns}
    assert by_name["size"].model_dump() == {
        "name": "size", "dtype": "Float64", "missing": 2, "distinct": by_name["size"].distinct, "low": 1.0, "high": 2.5,
        "mean": 1.75,
    }  # fmt: skip
    assert (by_name["kind"].missing, by_name["kind"].low, by_name["kind"].high) == (1, None, None)
    assert by_name["at"].high == datetime(2026, 1, 4, tzinfo=UTC).timestamp() * 1e6
    assert by_name["id"].distinct == 4


def test_infinite_values_leave_a_report_that_is_json() -> None:
    rows = pl.DataFrame({"x": [float("inf"), float("-inf"), 1.0]})
    report = measures.evaluate(suite(expect.Distribution(column="x")), rows)
    assert (report.columns[0].low, report.columns[0].mean) == (None, None)
    assert QualityReport.model_validate_json(report.to_bytes()) == report


def test_a_report_has_one_form_and_one_name() -> None:
    made = suite(expect.Rows(), expect.Distribution(column="size"), expect.Distribution(column="kind"))
    a, b = measures.evaluate(made, ROWS), measures.evaluate(made, ROWS.lazy())
    assert a == b and a.digest == b.digest
    assert a.to_bytes() == QualityReport.from_json(a.model_dump(mode="json"), where="here").to_bytes()
    assert measures.evaluate(made, ROWS.head(3)).digest != a.digest
    with pytest.raises(errors.CorruptArtifact, match="`here` holds no quality report"):
        QualityReport.from_json({"dataset": "things"}, where="here")


def test_a_suite_is_named_by_what_it_says() -> None:
    one, same = suite(expect.Rows()), expect.Suite.model_validate_json(suite(expect.Rows()).model_dump_json())
    assert one.digest == same.digest != suite(expect.Rows(at_least=2)).digest
    with pytest.raises(ValidationError, match="expected twice"):
        suite(expect.Rows(), expect.Rows(at_least=2))
    with pytest.raises(ValidationError, match="one column for each"):
        expect.References(columns=("a", "b"), of="c", to=("d",))
    with pytest.raises(ValidationError):
        expect.Suite.model_validate({"dataset": "x", "expectations": [{"check": "rows", "at_leest": 1}]})


def test_a_dataset_that_was_not_given_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidRequest, match="needs the rows of `kinds`"):
        measures.evaluate(suite(expect.References(columns=("kind",), of="kinds")), ROWS)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(errors.DataInvalid, match="does not read"):
        measures.evaluate(suite(expect.Rows()), pl.scan_parquet(tmp_path / "x.parquet"))


def test_the_example_runs() -> None:
    assert doctest.testmod(expect) == (0, 2)
