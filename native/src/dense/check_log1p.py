"""Check log1p over every float32 in [0, inf), on every target of this CPU: the error, and that the targets agree.

Two billion values a target, so it is a script and not a test (about two minutes a fast target; the tests sample densely).

    python native/src/dense/check_log1p.py [--target avx512] [--stride 1]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from numpy.typing import NDArray

from mainspring.native import dense, targets

LAST = 0x7F800000  # the bits of +inf
CHUNK = 1 << 22
WIDTH = 16  # one matrix column per slice of the chunk, so that rows stay wide


def program(target: str) -> dense.DenseTransform:
    """log1p and nothing else: clip without bounds, mean 0, scale 1."""
    inf = float("inf")
    return dense.DenseTransform(
        source=range(WIDTH),
        indicator=[False] * WIDTH,
        fill=[0.0] * WIDTH,
        lower=[-inf] * WIDTH,
        upper=[inf] * WIDTH,
        log1p=[True] * WIDTH,
        mean=[0.0] * WIDTH,
        scale=[1.0] * WIDTH,
        target=target,
    )


def error_ulp(got: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance from the float64 logarithm (itself good to about 2e-9 ULP of float32), in ULP of the true value."""
    truth = np.log1p(x.astype(np.float64))
    ulp = np.exp2(np.maximum(np.floor(np.log2(np.maximum(truth, 2.0**-149))), -126.0) - 23.0)
    return np.abs(got.astype(np.float64) - truth) / ulp


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", action="append", help="default: all of this CPU")
    parser.add_argument("--stride", type=int, default=1, help="check every n-th float")
    arguments = parser.parse_args()
    names = arguments.target or list(targets.available())
    programs = {name: program(name) for name in names}
    started = time.monotonic()
    worst, worst_x, values, mismatches = 0.0, 0.0, 0, 0
    for first in range(0, LAST, CHUNK * arguments.stride):
        bits = np.arange(
            first, min(first + CHUNK * arguments.stride, LAST), arguments.stride, dtype=np.uint32
        )
        x = np.zeros(-(-len(bits) // WIDTH) * WIDTH, np.float32)
        x[: len(bits)] = bits.view(np.float32)
        columns = list(x.reshape(WIDTH, -1))
        outs = {name: p.run(columns) for name, p in programs.items()}
        got = outs[names[0]]
        mismatches += sum(int((o.view(np.uint32) != got.view(np.uint32)).sum()) for o in outs.values())
        errors = error_ulp(got.T.reshape(-1), x)
        at = int(errors.argmax())
        if errors[at] > worst:
            worst, worst_x = float(errors[at]), float(x[at])
        values += len(bits)
    print(
        json.dumps(
            {
                "targets": names,
                "values": values,
                "max_ulp": round(worst, 4),
                "at": worst_x,
                "mismatches": mismatches,
                "seconds": round(time.monotonic() - started, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
