"""Recorded rows: they round-trip, a model must answer them as it did, and what is malformed is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mainspring.core import errors
from mainspring.core.features import schema
from mainspring.core.models import memory, samples

INPUTS = (
    schema.Column(name="delay", dtype="float32"),
    schema.Column(name="ratio", dtype="float64"),
    schema.Column(name="flight", dtype="int64"),
    schema.Column(name="late", dtype="bool"),
    schema.Column(name="carrier", dtype="string"),
)
COLUMNS = {
    "delay": np.array([0.1, np.nan, -3.5], np.float32),
    "ratio": np.array([1 / 3, 2.0, np.nan]),
    "flight": np.array([2**53 + 1, -1, 0], np.int64),
    "late": np.array([True, False, True]),
    "carrier": np.array(["UA", None, "é"], object),
}
SCORES = np.array([0.25, 0.5, 1e-6], np.float32)


def test_they_come_back_bit_for_bit() -> None:
    read = samples.parse(samples.record(COLUMNS, SCORES), "bundle")
    assert read.n_rows == 3
    again = read.arrays(INPUTS)
    for column in INPUTS:
        assert again[column.name].dtype == column.numpy_dtype
        assert again[column.name].tolist() == COLUMNS[column.name].tolist() or np.array_equal(
            again[column.name], COLUMNS[column.name], equal_nan=True
        )
    samples.check(SCORES, read, "bundle")
    assert samples.record(COLUMNS, SCORES) == samples.record(again, SCORES)


def test_other_answers_are_refused_and_rounding_is_not() -> None:
    read = samples.parse(samples.record(COLUMNS, SCORES), "sha256:1")
    samples.check(SCORES * np.float32(1 + 5e-4), read, "sha256:1")
    samples.check(SCORES + np.float32(5e-5), read, "sha256:1")
    with pytest.raises(errors.CorruptArtifact, match=r"row 1 has score 0.6, and had 0.5 when it was made"):
        samples.check(np.float32([0.25, 0.6, 0.0]), read, "sha256:1")
    samples.check(np.float32([9, 9, 9]), samples.parse(samples.record(COLUMNS), "sha256:1"), "sha256:1")


def test_a_tolerance_is_declared_for_a_dtype_or_is_not_there() -> None:
    data = samples.record(COLUMNS, SCORES, tolerances={"bfloat16": 0.01})
    assert samples.parse(data, "bundle").tolerances == {"bfloat16": 0.01}
    without = samples.record(COLUMNS, SCORES)
    assert b"tolerances" not in without  # bundles that declare none keep their digests
    assert samples.parse(without, "bundle").tolerances == {}
    with pytest.raises(errors.InvalidRequest, match="greater than 0"):
        samples.record(COLUMNS, SCORES, tolerances={"float16": 0.0})
    int8: Any = {"int8": 1.0}
    with pytest.raises(errors.InvalidRequest, match="bfloat16"):
        samples.record(COLUMNS, SCORES, tolerances=int8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"columns": {"a": [1], "b": [1, 2]}}, r"\[1, 2\] rows"),
        ({"columns": {"a": []}}, r"\[0\] rows"),
        ({"columns": {}}, "rows"),
        ({"columns": {"a": [1]}, "scores": [1, 2]}, "2 scores for 1 rows"),
        ({"columns": {"a": [[1]]}}, "samples.json"),
        ({"schema_version": 2}, "samples.json"),
    ],
)
def test_malformed_files_are_refused(change: dict[str, object], words: str) -> None:
    document = {"schema_version": 1, "columns": {"a": [1]}, "scores": []} | change
    with pytest.raises(errors.CorruptArtifact, match=words):
        samples.parse(json.dumps(document).encode(), "bundle")
    with pytest.raises(errors.CorruptArtifact):
        samples.parse(b"no json", "bundle")


def test_malformed_rows_are_not_recorded() -> None:
    with pytest.raises(errors.InvalidRequest, match="samples are malformed"):
        samples.record({"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(errors.InvalidRequest, match="samples are malformed"):
        samples.record({"a": np.zeros(2)}, np.zeros(1, np.float32))
    with pytest.raises(errors.InvalidRequest, match="samples are malformed"):
        samples.record({"a": np.zeros(1)}, np.array([np.nan], np.float32))


@pytest.mark.parametrize(
    ("name", "dtype", "values"),
    [
        ("delay", "float32", ["x"]),
        ("flight", "int64", [None]),
        ("flight", "int64", [1.5]),
        ("flight", "int64", [2**63]),
        ("carrier", "string", [1]),
        ("other", "float32", [1.0]),
    ],
)
def test_rows_of_another_type_are_refused(name: str, dtype: str, values: list[object]) -> None:
    data = json.dumps({"schema_version": 1, "columns": {name: values}, "scores": []}).encode()
    column = schema.Column.model_validate({"name": name if name != "other" else "delay", "dtype": dtype})
    with pytest.raises(errors.SchemaMismatch, match="samples.json"):
        samples.parse(data, "bundle").arrays((column,))


def test_memory_is_what_was_given_out() -> None:
    before = memory.allocated_bytes()
    if before == 0:
        pytest.skip("this C library does not tell")
    held = [np.ones(1 << 20, np.float32) for _ in range(8)]
    grown = memory.allocated_bytes() - before
    assert 32 << 20 <= grown < 34 << 20
    del held
    assert memory.allocated_bytes() - before < 2 << 20
