"""Run by test_native_triton.py with TRITON_INTERPRET=1, which is read at import: the kernels against the references.

Prints one JSON object: how many cases of each kind were equal. Any difference is an AssertionError.
"""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import numpy as np
import torch
from hypothesis import strategies as st

from mainspring.native import device_plan, program, reference, reference_program
from mainspring.native.triton import embedding_bag, jagged
from mainspring.native.triton import program as kernels

MISSING = reference.MISSING
HIGH = 2**63 - 1


def tensor(array: Any) -> Any:
    return torch.from_numpy(np.ascontiguousarray(array))


def run_program(
    spec: dict[str, Any], columns: dict[str, Any], rows: int, pad: int = 0
) -> tuple[Any, Any, int]:
    """Dense and ids of the Triton program, and the bad row; nothing is written beside them."""
    plan = device_plan.compile(spec)
    floats = np.full((plan.header["n_floats"] + plan.header["n_windows"], rows + pad), 55.0, np.float32)
    ints = np.full((plan.header["n_ints"], rows + pad), 55, np.int64)
    for i, name in enumerate(plan.names("float32")):
        floats[i, :rows] = columns[name]
    for i, name in enumerate(plan.names("int64")):
        ints[i, :rows] = columns[name]
    events = [kernels.Events(*(tensor(a) for a in columns[name])) for name in plan.names("events")]
    d, n = rows * plan.width, plan.n_ids * rows
    dense, ids = np.full(d + 64, 77.0, np.float32), np.full(n + 64, 77, np.int32)
    bad = torch.tensor([HIGH])
    kernels.launch(
        plan, [tensor(v) for v in kernels.views(plan)], tensor(floats), tensor(ints), events,
        torch.from_numpy(dense)[32 : 32 + d].view(rows, plan.width),
        torch.from_numpy(ids)[32 : 32 + n].view(plan.n_ids, rows), bad,
    )  # fmt: skip
    for guarded, size in ((dense, d), (ids, n)):
        assert (guarded[:32] == 77).all() and (guarded[32 + size :] == 77).all()
    return (
        dense[32 : 32 + d].reshape(rows, plan.width),
        ids[32 : 32 + n].reshape(plan.n_ids, rows),
        int(bad[0]),
    )


def check_program(spec: dict[str, Any], columns: dict[str, Any], rows: int, pad: int = 0) -> None:
    dense, ids, bad = run_program(spec, columns, rows, pad)
    assert bad == HIGH
    _, want_ids = reference_program.run(spec, columns)
    np.testing.assert_array_equal(ids, want_ids)
    # The CPU's bits: Triton 3.9's interpreter fuses what tl.fma says.
    want = program.Program(spec).run(columns).dense
    same = (dense.view(np.int32) == want.view(np.int32)) | (np.isnan(dense) & np.isnan(want))
    assert same.all(), (np.argwhere(~same)[:3], dense[~same][:3], want[~same][:3])


def window(aggregate: str, width: int, events: str = "e0", as_of: str = "now") -> dict[str, Any]:
    return {"window": aggregate, "events": events, "as_of": as_of, "width": width}


