"""Every compiled target against the float64 reference, and against the other targets bit for bit."""

from __future__ import annotations

import doctest
import pathlib
import re
import sys
import threading
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mainspring.native import dense, reference, targets

INF = float("inf")
TARGETS = targets.available()
LANES = {"generic": 4, "avx2": 8, "avx512": 16}
#: 0, 1, around each lane count, around the block of 256 rows and the switches between the kernel's shapes.
ROWS = sorted(
    {0, 1, 2, *(r for lanes in LANES.values() for r in (lanes - 1, lanes, lanes + 1, 3 * lanes + 1))}
    | {11, 12, 100, 255, 256, 257, 511, 513, 700}
)
#: One column, odd tails, one vector, one and a bit, many vectors.
WIDTHS = [1, 3, 4, 5, 8, 9, 13, 16, 17, 31, 33, 70]

Spec = dict[str, list[Any]]


def make_spec(width: int, n_sources: int = 5, seed: int = 0) -> Spec:
    """A program that uses every feature: indicators, one- and two-sided clips, log1p, odd means and scales."""
    rng = np.random.default_rng(seed + width)
    kinds = rng.permutation(np.arange(width) % 4)
    return {
        "source": [*range(n_sources), *rng.integers(0, n_sources, width).tolist()][-width:],
        "indicator": (kinds == 3).tolist(),
        "fill": rng.normal(1, 3, width).tolist(),
        "lower": np.where(rng.random(width) < 0.3, -INF, rng.normal(-4, 1, width)).tolist(),
        "upper": np.where(rng.random(width) < 0.3, INF, rng.lognormal(3, 2, width)).tolist(),
        "log1p": (kinds == 1).tolist(),
        "mean": rng.normal(0, 5, width).tolist(),
        "scale": rng.lognormal(1, 1, width).clip(1.0).tolist(),
    }


