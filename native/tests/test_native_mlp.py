"""Mlp: the same bits on every target and in every batch, inside the classical error bound, and every refusal."""

from __future__ import annotations

import itertools
import math
import os
import tempfile
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from mainspring.native import mlp, status, targets

TARGETS = targets.available()
UNIT = 2.0**-24
#: How far an activation may be from the exact one: the larger of a relative and an absolute error, in units of 2^-24.
ACTIVATION_ULPS = 8


def erfc(x: Any) -> Any:
    return np.vectorize(math.erfc, otypes=[np.float64])(x)


EXACT: dict[str, Any] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * 0.5 * erfc(-x / np.sqrt(2)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def network(seed: int, widths: list[int], activation: str, output: str = "identity") -> list[mlp.Layer]:
    random = np.random.default_rng(seed)
    layers = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        weight = random.normal(scale=inputs**-0.5 if inputs else 1, size=(outputs, inputs)).astype(np.float32)
        bias = random.normal(scale=0.1, size=outputs).astype(np.float32) if i % 3 != 2 else None
        layers.append(mlp.Layer(weight, bias, output if i + 2 == len(widths) else activation))  # type: ignore[arg-type]
    return layers


def reference(x: Any, layers: list[mlp.Layer]) -> tuple[Any, Any]:
    """In float64, with the bound on a float32 evaluation's error that any order of the sums keeps (Higham, 3.1).

    No activation here grows an error by more than 1.13.
    """
    y, error = np.asarray(x, np.float64), 0.0 * np.asarray(x, np.float64)
    for layer in layers:
        w, b = layer.weight.astype(np.float64), 0.0 if layer.bias is None else layer.bias.astype(np.float64)
        size = np.abs(y) @ np.abs(w).T + np.abs(b)
        error = error @ np.abs(w).T + (layer.weight.shape[1] + 8) * UNIT * (size + error @ np.abs(w).T)
        y = EXACT[layer.activation](y @ w.T + b)
        error = 1.13 * error + ACTIVATION_ULPS * UNIT * np.abs(y) + 1e-37
    return y, error


@pytest.mark.parametrize("activation", mlp.ACTIVATIONS)
@pytest.mark.parametrize(
    "widths",
    [
        [1, 1],
        [3, 7],
        [13, 8, 1],
        [40, 64, 32, 3],
        [64, 128, 64, 1],
        [17, 33, 65, 129, 9],
        [31, 16, 32, 40, 2],
    ],
)
def test_inside_the_bound_and_the_same_everywhere(widths: list[int], activation: str) -> None:
    layers = network(len(widths), widths, activation, activation)
    models = [mlp.make(widths[0], layers, target=t) for t in TARGETS]
    assert [m.target for m in models] == list(TARGETS)
    assert (models[0].dense_width, models[0].n_ids, models[0].n_outputs) == (widths[0], 0, widths[-1])
    random = np.random.default_rng(0)
    for rows in (0, 1, 2, 5, 6, 7, 11, 12, 13, 47, 48, 49, 101):
        x = random.normal(size=(rows, widths[0])).astype(np.float32)
        got = [m.run(x) for m in models]
        assert len({g.tobytes() for g in got}) == 1
        want, bound = reference(x, layers)
        assert (np.abs(got[0] - want) <= bound).all()
        for r in range(rows):
            assert models[-1].run(x[r : r + 1]).tobytes() == got[0][r : r + 1].tobytes()


def test_it_is_close_for_the_usual_network() -> None:
    """What users see: 64 -> 128 -> 64 -> 1 with a sigmoid is within 4e-7 of float64 (the bound above is the worst case)."""
    layers = network(1, [64, 128, 64, 1], "relu", "sigmoid")
    x = np.random.default_rng(2).normal(size=(2000, 64)).astype(np.float32)
    want, _ = reference(x, layers)
    assert np.abs(mlp.make(64, layers).run(x) - want).max() < 4e-7


@pytest.mark.parametrize("activation", mlp.ACTIVATIONS)
@pytest.mark.parametrize("target", TARGETS)
def test_activations(activation: mlp.Activation, target: str) -> None:
    """Each over the whole range, by a network of one weight."""
    model = mlp.make(1, [mlp.Layer(np.ones((1, 1), np.float32), None, activation)], target=target)
    small = np.float32(10.0) ** np.arange(-38, 1, dtype=np.float32)
    x = np.concatenate([np.linspace(-100, 100, 40001), np.linspace(-1, 1, 4001), small, -small]).astype(
        np.float32
    )
    with np.errstate(over="ignore"):
        want = EXACT[activation](x.astype(np.float64))
    got = model.run(x[:, None])[:, 0]
    # What exp(-87) and less would say is cut off: that is the absolute part.
    absolute = 1e-36 * np.maximum(1, np.abs(x)) if activation != "gelu" else 1e-35
    cancelled = 2 * UNIT * x.astype(np.float64) ** 2 * np.abs(want) if activation == "gelu" else 0
    assert (np.abs(got - want) <= ACTIVATION_ULPS * UNIT * np.abs(want) + absolute + cancelled).all()
    extremes = model.run(np.array([[np.nan], [np.inf], [-np.inf]], np.float32))[:, 0]
    assert np.isnan(extremes[0])
    if activation in ("identity", "relu", "gelu", "silu"):
        assert extremes[1] == np.inf
    else:
        assert extremes[1] == 1


@hypothesis.given(
    widths=st.lists(st.integers(1, 70), min_size=2, max_size=5),
    activation=st.sampled_from(mlp.ACTIVATIONS),
    rows=st.integers(0, 60),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-30, 1.0, 1e3, 1e30]),
)
@hypothesis.settings(deadline=None, max_examples=60)
def test_any_network(widths: list[int], activation: str, rows: int, seed: int, scale: float) -> None:
    layers = network(seed, widths, activation)
    x = (np.random.default_rng(seed).normal(size=(rows, widths[0])) * scale).astype(np.float32)
    got = {mlp.make(widths[0], layers, target=t).run(x).tobytes() for t in TARGETS}
    assert len(got) == 1


