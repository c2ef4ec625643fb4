"""What says that a project derives nothing is found again where serving looks for it."""

from __future__ import annotations

import numpy as np

from mainspring.core.features import derivation


class Project:
    derive = staticmethod(derivation.nothing)


def test_a_projects_derivation_is_the_function_itself() -> None:
    assert Project().derive is derivation.nothing


def test_nothing_is_derived_whatever_the_columns() -> None:
    columns = {"distance": np.array([1.0, np.nan], np.float32)}
    assert derivation.nothing(columns) == derivation.nothing({}) == {}
    assert derivation.nothing(columns) is not derivation.nothing(columns)  # callers may add to it
