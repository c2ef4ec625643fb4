"""Programs on every compiled target: ids equal to the reference bit for bit, dense within its bound, targets alike."""

from __future__ import annotations

import doctest
import threading
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from mainspring.native import program, reference, reference_program, status, targets

TARGETS = targets.available()
#: Around every lane count, the few-row shape, the strip of 64 rows and a vocabulary's 256 words at once.
ROWS = [0, 1, 2, 3, 7, 8, 9, 11, 12, 15, 16, 17, 31, 63, 64, 65, 100, 255, 257, 1023, 1024, 1025, 2100]
MISSING = reference.MISSING
DAY = 86_400
AGGREGATES: list[reference.Aggregate] = ["sum", "count", "mean", "max", "min", "last"]

INPUTS = [
    {"name": "price", "type": "float32"}, {"name": "size", "type": "float32"}, {"name": "age", "type": "float32"},
    {"name": "user", "type": "int64"}, {"name": "item", "type": "int64"}, {"name": "now", "type": "int64"},
    {"name": "clicks", "type": "events"}, {"name": "views", "type": "events"},
]  # fmt: skip


def window(aggregate: str, width: int, events: str = "clicks") -> dict[str, Any]:
    return {"window": aggregate, "events": events, "as_of": "now", "width": width}


SPEC: dict[str, Any] = {
    "version": 1,
    "inputs": INPUTS,
    "dense": [
        {"op": "numeric", "source": "price", "fill": 2.0, "lower": 0.0, "upper": 50.0, "log1p": True, "scale": 2.0},
        {"op": "missing", "source": "size"},
        {"op": "pass", "source": "age"},
        {"op": "min_max", "source": "size", "low": -1.5, "high": 7.25, "fill": 1.0},
        *({"op": "pass", "source": window(a, DAY)} for a in AGGREGATES),
        *({"op": "numeric", "source": window(a, 3600, "views"), "fill": -1.0} for a in AGGREGATES),
        {"op": "numeric", "source": window("mean", 7 * DAY), "mean": 0.5, "scale": 3.0},
    ],
    "ids": [
        *({"op": "hash", "source": s, "buckets": b, "seed": b} for s in ("user", "item") for b in (2, 50, 2**31 - 1)),
        {"op": "vocabulary", "source": "item", "values": [*range(0, 400, 2), 2**62, -(2**63) + 1]},
        {"op": "bucketise", "source": "price", "boundaries": [0.0, 0.5, 1.0, 8.0], "right": False, "offset": 5},
        {"op": "hash", "source": "now", "buckets": 1000, "offset": 100},
        {"op": "bucketise", "source": "size", "boundaries": [0.0, 0.5, 1.0, 8.0], "right": True},
        {"op": "bucketise", "source": "age", "boundaries": np.linspace(-5, 5, 32).tolist(), "right": False},
        {"op": "bucketise", "source": "age", "boundaries": np.linspace(-5, 5, 33).tolist(), "right": True},
        {"op": "bucketise", "source": "age", "boundaries": np.linspace(-9, 9, 101).tolist(), "right": False},
        {"op": "cross", "sources": ["user", "item"], "buckets": 777, "seed": 3},
        {"op": "cross", "sources": ["item", "user", "now"], "buckets": 99, "offset": 7},
        {"op": "vocabulary", "source": "user", "values": []},
        {"op": "vocabulary", "source": "item", "values": [*range(350, 1, -3)], "offset": 9},
    ],
}  # fmt: skip