@pytest.mark.parametrize("target", TARGETS)
def test_embeddings(target: str) -> None:
    random = np.random.default_rng(0)
    tables = [
        mlp.Table(random.normal(size=(n, d)).astype(np.float32), i)
        for n, d, i in ((5, 3, 2), (7, 16, 0), (2, 1, 2))
    ]
    layers = network(3, [4 + 20, 16, 1], "relu", "sigmoid")
    model = mlp.make(4, layers, tables=tables, n_ids=3, target=target)
    for rows in (1, 5, 60):
        dense = random.normal(size=(rows, 4)).astype(np.float32)
        ids = random.integers(0, 2, (3, rows)).astype(np.int32)
        whole = np.concatenate([dense, *(t.weight[ids[t.id_index]] for t in tables)], axis=1)
        plain = mlp.make(24, layers, target=target)
        assert model.run(dense, ids).tobytes() == plain.run(whole).tobytes()


def test_ids_outside_their_table_are_refused() -> None:
    model = mlp.make(
        0, network(1, [2, 1], "relu"), tables=[mlp.Table(np.ones((3, 2), np.float32), 1)], n_ids=2
    )  # fmt: skip
    dense, out = np.zeros((4, 0), np.float32), np.full((4, 1), 7, np.float32)
    for wrong in (3, -1, 2**31 - 1, -(2**31)):
        ids = np.zeros((2, 4), np.int32)
        ids[1, 2] = wrong
        refused("bad_spec", "row 2", "tables[0]", run=lambda ids=ids: model.run(dense, ids, out))
        bound = model.bind(dense, ids, out)
        refused("bad_spec", "row 2", run=bound.run)
        assert (out == 7).all()
    model.run(
        dense, np.array([[9] * 4, [2] * 4], np.int32), out
    )  # an id that no table asks for may be anything
    assert not (out == 7).any()


def test_bound_arrays_are_read_anew() -> None:
    model = mlp.make(8, network(1, [8, 16, 1], "relu", "sigmoid"))
    x = np.zeros((1, 8), np.float32)
    bound = model.bind(x)
    for seed in (1, 2):
        x[:] = np.random.default_rng(seed).normal(size=(1, 8))
        assert bound.run() is None
        assert bound.out.tobytes() == model.run(x).tobytes()
    out = np.zeros((1, 1), np.float32)
    assert model.bind(x, None, out).out is out


