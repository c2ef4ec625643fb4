"""What the GPU is measured on, and the right answers: by the CPU's own code, which its tests hold to the references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.bench.native import ctr48
from mainspring.native import dense, device_plan, program

ROWS, QUICK_ROWS = 1_000_000, 65_536
#: Rows whose answer the slow reference gives, too.
REFERENCE_ROWS = 1024


@dataclass(frozen=True)
class ProgramCase:
    """The plan CTR-48: 13 dense, 26 categorical, 4 bucketised, 2 crosses, 3 windows."""

    plan: device_plan.DevicePlan
    floats: NDArray[np.float32]  # (13, rows)
    ints: NDArray[np.int64]  # (27, rows)
    batch: ctr48.Batch
    dense: NDArray[np.float32]  # the answer
    ids: NDArray[np.int32]

    @property
    def bytes(self) -> int:
        """What must be read or written once, tables not counted."""
        events = (self.batch.offsets, self.batch.times, self.batch.values)
        arrays = (self.floats, self.ints, *events, self.dense, self.ids)
        return sum(a.nbytes for a in arrays)


def program_case(rows: int) -> ProgramCase:
    """Data and answer; AssertionError where the CPU's differs from the reference."""
    fitted = ctr48.make_plan()
    batch = ctr48.make_batch(fitted, rows)
    plan = device_plan.compile(fitted.spec)
    by_name: Mapping[str, Any] = batch.columns
    want = program.Program(fitted.spec).run(by_name)
    some = min(rows, REFERENCE_ROWS)
    reference_dense, reference_ids = ctr48.expected(fitted, batch.head(some))
    assert np.array_equal(want.ids[:, :some], reference_ids)
    assert np.allclose(want.dense[:some], reference_dense, rtol=1e-6, atol=2e-6)
    return ProgramCase(
        plan=plan,
        floats=np.stack([by_name[n] for n in plan.names("float32")]),
        ints=np.stack([by_name[n] for n in plan.names("int64")]),
        batch=batch,
        dense=want.dense,
        ids=want.ids,
    )


@dataclass(frozen=True)
class DenseCase:
    """The dense transform alone: 13 columns in, 16 out."""

    spec: dict[str, Any]
    columns: NDArray[np.float32]  # (13, rows)
    out: NDArray[np.float32]  # the answer

    @property
    def bytes(self) -> int:
        return self.columns.nbytes + self.out.nbytes


def dense_case(rows: int) -> DenseCase:
    """Clip, log1p, standardise and three indicators; 8 % missing."""
    rng = np.random.default_rng(16)
    columns = rng.lognormal(2.0, 2.0, (13, rows)).astype(np.float32)
    columns[rng.random(columns.shape, dtype=np.float32) < 0.08] = np.nan
    spec = {
        "source": [*range(13), 0, 1, 2],
        "indicator": [False] * 13 + [True] * 3,
        "fill": [1.0 + i for i in range(16)],
        "lower": [0.0] * 16,
        "upper": [1000.0 + i for i in range(16)],
        "log1p": [True] * 13 + [False] * 3,
        "mean": [2.0] * 16,
        "scale": [1.5] * 16,
    }
    return DenseCase(spec, columns, dense.DenseTransform(**spec).run(list(columns)))


@dataclass(frozen=True)
class BagCase:
    """Bags of 0 to 31 rows of a table, 64 floats each; one index in twenty is missing."""

    table: NDArray[np.float32]
    indices: NDArray[np.int64]
    offsets: NDArray[np.int64]
    out: NDArray[np.float32]  # the sums

    @property
    def bytes(self) -> int:
        read = int((self.indices >= 0).sum()) * 4 * self.table.shape[1]
        return read + self.indices.nbytes + self.offsets.nbytes + self.out.nbytes


def bag_case(rows: int) -> BagCase:
    """The answer adds the k-th row of every bag at once: the order of each bag, float32 by float32."""
    rng = np.random.default_rng(64)
    n_bags, n_rows = rows // 8, rows
    table = rng.normal(0, 1, (n_rows, 64)).astype(np.float32)
    counts = rng.integers(0, 32, n_bags)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    indices = rng.integers(0, n_rows, offsets[-1])
    indices[rng.random(len(indices)) < 0.05] = -1
    out = np.zeros((n_bags, 64), np.float32)
    for k in range(31):
        bags = np.flatnonzero(counts > k)
        chosen = indices[offsets[bags] + k]
        out[bags[chosen >= 0]] += table[chosen[chosen >= 0]]
    return BagCase(table, indices, offsets, out)


@dataclass(frozen=True)
class JaggedCase:
    """Rows of 0 to 32 values, padded to 32."""

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]
    dense: NDArray[np.int32]  # (rows, 32), padded with PADDING
    order: NDArray[np.int64]  # a permutation of the rows

    @property
    def bytes(self) -> int:
        return self.values.nbytes + self.offsets.nbytes + self.dense.nbytes

    @property
    def move_bytes(self) -> int:
        """Of a gather or scatter of all rows."""
        return self.order.nbytes + 2 * self.dense.nbytes


PADDING = -7


def jagged_case(rows: int) -> JaggedCase:
    """Values are random words: they are moved, never computed with."""
    rng = np.random.default_rng(32)
    n = rows // 4
    lengths = rng.integers(0, 33, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.integers(-(2**31), 2**31, offsets[-1]).astype(np.int32)
    dense = np.full((n, 32), PADDING, np.int32)
    dense[np.arange(32)[None, :] < lengths[:, None]] = values
    return JaggedCase(values, offsets, dense, rng.permutation(n))
