"""Who runs the dense transform: our kernel and its peers, each on the data layout that suits it best, with one answer.

`contest(case)` builds a call without arguments for each; what is prepared outside the call (a Polars frame, torch
tensors, a compiled numba loop, output buffers) is not timed. Peers that are not installed are left out, by name.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.bench.native import cases
from mainspring.bench.native.cases import N_INDICATORS, N_VALUES, Case
from mainspring.bench.native.contest import Contest, Contestant
from mainspring.native import dense, targets

Matrix = NDArray[np.float32]


OUR_BOUND, PEER_BOUND = 2e-6, 1e-5
PEERS = ("numba", "polars", "torch")


def missing_peers() -> list[str]:
    """Peers of the list that are not installed here."""
    return [name for name in PEERS if importlib.util.find_spec(name) is None]


def contest(case: Case) -> Contest:
    """Ours first, then every peer that is installed."""
    return Contest(f"dense/{case.name}", case.rows, _contestants(case))


def contests(*, quick: bool) -> list[Callable[[], Contest]]:
    """Small and large batches, with log1p and without; quick: the one that tells most."""
    if quick:
        return [functools.partial(_build, 4096, True)]
    return [functools.partial(_build, n, is_log1p) for is_log1p in (True, False) for n in cases.ROWS]


def judge(results: Iterable[dict[str, Any]], *, quick: bool) -> list[dict[str, Any]]:
    """No targets of its own: the dense transform is part of CTR-48."""
    del results, quick
    return []


def _build(rows: int, is_log1p: bool) -> Contest:
    return contest(cases.make_case(rows, is_log1p=is_log1p))


def _contestants(case: Case) -> list[Contestant]:
    made = [*_mainspring(case), _numpy(case)]
    for name, build in (("numba", _numba), ("polars", _polars), ("torch", _torch)):
        if importlib.util.find_spec(name) is not None:
            made += build(case)
    return made


def _check(case: Case, bound: float) -> Callable[[Matrix], str | None]:
    return lambda got: cases.check(got, case.expected(), bound=bound)


def _parameters(case: Case) -> list[NDArray[np.float32]]:
    return [np.array(p, np.float32) for p in (case.fill, case.lower, case.upper, case.mean, case.scale)]


def _mainspring(case: Case) -> list[Contestant]:
    columns = case.columns
    made = []
    forced = targets.in_force()
    for target in (forced, *(t for t in reversed(targets.available()) if t != forced)):
        transform = dense.DenseTransform(**case.spec, target=target)  # type: ignore[arg-type]
        out = transform.run(columns)
        name = "mainspring" if target == forced else f"mainspring-{target}"

        def run(transform: dense.DenseTransform = transform, out: Matrix = out) -> Matrix:
            return transform.run(columns, out)

        made.append(Contestant(name, 1, run, _check(case, OUR_BOUND), is_ours=True))
    return made


def _numpy(case: Case) -> Contestant:
    x = case.matrix
    fill, lower, upper, mean, scale = (p[:, None] for p in _parameters(case))
    out = np.empty((case.rows, N_VALUES + N_INDICATORS), np.float32)

    def run() -> Matrix:
        missing = np.isnan(x)
        y = np.where(missing, fill, x)
        np.clip(y, lower, upper, out=y)
        if case.is_log1p:
            np.log1p(y, out=y)
        y -= mean
        y /= scale
        out[:, :N_VALUES] = y.T
        out[:, N_VALUES:] = missing[:N_INDICATORS].T
        return out

    return Contestant("numpy", 1, run, _check(case, PEER_BOUND))


def _numba(case: Case) -> list[Contestant]:
    import numba

    def fused(
        x: Any, fill: Any, lower: Any, upper: Any, mean: Any, inverse: Any, log1p: bool, out: Any
    ) -> None:
        for row in numba.prange(x.shape[1]):
            for j in range(N_VALUES):
                value = x[j, row]
                if math.isnan(value):
                    value = fill[j]
                value = min(max(value, lower[j]), upper[j])
                if log1p:
                    value = np.log1p(value)
                out[row, j] = (value - mean[j]) * inverse[j]
            for j in range(N_INDICATORS):
                out[row, N_VALUES + j] = np.float32(1.0) if math.isnan(x[j, row]) else np.float32(0.0)

    fill, lower, upper, mean, scale = _parameters(case)
    inverse = (1 / scale).astype(np.float32)
    made = []
    for name, threads, parallel in (("numba", 1, False), ("numba-parallel", numba.get_num_threads(), True)):
        compiled = numba.njit(parallel=parallel)(fused)
        out = np.empty((case.rows, N_VALUES + N_INDICATORS), np.float32)

        def run(compiled: Any = compiled, out: Matrix = out) -> Matrix:
            compiled(case.matrix, fill, lower, upper, mean, inverse, case.is_log1p, out)
            return out

        made.append(Contestant(name, threads, run, _check(case, PEER_BOUND)))
    return made


def _polars(case: Case) -> list[Contestant]:
    import polars as pl

    frame = pl.DataFrame({f"c{i}": column for i, column in enumerate(case.matrix)})
    expressions = []
    for i in range(N_VALUES):
        value = pl.col(f"c{i}").fill_nan(case.fill[i]).clip(case.lower[i], case.upper[i])
        value = value.log1p() if case.is_log1p else value
        expressions.append(((value - case.mean[i]) / case.scale[i]).cast(pl.Float32))
    for i in range(N_INDICATORS):
        expressions.append(pl.col(f"c{i}").is_nan().cast(pl.Float32).alias(f"m{i}"))

    def run() -> Matrix:
        matrix: Matrix = frame.select(expressions).to_numpy(order="c")
        return matrix

    return [Contestant("polars", pl.thread_pool_size(), run, _check(case, PEER_BOUND))]


def _torch(case: Case) -> list[Contestant]:
    import torch

    torch.set_num_threads(1)  # two threads lose here: its barrier waits for whoever else has the core
    x = torch.from_numpy(case.matrix)
    fill, lower, upper, mean, scale = (torch.from_numpy(p)[:, None] for p in _parameters(case))
    out = torch.empty((case.rows, N_VALUES + N_INDICATORS), dtype=torch.float32)

    def run() -> Matrix:
        with torch.inference_mode():
            missing = torch.isnan(x)
            y = torch.where(missing, fill, x).clamp_(lower, upper)
            if case.is_log1p:
                y.log1p_()
            out[:, :N_VALUES] = y.sub_(mean).div_(scale).T
            out[:, N_VALUES:] = missing[:N_INDICATORS].T
            return out.numpy()

    return [Contestant("torch", 1, run, _check(case, PEER_BOUND))]