def mixed_spec(width: int) -> dict[str, Any]:
    sources: list[Any] = ["x0", "x1", *(window(a, 50 + 400 * i, f"e{i % 2}") for i, a in enumerate(
        ("sum", "count", "mean", "max", "min", "last")))]  # fmt: skip
    dense: list[dict[str, Any]] = []
    for i in range(width):
        source = sources[i % len(sources)]
        dense.append(
            [
                {"op": "numeric", "source": source, "log1p": True, "lower": -2.0, "fill": 0.5 * i, "mean": 0.3, "scale": 1.5},
                {"op": "missing", "source": source},
                {"op": "pass", "source": source},
                {"op": "numeric", "source": source, "upper": 40.5, "fill": -1.0, "scale": 2.0 + i},
                {"op": "min_max", "source": source, "low": -1.0, "high": 7.5},
            ][i % 5]
        )  # fmt: skip
    ids: list[dict[str, Any]] = [
        {"op": "hash", "source": "u0", "buckets": 2, "seed": 2**64 - 1},
        {"op": "hash", "source": "u1", "buckets": 2**31 - 1, "seed": 7},
        {"op": "hash", "source": "now", "buckets": 1000, "offset": 100},
        {"op": "cross", "sources": ["u0", "u1", "now"], "buckets": 777, "seed": 3},
        {"op": "cross", "sources": ["u1"], "buckets": 99, "offset": 7},
        {"op": "vocabulary", "source": "u0", "values": [*range(0, 400, 2)]},
        {"op": "vocabulary", "source": "u1", "values": [*range(0, 400, 2), 2**62, MISSING + 1], "offset": 5},
        {"op": "vocabulary", "source": "u0", "values": []},
    ]
    for n in (0, 1, 2, 31, 32, 33, 100):
        bounds = np.linspace(-5, 5, n).tolist()
        ids += [{"op": "bucketise", "source": "x0", "boundaries": bounds, "right": r} for r in (False, True)]
    inputs = [{"name": n, "type": "float32"} for n in ("x0", "x1")]
    inputs += [{"name": n, "type": "int64"} for n in ("u0", "u1", "now")]
    inputs += [{"name": n, "type": "events"} for n in ("e0", "e1")]
    return {"version": 1, "inputs": inputs, "dense": dense, "ids": ids}


def mixed_columns(rows: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 40.5, 5.0, 0.49999997], np.float32)

    def floats(n: int) -> Any:
        x = rng.normal(0, 20, n).astype(np.float32)
        return np.where(rng.random(n) < 0.3, rng.choice(odd, n), x).astype(np.float32)

    def ints() -> Any:
        x = rng.integers(-3, 400, rows)
        return np.where(rng.random(rows) < 0.2, rng.choice([MISSING, MISSING + 1, 2**62, HIGH], rows), x)

    now = rng.integers(1000, 1500, rows)
    now = np.where(rng.random(rows) < 0.1, rng.choice([MISSING, MISSING + 20, HIGH], rows), now)
    columns: dict[str, Any] = {
        "x0": floats(rows),
        "x1": floats(rows),
        "u0": ints(),
        "u1": ints(),
        "now": now,
    }
    for i in range(2):
        counts = rng.integers(0, 25, rows) * (rng.random(rows) < 0.8)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype((np.int32, np.int64)[i])
        times = rng.integers(300, 1700, offsets[-1])
        times = np.where(rng.random(len(times)) < 0.05, rng.choice([MISSING, HIGH], len(times)), times)
        columns[f"e{i}"] = (offsets, times, floats(len(times)))
    return columns


def programs() -> int:
    cases = 0
    for width in (1, 16, 17, 40):
        for rows in (0, 1, 65, 130) if width == 17 else (0, 33):
            check_program(mixed_spec(width), mixed_columns(rows, rows), rows, pad=cases % 3 * 16)
            cases += 1
    only_ids = {**mixed_spec(0), "dense": []}
    check_program(only_ids, mixed_columns(1030, 1), 1030)
    check_program({**mixed_spec(9), "ids": []}, mixed_columns(40, 2), 40)
    return cases + 2


