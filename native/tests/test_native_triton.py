"""The Triton kernel without a GPU: interpreted, it equals the reference; compiled ahead of time, it spills nothing.

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

pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("triton", "torch")),
        reason="triton and torch are not installed",
    ),
    pytest.mark.slow,
]

#: Registers a thread, by Triton 3.9's ptxas when this was written; a tenth more is a decision. Stack, local: none.
REGISTERS = {80: 48, 90: 57, 100: 58}


def python(code: str, **environment: str) -> Any:
    """What `code` prints as JSON. TRITON_INTERPRET is read at import, so each mode has its own process."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    env |= {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)} | environment
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=110, check=False
    )
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
    assert worst <= 2e-6


@pytest.mark.parametrize("capability", REGISTERS)
def test_kernel_compiles_ahead_within_its_registers(tmp_path: pathlib.Path, capability: int) -> None:
    cubin = tmp_path / "dense.cubin"
    code = f"""
import json, pathlib, triton
from mainspring.native.triton import dense
compiled = dense.compile_ahead({capability})
pathlib.Path({str(cubin)!r}).write_bytes(compiled.asm["cubin"])
print(json.dumps([str(pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"), compiled.asm["ptx"]]))
"""
    cuobjdump, ptx = python(code, TRITON_CACHE_DIR=str(tmp_path / "cache"))
    usage = subprocess.run(
        [cuobjdump, "-res-usage", str(cubin)], capture_output=True, text=True, check=True
    ).stdout
    used = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", usage)
    assert used, usage
    assert int(used[1]) <= 1.1 * REGISTERS[capability]
    assert (int(used[2]), int(used[4])) == (0, 0), "registers spill"
    # Parity with the CPU rests on it: ten multiply-adds a value, those of the source, and no flush to zero.
    # Four values a thread; sm_100 does two at once.
    fused = len(re.findall(r"\bfma\.rn\.f32 ", ptx)) + 2 * len(re.findall(r"\bfma\.rn\.f32x2 ", ptx))
    assert fused == 40
    assert ".ftz" not in ptx
