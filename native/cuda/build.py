"""nvcc: the CUDA library, and what its kernels use. `python native/cuda/build.py --output DIR [--renew]`.

Writes DIR/libmainspring_cuda.so (sm_80, sm_90, sm_100, and PTX for what comes after) and DIR/usage.json.
`--renew` writes native/cuda/budget.json, which a test holds. Needs no GPU. Exit code 77 where there is no nvcc.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
from typing import Any

ROOM = pathlib.Path(__file__).resolve().parents[1]
SOURCES = ROOM / "sources.bzl"
BUDGET = ROOM / "cuda" / "budget.json"
ARCHITECTURES = (80, 90, 100)
NVCC = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
LIBRARY = "libmainspring_cuda.so"
RENEW = "python native/cuda/build.py --output build/cuda --renew"
SKIPPED = 77  # as automake has it

_ENTRY = re.compile(
    r"Compiling entry function '\w*?\d([A-Z][A-Za-z]*Kernel)E\w*'.*?"
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?"
    r"Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


def nvcc(*arguments: str) -> str:
    """What it says; RuntimeError with its words where it fails."""
    sources = runpy.run_path(str(SOURCES))
    command = [
        str(NVCC), sources["NATIVE_STD"], *sources["NATIVE_CUDA_COPTS"], f"-I{ROOM / 'include'}", *arguments
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout + done.stderr


def library(folder: pathlib.Path) -> pathlib.Path:
    """Everything in one file that needs neither libcuda nor libcudart to load."""
    sources = runpy.run_path(str(SOURCES))
    path = folder / LIBRARY
    code = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    code.append(f"-gencode=arch=compute_{ARCHITECTURES[-1]},code=compute_{ARCHITECTURES[-1]}")
    nvcc(
        *code, "-Xcompiler", "-fPIC,-fvisibility=hidden,-ffp-contract=off", "--shared", "-cudart", "static",
        "-o", str(path),
        *(str(ROOM / s) for s in sources["NATIVE_CUDA_SRCS"] + sources["NATIVE_CUDA_HOST_SRCS"]),
    )  # fmt: skip
    return path


def usage(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """{kernel: {"sm_90": usage}}, by ptxas; see mainspring.native.budget."""
    found: dict[str, dict[str, Any]] = {}
    for source in runpy.run_path(str(SOURCES))["NATIVE_CUDA_SRCS"]:
        for arch in ARCHITECTURES:
            report = nvcc(
                f"-arch=sm_{arch}", "-cubin", "-Xptxas", "-v,--warn-on-spills", "-o",
                str(folder / f"{pathlib.Path(source).stem}.sm_{arch}.cubin"), str(ROOM / source),
            )  # fmt: skip
            for kernel, stack, stores, loads, registers, rest in _ENTRY.findall(report):
                shared = re.search(r"(\d+) bytes smem", rest)
                found.setdefault(kernel, {})[f"sm_{arch}"] = {
                    "registers": int(registers),
                    "shared_bytes": int(shared[1]) if shared else 0,
                    "stack_bytes": int(stack),
                    "spill_bytes": int(stores) + int(loads),
                }
    return {kernel: found[kernel] for kernel in sorted(found)}


def main() -> int:
    """Parse, build, say what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--renew", action="store_true", help="write native/cuda/budget.json")
    arguments = parser.parse_args()
    if NVCC is None:
        print("skipped: nvcc is not installed", file=sys.stderr)
        return SKIPPED
    arguments.output.mkdir(parents=True, exist_ok=True)
    used = json.dumps(usage(arguments.output), indent=1) + "\n"
    (arguments.output / "usage.json").write_text(used)
    if arguments.renew:
        BUDGET.write_text(used)
    print(library(arguments.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
