"""The choice among candidates: by rows, by what is at work, without flapping, and without those that failed or answer otherwise."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mainspring.core import errors
from mainspring.core.models import samples
from mainspring.serving.runtimes import policy
from mainspring.serving.runtimes.policy import Candidate, Curve, Device, Load, Policy

CPU = Device("cpu", units=4)
GPU = Device("cuda:0", is_shared=False)
ONE = Candidate("torch", CPU)
FOUR = Candidate("torch", CPU, threads=4)
ON_GPU = Candidate("torch", GPU)

#: 10 us a row on a core; four cores start with 200 us and are 3.5 times as fast; the GPU starts with 1 ms, then 0.1 us a row.
SIZES = tuple(1 << i for i in range(0, 15, 2))
CURVES = {
    ONE: Curve({n: 1e-5 * n for n in SIZES}),
    FOUR: Curve({n: 2e-4 + 1e-5 * n / 3.5 for n in SIZES}),
    ON_GPU: Curve({n: 1e-3 + 1e-7 * n for n in SIZES}),
}


def chosen(of: Policy, rows: int, **loads: Load) -> Candidate:
    return of.ranked(rows, {name.replace("_", ":"): load for name, load in loads.items()})[0]


def test_a_curve_is_what_was_measured_and_a_line_between() -> None:
    curve = Curve({4: 4.0, 1: 2.0, 16: 16.0})
    assert [curve(n) for n in (0, 1, 2, 4, 10, 16)] == [2, 2, pytest.approx(2 + 2 / 3), 4, 10, 16]
    assert curve(160) == 160  # beyond: each row as at the last one


@pytest.mark.parametrize("seconds", [{}, {3: 1.0}, {0: 1.0}, {1: 0.0}, {1: -1.0}])
def test_what_is_no_measurement_is_refused(seconds: dict[int, float]) -> None:
    with pytest.raises(errors.InvariantViolated, match="measure them anew"):
        Curve(seconds)


def test_the_fastest_for_the_rows_is_chosen() -> None:
    fresh = Policy(CURVES, ONE)
    found = {rows: chosen(fresh, rows) for rows in (1, 16, 64, 256, 4096)}
    # One core takes 0.64 ms for 64 rows, four take 0.38; for 256 it is 2.56 and 0.93, and the GPU takes 1.03.
    assert found == {1: ONE, 16: ONE, 64: FOUR, 256: FOUR, 4096: ON_GPU}
    # The nearest crossover of exactly these lines: 1e-3 + 1e-7 n = 2e-4 + 1e-5 n / 3.5.
    crossover = 8e-4 / (1e-5 / 3.5 - 1e-7)
    exact = Policy(CURVES, ONE, margin=0.0)
    assert chosen(exact, int(crossover) - 2) == FOUR
    assert chosen(exact, int(crossover) + 2) == ON_GPU


def test_work_shifts_the_choice_to_where_it_ends_first() -> None:
    fresh = Policy(CURVES, ONE, margin=0.0)
    assert chosen(fresh, 64) == FOUR
    # All cores at work: four threads would get a half of them (0.77 ms), one gets four fifths (0.8 ms).
    assert policy.completion(FOUR, 3.8e-4, Load(units=4)) == pytest.approx(7.6e-4)
    assert policy.completion(ONE, 6.4e-4, Load(units=4)) == pytest.approx(8e-4)
    assert chosen(fresh, 64, cpu=Load(units=12)) == ON_GPU  # 1.53 ms and 2.08 ms; the GPU takes 1.006
    assert chosen(fresh, 32) == FOUR  # 0.29 ms, one core takes 0.32
    assert chosen(fresh, 32, cpu=Load(units=4)) == ONE  # 0.58 ms and 0.4
    assert chosen(fresh, 4096) == ON_GPU
    # The GPU works for 20 ms yet: 21.4 ms there, 11.9 ms on four cores.
    assert chosen(fresh, 4096, cuda_0=Load(1, 20e-3)) == FOUR
    assert chosen(fresh, 4096, cuda_0=Load(1, 5e-3)) == ON_GPU


def test_two_that_are_alike_do_not_take_turns() -> None:
    curves = {ONE: Curve({1: 1.00}), FOUR: Curve({1: 0.95})}
    assert chosen(Policy(curves, ONE), 1) == ONE  # 5 % are no reason to leave what the settings say
    assert chosen(Policy(curves, ONE, margin=0.0), 1) == FOUR
    steady = Policy({ONE: Curve({1: 1.0}), ON_GPU: Curve({1: 0.8})}, ONE)
    choices = [chosen(steady, 1, cuda_0=Load(1, waiting)) for waiting in (0.0, 0.25, 0.3, 0.25, 0.0)]
    assert choices == [ON_GPU] * 5  # 1.1 s is not 15 % worse than 1.0
    assert chosen(steady, 1, cuda_0=Load(1, 0.5)) == ONE
    assert [chosen(steady, 1, cuda_0=Load(1, waiting)) for waiting in (0.15, 0.1)] == [ONE] * 2
    assert chosen(steady, 1) == ON_GPU


def test_a_size_remembers_its_own_choice() -> None:
    fresh = Policy(CURVES, ONE)
    assert [chosen(fresh, rows) for rows in (4096, 1, 4096, 2)] == [ON_GPU, ONE, ON_GPU, ONE]


def test_one_that_failed_is_out_and_the_others_go_on() -> None:
    fresh = Policy(CURVES, ONE)
    assert fresh.ranked(4096, {}) == [ON_GPU, FOUR, ONE]
    failure = fresh.fail(ON_GPU, RuntimeError("device-side assert"))
    assert isinstance(failure, errors.DependencyDown)
    assert (failure.name, failure.retryable) == ("cuda:0", True)
    assert "`torch cuda:0 x1` failed" in failure.message and "device-side assert" in failure.message
    assert fresh.ranked(4096, {}) == [FOUR, ONE]
    assert fresh.out == {ON_GPU: failure.message}
    fresh.fail(ONE, RuntimeError("x"))
    fresh.fail(FOUR, RuntimeError("y"))
    with pytest.raises(
        errors.DependencyDown, match="nothing is left that runs this model.*load the bundle again"
    ):
        fresh.ranked(1, {})


def test_the_reference_must_have_been_measured() -> None:
    with pytest.raises(errors.InvariantViolated, match="`torch cpu x4` was not measured"):
        Policy({ONE: Curve({1: 1.0})}, FOUR)


def test_only_those_stay_that_are_chosen_somewhere() -> None:
    assert policy.winners(CURVES, ONE, SIZES) == {ONE, FOUR, ON_GPU}
    assert policy.winners(CURVES, ONE, (1, 4, 16)) == {ONE}
    # What is best on idle cores is not on full ones: one thread stays beside the four of the settings.
    assert policy.winners({ONE: CURVES[ONE], FOUR: CURVES[FOUR]}, FOUR, (64,)) == {FOUR}
    slower = {ONE: Curve({1: 1.0}), FOUR: Curve({1: 0.75})}
    assert policy.winners(slower, FOUR, (1,)) == {FOUR, ONE}


WANTED = np.float32([0.5, 0.25])
REDUCED = Candidate("torch", CPU, dtype="bfloat16")


@pytest.mark.parametrize(
    ("candidate", "scores", "tolerances", "words"),
    [
        (FOUR, WANTED * np.float32(1 + samples.RTOL / 2), {}, ""),
        (FOUR, WANTED + np.float32(0.01), {}, "differ from the recorded ones by up to 0.01"),
        (FOUR, WANTED + np.float32(0.01), {"float32": 1.0}, "differ"),  # nobody may loosen that
        (FOUR, np.float32([0.5, np.nan]), {}, "not finite"),
        (FOUR, WANTED[:1], {}, r"no float32 \(2,\)"),
        (FOUR, WANTED.astype(np.float64), {}, "no float32"),
        (FOUR, [0.5, 0.25], {}, "no float32"),
        (REDUCED, WANTED, {}, "declares no tolerance for bfloat16"),
        (REDUCED, WANTED, {"float16": 1.0}, "declares no tolerance for bfloat16"),
        (REDUCED, WANTED + np.float32(0.004), {"bfloat16": 0.005}, ""),
        (REDUCED, WANTED + np.float32(0.006), {"bfloat16": 0.005}, "by up to 0.006"),
        (REDUCED, np.float32([0.5, np.inf]), {"bfloat16": 0.005}, "not finite"),
    ],
)
def test_who_answers_otherwise_is_refused(
    candidate: Candidate, scores: object, tolerances: dict[str, float], words: str
) -> None:
    found = policy.refusal(candidate, scores, WANTED, tolerances)
    assert bool(found) == bool(words)
    assert re.search(words, found)
