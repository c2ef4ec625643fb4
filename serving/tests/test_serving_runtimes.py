"""The function runtime and the contract of scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mainspring.core import errors, ports
from mainspring.serving.runtimes import function_runtime

BATCH = ports.ModelInput(np.arange(6, dtype=np.float32).reshape(3, 2), np.zeros((3, 1), np.int32))


def test_a_function_scores_a_batch() -> None:
    runtime = function_runtime.FunctionRuntime(lambda b: b.dense.mean(axis=1), name="mean")
    assert runtime.name == "mean"
    answer = runtime.predict(BATCH)
    assert (answer.dtype, answer.tolist()) == (np.dtype(np.float32), [0.5, 2.5, 4.5])


def test_float64_is_narrowed() -> None:
    answer = function_runtime.FunctionRuntime(lambda b: np.full(b.n_rows, 0.1)).predict(BATCH)
    assert (answer.dtype, answer[0]) == (np.dtype(np.float32), np.float32(0.1))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.zeros((3, 1), np.float32), r"float32 \(3, 1\), expected float32 \(3,\)"),
        (np.zeros(2, np.float32), r"float32 \(2,\)"),
        (np.zeros(3, np.int64), r"int64 \(3,\)"),
        ([0.1, 0.2, 0.3], "`list`"),
        (np.array([0.1, np.nan, np.inf]), "2 of 3 scores that are not finite"),
    ],
)
def test_any_other_answer_is_refused(answer: Any, words: str) -> None:
    with pytest.raises(errors.InvariantViolated, match=words) as caught:
        function_runtime.FunctionRuntime(lambda b: answer).predict(BATCH)
    assert caught.value.where == "runtime.function"
