"""Every way to be refused: the code, and a message that says what to do."""

from __future__ import annotations

import pickle
from typing import Any, get_args

import numpy as np
import pytest

from mainspring.native import dense, status, targets

INF, NAN = float("inf"), float("nan")


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "source": [0, 1], "indicator": [False, False], "fill": [0.0, 0.0], "lower": [-INF, -INF], "upper": [INF, INF],
        "log1p": [False, False], "mean": [0.0, 0.0], "scale": [1.0, 1.0],
    } | changes  # fmt: skip


def refused(code: str, *words: str, **changes: Any) -> None:
    with pytest.raises(status.NativeError) as caught:
        dense.DenseTransform(**spec(**changes))
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fill": [0.0, NAN]}, ["output column 1", "`fill`", "nan"]),
        ({"fill": [INF, 0.0]}, ["output column 0", "`fill`", "inf"]),
        ({"fill": [1e39, 0.0]}, ["`fill` must be a finite float32", "1e+39"]),
        ({"lower": [NAN, 0.0]}, ["`lower`", "use -inf for no bound"]),
        ({"lower": [INF, 0.0]}, ["`lower`"]),
        ({"upper": [NAN, 0.0]}, ["`upper`", "use inf for no bound"]),
        ({"upper": [-INF, 0.0]}, ["`upper`"]),
        ({"lower": [2.0, 0.0], "upper": [1.0, 1.0]}, ["`lower` must not exceed `upper`", "2.0"]),
        ({"mean": [0.0, NAN]}, ["output column 1", "`mean`"]),
        ({"mean": [0.0, -INF]}, ["`mean`"]),
        ({"scale": [0.0, 1.0]}, ["output column 0", "`scale`", "0.0", "use 1.0 for a constant column"]),
        ({"scale": [-1.0, 1.0]}, ["`scale`", "-1.0"]),
        ({"scale": [NAN, 1.0]}, ["`scale`"]),
        ({"scale": [INF, 1.0]}, ["`scale`"]),
        ({"scale": [1e-39, 1.0]}, ["`scale`", "2^-126 .. 2^126"]),
        ({"source": [0, -1]}, ["`source[1]`", "-1"]),
        ({"source": [0, 1 << 40]}, ["`source[1]`"]),
        ({"source": [0, 70000]}, ["`source` must be 0 to 65535", "70000"]),
        ({"source": [0, 1.0]}, ["`source[1]` must be the index of an input column", "1.0"]),
        ({"fill": [0.0, "x"]}, ["`fill[1]` must be a number", "'x'"]),
        ({"log1p": [False, "no"]}, ["`log1p[1]` must be a bool", "'no'"]),
        ({"indicator": [1, False]}, ["`indicator[0]` must be a bool", "1"]),
        ({"mean": None}, ["`mean` must be a sequence", "NoneType"]),
        ({"scale": [1.0]}, ["`scale`", "one entry per output column", "(2), got 1"]),
        ({k: [] for k in spec()}, ["1 to 65536 output columns", "0.0"]),
    ],
)
def test_bad_spec(changes: dict[str, Any], words: list[str]) -> None:
    refused("bad_spec", *words, **changes)


@pytest.mark.parametrize("name", list(spec()))
def test_every_list_must_have_the_same_length(name: str) -> None:
    refused("bad_spec", "one entry per output column", **{name: spec()[name] * 2})


def test_unknown_target() -> None:
    refused("unknown_target", "targets.available()", target="sse9")
    refused("unknown_target", "must be a str or None, got `int`", target=7)
    refused("unknown_target", target="")
    for name in {"generic", "avx2", "avx512"} - set(targets.available()):
        refused("unknown_target", "this CPU lacks", target=name)


def test_numpy_lists_are_taken() -> None:
    arrays = {name: np.asarray(values) for name, values in spec().items()}
    assert dense.DenseTransform(**arrays).width == 2


class Sub(np.ndarray):  # type: ignore[type-arg]
    """A subclass is still an array of float32."""


X = np.arange(4, dtype=np.float32)
BYTES = np.zeros(17, np.uint8)