def properties() -> int:
    counted = 0

    @hypothesis.settings(max_examples=20, deadline=None, database=None, derandomize=True)
    @hypothesis.given(st.data())
    def holds(data: st.DataObject) -> None:
        nonlocal counted
        rows = data.draw(st.integers(0, 7))
        f32 = st.floats(width=32)
        i64 = st.integers(MISSING, HIGH)
        lists = [
            data.draw(st.lists(st.tuples(i64 | st.integers(0, 100), f32), max_size=20)) for _ in range(rows)
        ]
        flat = [event for events in lists for event in events]
        columns = {
            "x": np.array(data.draw(st.lists(f32, min_size=rows, max_size=rows)), np.float32),
            "u": np.array(data.draw(st.lists(i64, min_size=rows, max_size=rows)), np.int64),
            "now": np.array(data.draw(st.lists(i64 | st.integers(0, 120), min_size=rows, max_size=rows)), np.int64),
            "e": (np.concatenate([[0], np.cumsum([len(e) for e in lists])]).astype(np.int32),
                  np.array([t for t, _ in flat], np.int64), np.array([v for _, v in flat], np.float32)),
        }  # fmt: skip
        width = data.draw(st.integers(1, HIGH) | st.integers(1, 60))
        values = data.draw(st.lists(st.integers(MISSING + 1, HIGH), unique=True, max_size=9))
        bounds = sorted(set(data.draw(st.lists(st.integers(-50, 50), max_size=9))))
        spec = {
            "version": 1,
            "inputs": [{"name": "x", "type": "float32"}, {"name": "u", "type": "int64"},
                       {"name": "now", "type": "int64"}, {"name": "e", "type": "events"}],
            "dense": [{"op": "numeric", "source": "x", "log1p": True},
                      *({"op": "pass", "source": window(a, width, "e")} for a in ("sum", "count", "mean", "max", "min", "last"))],
            "ids": [{"op": "hash", "source": "u", "buckets": data.draw(st.integers(2, 2**31 - 1)),
                     "seed": data.draw(st.integers(0, 2**64 - 1))},
                    {"op": "vocabulary", "source": "u", "values": values},
                    {"op": "cross", "sources": ["u", "now"], "buckets": 1000},
                    {"op": "bucketise", "source": "x", "boundaries": bounds, "right": data.draw(st.booleans())}],
        }  # fmt: skip
        check_program(spec, columns, rows)
        counted += 1

    holds()
    return counted


def bad_rows() -> int:
    spec = {**mixed_spec(3), "ids": []}
    spec["dense"] = [{"op": "pass", "source": window("count", HIGH, "e0")}]
    columns = mixed_columns(50, 3)
    offsets, times, values = columns["e0"]
    for row, value in ((20, -1), (20, len(times) + 1), (7, HIGH)):
        wrong = offsets.astype(np.int64)
        wrong[row + 1] = value
        dense, _, bad = run_program(spec, {**columns, "e0": (wrong, times, values)}, 50)
        assert bad == row, (bad, row)
        assert dense[row, 0] == 0
    return 3


def guarded(shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any, Any]:
    """A tensor of 77s between 77s; its array; whether nothing was written beside it."""
    size = int(np.prod(shape))
    whole = np.full(size + 64, 77, dtype)
    part = whole[32 : 32 + size].reshape(shape)
    return torch.from_numpy(part), part, lambda: (whole[:32] == 77).all() and (whole[32 + size :] == 77).all()


