"""The plan CTR-48: what a click model eats, and the data it is measured on.

In:  13 float32 columns (8 % missing), 26 int64 columns (5 % missing), one event list a row (16 events on average, times
     int64 and values float32, int32 offsets) and the moment it is seen from. 464 bytes a row.
Out: 16 float32 (13 impute, clip, log1p, standardise; sum of 1 h, mean of 24 h, max of 7 days) and 32 int32 ids (20 hashes,
     6 vocabularies of 10,000, 4 times 32 boundaries, 2 crosses). 192 bytes a row, 656 in all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.native import reference, reference_program

N_DENSE, N_CATEGORICAL, N_HASHES, N_VOCABULARIES, N_BUCKETISED, N_CROSSES = 13, 26, 20, 6, 4, 2
VOCABULARY_SIZE, N_BOUNDARIES, BUCKETS = 10_000, 32, 100_000
HOUR = 3600
WINDOWS = (("sum", HOUR), ("mean", 24 * HOUR), ("max", 7 * 24 * HOUR))
CROSSES = ((0, 1), (2, 3))
BYTES_PER_ROW = 656


@dataclass(frozen=True)
class Plan:
    """The fitted numbers, and the spec that they make."""

    fill: list[float]
    upper: list[float]
    mean: list[float]
    scale: list[float]
    boundaries: list[list[float]]
    vocabularies: list[list[int]]

    @property
    def spec(self) -> dict[str, Any]:
        dense: list[dict[str, Any]] = [
            {
                "op": "numeric", "source": f"d{i}", "fill": self.fill[i], "lower": 0.0, "upper": self.upper[i],
                "log1p": True, "mean": self.mean[i], "scale": self.scale[i],
            }
            for i in range(N_DENSE)
        ]  # fmt: skip
        for aggregate, width in WINDOWS:
            source = {"window": aggregate, "events": "events", "as_of": "now", "width": width}
            dense.append({"op": "numeric", "source": source})
        ids: list[dict[str, Any]] = [
            {"op": "hash", "source": f"c{i}", "buckets": BUCKETS, "seed": i} for i in range(N_HASHES)
        ]
        ids += [
            {"op": "vocabulary", "source": f"c{N_HASHES + i}", "values": values}
            for i, values in enumerate(self.vocabularies)
        ]
        ids += [
            {"op": "bucketise", "source": f"d{i}", "boundaries": bounds, "right": False}
            for i, bounds in enumerate(self.boundaries)
        ]
        ids += [
            {"op": "cross", "sources": [f"c{a}", f"c{b}"], "buckets": BUCKETS, "seed": 100 + i}
            for i, (a, b) in enumerate(CROSSES)
        ]
        inputs = [{"name": f"d{i}", "type": "float32"} for i in range(N_DENSE)]
        inputs += [{"name": f"c{i}", "type": "int64"} for i in range(N_CATEGORICAL)]
        inputs += [{"name": "now", "type": "int64"}, {"name": "events", "type": "events"}]
        return {"version": 1, "inputs": inputs, "dense": dense, "ids": ids}


@dataclass(frozen=True)
class Batch:
    """Columns are rows of two matrices, so that peers that want blocks have them for free."""

    rows: int
    dense: NDArray[np.float32] = field(repr=False)  # (13, rows)
    categorical: NDArray[np.int64] = field(repr=False)  # (26, rows)
    now: NDArray[np.int64] = field(repr=False)
    offsets: NDArray[np.int32] = field(repr=False)
    times: NDArray[np.int64] = field(repr=False)
    values: NDArray[np.float32] = field(repr=False)

    @property
    def columns(self) -> dict[str, Any]:
        """What `Program.run` takes."""
        return {
            **{f"d{i}": column for i, column in enumerate(self.dense)},
            **{f"c{i}": column for i, column in enumerate(self.categorical)},
            "now": self.now,
            "events": (self.offsets, self.times, self.values),
        }

    def head(self, rows: int) -> Batch:
        """The first rows."""
        end = int(self.offsets[rows])
        return Batch(
            rows, self.dense[:, :rows], self.categorical[:, :rows], self.now[:rows], self.offsets[: rows + 1],
            self.times[:end], self.values[:end],
        )  # fmt: skip

    def fields(self, row: int) -> dict[str, Any]:
        """One row as a request brings it: None for what is missing."""
        begin, end = self.offsets[row], self.offsets[row + 1]
        numbers = [None if np.isnan(x) else float(x) for x in self.dense[:, row]]
        ids = [None if x == reference.MISSING else int(x) for x in self.categorical[:, row]]
        return {
            **{f"d{i}": x for i, x in enumerate(numbers)},
            **{f"c{i}": x for i, x in enumerate(ids)},
            "now": int(self.now[row]),
            "events": (self.times[begin:end].copy(), self.values[begin:end].copy()),
        }


def make_plan() -> Plan:
    """Always the same."""
    rng = np.random.default_rng(48)
    return Plan(
        fill=rng.uniform(1, 10, N_DENSE).tolist(),
        upper=rng.uniform(500, 5000, N_DENSE).tolist(),
        mean=rng.uniform(1, 3, N_DENSE).tolist(),
        scale=rng.uniform(1, 2, N_DENSE).tolist(),
        boundaries=[
            np.unique(rng.lognormal(2, 2, N_BOUNDARIES).astype(np.float32)).tolist()
            for _ in range(N_BUCKETISED)
        ],
        vocabularies=[
            rng.choice(2**31, VOCABULARY_SIZE, replace=False).tolist() for _ in range(N_VOCABULARIES)
        ],
    )


def make_batch(plan: Plan, rows: int) -> Batch:
    """Heavy-tailed counts, ids of 2^40, nine in ten known to their vocabulary, events of two weeks in order."""
    rng = np.random.default_rng(rows)
    dense = rng.lognormal(2.0, 2.0, (N_DENSE, rows)).astype(np.float32)
    dense[rng.random(dense.shape, dtype=np.float32) < 0.08] = np.nan
    categorical = rng.integers(0, 2**40, (N_CATEGORICAL, rows))
    for i, values in enumerate(plan.vocabularies):
        known = rng.random(rows) < 0.9
        categorical[N_HASHES + i, known] = rng.choice(np.array(values), int(known.sum()))
    categorical[rng.random(categorical.shape, dtype=np.float32) < 0.05] = reference.MISSING
    now = rng.integers(1_700_000_000, 1_700_000_000 + 30 * 24 * HOUR, rows)
    counts = rng.poisson(16, rows)
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    owner = np.repeat(np.arange(rows), counts)
    age = rng.exponential(2 * 24 * HOUR, len(owner)).astype(np.int64) - HOUR  # some lie in the future
    times = now[owner] - age
    return Batch(
        rows=rows,
        dense=dense,
        categorical=categorical,
        now=now,
        offsets=offsets,
        times=times[np.lexsort((times, owner))],
        values=rng.lognormal(0, 1, len(owner)).astype(np.float32),
    )


def expected(plan: Plan, batch: Batch) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """dense (rows, 16) and ids (32, rows) from the reference; seconds for 100,000 rows."""
    return reference_program.run(plan.spec, batch.columns)
