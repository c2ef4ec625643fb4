"""Every Triton kernel, compiled ahead of time for GPUs that need not be here.

`python -m mainspring.native.triton.aot --arch 90 [--arch 80 ...] --output DIR [--renew]` writes DIR/<kernel>.sm_90.cubin and
DIR/kernels.json: for each kernel and architecture its file, entry name, threads, dynamic shared memory, parameters in order,
and what it uses by cuobjdump. `--renew` writes budget.json beside this file, which a test holds.

A cubin runs on its own architecture only; for others there is the CUDA library's PTX. Pointers must be multiples of 16, and so
must what `DIVISIBLE` names.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import triton
from mainspring.native.triton import dense, embedding_bag, jagged, program, windows
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

__all__ = ["ARCHITECTURES", "BUDGET", "KERNELS", "RENEW", "Kernel", "build", "compile_kernel", "usage"]

ARCHITECTURES: Final = (80, 90, 100)
BUDGET: Final = pathlib.Path(__file__).with_name("budget.json")
RENEW: Final = "python -m mainspring.native.triton.aot --output build/triton --renew"


@dataclass(frozen=True)
class Kernel:
    """A kernel with the types of its arguments, in order, and what is fixed."""

    fn: Any
    types: Sequence[str]
    constants: Mapping[str, int]
    num_warps: int
    divisible: frozenset[str] = field(default=frozenset())  # of its integers, those that are multiples of 16

    @property
    def arguments(self) -> dict[str, str]:
        """{name: type} of what a launch passes."""
        names = [n for n in self.fn.arg_names if n not in self.constants]
        return dict(zip(names, self.types, strict=True))


_PROGRAM = (
    "*i64", "*i32", "*fp32", "*i16", "i64", "i64", "i32", "i32", "*fp32", "i64", "*i64", "i64", "*fp32", "*i32", "i64",
    "i64",
)  # fmt: skip
_PROGRAM_CONSTANTS = {
    "ROWS": program.ROWS,
    "TILE_ROWS": program.TILE_ROWS,
    "TILE_COLUMNS": program.TILE_COLUMNS,
}
_JAGGED_CONSTANTS = {"BLOCK_ROWS": jagged.BLOCK_ROWS, "BLOCK_WORDS": jagged.BLOCK_WORDS}
_STRIDES = frozenset({"column_stride", "int_stride", "ids_stride"})


def _windows(offsets: str) -> Kernel:
    types = (
        "*i64", "i64", "i32", "i32", "*i64", "i64", offsets, "*i64", "*fp32", "i64", "*fp32", "i64", "*i64", "i64"
    )  # fmt: skip
    return Kernel(windows.window_kernel, types, {"BLOCK_ROWS": windows.BLOCK_ROWS}, windows.NUM_WARPS)


def _jagged(fn: Any, first: Sequence[str]) -> Kernel:
    types = (*first, "i64", "i32", "i32", "i32", "i32", "*i32", "*i64")
    return Kernel(fn, types, _JAGGED_CONSTANTS, jagged.NUM_WARPS)


#: What ships. A batch whose rows and strides are multiples of 16 has a variant of its own, with wider loads.
KERNELS: Final[Mapping[str, Kernel]] = {
    "dense": Kernel(
        dense.dense_kernel, ("*fp32", "i64", "*i32", "*fp32", "*fp32", "i64", "i32"),
        {"BLOCK_ROWS": dense.BLOCK_ROWS, "BLOCK_COLUMNS": dense.BLOCK_COLUMNS}, dense.NUM_WARPS,
    ),
    "program": Kernel(program.program_kernel, _PROGRAM, _PROGRAM_CONSTANTS, program.NUM_WARPS),
    "program_by_16": Kernel(
        program.program_kernel, _PROGRAM, _PROGRAM_CONSTANTS, program.NUM_WARPS, _STRIDES | {"n_rows", "width"}
    ),
    "windows": _windows("*i32"),
    "windows_wide": _windows("*i64"),
    "embedding_bag": Kernel(
        embedding_bag.embedding_bag_kernel,
        ("*fp32", "i64", "i32", "*i64", "i64", "*i64", "i32", "*fp32", "*i64"),
        {"BLOCK": embedding_bag.BLOCK}, embedding_bag.NUM_WARPS,
    ),
    "jagged_to_padded_dense": _jagged(jagged.pad_kernel, ("*i32", "i64", "*i64")),
    "dense_to_jagged": _jagged(jagged.unpad_kernel, ("*i32", "*i64", "i64")),
}  # fmt: skip


def compile_kernel(kernel: Kernel, arch: int) -> Any:
    """Triton's compiled kernel; `.asm["cubin"]` is the binary, `.metadata` says how to launch it."""
    signature = {
        name: "constexpr" if name in kernel.constants else kernel.arguments[name]
        for name in kernel.fn.arg_names
    }
    by_16 = [
        i
        for i, name in enumerate(kernel.fn.arg_names)
        if name not in kernel.constants and (signature[name][0] == "*" or name in kernel.divisible)
    ]
    source = ASTSource(
        fn=kernel.fn,
        signature=signature,
        constexprs=dict(kernel.constants),
        attrs={(i,): [["tt.divisibility", 16]] for i in by_16},
    )
    options = {"num_warps": kernel.num_warps, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def usage(cubin: pathlib.Path, dynamic_shared_bytes: int) -> dict[str, int]:
    """What a cubin uses, by Triton's own cuobjdump; see mainspring.native.budget."""
    tool = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    said = subprocess.run(
        [str(tool), "-res-usage", str(cubin)], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", said)
    if found is None:
        raise RuntimeError(f"cuobjdump said nothing of {cubin}: {said}")
    registers, stack, shared, local = (int(n) for n in found.groups())
    return {
        "registers": registers,
        "shared_bytes": shared + dynamic_shared_bytes,
        "stack_bytes": stack,
        "spill_bytes": local,
    }


def build(folder: pathlib.Path, architectures: Sequence[int] = ARCHITECTURES) -> dict[str, dict[str, Any]]:
    """Compile all; {kernel: {"sm_90": {...}}} as in kernels.json, which is written, too."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, dict[str, Any]] = {}
    for name, kernel in KERNELS.items():
        for arch in architectures:
            compiled = compile_kernel(kernel, arch)
            cubin = folder / f"{name}.sm_{arch}.cubin"
            cubin.write_bytes(compiled.asm["cubin"])
            shared = int(compiled.metadata.shared)
            made.setdefault(name, {})[f"sm_{arch}"] = {
                "file": cubin.name,
                "entry": compiled.metadata.name,
                "threads": 32 * kernel.num_warps,
                "dynamic_shared_bytes": shared,
                "parameters": kernel.arguments,
                "constants": dict(kernel.constants),
                "divisible": sorted(kernel.divisible),
                # A launch appends two pointers, null where these are 0.
                "scratch_bytes": [
                    compiled.metadata.global_scratch_size,
                    compiled.metadata.profile_scratch_size,
                ],
                "usage": usage(cubin, shared),
            }
    (folder / "kernels.json").write_text(json.dumps(made, indent=1) + "\n")
    return made


def main(argv: list[str] | None = None) -> int:
    """Parse, compile, say what came out."""
    parser = argparse.ArgumentParser(prog="python -m mainspring.native.triton.aot", description=__doc__)
    parser.add_argument("--arch", type=int, action="append", choices=ARCHITECTURES, help="all if not given")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--renew", action="store_true", help="write budget.json; needs all architectures")
    arguments = parser.parse_args(argv)
    if arguments.renew and arguments.arch:
        parser.error("--renew takes all architectures; leave out --arch")
    made = build(arguments.output, arguments.arch or ARCHITECTURES)
    used = {name: {arch: one["usage"] for arch, one in by_arch.items()} for name, by_arch in made.items()}
    if arguments.renew:
        BUDGET.write_text(json.dumps(used, indent=1) + "\n")
    for name, by_arch in used.items():
        for arch, one in by_arch.items():
            print(f"{name:24} {arch:7} " + "  ".join(f"{n} {what}" for what, n in one.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