def make_columns(spec: Spec, rows: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """Heavy-tailed values of both signs with holes."""
    rng = np.random.default_rng(seed + rows)
    columns = []
    for _ in range(max(spec["source"]) + 1):
        x = (rng.lognormal(1, 2, rows) * rng.choice([-1.0, 1.0], rows)).astype(np.float32)
        x[rng.random(rows) < 0.1] = np.nan
        columns.append(x)
    return columns


def tolerance(
    spec: Spec, columns: list[NDArray[np.float32]], want: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The bound that `reference` states."""
    bound = 2e-6 + 1e-6 * np.abs(want)
    for j in range(len(spec["source"])):
        if spec["log1p"][j] and not spec["indicator"][j]:
            y = np.abs(want[:, j] * spec["scale"][j] + spec["mean"][j]).astype(np.float32)
            bound[:, j] += 1.5 * np.spacing(np.where(np.isfinite(y), y, 0)) / spec["scale"][j]
    return bound


def check(spec: Spec, columns: list[NDArray[np.float32]]) -> None:
    """All targets within the bound of the reference, and equal to one another."""
    want = reference.dense_transform(columns, **spec)
    bound = tolerance(spec, columns, want)
    outs = [dense.DenseTransform(**spec, target=target).run(columns) for target in TARGETS]
    for target, got in zip(TARGETS, outs, strict=True):
        assert got.shape == want.shape and got.dtype == np.float32
        assert not np.isnan(got).any()
        with np.errstate(
            invalid="ignore", over="ignore"
        ):  # inf - inf where both are infinite; beyond float32
            close = (got == want.astype(np.float32)) | (np.abs(got - want) <= bound)
        assert close.all(), f"{target}: {got[~close][:3]} instead of {want[~close][:3]}"
        assert got.tobytes() == outs[0].tobytes(), f"{target} differs from {TARGETS[0]}"


def plain(width: int = 1, **changes: Any) -> Spec:
    """The identity on `width` columns, but for `changes` (one value for all of them)."""
    values: dict[str, Any] = {
        "indicator": False, "fill": 0.0, "lower": -INF, "upper": INF, "log1p": False, "mean": 0.0, "scale": 1.0
    }  # fmt: skip
    return {"source": list(range(width)), **{k: [v] * width for k, v in (values | changes).items()}}


@pytest.mark.parametrize("width", WIDTHS)
def test_targets_equal_reference_and_each_other(width: int) -> None:
    spec = make_spec(width)
    for rows in ROWS:
        check(spec, make_columns(spec, rows))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("width", [1, 5, 13, 16, 40])
def test_row_alone_equals_row_in_batch(target: str, width: int) -> None:
    """One row runs with lanes as columns, a batch with lanes as rows; training and serving must not differ."""
    spec = make_spec(width)
    columns = make_columns(spec, 300)
    transform = dense.DenseTransform(**spec, target=target)
    batch = transform.run(columns)
    for rows in (1, 2, 3, 7, 16):
        for first in range(0, 300 - rows, 37):
            part = transform.run([c[first : first + rows] for c in columns])
            assert part.tobytes() == batch[first : first + rows].tobytes()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("width", [13, 16, 33])
def test_streaming_stores_give_the_same_matrix(target: str, width: int) -> None:
    """Above 8 MiB the kernel writes past the cache; odd widths and unaligned `out` go through its staging buffer."""
    rows = (8 << 20) // (4 * width) + 1000
    spec = make_spec(width)
    columns = make_columns(spec, rows)
    transform = dense.DenseTransform(**spec, target=target)
    pieces = [transform.run([c[i : i + 5000] for c in columns]) for i in range(0, rows, 5000)]
    whole = transform.run(columns)
    assert whole.tobytes() == np.concatenate(pieces).tobytes()
    unaligned = np.empty(rows * width + 1, np.float32)[1:].reshape(rows, width)
    assert transform.run(columns, unaligned) is unaligned
    assert unaligned.tobytes() == whole.tobytes()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("width", [1, 5, 13, 16, 33])
def test_nothing_is_written_outside_out(target: str, width: int, offset: int) -> None:
    spec = make_spec(width)
    transform = dense.DenseTransform(**spec, target=target)
    for rows in ROWS:
        columns = make_columns(spec, rows + offset)
        around = np.full(rows * width + 64 + offset, 77.0, np.float32)
        out = around[32 + offset : 32 + offset + rows * width].reshape(rows, width)
        views = [c[offset:] for c in columns]  # not 64-byte aligned
        assert transform.run(views, out) is out
        assert (around[: 32 + offset] == 77.0).all()
        assert (around[32 + offset + rows * width :] == 77.0).all()
        assert out.tobytes() == transform.run([v.copy() for v in views]).tobytes()


def test_new_matrix_is_aligned_and_owned() -> None:
    transform = dense.DenseTransform(**plain(16))
    for rows in (0, 1, 100, 70_000):
        out = transform.run([np.ones(rows, np.float32)] * 16)
        assert out.ctypes.data % 64 == 0
        assert out.flags.c_contiguous and out.flags.writeable
    assert (out == 1.0).all()


NORMAL, LARGEST = 1.1754944e-38, 3.4028235e38
SPECIALS = np.array(
    [
        *(np.nan, INF, -INF, 0.0, -0.0, 1.0, -1.0),
        *(1e-45, -1e-45, 1e-40, -1e-40, NORMAL, LARGEST, -LARGEST, 2.0**126),
        *(0.5, 0.49999997, 0.50000006, 1.9999999, -0.99999994, 16777216.0),
    ],
    np.float32,
)


@pytest.mark.parametrize("rows_first", [True, False])
@pytest.mark.parametrize("log1p", [True, False])
def test_special_values(log1p: bool, rows_first: bool) -> None:
    for lower, upper in ((-INF, INF), (0.0, INF), (-0.0, 0.0), (-1.0, 2.5), (1e-40, 1e-39), (-3.0, -2.0)):
        if rows_first:
            check(plain(fill=-0.0, lower=lower, upper=upper, log1p=log1p), [SPECIALS])
        else:
            columns = [SPECIALS[i : i + 1] for i in range(len(SPECIALS))]
            check(plain(len(columns), fill=-0.0, lower=lower, upper=upper, log1p=log1p), columns)


@pytest.mark.parametrize("target", TARGETS)
def test_signs_bounds_and_denormals_are_kept(target: str) -> None:
    def run(x: list[float], **changes: Any) -> NDArray[np.float32]:
        return dense.DenseTransform(**plain(**changes), target=target).run([np.array(x, np.float32)])[:, 0]

    for repeat in (1, 40):  # one row shape, and blocks
        zeros = run([-0.0, 0.0] * repeat, lower=0.0, upper=0.0)
        assert np.signbit(zeros).tolist() == [True, False] * repeat
        assert not np.signbit(run([-0.0] * repeat, log1p=True)).any()
        assert (run([-5.0, -1.0, -1e30] * repeat, log1p=True) == 0.0).all()
        assert (run([1e-40] * repeat) == np.float32(1e-40)).all()
        assert (run([1e-40] * repeat, log1p=True) == np.float32(1e-40)).all()
        assert (run([INF] * repeat, log1p=True) == INF).all()
        assert (run([INF, -INF] * repeat, lower=-2.0, upper=3.0) == np.array([3.0, -2.0] * repeat)).all()
        assert (run([np.nan, 1.0] * repeat, indicator=True) == np.array([1.0, 0.0] * repeat)).all()
        assert (run([np.nan] * repeat, fill=9.0, upper=4.0) == 4.0).all()


def test_indicator_ignores_its_other_parameters() -> None:
    spec = plain(indicator=True, fill=np.nan, lower=np.nan, upper=-INF, mean=np.nan, scale=-1.0)
    check(spec, [SPECIALS])


def test_value_near_a_large_mean_keeps_its_digits() -> None:
    """A float32 mean would be off by 0.03 here."""
    x = np.array([1_000_000.0, 1_000_000.0625, 999_999.5], np.float32)
    spec = plain(mean=1_000_000.03, scale=0.01)
    want = reference.dense_transform([x], **spec)
    for target in TARGETS:
        got = dense.DenseTransform(**spec, target=target).run([x])
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_log1p_within_its_bound_everywhere(target: str) -> None:
    """A dense sample of all floats in [0, inf]; src/dense/check_log1p.py takes every one."""
    bits = np.concatenate(
        [
            np.arange(0, 0x7F800001, 9973, np.uint32),
            np.arange(0x3EFFF000, 0x3F001000, dtype=np.uint32),
            [0x7F800000],
        ]
    )
    x = bits.astype(np.uint32).view(np.float32)
    got = dense.DenseTransform(**plain(log1p=True), target=target).run([x])[:, 0]
    truth = np.log1p(x.astype(np.float64))
    assert got[x == INF].tolist() == [INF]
    finite = x < INF
    ulp = np.spacing(truth[finite].astype(np.float32)).astype(np.float64)
    assert (np.abs(got[finite] - truth[finite]) / ulp).max() < 1.0


float32s = st.floats(width=32, min_value=-(2.0**100), max_value=2.0**100, allow_subnormal=True)


@st.composite
def programs(draw: st.DrawFn) -> tuple[Spec, list[NDArray[np.float32]]]:
    width = draw(st.integers(1, 40))
    n_sources = draw(st.integers(1, 6))
    rows = draw(st.sampled_from(ROWS))

    def each(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=width, max_size=width))

    bounds = [sorted(pair) for pair in each(st.tuples(float32s | st.just(-INF), float32s | st.just(INF)))]
    spec: Spec = {
        "source": [*each(st.integers(0, n_sources - 1))[:-1], n_sources - 1],
        "indicator": each(st.booleans()),
        "fill": each(float32s),
        "lower": [low if low < INF else 0.0 for low, _ in bounds],
        "upper": [high if high > -INF else 0.0 for _, high in bounds],
        "log1p": each(st.booleans()),
        "mean": each(st.floats(-1e6, 1e6)),
        "scale": each(st.floats(1e-3, 1e6)),
    }
    for j in range(width):
        if spec["lower"][j] > spec["upper"][j]:
            spec["lower"][j] = -INF
    elements = st.sampled_from(SPECIALS.tolist()) | float32s
    columns = [draw(hnp.arrays(np.float32, rows, elements=elements, fill=float32s)) for _ in range(n_sources)]
    return spec, columns


@hypothesis.settings(max_examples=150, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(programs())
def test_any_program_on_any_values(program: tuple[Spec, list[NDArray[np.float32]]]) -> None:
    check(*program)


def test_concurrent_runs_do_not_disturb_each_other() -> None:
    """The lock is released for batches of this size: four threads are in the kernel at once."""
    spec = make_spec(16)
    transform = dense.DenseTransform(**spec)
    batches = [make_columns(spec, 70_000, seed) for seed in range(4)]
    wanted = [transform.run(batch).tobytes() for batch in batches]
    start = threading.Barrier(len(batches))
    wrong: list[int] = []

    def work(i: int) -> None:
        out = np.empty((70_000, 16), np.float32)
        start.wait()
        for _ in range(10):
            if transform.run(batches[i], out).tobytes() != wanted[i]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def ran_meanwhile(transform: dense.DenseTransform, columns: list[NDArray[np.float32]]) -> bool:
    """Whether another Python thread got the lock while `run` was computing: nothing else here can give it up."""
    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (ready.wait(), done.set()))
    thread.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(100.0)
    try:
        ready.set()
        if done.is_set():  # it ran before `run` began, which proves nothing
            return False
        transform.run(columns)
        return done.is_set()
    finally:
        sys.setswitchinterval(before)
        thread.join()


def test_lock_is_released_for_large_batches_only() -> None:
    transform = dense.DenseTransform(**make_spec(16))
    small, large = (make_columns(make_spec(16), rows) for rows in (1000, 300_000))
    assert not any(ran_meanwhile(transform, small) for _ in range(20))
    assert any(ran_meanwhile(transform, large) for _ in range(20))  # the other thread needs a moment to wake


def test_columns_survive_a_list_emptied_meanwhile() -> None:
    """Without the lock another thread may drop the caller's arrays; the run holds them."""
    spec = plain(4)
    transform = dense.DenseTransform(**spec)
    stop = threading.Event()
    shared: list[NDArray[np.float32]] = []

    def empty() -> None:
        while not stop.is_set():
            shared.clear()

    thread = threading.Thread(target=empty)
    thread.start()
    try:
        for i in range(60):
            batch = [np.full(300_000, i, np.float32) for _ in range(4)]
            shared.extend(batch)
            given = shared
            if len(given) == 4:
                try:
                    assert (transform.run(given) == i).all()
                except ValueError as error:  # emptied before the run began
                    assert "`columns` must hold 4 arrays" in str(error)
    finally:
        stop.set()
        thread.join()


def test_examples_run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The docstring's, and those of the README where it is (Bazel does not carry it)."""
    assert doctest.testmod(dense) == (0, 4)
    readme = pathlib.Path(__file__).resolve().parents[1] / "README.md"
    if readme.exists():
        examples = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
        assert len(examples) >= 2
        monkeypatch.chdir(tmp_path)
        for example in examples:
            exec(compile(example, str(readme), "exec"), {})


def test_facts_about_a_program() -> None:
    transform = dense.DenseTransform(**plain(3) | {"source": [4, 0, 0]}, target="generic")
    assert (transform.width, transform.n_sources, transform.target) == (3, 5, "generic")
    assert repr(transform) == "DenseTransform(width=3, n_sources=5, target='generic')"
    with pytest.raises(AttributeError):
        transform.width = 4  # type: ignore[misc]