def state_of(hidden: list[int]) -> dict[str, Any]:
    """Names and shapes of the platform's network: dense 3, tables of 4 x 2 and 5 x 1."""
    random = np.random.default_rng(0)
    sizes = [2, 1] if hidden else [1, 1]
    state: dict[str, Any] = {
        f"tables.{i}.weight": random.normal(size=(rows, size))
        for i, (rows, size) in enumerate(zip((4, 5), sizes, strict=True))
    }
    widths = [3 + sum(sizes), *hidden, 1] if hidden else [3, 1]
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        state |= {
            f"head.{3 * i}.weight": random.normal(size=(b, a)),
            f"head.{3 * i}.bias": random.normal(size=b),
        }
    return {k: v.astype(np.float32) for k, v in state.items()}


@pytest.mark.parametrize("hidden", [[], [8], [16, 4]])
def test_the_platforms_network(hidden: list[int]) -> None:
    state = state_of(hidden)
    model = mlp.from_state(state, dense_width=3, id_indices=[1, 0], n_ids=2)
    random = np.random.default_rng(1)
    dense, ids = random.normal(size=(9, 3)).astype(np.float32), random.integers(0, 4, (2, 9)).astype(np.int32)
    first, second = state["tables.0.weight"][ids[1]], state["tables.1.weight"][ids[0]]
    if hidden:
        want = np.concatenate([dense, first, second], axis=1).astype(np.float64)
        for i in range(len(hidden) + 1):
            want = want @ state[f"head.{3 * i}.weight"].T + state[f"head.{3 * i}.bias"]
            want = np.maximum(want, 0) if i < len(hidden) else want
    else:
        want = dense.astype(np.float64) @ state["head.0.weight"].T + state["head.0.bias"] + first + second
    np.testing.assert_allclose(model.run(dense, ids), want, rtol=1e-5, atol=1e-6)
    sure = mlp.from_state(state, dense_width=3, id_indices=[1, 0], n_ids=2, output="sigmoid")
    np.testing.assert_allclose(sure.run(dense, ids), EXACT["sigmoid"](want), rtol=1e-5, atol=1e-6)


def test_ids_alone() -> None:
    """Logistic regression without dense columns has a bias and no weight."""
    weight = np.array([[1.0], [2.0]], np.float32)
    state = {"tables.0.weight": weight, "head.0.bias": np.array([0.5], np.float32)}
    model = mlp.from_state(state, dense_width=0, id_indices=[0], n_ids=1)
    assert model.run(np.zeros((2, 0), np.float32), np.array([[1, 0]], np.int32)).tolist() == [[2.5], [1.5]]


def refused(code: str, *words: str, run: Any) -> None:
    with pytest.raises(status.NativeError) as caught:
        run()
    assert caught.value.code == code, caught.value.message
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize("target", TARGETS)
def test_sealed_weights_answer_as_own_ones(target: str) -> None:
    tables = [mlp.Table(np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32), 0)]
    layers = network(2, [13 + 3, 33, 7, 1], "gelu", "sigmoid")
    own = mlp.make(13, layers, tables=tables, n_ids=1, target=target)
    dense = np.random.default_rng(2).normal(size=(60, 13)).astype(np.float32)
    ids = np.random.default_rng(3).integers(0, 5, (1, 60)).astype(np.int32)
    want = own.run(dense, ids)
    fd = own.sealed()
    try:
        mapped = own.over(fd)
        for other in (mlp.make(13, layers, tables=tables, n_ids=1, target=t) for t in TARGETS):
            assert other.over(fd).packed.tobytes() == own.packed.tobytes()
    finally:
        os.close(fd)
    assert (own.is_mapped, mapped.is_mapped, mapped.target) == (False, True, target)
    view = mapped.packed
    del own
    bound = mapped.bind(dense, ids)
    bound.run()
    assert mapped.run(dense, ids).tobytes() == bound.out.tobytes() == want.tobytes()
    del mapped, bound
    assert (view.flags.writeable, view.nbytes % 64) == (False, 0)
    assert view.any(), "the bytes are kept by who looks at them"