def make_events(rng: np.random.Generator, now: NDArray[np.int64], dtype: Any = np.int32) -> program.Column:
    """Lists of 0 to 30 events, most in order and some not; holes, equal times, the future; one list beyond 64."""
    counts = rng.integers(0, 30, len(now))
    if len(now) > 2:
        counts[len(now) // 2] = 90
    offsets = np.zeros(len(now) + 1, dtype)
    np.cumsum(counts, out=offsets[1:])
    rows = np.repeat(np.arange(len(now)), counts)
    times = now[rows] - rng.integers(-DAY // 4, 3 * DAY, len(rows))
    order = np.lexsort((times, rows))
    mixed = rng.random(len(now)) < 0.2
    times = np.where(mixed[rows], times, times[order])
    values = rng.normal(0, 3, len(rows)).astype(np.float32)
    values[rng.random(len(rows)) < 0.05] = np.nan
    values[rng.random(len(rows)) < 0.05] = -0.0
    times[rng.random(len(rows)) < 0.01] = MISSING
    return offsets, times, values


def make_columns(rows: int, seed: int = 0) -> dict[str, program.Column]:
    rng = np.random.default_rng(seed + rows)

    def floats() -> NDArray[np.float32]:
        x = (rng.lognormal(0, 2, rows) * rng.choice([-1.0, 1.0, 0.0], rows)).astype(np.float32)
        x[rng.random(rows) < 0.1] = np.nan
        x[rng.random(rows) < 0.1] = rng.choice(np.array([0.5, 1.0, 8.0, np.inf, -np.inf], np.float32))
        return x

    def ints(top: int) -> NDArray[np.int64]:
        x = rng.integers(-3, top, rows)
        x[rng.random(rows) < 0.1] = MISSING
        return x

    now = rng.integers(10**9, 10**9 + DAY, rows)
    now[rng.random(rows) < 0.03] = MISSING
    safe = np.where(now == MISSING, 10**9, now)
    return {
        "price": floats(), "size": floats(), "age": floats(), "user": ints(2**62), "item": ints(400), "now": now,
        "clicks": make_events(rng, safe), "views": make_events(rng, safe, np.int64), "not asked for": now,
    }  # fmt: skip


def bound_of(spec: dict[str, Any], columns: dict[str, Any], want: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bound that `reference` states."""
    bound = 2e-6 + 1e-6 * np.abs(want)
    for j, item in enumerate(spec.get("dense", [])):
        if item.get("log1p"):
            scale = item.get("scale", 1.0)
            y = np.abs(want[:, j] * scale + item.get("mean", 0.0)).astype(np.float32)
            bound[:, j] += 1.5 * np.spacing(np.where(np.isfinite(y), y, 0)) / scale
    return bound


def check(spec: dict[str, Any], columns: dict[str, Any]) -> None:
    want, ids = reference_program.run(spec, columns)
    outputs = [program.Program(spec, target=target).run(columns) for target in TARGETS]
    for target, got in zip(TARGETS, outputs, strict=True):
        assert got.ids.dtype == np.int32 and got.dense.dtype == np.float32
        np.testing.assert_array_equal(got.ids, ids, err_msg=target)
        assert got.dense.shape == want.shape
        with np.errstate(invalid="ignore", over="ignore"):
            same = (got.dense == want.astype(np.float32)) | (np.isnan(got.dense) & np.isnan(want))
            close = same | (np.abs(got.dense - want) <= bound_of(spec, columns, want))
        assert close.all(), f"{target}: {got.dense[~close][:3]} instead of {want[~close][:3]}"
        passed = [j for j, item in enumerate(spec.get("dense", [])) if item["op"] == "pass"]
        for j in passed:  # nothing rounds after the window: every bit is the reference's
            exact = want[:, j].astype(np.float32)
            seen = np.where(np.isnan(exact), np.float32(7), got.dense[:, j])
            assert seen.tobytes() == np.where(np.isnan(exact), np.float32(7), exact).tobytes()
        assert got.dense.tobytes() == outputs[0].dense.tobytes(), f"{target} differs from {TARGETS[0]}"


@pytest.mark.parametrize(
    "widths", [[2**32 - 1], [2**32], [1, 2**32 - 1], [7, 2**62], [1, 60, 2**31], [9, 2**32 + 9, 2**40]]
)
def test_windows_of_any_width_and_number_take_the_same_events(widths: list[int]) -> None:
    """Ages of 2^32 and more, sums of infinities, moments before zero, lists of 0 to 40 events."""
    rng = np.random.default_rng(len(widths))
    rows = 150
    counts = rng.integers(0, 41, rows)
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    now = rng.integers(-(2**40), 2**62, rows)
    owner = np.repeat(np.arange(rows), counts)
    edges = np.array([*widths, *(w - 1 for w in widths), 0, -1, 2**32, 2**33 + 5, 2**63 - 2])
    times = np.maximum(
        now[owner] - np.minimum(edges[rng.integers(0, len(edges), len(owner))], 2**61), MISSING + 1
    )
    order = np.lexsort((times, owner))
    values = rng.choice(np.array([1.5, -2.25, 0.1, -0.0, 0.0, 3e38, np.inf, -np.inf], np.float32), len(owner))
    columns = {"now": now, "e": (offsets, times[order], values)}
    windows = [(a, w) for w in widths for a in AGGREGATES] if len(widths) == 1 else [
        (AGGREGATES[i], w) for i, w in enumerate(widths)
    ]  # fmt: skip
    spec = {
        "version": 1,
        "inputs": [{"name": "now", "type": "int64"}, {"name": "e", "type": "events"}],
        "dense": [
            {"op": "pass", "source": {"window": a, "events": "e", "as_of": "now", "width": w}}
            for a, w in windows
        ],
    }
    check(spec, columns)


@pytest.mark.parametrize("rows", ROWS)
def test_targets_equal_reference_and_each_other(rows: int) -> None:
    check(SPEC, make_columns(rows))


@pytest.mark.parametrize("target", TARGETS)
def test_row_alone_equals_row_in_batch(target: str) -> None:
    compiled = program.Program(SPEC, target=target)
    columns = make_columns(300)
    batch = compiled.run(columns)
    for first, rows in [*((i, 1) for i in range(0, 300, 11)), (0, 5), (140, 20), (7, 290)]:
        part: dict[str, Any] = {}
        for name, column in columns.items():
            if isinstance(column, tuple):
                offsets, times, values = column
                part[name] = (offsets[first : first + rows + 1], times, values)
            else:
                part[name] = column[first : first + rows]
        got = compiled.run(part)
        assert got.dense.tobytes() == batch.dense[first : first + rows].tobytes()
        np.testing.assert_array_equal(got.ids, batch.ids[:, first : first + rows])


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_written_outside_out(target: str) -> None:
    compiled = program.Program(SPEC, target=target)
    for rows in ROWS:
        columns = make_columns(rows)
        d, i = rows * compiled.width, rows * compiled.n_ids
        dense, ids = np.full(d + 66, 77.0, np.float32), np.full(i + 66, 77, np.int32)
        out = program.Outputs(
            dense[33 : 33 + d].reshape(rows, -1) if rows else dense[33:33].reshape(0, compiled.width),
            ids[33 : 33 + i].reshape(compiled.n_ids, rows),
        )
        assert compiled.run(columns, out) is out
        assert (dense[:33] == 77.0).all() and (dense[33 + d :] == 77.0).all()
        assert (ids[:33] == 77).all() and (ids[33 + i :] == 77).all()
        fresh = compiled.run(columns)
        assert out.dense.tobytes() == fresh.dense.tobytes() and out.ids.tobytes() == fresh.ids.tobytes()


@pytest.mark.parametrize("target", TARGETS)
def test_large_batches_stream_the_same_matrix(target: str) -> None:
    compiled = program.Program(SPEC, target=target)
    rows = (8 << 20) // (4 * compiled.width) + 1000
    columns = make_columns(2000)
    times = -(-rows // 2000)
    tiled: dict[str, Any] = {}
    for name, column in columns.items():
        if isinstance(column, tuple):
            offsets, moments, values = column
            steps = np.arange(times, dtype=np.int64)[:, None] * len(moments)
            starts = (offsets[None, :-1].astype(np.int64) + steps).ravel()
            tiled[name] = (
                np.append(starts, times * len(moments)),
                np.tile(moments, times),
                np.tile(values, times),
            )
        else:
            tiled[name] = np.tile(column, times)
    whole, part = compiled.run(tiled), compiled.run(columns)
    assert (whole.dense.view(np.uint32) == np.tile(part.dense.view(np.uint32), (times, 1))).all()
    assert (whole.ids == np.tile(part.ids, (1, times))).all()


def test_bound_buffers_are_read_anew_and_some_rows_may_run() -> None:
    columns = make_columns(100)
    compiled = program.Program(SPEC)
    bound = compiled.bind(columns)
    bound.run(100)
    assert bound.rows == 100
    assert bound.outputs.dense.tobytes() == compiled.run(columns).dense.tobytes()
    changed = make_columns(100, seed=50)
    for name in ("price", "user", "now"):
        columns[name][:] = changed[name]  # type: ignore[index, call-overload]
    before = bound.outputs.ids.copy()
    bound.run(40)
    want = compiled.run(columns)
    assert (bound.outputs.ids[:, :40] == want.ids[:, :40]).all()
    assert (bound.outputs.ids[:, 40:] == before[:, 40:]).all()
    assert bound.outputs.dense[:40].tobytes() == want.dense[:40].tobytes()


def test_vocabularies_of_many_shapes() -> None:
    rng = np.random.default_rng(0)
    for values in (
        list(range(5000)),
        [i << 32 for i in range(3000)],
        rng.integers(-(2**63) + 1, 2**63, 20_000).tolist(),
        [2**63 - 1],
        list(range(-70_000, 70_000, 2)),
    ):
        spec = {
            "version": 1,
            "inputs": [{"name": "x", "type": "int64"}],
            "ids": [{"op": "vocabulary", "source": "x", "values": values}],
        }
        x = np.array(
            [*values, MISSING, *rng.integers(-(2**63), 2**63, 5000), *(v + 1 for v in values if v < 9)]
        )
        rng.shuffle(x)
        for target in TARGETS:
            got = program.Program(spec, target=target).run({"x": x}).ids[0]
            np.testing.assert_array_equal(got, reference.vocabulary(x, values))


@st.composite
def programs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Any number of every operation, and columns full of edges."""
    edges = [0.0, -0.0, 1.0, float("nan"), float("inf"), float("-inf"), 1e-45, -1e-40, 3.4e38, 0.1]
    rows = draw(st.sampled_from(ROWS[:16]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    f32 = st.floats(width=32, min_value=-(2.0**60), max_value=2.0**60)
    names = st.sampled_from(["price", "size", "age"])
    ints = st.sampled_from(["user", "item", "now"])
    source = names | st.builds(
        window,
        st.sampled_from(AGGREGATES),
        st.sampled_from([1, 60, DAY, 2**62]),
        st.sampled_from(["clicks", "views"]),
    )
    bounds = st.tuples(f32, f32).map(sorted).filter(lambda b: b[0] < b[1])
    dense = st.one_of(
        st.fixed_dictionaries({"op": st.sampled_from(["pass", "missing"]), "source": source}),
        st.builds(
            lambda s, fill, b, log1p, mean, scale: {
                "op": "numeric", "source": s, "fill": fill, "lower": b[0], "upper": b[1], "log1p": log1p,
                "mean": mean, "scale": scale,
            },
            source, f32, bounds, st.booleans(), f32, st.floats(1.0, 2.0**20),
        ),
        st.builds(lambda s, b: {"op": "min_max", "source": s, "low": b[0], "high": b[1]}, source,
                  st.just([-1.0, 2.0]) | st.just([0.0, 1e-3])),
    )  # fmt: skip
    buckets, seed = st.integers(2, 2**31 - 1), st.integers(0, 2**64 - 1)
    id_ = st.one_of(
        st.fixed_dictionaries({"op": st.just("hash"), "source": ints, "buckets": buckets, "seed": seed}),
        st.fixed_dictionaries(
            {"op": st.just("cross"), "sources": st.lists(ints, min_size=1, max_size=4), "buckets": buckets,
             "seed": seed}
        ),
        st.fixed_dictionaries(
            {"op": st.just("vocabulary"), "source": ints, "offset": st.integers(0, 9),
             "values": st.lists(st.integers(-3, 9) | st.integers(-(2**63) + 1, 2**63 - 1), max_size=40, unique=True)}
        ),
        st.fixed_dictionaries(
            {"op": st.just("bucketise"), "source": names, "right": st.booleans(),
             "boundaries": st.lists(f32 | st.sampled_from([0.0, 1.0, 1e-45]), max_size=70).map(
                 lambda b: sorted({float(np.float32(x)) + 0.0 for x in b}))}
        ),
    )  # fmt: skip
    spec = {
        "version": 1,
        "inputs": INPUTS,
        "dense": draw(st.lists(dense, max_size=20)),
        "ids": draw(st.lists(id_, max_size=20)),
    }
    hypothesis.assume(spec["dense"] or spec["ids"])
    columns: dict[str, Any] = make_columns(rows, int(rng.integers(0, 1000)))
    for name in ("price", "size", "age"):
        at = rng.random(rows) < 0.5
        columns[name][at] = rng.choice(np.array(edges, np.float32), int(at.sum()))
    for name in ("user", "item"):
        at = rng.random(rows) < 0.3
        columns[name][at] = rng.choice(np.array([MISSING, MISSING + 1, 2**63 - 1, 0, -1, 5]), int(at.sum()))
    for events in ("clicks", "views"):
        values = columns[events][2]
        at = rng.random(len(values)) < 0.1
        values[at] = rng.choice(np.array(edges, np.float32), int(at.sum()))
    return spec, columns


@hypothesis.settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
@hypothesis.given(programs())
def test_any_program_on_any_values(case: tuple[dict[str, Any], dict[str, Any]]) -> None:
    spec, columns = case
    want, ids = reference_program.run(spec, columns)
    outputs = [program.Program(spec, target=target).run(columns) for target in TARGETS]
    bound = bound_of(spec, columns, want)
    for got in outputs:
        np.testing.assert_array_equal(got.ids, ids)
        with np.errstate(invalid="ignore", over="ignore"):
            same = (got.dense == want.astype(np.float32)) | (np.isnan(got.dense) & np.isnan(want))
            assert (same | (np.abs(got.dense - want) <= bound)).all()
        assert got.dense.tobytes() == outputs[0].dense.tobytes()


def test_many_threads_share_a_program() -> None:
    compiled = program.Program(SPEC)
    columns = make_columns(20_000)
    want = compiled.run(columns)
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(5):
            got = compiled.run(columns)
            if got.dense.tobytes() != want.dense.tobytes() or (got.ids != want.ids).any():
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_bound_buffers_refuse_a_second_thread() -> None:
    """A long run gives up the lock; whoever runs the same buffers then is told, and nobody's answer is touched."""
    compiled = program.Program(SPEC)
    bound = compiled.bind(make_columns(60_000))
    codes: list[str] = []
    started = threading.Event()

    def work() -> None:
        started.wait()
        for _ in range(40):
            try:
                bound.run(60_000)
            except status.NativeError as error:
                codes.append(error.code)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    started.set()
    for thread in threads:
        thread.join()
    assert set(codes) == {"busy"}
    bound.run(60_000)


def test_examples_run() -> None:
    failed, ran = doctest.testmod(program)
    assert (failed, ran) == (0, 8)


def test_facts_about_a_program() -> None:
    compiled = program.Program(SPEC, target="generic")
    assert (compiled.width, compiled.n_ids, compiled.target) == (17, 17, "generic")
    assert compiled.id_sizes[:7] == (2, 50, 2**31 - 1, 2, 50, 2**31 - 1, 204)
    assert compiled.id_sizes[7] == 6
    assert [c.name for c in compiled.inputs] == [c["name"] for c in INPUTS]
    assert repr(compiled) == "Program(width=17, n_ids=17, target='generic')"
    out = compiled.run(make_columns(70_000))
    assert out.dense.ctypes.data % 64 == 0 and out.ids.ctypes.data % 64 == 0
