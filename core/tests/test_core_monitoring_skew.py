"""The skew check: each way to differ is counted as what it is, and nothing that differs counts as equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mainspring.core import errors
from mainspring.core.monitoring import skew

NAN = float("nan")


def one(served: Any, offline: Any) -> skew.FeatureSkew:
    (found,) = skew.compare({"f": np.asarray(served)}, {"f": np.asarray(offline)}).features
    return found


def counts(f: skew.FeatureSkew) -> tuple[int, int, int, int]:
    return f.equal, f.mismatched, f.missing, f.extra


def test_each_way_to_differ_is_counted_as_what_it_is() -> None:
    served = np.float32([1, 2, NAN, NAN, 5, 0.0])
    offline = np.float32([1, 3, NAN, 4, NAN, -0.0])
    found = one(served, offline)
    assert counts(found) == (2, 2, 1, 1)
    assert found.examples == (1, 3, 4) and found.is_skewed


def test_texts_numbers_and_flags() -> None:
    text = np.array(["a", None, "b", "c", NAN], object)
    assert counts(one(text, np.array(["a", None, "x", None, "d"], object))) == (2, 1, 1, 1)
    assert counts(one([1, 2**62], [1, 2**62 + 1])) == (1, 1, 0, 0)
    assert counts(one([True, False], [True, True])) == (1, 1, 0, 0)


def test_columns_that_cannot_be_compared_are_errors_and_skewed() -> None:
    report = skew.compare(
        {"a": np.float32([1]), "new": np.float32([1])}, {"a": np.float64([1]), "gone": np.float32([1])}
    )
    assert {f.name: f.error for f in report.features} == {
        "a": "is float32 as served and float64 offline", "gone": "was not served", "new": "is not known offline"
    }  # fmt: skip
    assert report.skewed == report.features and report.compared_values == report.skewed_values == 0


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(np.uint32, 20), st.sets(st.integers(0, 19)), st.integers(1, 2**32 - 1))
def test_only_what_was_changed_differs(bits: Any, changed: set[int], mask: int) -> None:
    """Any bits at all: NaN of every payload is one missing value, everything else is compared as it is."""
    offline = bits.view(np.float32)
    served = bits.copy()
    served[sorted(changed)] ^= np.uint32(mask)
    found = one(served.view(np.float32), offline)
    a, b = np.isnan(served.view(np.float32)), np.isnan(offline)
    want = sum(1 for i in changed if not (a[i] and b[i]))
    assert sum(counts(found)) == 20 and 20 - found.equal == want


def test_a_comparison_of_nothing_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="offline"):
        skew.compare({"a": np.zeros(1)}, {})
    with pytest.raises(errors.SchemaMismatch, match="one value a row"):
        skew.compare({"a": np.zeros(2)}, {"a": np.zeros(1)})
    assert skew.compare({"a": np.zeros(0)}, {"a": np.zeros(0)}).compared_values == 0