def test_weights_of_others_are_refused() -> None:
    layers = network(2, [16, 33, 7, 1], "gelu", "sigmoid")
    own = mlp.make(16, layers)
    changed = [layers[0], layers[1]._replace(weight=np.nextafter(layers[1].weight, np.float32(2))), layers[2]]
    for others in (changed, layers[:2]):
        fd = mlp.make(16, others).sealed()
        refused("corrupt", "shared memory", "own memory", run=lambda fd=fd: own.over(fd))
        os.close(fd)
    refused("io", run=lambda: own.over(fd))
    with tempfile.TemporaryFile() as file:
        file.write(own.packed.tobytes())
        file.flush()
        refused("corrupt", "sealed", run=lambda: own.over(file.fileno()))


def test_states_that_are_refused() -> None:
    state = state_of([8])
    of = lambda s, **more: mlp.from_state(s, **({"dense_width": 3, "id_indices": [1, 0], "n_ids": 2} | more))  # noqa: E731
    refused("bad_spec", "`rnn`", run=lambda: of(state | {"rnn": state["head.0.bias"]}))
    refused("bad_spec", "`id_indices`", run=lambda: of(state, id_indices=[0]))
    refused("bad_spec", "id_index", run=lambda: of(state, id_indices=[0, 2]))
    refused("bad_spec", "head.N", run=lambda: of({k: v for k, v in state.items() if "head" not in k}))
    refused(
        "bad_spec",
        "`head.0.weight`",
        run=lambda: of({k: v for k, v in state.items() if k != "head.0.weight"}),
    )
    refused("bad_spec", "layers[0]", "column", run=lambda: of(state, dense_width=4))


def test_networks_that_are_refused() -> None:
    w = np.ones((2, 3), np.float32)
    refused("bad_spec", "64 layers", run=lambda: mlp.make(3, []))
    refused("bad_spec", "dense_width", run=lambda: mlp.make(-1, [mlp.Layer(w)]))
    refused("bad_spec", "activation", run=lambda: mlp.make(3, [mlp.Layer(w, None, "swish")]))  # type: ignore[arg-type]
    refused("bad_spec", "layers[1]", run=lambda: mlp.make(3, [mlp.Layer(w), mlp.Layer(w)]))
    refused("bad_spec", "finite", run=lambda: mlp.make(3, [mlp.Layer(w * np.float32(np.nan))]))
    refused("bad_spec", "1 to 16384", run=lambda: mlp.make(3, [mlp.Layer(np.zeros((0, 3), np.float32))]))
    refused("bad_dtype", "layers[0].weight", run=lambda: mlp.make(3, [mlp.Layer(w.astype(np.float64))]))  # type: ignore[arg-type]
    refused("bad_shape", "layers[0].bias", run=lambda: mlp.make(3, [mlp.Layer(w, np.zeros(3, np.float32))]))
    refused("not_contiguous", run=lambda: mlp.make(3, [mlp.Layer(np.ones((3, 2), np.float32).T)]))
    refused("unknown_target", run=lambda: mlp.make(3, [mlp.Layer(w)], target="sse9"))
    bad = mlp.Table(np.full((2, 2), np.inf, np.float32), 0)
    refused("bad_spec", "tables[0]", run=lambda: mlp.make(1, [mlp.Layer(w)], tables=[bad], n_ids=1))
    added = mlp.Table(np.ones((2, 3), np.float32), 0, True)
    refused(
        "bad_spec", "tables[0]", "output", run=lambda: mlp.make(3, [mlp.Layer(w)], tables=[added], n_ids=1)
    )
    model = mlp.make(3, [mlp.Layer(w)], tables=[mlp.Table(np.ones((2, 2), np.float32), 0, True)], n_ids=1)
    x = np.zeros((2, 3), np.float32)
    refused("bad_dtype", "ids", run=lambda: model.run(x))
    refused("bad_shape", "ids", run=lambda: model.run(x, np.zeros((2, 1), np.int32)))
    refused("bad_shape", run=lambda: model.run(x[0], np.zeros((1, 2), np.int32)))
    refused("overlap", run=lambda: model.run(x, np.zeros((1, 2), np.int32), x.reshape(-1)[:4].reshape(2, 2)))
