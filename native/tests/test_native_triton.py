"""The Triton kernels without a GPU: interpreted, they equal the references; compiled ahead of time, they keep their budget.

The interpreter proves indices, masks and arithmetic, not races, alignment or speed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest

from mainspring.native import budget

pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("triton", "torch")),
        reason="triton and torch are not installed",
    ),
    pytest.mark.slow,
]

ROOM = pathlib.Path(__file__).resolve().parents[1]
INTERPRETED = pathlib.Path(__file__).with_name("triton_interpreted.py")
TYPE_BYTES = {"*": 8, "i64": 8, "i32": 4}


def python(code: str, **environment: str) -> Any:
    """What `code` prints as JSON. TRITON_INTERPRET is read at import, so each mode has its own process."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    env |= {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)} | environment
    done = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-c", code],
        env=env, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


INTERPRET = """
import json
import numpy as np
import torch
from mainspring.native import reference
from mainspring.native.triton import dense

rng = np.random.default_rng(3)
inf = float("inf")
worst = 0.0
cases = 0
for width in (1, 5, 16, 17, 40):
    spec = dict(
        source=[*rng.integers(0, 4, width - 1).tolist(), 4], indicator=(np.arange(width) % 4 == 3).tolist(),
        fill=rng.normal(1, 3, width).tolist(), lower=np.where(np.arange(width) % 3 == 0, -inf, -2.0).tolist(),
        upper=np.where(np.arange(width) % 5 == 0, inf, 60.0).tolist(), log1p=(np.arange(width) % 4 == 1).tolist(),
        mean=rng.normal(0, 2, width).tolist(), scale=(1 + rng.random(width)).tolist())
    integers, floats = dense.pack(**spec)
    for rows in (0, 1, 63, 64, 65, 300):
        x = (rng.lognormal(1, 2, (5, rows)) * rng.choice([-1, 1], (5, rows))).astype(np.float32)
        x[rng.random(x.shape) < 0.1] = np.nan
        if rows > 10:
            x[:, :6] = [inf, -inf, 0.0, -0.0, 1e-40, 0.49999997]
        want = reference.dense_transform(list(x), **spec)
        guarded = np.full(rows * width + 64, 77.0, np.float32)
        out = torch.from_numpy(guarded)[32 : 32 + rows * width].view(rows, width)
        dense.launch(torch.from_numpy(x), torch.from_numpy(integers), torch.from_numpy(floats), out)
        got = out.numpy()
        assert (guarded[:32] == 77.0).all() and (guarded[32 + rows * width :] == 77.0).all()
        with np.errstate(invalid="ignore"):
            excess = np.where(got == want, 0.0, np.abs(got - want) - 1e-6 * np.abs(want))
        worst = max(worst, float(excess.max(initial=0.0)))
        cases += 1
print(json.dumps([cases, worst]))
"""


def test_interpreted_kernel_equals_the_reference() -> None:
    cases, worst = python(INTERPRET, TRITON_INTERPRET="1")
    assert cases == 30
    assert worst <= 2e-6  # the CPU's bits are compared in triton_interpreted.py


@pytest.mark.timeout(300)
def test_interpreted_kernels_give_the_bits_of_the_cpu() -> None:
    cases = python(INTERPRETED.read_text(), TRITON_INTERPRET="1")
    assert cases == {
        "programs": 12,
        "properties": cases["properties"],
        "bad_rows": 3,
        "bags": 28,
        "jagged_rows": 39,
    }
    assert cases["properties"] >= 20


@pytest.fixture(scope="module")
def cubins(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Every kernel for every architecture, by the command that people run."""
    folder = tmp_path_factory.mktemp("triton")
    code = f"""
import json
from mainspring.native.triton import aot
assert aot.main(["--output", {str(folder)!r}]) == 0
print(json.dumps(aot.RENEW))
"""
    renew = python(code, TRITON_CACHE_DIR=str(folder / "cache"))
    (folder / "renew").write_text(renew)
    return folder


@pytest.mark.timeout(300)
def test_kernels_compile_ahead_within_their_budget(cubins: pathlib.Path) -> None:
    made = json.loads((cubins / "kernels.json").read_text())
    used = {name: {arch: one["usage"] for arch, one in by_arch.items()} for name, by_arch in made.items()}
    allowed = json.loads((ROOM / "triton" / "budget.json").read_text())
    wrong = budget.check(used, allowed, renew=(cubins / "renew").read_text())
    assert not wrong, "\n".join(wrong)
    assert all(by_arch.keys() == {"sm_80", "sm_90", "sm_100"} for by_arch in made.values())


def test_cubins_take_the_parameters_that_a_launch_gives_them(cubins: pathlib.Path) -> None:
    """bench/gpu launches them by hand, from kernels.json: what the binary itself says must agree."""
    import triton

    tool = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    made = json.loads((cubins / "kernels.json").read_text())
    for name, by_arch in made.items():
        one = by_arch["sm_90"]
        said = subprocess.run(
            [str(tool), "-elf", str(cubins / one["file"])], capture_output=True, text=True, check=True
        ).stdout
        found = re.findall(
            r"Ordinal : 0x([0-9a-f]+)\s+Offset  : 0x([0-9a-f]+)\s+Size    : 0x([0-9a-f]+)", said
        )
        sizes = {int(ordinal, 16): int(size, 16) for ordinal, _, size in found}
        want = [TYPE_BYTES[t if t in TYPE_BYTES else t[0]] for t in one["parameters"].values()] + [8, 8]
        assert [sizes[i] for i in range(len(sizes))] == want, name
        assert one["scratch_bytes"] == [0, 0] and f".text.{one['entry']}" in said


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_the_same_operations_are_compiled(tmp_path: pathlib.Path, capability: int) -> None:
    code = f"""
import json
from mainspring.native.triton import aot
print(json.dumps({{n: aot.compile_kernel(k, {capability}).asm["ptx"] for n, k in aot.KERNELS.items()}}))
"""
    kernels = python(code, TRITON_CACHE_DIR=str(tmp_path / "cache"))
    for name, ptx in kernels.items():
        # Parity with the CPU rests on it: ten multiply-adds a value, those of the source, and no flush to zero.
        # Four values a thread; sm_100 does two at once.
        fused = len(re.findall(r"\bfma\.rn\.f32 ", ptx)) + 2 * len(re.findall(r"\bfma\.rn\.f32x2 ", ptx))
        assert fused == (40 if name.startswith(("dense", "program")) and name != "dense_to_jagged" else 0), (
            name
        )
        assert ".ftz" not in ptx and "div.full" not in ptx and "div.approx" not in ptx
    assert kernels["windows"].count("div.rn.f32") >= 1


def test_the_command_refuses_to_renew_a_part(tmp_path: pathlib.Path) -> None:
    code = f"""
import contextlib, io, json
from mainspring.native.triton import aot
said = io.StringIO()
try:
    with contextlib.redirect_stderr(said):
        aot.main(["--output", {str(tmp_path)!r}, "--arch", "90", "--renew"])
except SystemExit as stop:
    print(json.dumps([stop.code, said.getvalue()]))
"""
    status, said = python(code)
    assert status == 2 and "--renew takes all architectures" in said
