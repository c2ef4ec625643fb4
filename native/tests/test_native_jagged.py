"""Jagged rows on every compiled target: equal to the reference bit for bit, nothing written beside the output."""

from __future__ import annotations

import doctest
import threading
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from mainspring.native import jagged, reference_jagged, status, targets

TARGETS = targets.available()
DTYPES = [np.float32, np.int32, np.int64]
#: Around every lane count, the unrolled widths and the width from which rows take a loop.
WIDTHS = [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 127, 128, 129, 300]
Array = NDArray[Any]


def bits(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    """Random bits: among floats NaNs with payloads, denormals and infinities."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(rng.bytes(count), dtype).reshape(shape).copy()


def ends(lengths: Array | list[int], first: int = 0, dtype: Any = np.int64) -> Array:
    return np.concatenate([[first], first + np.cumsum(lengths, dtype=np.int64)]).astype(dtype)


def guarded(shape: tuple[int, ...], dtype: Any, unaligned: bool = False) -> tuple[Array, Callable[[], None]]:
    """An array between guards, and a check that they stand."""
    pad = 64 // np.dtype(dtype).itemsize
    size = int(np.prod(shape))
    memory = np.full(size + 2 * pad + 1, 77, dtype)
    start = pad + int(unaligned)

    def check() -> None:
        assert (memory[:start] == 77).all() and (memory[start + size :] == 77).all()

    return memory[start : start + size].reshape(shape), check


def same(got: Array, want: Array) -> None:
    assert got.dtype == want.dtype and got.shape == want.shape
    assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_pad_and_unpad_equal_the_reference(width: int, dtype: Any, target: str) -> None:
    rng = np.random.default_rng(width)
    for rows, d, offset_dtype in (
        (0, 0, np.int32),
        (1, 0, np.int64),
        (2, 3, np.int32),
        (37, 0, np.int32),
        (40, 2, np.int64),
    ):
        lengths = rng.integers(0, width + 1, rows)
        offsets = ends(lengths, first=5, dtype=offset_dtype)
        inner = (d,) if d else ()
        values = bits(rng, (int(offsets[-1]) + 2, *inner), dtype)
        padding = bits(rng, (1,), dtype)[0]
        dense, check = guarded((rows, width, *inner), dtype, unaligned=bool(rows % 2))
        got = jagged.jagged_to_padded_dense(values, offsets, width, padding, out=dense, target=target)
        assert got is dense
        check()
        same(dense, reference_jagged.jagged_to_padded_dense(values, offsets, width, padding))
        offsets -= offsets[0]
        back, check = guarded((int(offsets[-1]), *inner), dtype, unaligned=bool(rows % 2))
        assert jagged.dense_to_jagged(dense, offsets, out=back, target=target) is back
        check()
        same(back, values[5:-2])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(
    ("rows", "width", "d"), [(700, 3001, 0), (66000, 32, 0), (300, 128, 64), (4, 40000, 16)]
)
def test_outputs_past_the_cache(rows: int, width: int, d: int, aligned: bool, target: str) -> None:
    """From 8 MiB on stores go past the cache, where lines are whole."""
    rng = np.random.default_rng(d)
    offsets = ends(rng.integers(0, width + 1, rows))
    inner = (d,) if d else ()
    values = bits(rng, (int(offsets[-1]), *inner), np.float32)
    want = reference_jagged.jagged_to_padded_dense(values, offsets, width, np.float32(-3.5))
    dense, check = guarded(want.shape, np.float32, unaligned=not aligned)
    if aligned:
        dense = jagged.jagged_to_padded_dense(values, offsets, width, -3.5, target=target)
        assert dense.ctypes.data % 64 == 0
    else:
        jagged.jagged_to_padded_dense(values, offsets, width, -3.5, out=dense, target=target)
    check()
    assert np.array_equal(dense.view(np.int32), want.view(np.int32))
    back, check = guarded(values.shape, np.float32, unaligned=not aligned)
    jagged.dense_to_jagged(dense, offsets, out=back, target=target)
    check()
    assert np.array_equal(back.view(np.int32), values.view(np.int32))
    longer = ends(np.diff(offsets) + 3)
    longest = jagged.dense_to_jagged(dense, longer, padding_value=-3.5, target=target)
    want = reference_jagged.dense_to_jagged(dense, longer, -3.5)
    assert np.array_equal(longest.view(np.int32), want.view(np.int32))


SHAPES = st.tuples(
    st.lists(st.integers(0, 70), max_size=30),  # lengths
    st.integers(0, 60),  # max_length
    st.sampled_from([0, 1, 2, 5]),  # d
    st.sampled_from(DTYPES),
    st.sampled_from([np.int32, np.int64]),
    st.integers(0, 2**32),
)


@pytest.mark.parametrize("bits_of_padding", [0x7F8CFC76, 0xFF800001, 0x7FC00000, 0x80000000, 1])
def test_the_bits_of_a_padding_are_kept(bits_of_padding: int) -> None:
    """Those of a signalling NaN, too, which any arithmetic would make a quiet one."""
    padding = np.array([bits_of_padding], np.uint32).view(np.float32)[0]
    dense = jagged.jagged_to_padded_dense(np.float32([1]), np.array([0, 0, 1]), 2, padding)
    assert dense.view(np.uint32).ravel().tolist() == [
        bits_of_padding,
        bits_of_padding,
        0x3F800000,
        bits_of_padding,
    ]
    same(
        jagged.dense_to_jagged(np.empty((1, 0), np.float32), np.array([0, 1]), padding_value=padding),
        np.array([padding]),
    )


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(SHAPES, st.sampled_from(TARGETS))
def test_any_batch_equals_the_reference(shape: Any, target: str) -> None:
    lengths, max_length, d, dtype, offset_dtype, seed = shape
    rng = np.random.default_rng(seed)
    offsets = ends(lengths, first=seed % 4, dtype=offset_dtype)
    inner = (d,) if d else ()
    values = bits(rng, (int(offsets[-1]) + seed % 3, *inner), dtype)
    padding = bits(rng, (1,), dtype)[0]
    want = reference_jagged.jagged_to_padded_dense(values, offsets, max_length, padding)
    got = jagged.jagged_to_padded_dense(values, offsets, max_length, padding, truncate=True, target=target)
    same(got, want)
    from_zero = offsets - offsets[0]
    same(
        jagged.dense_to_jagged(want, from_zero, padding_value=padding, target=target),
        reference_jagged.dense_to_jagged(want, from_zero, padding),
    )
    if max(lengths, default=0) > max_length:
        for call in (
            lambda: jagged.jagged_to_padded_dense(values, offsets, max_length),
            lambda: jagged.dense_to_jagged(want, from_zero),
        ):
            with pytest.raises(status.NativeError) as caught:
                call()
            assert caught.value.code == "out_of_range"
            row = int(np.argmax(lengths))
            assert f"row {row} must have at most {max_length} values, got {lengths[row]}" in str(caught.value)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=6),
    st.sampled_from([0, 1, 3]),
    st.sampled_from(DTYPES),
    st.integers(0, 2**32),
)
def test_concat_equals_the_reference(batches: list[list[int]], d: int, dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inner = (d,) if d else ()
    offsets = [ends(b, first=i % 3, dtype=(np.int32, np.int64)[i % 2]) for i, b in enumerate(batches)]
    values = [bits(rng, (int(o[-1]) + i % 2, *inner), dtype) for i, o in enumerate(offsets)]
    want = reference_jagged.jagged_concat(values, offsets)
    for got, expected in zip(jagged.jagged_concat(values, offsets), want, strict=True):
        same(got, expected)
    out_values, check_values = guarded(want[0].shape, dtype)
    out_offsets, check_offsets = guarded(want[1].shape, np.int64)
    got = jagged.jagged_concat(values, offsets, out=(out_values, out_offsets))
    assert got[0] is out_values and got[1] is out_offsets
    same(out_values, want[0])
    same(out_offsets, want[1])
    check_values()
    check_offsets()


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    st.integers(1, 40),
    st.integers(0, 60),
    st.sampled_from([0, 1, 50]),
    st.sampled_from(DTYPES),
    st.integers(0, 2**32),
)
def test_gather_and_scatter_equal_the_reference(rows: int, n: int, d: int, dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inner = (d,) if d else ()
    table = bits(rng, (rows, *inner), dtype)
    indices = rng.integers(0, rows, n, dtype=(np.int32, np.int64)[seed % 2])
    same(jagged.gather_rows(table, indices), reference_jagged.gather_rows(table, indices))
    holes = np.where(rng.random(n) < 0.3, -1, indices).astype(indices.dtype)
    fill = bits(rng, (1,), dtype)[0]
    out, check = guarded((n, *inner), dtype)
    assert jagged.gather_rows(table, holes, fill_value=fill, out=out) is out
    same(out, reference_jagged.gather_rows(table, holes, fill))
    check()
    into, check = guarded((rows, *inner), dtype)
    into[...] = table
    want = table.copy()
    new = bits(rng, (n, *inner), dtype)
    reference_jagged.scatter_rows(new, indices, want)
    jagged.scatter_rows(new, indices, into)
    same(into, want)
    check()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_random_batches_may_not_hit(dtype: Any) -> None:
    """A row longer than its place without `truncate`, holes of a gather, and several writes to one row."""
    values, offsets = np.arange(6).astype(dtype), np.array([0, 1, 6])
    dense = jagged.jagged_to_padded_dense(values, offsets, 3, truncate=True)
    assert dense.tolist() == [[0, 0, 0], [1, 2, 3]]
    for call in (
        lambda: jagged.jagged_to_padded_dense(values, offsets, 3),
        lambda: jagged.dense_to_jagged(dense, offsets),
    ):
        with pytest.raises(status.NativeError, match="row 1 must have at most 3 values, got 5"):
            call()
    assert jagged.dense_to_jagged(dense, offsets, padding_value=9).tolist() == [0, 1, 2, 3, 9, 9]
    assert jagged.gather_rows(values, np.array([5, -1, 0]), fill_value=8).tolist() == [5, 8, 0]
    out = np.zeros(2, dtype)
    jagged.scatter_rows(values[1:4], np.array([1, 0, 1]), out)
    assert out.tolist() == [2, 3]


V = np.arange(6, dtype=np.float32)
ENDS = np.array([0, 2, 6])
D = np.zeros((2, 4), np.float32)


def read_only(array: Array) -> Array:
    array = array.copy()
    array.setflags(write=False)
    return array


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ([], ["offsets must have one entry more than there are rows, got 0", "[0]"]),
        ([-1, 2], ["`offsets[0]`", "never fall, got -1"]),
        ([0, 3, 2], ["`offsets[2]`", "never fall, got 2", "running sum"]),
        ([0, 3, -(2**63)], ["`offsets[2]`", "never fall"]),
        ([0, 2**63 - 1, -(2**63)], ["`offsets[1]`", "beyond the values"]),
        ([3, 2**62, 4], ["`offsets[1]`", "beyond the values"]),
        ([0, 7], ["`offsets[1]`", "beyond the values, got 7", "pass all of the values"]),
        ([7, 7], ["`offsets[0]`", "got 7"]),
    ],
)  # fmt: skip
def test_bad_offsets(offsets: list[int], words: list[str]) -> None:
    out = np.full((max(len(offsets) - 1, 0), 4), 5.0, np.float32)
    with pytest.raises(status.NativeError) as caught:
        jagged.jagged_to_padded_dense(V, np.array(offsets, np.int64), 4, out=out, truncate=True)
    assert caught.value.code == "bad_offsets"
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert (out == 5.0).all()
    with pytest.raises(status.NativeError) as caught:
        jagged.jagged_concat([V], [np.array(offsets, np.int64)])
    assert caught.value.code == "bad_offsets"
    if offsets and all(-(2**31) <= o < 2**31 for o in offsets):
        with pytest.raises(status.NativeError):
            jagged.jagged_to_padded_dense(V, np.array(offsets, np.int32), 4, truncate=True)


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (lambda: jagged.jagged_to_padded_dense(V.astype(np.float64), ENDS, 4), "bad_dtype", ["`values`", "float64"]),
        (lambda: jagged.jagged_to_padded_dense(V.tolist(), ENDS, 4), "bad_dtype", ["`values`", "`list`"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS.astype(np.float32), 4), "bad_dtype", ["`offsets`", "int64", "float32"]),
        (lambda: jagged.jagged_to_padded_dense(V, [0, 2], 4), "bad_dtype", ["`offsets`", "`list`"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS[None], 4), "bad_shape", ["`offsets`", "(1, 3)"]),
        (lambda: jagged.jagged_to_padded_dense(V.reshape(1, 2, 3), ENDS, 4), "bad_shape", ["`values` must have 1 or 2", "(1, 2, 3)"]),
        (lambda: jagged.jagged_to_padded_dense(np.zeros((), np.float32), ENDS, 4), "bad_shape", ["`values`"]),
        (lambda: jagged.jagged_to_padded_dense(V[::2], np.array([0, 3]), 4), "not_contiguous", ["`values`"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS[::2], 4), "not_contiguous", ["`offsets`"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS, -1), "bad_shape", ["`max_length`", "-1"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS, 2**70), "bad_shape", ["`max_length`"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS, 2.5), "bad_shape", ["`max_length`", "2.5"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS, 4, "x"), "bad_dtype", ["`padding_value` must be a number", "`str`"]),
        (lambda: jagged.jagged_to_padded_dense(V.astype(np.int32), ENDS, 4, 1.0), "bad_dtype", ["must be an integer"]),
        (lambda: jagged.jagged_to_padded_dense(V.astype(np.int32), ENDS, 4, 2**31), "out_of_range", ["`padding_value`", "2147483648"]),
        (lambda: jagged.jagged_to_padded_dense(V.astype(np.int64), ENDS, 4, 2**63), "out_of_range", ["`padding_value`"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS, 4, target="sse9"), "unknown_target", ["targets.available()"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS, 3), "out_of_range", ["row 1 must have at most 3 values, got 4", "truncate=True"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS, 4, out=np.zeros((2, 5), np.float32)), "bad_shape", ["`out` must have shape (2, 4), got (2, 5)"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS, 4, out=np.zeros((2, 4), np.int32)), "bad_dtype", ["`out`"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS, 4, out=[[0.0] * 4] * 2), "bad_dtype", ["`out`", "`list`"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS, 4, out=np.zeros((4, 2), np.float32).T), "not_contiguous", ["`out`"]),
        (lambda: jagged.jagged_to_padded_dense(V, ENDS, 4, out=read_only(D)), "not_writable", ["`out`"]),
        (lambda: jagged.jagged_to_padded_dense(V.reshape(6, 1), ENDS, 4, out=read_only(D.reshape(2, 4, 1))), "not_writable", ["`out`"]),
        (lambda: jagged.jagged_to_padded_dense(V.reshape(6, 1), ENDS, 4, out=np.zeros((2, 4, 2), np.float32)[:, :, :1]), "not_contiguous", ["`out`"]),
        (lambda: jagged.jagged_to_padded_dense(V.reshape(6, 1), ENDS, 4, out=np.zeros((2, 4, 1), np.int32)), "bad_dtype", ["`out`"]),
        (lambda: jagged.dense_to_jagged(D, ENDS + 1), "bad_offsets", ["`offsets[0]` must be 0, got 1"]),
        (lambda: jagged.dense_to_jagged(D, np.array([0, 2])), "bad_shape", ["`offsets` must have shape (3,), got (2,)"]),
        (lambda: jagged.dense_to_jagged(D, np.array([0, 5, 6])), "out_of_range", ["row 0 must have at most 4 values, got 5", "`padding_value`"]),
        (lambda: jagged.dense_to_jagged(D[0], ENDS), "bad_shape", ["`dense` must have 2 or 3 dimensions"]),
        (lambda: jagged.dense_to_jagged(D[:, :2], ENDS), "not_contiguous", ["`dense`"]),
        (lambda: jagged.jagged_concat([], []), "bad_shape", ["at least 1, got 0 and 0"]),
        (lambda: jagged.jagged_concat([V], [ENDS, ENDS]), "bad_shape", ["got 1 and 2"]),
        (lambda: jagged.jagged_concat(None, [ENDS]), "bad_dtype", ["`values` must be a sequence"]),
        (lambda: jagged.jagged_concat([V, V.astype(np.int32)], [ENDS, ENDS]), "bad_dtype", ["`values[1]`", "float32"]),
        (lambda: jagged.jagged_concat([V, V.reshape(6, 1)], [ENDS, ENDS]), "bad_shape", ["`values[1]`", "(6, 1) after (6,)"]),
        (lambda: jagged.jagged_concat([V], [ENDS], out=V), "bad_dtype", ["`out` must be a tuple"]),
        (lambda: jagged.jagged_concat([V], [ENDS], out=(V.copy(), np.zeros(3, np.int32))), "bad_dtype", ["`out[1]`"]),
        (lambda: jagged.jagged_concat([V], [ENDS], out=(V.copy()[:5], np.zeros(3, np.int64))), "bad_shape", ["`out[0]`"]),
        (lambda: jagged.gather_rows(D, np.array([0, 2])), "out_of_range", ["`indices[1]`", "got 2"]),
        (lambda: jagged.gather_rows(D, np.array([0, -1])), "out_of_range", ["`indices[1]`", "got -1", "`fill_value`"]),
        (lambda: jagged.gather_rows(D, np.array([-2], np.int32), fill_value=0), "out_of_range", ["`indices[0]`", "-1 or those of a row"]),
        (lambda: jagged.gather_rows(D[:0], np.array([0])), "out_of_range", ["`indices[0]`"]),
        (lambda: jagged.gather_rows(D, np.array([0]), fill_value="x"), "bad_dtype", ["`fill_value`"]),
        (lambda: jagged.gather_rows(D, np.array([0], np.uint8)), "bad_dtype", ["`indices`", "uint8"]),
        (lambda: jagged.scatter_rows(D, np.array([0]), D.copy()), "bad_shape", ["`indices` must have shape (2,), got (1,)"]),
        (lambda: jagged.scatter_rows(D, np.array([0, -1]), D.copy()), "out_of_range", ["`indices[1]`"]),
        (lambda: jagged.scatter_rows(D, np.array([0, 1]), np.zeros((2, 3), np.float32)), "bad_shape", ["`out` must have shape (2, 4)"]),
        (lambda: jagged.scatter_rows(D, np.array([0, 1]), np.zeros((2, 4), np.int32)), "bad_dtype", ["`out`"]),
        (lambda: jagged.scatter_rows(D, np.array([0, 1]), read_only(D)), "not_writable", ["`out`"]),
    ],
)  # fmt: skip
def test_refusals(call: Callable[[], Any], code: str, words: list[str]) -> None:
    with pytest.raises(status.NativeError) as caught:
        call()
    assert caught.value.code == code, str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_outputs_must_not_overlap_inputs() -> None:
    memory = np.zeros(64, np.float32)
    words = np.zeros(64, np.int64)
    offsets = np.array([0, 2, 6])
    for call, name in [
        (
            lambda: jagged.jagged_to_padded_dense(memory[:6], offsets, 4, out=memory[5:13].reshape(2, 4)),
            "values",
        ),
        (lambda: jagged.dense_to_jagged(memory[:8].reshape(2, 4), offsets, out=memory[7:13]), "dense"),
        (
            lambda: jagged.jagged_to_padded_dense(words[40:46], words[3:6], 4, out=words[:8].reshape(2, 4)),
            "offsets",
        ),
        (lambda: jagged.gather_rows(memory[:8], offsets[:2], out=memory[7:9]), "table"),
        (lambda: jagged.gather_rows(words[40:], words[:2], out=words[1:3]), "indices"),
        (lambda: jagged.scatter_rows(memory[:2], offsets[:2], memory[1:9]), "rows"),
        (lambda: jagged.jagged_concat([memory[:6]], [offsets], out=(memory[5:11], words[:3])), "values"),
        (lambda: jagged.jagged_concat([words[40:46]], [offsets], out=(words[:6], words[5:8])), "out[0]"),
    ]:
        with pytest.raises(status.NativeError) as caught:
            call()
        assert caught.value.code == "overlap"
        assert f"`{name}`" in str(caught.value)
    assert not memory.any()
    jagged.jagged_to_padded_dense(memory[:6], offsets, 4, 1, out=memory[6:14].reshape(2, 4))  # side by side
    assert memory[8:10].all()


def test_many_threads_at_once() -> None:
    """Above the size that gives up the lock, each with its own output."""
    rng = np.random.default_rng(0)
    offsets = ends(rng.integers(0, 65, 20000))
    values = rng.normal(size=int(offsets[-1])).astype(np.float32)
    want = reference_jagged.jagged_to_padded_dense(values, offsets, 64)
    results: list[bool] = []

    def run() -> None:
        dense = jagged.jagged_to_padded_dense(values, offsets, 64)
        results.append(
            np.array_equal(dense, want) and np.array_equal(jagged.dense_to_jagged(dense, offsets), values)
        )

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


def test_examples() -> None:
    assert doctest.testmod(jagged).attempted > 0
    assert doctest.testmod(jagged).failed == 0
