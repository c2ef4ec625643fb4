"""The GPU kernels: `python -m mainspring.bench.gpu [--quick] [--json] [--output FILE] [--library FILE]`.

Each kernel's answer is compared with the CPU's, bit for bit, before it is timed; what is wrong has no time. The share is that
of a plain copy: bytes that must move, over the time that the device's own copy takes for as many.

Exit code 0; 1 where an answer is wrong or a kernel failed; 77 where there is no GPU: nothing has run then, and `status` says
"skipped" and why. Data goes to stdout, progress to stderr.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mainspring.bench import suite
from mainspring.bench.gpu import cases, cuda_runs, triton_runs
from mainspring.bench.gpu.driver import Device, DriverError, NoDevice
from mainspring.bench.gpu.runs import Run
from mainspring.bench.native import machine

SKIPPED = 77  # as automake has it
#: Of the copy's bandwidth, for the fused transform at 1 M rows.
TARGET = 0.85
ROUNDS, QUICK_ROUNDS, WARM_UP = 50, 10, 5
COPY_BYTES, QUICK_COPY_BYTES = 1 << 30, 1 << 24

Maker = Callable[[], Run]


def run(
    *,
    quick: bool = False,
    rows: int | None = None,
    library: pathlib.Path | None = None,
    driver: str = "libcuda.so.1",
) -> dict[str, Any]:
    """The whole suite as one JSON value. `rows` and `driver` are for tests of this script."""
    about = {k: v for k, v in machine.describe().items() if k in ("cpu", "commit", "python", "versions")}
    about["versions"] = {"numpy": np.__version__, "triton": _version("triton")}
    result: dict[str, Any] = {"suite": "gpu", "version": 1, "quick": quick, "status": "ok", "machine": about}
    try:
        device = Device(driver)
    except NoDevice as reason:
        return result | {"status": "skipped", "reason": str(reason)}
    result["device"] = device.describe()
    result["rounds"] = QUICK_ROUNDS if quick else ROUNDS
    copy = _copy_gb_per_s(device, result["rounds"], quick=quick)
    result["copy_gb_per_s"] = round(copy, 1)
    rows = rows or (cases.QUICK_ROWS if quick else cases.ROWS)
    result["results"], result["left_out"] = [], []
    with tempfile.TemporaryDirectory() as folder:
        for make in _makers(device, pathlib.Path(folder), library, rows, result["left_out"]):
            row = _measure(device, make, result["rounds"], copy)
            print(row, file=sys.stderr)
            result["results"].append(row)
            if row.get("fatal"):  # whatever comes after would fail, too
                break
    result["goals"] = [_goal(result["results"], f"{kind}/program/{rows}") for kind in ("triton", "cuda")]
    if not result["results"] or not all(row["correct"] for row in result["results"]):
        result["status"] = "failed"
    return result


def _makers(
    device: Device, folder: pathlib.Path, library: pathlib.Path | None, rows: int, left_out: list[Any]
) -> Iterator[Maker]:
    if importlib.util.find_spec("triton") is None:
        left_out.append({"name": "triton", "reason": "triton is not installed"})
    else:
        yield from triton_runs.runs(device, folder, rows)
    try:
        loaded = cuda_runs.Library(cuda_runs.find(library, folder))
    except cuda_runs.NoLibrary as reason:
        left_out.append({"name": "cuda", "reason": str(reason)})
    else:
        yield from cuda_runs.runs(device, loaded, rows)


def _measure(device: Device, make: Maker, rounds: int, copy: float) -> dict[str, Any]:
    """One row of the results. A kernel that fails is one that is wrong, and says so."""
    name = getattr(make, "func", make).__name__.strip("_")
    try:
        one = make()
        wrong = one.check()
        if wrong is not None:
            device.free(*one.owned)
            return {"name": one.name, "correct": False, "wrong": wrong}
        device.microseconds(one.launch, WARM_UP)
        times = device.microseconds(one.launch, rounds)
        device.free(*one.owned)
    except (DriverError, RuntimeError, AssertionError) as error:
        return {"name": name, "correct": False, "wrong": str(error), "fatal": True}
    median = statistics.median(times)
    gb_per_s = one.bytes / median / 1000
    return {
        "name": one.name,
        "correct": True,
        "bytes": one.bytes,
        "value": round(median, 2),
        "unit": "us",
        "min_us": round(min(times), 2),
        "gb_per_s": round(gb_per_s, 1),
        "copy_share": round(gb_per_s / copy, 3),
    }


def _copy_gb_per_s(device: Device, rounds: int, *, quick: bool) -> float:
    """What a copy from device memory to device memory reads and writes in a second."""
    size = QUICK_COPY_BYTES if quick else COPY_BYTES
    from_, to = device.empty((size,), np.uint8), device.empty((size,), np.uint8)
    from_.fill(1)
    device.microseconds(lambda: device.copy(to, from_), WARM_UP)
    median = statistics.median(device.microseconds(lambda: device.copy(to, from_), rounds))
    device.free(from_, to)
    return 2 * size / max(median, 1e-3) / 1000


def _goal(results: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = next((row for row in results if row["name"] == name and row["correct"]), None)
    goal: dict[str, Any] = {
        "name": f"share of copy bandwidth, {name}", "value": None, "unit": "share", "ratio": None, "peer": "device copy",
        "target": TARGET, "ok": False,
    }  # fmt: skip
    if found is None:
        return goal | {"why": "not measured, or wrong"}
    return goal | {
        "value": found["copy_share"],
        "ratio": found["copy_share"],
        "ok": found["copy_share"] >= TARGET,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def table(result: dict[str, Any]) -> str:
    """For people: one line a row."""
    if result["status"] == "skipped":
        return f"skipped: {result['reason']}"
    lines = [
        f"{result['device']['name']}, copy {result['copy_gb_per_s']} GB/s, medians of {result['rounds']}"
    ]
    for row in result["results"]:
        if row["correct"]:
            said = f"{row['value']:>12} us {row['gb_per_s']:>9} GB/s {row['copy_share']:>7.1%} of copy"
        else:
            said = f"WRONG: {row['wrong']}"
        lines.append(f"{row['name']:44} {said}")
    lines += [f"left out: {one['name']}: {one['reason']}" for one in result["left_out"]]
    for goal in result["goals"]:
        state = "ok" if goal["ok"] else f"NOT MET {goal.get('why', '')}".rstrip()
        lines.append(f"{goal['name']:60} {goal['value'] or '-':>8} {goal['target']:>8} {state}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Parse, run, print."""
    parser = suite.parser("gpu", __doc__, quick="65,536 rows in the place of 1,000,000")
    parser.add_argument(
        "--library", type=pathlib.Path, help="libmainspring_cuda.so; made with nvcc if not given"
    )
    arguments = parser.parse_args(argv)
    result = run(quick=arguments.quick, library=arguments.library)
    suite.show(result, arguments, table)
    return {"ok": 0, "failed": 1, "skipped": SKIPPED}[result["status"]]


if __name__ == "__main__":
    sys.exit(main())
