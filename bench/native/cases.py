"""What is measured: programs, data, and the answer that every contestant must give before it is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mainspring.native import reference

N_VALUES, N_INDICATORS = 13, 3
MISSING_SHARE = 0.08
ROWS = (1, 64, 4096, 1_000_000)
QUICK_ROWS = (1, 64, 4096, 131_072)


@dataclass(frozen=True)
class Case:
    """One program on one batch. `columns` are rows of `matrix`, so that peers that want one array have it for free."""

    name: str
    rows: int
    fill: list[float]
    lower: list[float]
    upper: list[float]
    mean: list[float]
    scale: list[float]
    is_log1p: bool
    matrix: NDArray[np.float32] = field(repr=False)

    @property
    def columns(self) -> list[NDArray[np.float32]]:
        return list(self.matrix)

    @property
    def spec(self) -> dict[str, Sequence[float]]:
        """The keyword arguments of `DenseTransform`: 13 values, then whether the first 3 were missing."""
        extra = [0.0] * N_INDICATORS
        return {
            "source": [*range(N_VALUES), *range(N_INDICATORS)],
            "indicator": [False] * N_VALUES + [True] * N_INDICATORS,
            "fill": self.fill + extra,
            "lower": self.lower + extra,
            "upper": self.upper + extra,
            "log1p": [self.is_log1p] * N_VALUES + [False] * N_INDICATORS,
            "mean": self.mean + extra,
            "scale": self.scale + [1.0] * N_INDICATORS,
        }

    def expected(self) -> NDArray[np.float64]:
        """(rows, 16) from the float64 reference."""
        return reference.dense_transform(self.columns, **self.spec)  # type: ignore[arg-type]


def make_case(rows: int, *, is_log1p: bool) -> Case:
    """The dense part of the plan CTR-48: heavy-tailed counts, 8 % missing, 13 columns in, 16 out."""
    rng = np.random.default_rng(48)
    matrix = rng.lognormal(2.0, 2.0, (N_VALUES, rows)).astype(np.float32)
    matrix[rng.random(matrix.shape) < MISSING_SHARE] = np.nan
    return Case(
        name="log1p" if is_log1p else "plain",
        rows=rows,
        fill=rng.uniform(1, 10, N_VALUES).tolist(),
        lower=[0.0] * N_VALUES,
        upper=rng.uniform(500, 5000, N_VALUES).tolist(),
        mean=rng.uniform(1, 3, N_VALUES).tolist(),
        scale=rng.uniform(1, 2, N_VALUES).tolist(),
        is_log1p=is_log1p,
        matrix=matrix,
    )


def check(got: NDArray[np.float32], want: NDArray[np.float64], *, bound: float) -> str | None:
    """None, or what is wrong: |got - want| <= bound + bound / 2 |want|, C order, float32."""
    if got.shape != want.shape or got.dtype != np.float32 or not got.flags.c_contiguous:
        return f"expected a C-ordered float32 {want.shape}, got {got.dtype} {got.shape}"
    excess = np.abs(got - want) - bound * (1 + np.abs(want) / 2)
    if not (excess <= 0).all():  # NaN is no answer either
        return f"differs from the reference by up to {np.abs(got - want).max():.2e}"
    return None