def bags() -> int:
    """Against a loop of float32 additions: the bits must be equal."""
    rng = np.random.default_rng(8)
    cases = 0
    for width in (1, 3, 128, 130):
        for n_bags in (0, 1, 37):
            counts = rng.integers(0, 6, n_bags) * (rng.random(n_bags) < 0.8)
            offsets = np.concatenate([[0], np.cumsum(counts)]).astype((np.int32, np.int64)[cases % 2])
            table = rng.normal(0, 1, (50, width)).astype(np.float32)
            table[3] = -0.0
            indices = rng.integers(-1, 50, offsets[-1])
            for mode in ("sum", "mean"):
                want = np.zeros((n_bags, width), np.float32)
                for bag in range(n_bags):
                    rows = [i for i in indices[offsets[bag] : offsets[bag + 1]] if i != -1]
                    for i in rows:
                        want[bag] += table[i]
                    if mode == "mean":
                        want[bag] /= np.float32(max(len(rows), 1))
                out, got, is_clean = guarded((n_bags, width), np.float32)
                bad = torch.tensor([HIGH])
                embedding_bag.launch(tensor(table), tensor(indices), tensor(offsets), out, bad, mode=mode)
                assert got.tobytes() == want.tobytes() and int(bad[0]) == HIGH and is_clean()
                cases += 1
    for wrong, offsets, bag in (([0, 50, 1, 2], [0, 1, 2, 4], 1), ([0, 1, -2, MISSING], [0, 2, 2, 4], 2),
                                ([0, 1, 2, 3], [0, 2, 1, 4], 1), ([0, 1, 2, 3], [0, 2, 5, 4], 1)):  # fmt: skip
        out, got, _ = guarded((3, 2), np.float32)
        bad = torch.tensor([HIGH])
        table = np.ones((50, 2), np.float32)
        embedding_bag.launch(tensor(table), tensor(np.array(wrong)), tensor(np.array(offsets)), out, bad)
        assert int(bad[0]) == bag, (wrong, int(bad[0]))
        assert got[bag].tolist() == [0.0, 0.0]
        cases += 1
    try:
        embedding_bag.launch(None, None, None, torch.zeros(1, 1), None, mode="max")
    except ValueError as error:
        assert "`mode` must be `sum` or `mean`, got `max`" in str(error)
    else:
        raise AssertionError("another mode must be refused")
    return cases


def jagged_rows() -> int:
    """Padded and back, for values of one to seventy words; odd words have a padding of their own."""
    rng = np.random.default_rng(9)
    cases = 0
    for words in (1, 2, 70):
        for n_rows in (0, 1, 16, 37):
            for max_length in (0, 1, 5):
                lengths = rng.integers(0, 8, n_rows)
                offsets = np.concatenate([[0], np.cumsum(lengths)]).astype((np.int32, np.int64)[cases % 2])
                values = rng.integers(-(2**31), 2**31, (offsets[-1], words)).astype(np.int32)
                padding = np.resize(np.array([5, -6], np.int32), max(max_length, 8) * words).reshape(
                    -1, words
                )
                want = np.empty((n_rows, max_length, words), np.int32)
                back = np.empty_like(values)
                for i in range(n_rows):
                    row = values[offsets[i] : offsets[i + 1]]
                    kept = min(len(row), max_length)
                    want[i] = np.concatenate([row[:kept], padding[kept:max_length]])
                    back[offsets[i] : offsets[i + 1]] = np.concatenate([row[:kept], padding[kept : len(row)]])
                dense, got, is_clean = guarded((n_rows, max_length * words), np.int32)
                bad = torch.tensor([HIGH])
                flat, places = tensor(values.ravel()), tensor(offsets)
                jagged.jagged_to_padded_dense(flat, places, dense, bad, words=words, padding=(5, -6))
                np.testing.assert_array_equal(got.reshape(want.shape), want)
                again, got_back, is_clean_too = guarded((values.size,), np.int32)
                jagged.dense_to_jagged(dense, places, again, bad, words=words, padding=(5, -6))
                np.testing.assert_array_equal(got_back, back.ravel())
                assert int(bad[0]) == HIGH and is_clean() and is_clean_too()
                cases += 1
    for wrong in ([0, 2, -1, 3], [0, 2, 9, 3], [0, 2, 1, 3]):
        dense, got, is_clean = guarded((3, 2), np.int32)
        bad = torch.tensor([HIGH])
        values = tensor(np.arange(3, dtype=np.int32))
        jagged.jagged_to_padded_dense(values, tensor(np.array(wrong)), dense, bad, padding=(9, 9))
        assert int(bad[0]) == 1 and got[1].tolist() == [9, 9] and is_clean()
        cases += 1
    return cases


if __name__ == "__main__":
    kinds = (programs, properties, bad_rows, bags, jagged_rows)
    print(json.dumps({kind.__name__: kind() for kind in kinds}))
