"""A routed model: who answers, who is out, whose fault it is; and batches that are cut by rows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.models import native_runtime
from mainspring.native import mlp
from mainspring.serving.runtimes import by_rows, function_runtime, policy, routed
from mainspring.serving.runtimes.policy import Candidate, Curve, Device

CPU = Device("cpu", units=2)
PLAIN = Candidate("function", CPU)
FAST = Candidate("function", Device("cuda:0", is_shared=False))
OTHER = Candidate("function", CPU, threads=2)

Function = Callable[[ports.ModelInput], NDArray[np.float32]]


def rows(n: int, width: int = 2) -> ports.ModelInput:
    return ports.ModelInput(
        np.arange(n * width, dtype=np.float32).reshape(n, width), np.zeros((n, 0), np.int32)
    )


def total(batch: ports.ModelInput) -> NDArray[np.float32]:
    return batch.dense.sum(axis=1)


def raises(error: Exception) -> Function:
    def function(batch: ports.ModelInput) -> NDArray[np.float32]:
        raise error

    return function


def model(
    work: routed.Work | None = None, *, plain_seconds: float = 1.0, **functions: Function
) -> routed.RoutedRuntime:
    """`fast` (0.1 s) is chosen first, then `other` (0.2 s), then `plain`, which is the reference."""
    known = {"fast": (FAST, 0.1), "other": (OTHER, 0.2), "plain": (PLAIN, plain_seconds)}
    runtimes = {known[n][0]: function_runtime.FunctionRuntime(f, name=n) for n, f in functions.items()}
    curves = {known[n][0]: Curve({1: known[n][1]}) for n in functions}
    findings = [routed.Finding(c, "used", {1: curves[c](1)}) for c in runtimes]
    return routed.RoutedRuntime(runtimes, policy.Policy(curves, PLAIN), work or routed.Work(), findings)


def told(of: routed.RoutedRuntime) -> dict[str, tuple[str, int]]:
    return {f.candidate.name: (f.state, f.batches) for f in of.findings}


def test_the_choice_answers_and_is_counted() -> None:
    made = model(fast=total, plain=raises(AssertionError("not asked")))
    assert made.predict(rows(3)).tolist() == [1, 5, 9]
    assert told(made) == {"function cuda:0 x1": ("used", 1), "function cpu x1": ("used", 0)}
    assert (made.name, made.reference.name, routed.reference(made).name) == ("plain",) * 3


def test_alone_it_is_the_model_itself() -> None:
    made = model(plain=total)
    assert made.predict(rows(0)).shape == (0,)
    assert told(made) == {"function cpu x1": ("used", 1)}
    failing = model(plain=raises(errors.InvariantViolated("bad", where="x")))
    with pytest.raises(errors.InvariantViolated, match="bad"):
        failing.predict(rows(1))


def test_a_device_that_fails_is_out_and_the_caller_has_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    made = model(
        fast=raises(RuntimeError("CUDA error")), other=total, plain=raises(AssertionError("not asked"))
    )
    with caplog.at_level(logging.ERROR, "mainspring.serving"):
        assert made.predict(rows(2)).tolist() == [1, 5]
    assert "`function cuda:0 x1` failed where another one answered: CUDA error" in caplog.text
    assert told(made) == {
        "function cuda:0 x1": ("failed", 0),
        "function cpu x2": ("used", 1),
        "function cpu x1": ("used", 0),
    }
    (failed,) = [f for f in made.findings if f.state == "failed"]
    assert "CUDA error" in failed.why
    caplog.clear()
    made.predict(rows(2))
    assert not caplog.records  # it was not asked again


def test_a_batch_that_the_reference_cannot_answer_puts_nobody_out() -> None:
    wrong = errors.InvariantViolated("an id has no embedding", where="x")
    made = model(fast=raises(wrong), other=raises(wrong), plain=raises(wrong))
    for _ in range(2):
        with pytest.raises(errors.InvariantViolated, match="no embedding"):
            made.predict(rows(1))
    assert {state for state, _ in told(made).values()} == {"used"}


@pytest.mark.parametrize("plain_seconds", [0.05, 1.0])
def test_a_batch_that_the_reference_refuses_is_not_answered_by_others(plain_seconds: float) -> None:
    """First or last asked: what is only near to it must not cover that its score is not finite."""
    refuses = raises(errors.InvariantViolated("not finite", where="x"))
    other = total if plain_seconds < 0.1 else raises(RuntimeError("y"))
    made = model(plain=refuses, other=other, plain_seconds=plain_seconds)
    with pytest.raises(errors.InvariantViolated, match="not finite"):
        made.predict(rows(1))
    assert {state for state, _ in told(made).values()} == {"used"}


def test_what_the_reference_runs_on_may_be_away() -> None:
    away = raises(errors.DependencyDown("gone", name="cpu"))
    made = model(plain=away, other=total, plain_seconds=0.05)
    assert made.predict(rows(1)).tolist() == [1]
    assert told(made) == {"function cpu x2": ("used", 1), "function cpu x1": ("failed", 0)}
    nobody = model(plain=away, other=raises(RuntimeError("y")), plain_seconds=0.05)
    with pytest.raises(errors.DependencyDown, match="gone"):
        nobody.predict(rows(1))  # nobody answered: the first one's word, and nobody is judged
    assert {state for state, _ in told(nobody).values()} == {"used"}


def test_a_wrong_request_is_refused_once() -> None:
    asked: list[int] = []

    def refuses(batch: ports.ModelInput) -> NDArray[np.float32]:
        asked.append(batch.n_rows)
        raise errors.SchemaMismatch("wrong width", feature="f", expected="2", got="3")

    with pytest.raises(errors.SchemaMismatch):
        model(fast=refuses, plain=refuses).predict(rows(1))
    assert asked == [1]


def test_what_is_at_work_is_in_the_next_choice() -> None:
    work, entered, may_go = routed.Work(), threading.Event(), threading.Event()

    def slow(batch: ports.ModelInput) -> NDArray[np.float32]:
        entered.set()
        assert may_go.wait(10)
        return total(batch)

    made = model(work, fast=slow, plain=total)
    # The device has ten such batches before this one: 0.1 s becomes more than the CPU's 1 s.
    running = threading.Thread(target=made.predict, args=(rows(1),))
    running.start()
    assert entered.wait(10)
    assert work.loads == {"cuda:0": policy.Load(1, pytest.approx(0.1))}
    for _ in range(12):
        work.begin(FAST, 0.1)
    made.predict(rows(1))
    assert told(made)["function cpu x1"] == ("used", 1)
    for _ in range(12):
        work.end(FAST, 0.1)
    may_go.set()
    running.join(10)
    assert work.loads["cuda:0"] == work.loads["cpu"] == policy.IDLE
    assert made.predict(rows(1)).tolist() == [1]
    assert told(made)["function cuda:0 x1"] == ("used", 2)


def test_work_that_fails_ends() -> None:
    work = routed.Work()
    made = model(work, fast=raises(RuntimeError("x")), plain=total)
    made.predict(rows(1))
    assert set(work.loads.values()) == {policy.IDLE}


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 1000])
@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_rows_that_are_cut_have_the_same_bits(n: int, parts: int) -> None:
    rng = np.random.default_rng(7)
    layers = [
        mlp.Layer(rng.normal(size=(64, 9)).astype(np.float32), None, "relu"),
        mlp.Layer(rng.normal(size=(1, 64)).astype(np.float32), None, "sigmoid"),
    ]
    tables = [mlp.Table(rng.normal(size=(5, 4)).astype(np.float32), 0)]
    network = native_runtime.NativeRuntime(mlp.make(5, layers, tables=tables, n_ids=1))
    batch = ports.ModelInput(
        rng.normal(size=(n, 5)).astype(np.float32), rng.integers(0, 5, (n, 1), dtype=np.int32)
    )
    cut = by_rows.ByRowsRuntime(network, parts)
    assert cut.name == "native"
    assert np.array_equal(cut.predict(batch), network.predict(batch))
    with pytest.raises(errors.SchemaMismatch):
        cut.predict(ports.ModelInput(batch.dense, np.zeros((n + 1, 1), np.int32)))


def test_the_error_of_a_part_is_the_batchs() -> None:
    def function(batch: ports.ModelInput) -> NDArray[np.float32]:
        if (batch.dense[:, 0] > 6).any():
            raise errors.InvariantViolated("too large", where="x")
        return total(batch)

    cut = by_rows.ByRowsRuntime(function_runtime.FunctionRuntime(function), 3)
    assert cut.predict(rows(4)).tolist() == [1, 5, 9, 13]
    with pytest.raises(errors.InvariantViolated, match="too large"):
        cut.predict(rows(6))


def test_parts_end_however_many_ask_at_once() -> None:
    cut = by_rows.ByRowsRuntime(function_runtime.FunctionRuntime(total), 4)
    answers: list[NDArray[np.float32]] = []

    def ask() -> None:
        for _ in range(50):
            answers.append(cut.predict(rows(9)))

    callers = [threading.Thread(target=ask) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert len(answers) == 400
    assert all(np.array_equal(answer, total(rows(9))) for answer in answers)