@pytest.mark.parametrize(
    ("columns", "code", "words"),
    [
        ([X], "bad_shape", ["`columns` must hold 2 arrays, got 1"]),
        ([X, X, X], "bad_shape", ["got 3"]),
        ([], "bad_shape", ["got 0"]),
        ([X, X[:3]], "bad_shape", ["`columns[1]` must have shape (4,), got (3,)"]),
        ([X, X.reshape(2, 2)], "bad_shape", ["`columns[1]`", "(2, 2)"]),
        ([np.float32(1) + np.zeros((), np.float32).reshape(()), X], "bad_dtype", ["`columns[0]`"]),
        ([np.zeros((), np.float32), X], "bad_shape", ["`columns[0]`", "()"]),
        ([X.reshape(1, 4), X.reshape(1, 4)], "bad_shape", ["`columns[0]`", "(1, 4)"]),
        ([X, X.astype(np.float64)], "bad_dtype", ["`columns[1]` must have dtype float32, got `float64`"]),
        ([X, X.astype(np.int32)], "bad_dtype", ["int32"]),
        ([X, X.astype(">f4")], "bad_dtype", [">f4"]),
        ([X, [0.0, 1.0, 2.0, 3.0]], "bad_dtype", ["`columns[1]`", "`list`", "numpy.asarray"]),
        ([X, None], "bad_dtype", ["NoneType"]),
        (None, "bad_dtype", ["`columns` must be a sequence, got `NoneType`"]),
        (X, "bad_shape", ["must hold 2 arrays, got 4"]),
        (
            [X, np.arange(8, dtype=np.float32)[::2]],
            "not_contiguous",
            ["`columns[1]`", "numpy.ascontiguousarray"],
        ),
        ([X, X[::-1]], "not_contiguous", ["`columns[1]`"]),
        ([X, BYTES[1:].view(np.float32)], "not_contiguous", ["misaligned"]),
    ],
)
def test_bad_columns(columns: Any, code: str, words: list[str]) -> None:
    transform = dense.DenseTransform(**spec())
    out = np.full((4, 2), 5.0, np.float32)
    with pytest.raises(status.NativeError) as caught:
        transform.run(columns, out)
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)
    assert (out == 5.0).all()


def read_only() -> np.ndarray[Any, Any]:
    out = np.empty((4, 2), np.float32)
    out.setflags(write=False)
    return out


@pytest.mark.parametrize(
    ("out", "code", "words"),
    [
        (np.empty((4, 3), np.float32), "bad_shape", ["`out` must have shape (4, 2), got (4, 3)"]),
        (np.empty((3, 2), np.float32), "bad_shape", ["(3, 2)"]),
        (np.empty(8, np.float32), "bad_shape", ["(8,)"]),
        (np.empty((4, 2)), "bad_dtype", ["float64"]),
        ([[0.0, 0.0]] * 4, "bad_dtype", ["`list`"]),
        (np.empty((2, 4), np.float32).T, "not_contiguous", ["`out`"]),
        (np.empty((4, 4), np.float32)[:, :2], "not_contiguous", ["`out`"]),
        (read_only(), "not_writable", ["read-only"]),
    ],
)
def test_bad_out(out: Any, code: str, words: list[str]) -> None:
    with pytest.raises(status.NativeError) as caught:
        dense.DenseTransform(**spec()).run([X, X], out)
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)


def test_out_must_not_overlap_an_input() -> None:
    memory = np.zeros(12, np.float32)
    out, inside, after = memory[:8].reshape(4, 2), memory[6:10], memory[8:]
    transform = dense.DenseTransform(**spec())
    with pytest.raises(status.NativeError) as caught:
        transform.run([X, inside], out)
    assert caught.value.code == "overlap"
    assert "`columns[1]`" in str(caught.value)
    transform.run([after, after], out)  # side by side is no overlap


def test_subclasses_tuples_and_matrices_are_taken() -> None:
    transform = dense.DenseTransform(**spec())
    want = transform.run([X, X])
    assert transform.run((X, X)).tobytes() == want.tobytes()
    assert transform.run([X.view(Sub), X]).tobytes() == want.tobytes()
    assert transform.run(np.stack([X, X])).tobytes() == want.tobytes()  # type: ignore[arg-type]


def test_every_code_is_reached_here() -> None:
    """The list of codes is what callers map; C++ knows no other. Others reach the last ones."""
    assert set(status.CODES) == set(get_args(status.Code))
    assert set(status.CODES) == {
        "bad_shape",
        "bad_dtype",
        "not_contiguous",
        "not_writable",
        "overlap",
        "bad_spec",
        "unknown_target",
        "missing_column",
        "busy",
        "bad_offsets",
        "out_of_range",
        "bad_model",
        "unsupported_model",
        "full",
        "io",
        "corrupt",
        "closed",
        "cancelled",
        "deadline_exceeded",
    }


def test_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(status.NativeError("bad_spec", "`fill` is NaN")))
    assert (error.code, error.message, str(error)) == ("bad_spec", "`fill` is NaN", "`fill` is NaN")
    assert isinstance(error, ValueError)
