"""Formulas without Python: what each step gives, what is left to Python, and what is refused.

Against NumPy they are held where they are declared, in core/tests/test_core_formulas.py.
"""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest

from mainspring.native import formulas, status
from mainspring.native.formulas import OPS, Clock, Formulas, Step

CLOCK = Clock((0, 5), (60, 30), 10)
HOUR_US = 3_600_000_000


def computed(step: Step, a: Any, b: Any = 0) -> Any:
    """Of a and b, whole ones where both are int; None: it is Python's."""
    kind = "whole" if isinstance(a, int) else "real"
    steps = [Step(f"{kind}_column", 0), Step(f"{kind}_column", 1), step]
    gives_whole = step.op in (
        "add_whole",
        "subtract_whole",
        "floor_divide",
        "modulo",
        "local_minutes",
        "year",
    )
    made = Formulas([("a", kind), ("b", kind)], steps, [("y", "int64" if gives_whole else "float32", 2)])
    got = made.run([np.array([a]), np.array([b])])
    return None if got is None else got[0][0].item()


@pytest.mark.parametrize(
    ("step", "a", "b", "expected"),
    [
        (Step("add_whole", 0, 1), 2**63 - 1, 1, -(2**63)),
        (Step("subtract_whole", 0, 1), -(2**63), 1, 2**63 - 1),
        (Step("floor_divide", 0, whole=7), -1, 0, -1),
        (Step("floor_divide", 0, whole=2**63 - 1), -(2**63), 0, -2),
        (Step("modulo", 0, whole=7), -1, 0, 6),
        (Step("widen", 0), 2**62, 0, 2.0**62),
        (Step("add", 0, 1), 0.5, 2.0, 2.5),
        (Step("subtract", 0, 1), 0.5, 2.0, -1.5),
        (Step("multiply", 0, 1), 0.5, 3.0, 1.5),
        (Step("divide", 0, 1), 1.0, 0.0, math.inf),
        (Step("ratio", 0, 1), 3.0, 2.0, 1.5),
        (Step("ratio", 0, 1), 3.0, -2.0, math.nan),
        (Step("is_below", 0, 1), 1.0, 2.0, 1.0),
        (Step("is_below", 0, 1), 2.0, 2.0, 0.0),
        (Step("is_below", 0, 1), math.nan, 2.0, math.nan),
        (Step("local_minutes", 0, clock=CLOCK), 5 * HOUR_US - 1, 0, 359),
        (Step("local_minutes", 0, clock=CLOCK), 5 * HOUR_US, 0, 330),
        (Step("local_minutes", 0, clock=CLOCK), 10 * HOUR_US, 0, None),
        (Step("local_minutes", 0, clock=CLOCK), -1, 0, None),
        (Step("year", 0), 951_782_400_000_000, 0, 2000),
        (Step("year", 0), 978_307_199_999_999, 0, 2000),
        (Step("year", 0), 978_307_200_000_000, 0, 2001),
        (Step("year", 0), 253_402_300_799_999_999, 0, 9999),
        (Step("year", 0), 253_402_300_800_000_000, 0, None),
        (Step("year", 0), -1, 0, None),
        (Step("entry", 0, table=(1.0, 2.0, 3.0)), -1, 0, 3.0),
        (Step("real_entry", 0, table=(1.0, 2.0, 3.0)), 4.9, 0.0, 2.0),
        (Step("real_entry", 0, table=(1.0, 2.0, 3.0)), -1e-300, 0.0, 1.0),
        (Step("real_entry", 0, table=(1.0, 2.0, 3.0)), math.inf, 0.0, math.nan),
    ],
)  # fmt: skip
def test_each_step_gives_what_it_says(step: Step, a: Any, b: Any, expected: float | None) -> None:
    got = computed(step, a, b)
    assert got == expected or (isinstance(expected, float) and math.isnan(expected) and math.isnan(got))


def test_every_step_is_known_by_name_alone() -> None:
    assert len(set(OPS)) == 19


def test_no_rows_are_no_error() -> None:
    made = Formulas([("a", "whole")], [Step("whole_column", 0)], [("y", "int64", 0), ("z", "float32", 0)])
    got = made.run([np.zeros(0, np.int64)])
    assert got is not None and [one.shape for one in got] == [(0,), (0,)]


def test_columns_of_other_types_and_lengths_are_refused() -> None:
    made = Formulas([("a", "whole"), ("b", "real")], [Step("whole_column", 0)], [("y", "int64", 0)])
    for wrong in ([np.zeros(2), np.zeros(2)], [np.zeros(2, np.int64)], [np.zeros(2, np.int64), np.zeros(3)]):
        with pytest.raises(status.NativeError):
            made.run(wrong)


@pytest.mark.parametrize(
    ("steps", "outputs", "words"),
    [
        ([Step("widen", 0)], [], "an earlier step"),
        ([Step("whole_number"), Step("add", 0, 0)], [], "of the kind"),
        ([Step("whole_column", 1)], [], "an input of its kind"),
        ([Step("real_column", 0)], [], "an input of its kind"),
        ([Step("whole_number"), Step("modulo", 0, whole=0)], [], "a divisor above 0"),
        ([Step("whole_number"), Step("entry", 0)], [], "a table with an entry"),
        ([Step("whole_number"), Step("local_minutes", 0)], [], "a clock whose hours grow"),
        ([Step("real_number")], [("y", "int64", 0)], "an output of a step"),
        ([Step("real_number")], [("y", "float32", 1)], "an output of a step"),
        ([Step("sine")], [], "step `sine` is not known"),
    ],
)
def test_native_steps_that_do_not_belong_together_are_refused(
    steps: list[Step], outputs: list[tuple[str, str, int]], words: str
) -> None:
    with pytest.raises(status.NativeError, match=words) as refused:
        Formulas([("a", "whole")], steps, outputs)
    assert refused.value.code == "bad_spec"


def test_the_example_in_the_docstring() -> None:
    found = doctest.testmod(formulas)
    assert found.attempted > 2 and found.failed == 0
