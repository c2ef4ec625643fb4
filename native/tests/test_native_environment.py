"""What a process sets around the kernels: the forced target, and the floating-point environment."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from mainspring.native import targets

PROGRAM = """
import json, sys
import numpy as np
from mainspring.native import dense, status, targets
one = dict(source=[0], indicator=[False], fill=[0.0], lower=[float("-inf")], upper=[float("inf")], log1p=[False],
           mean=[0.0], scale=[1.0])
"""


def python(code: str, **environment: str) -> Any:
    """What `code` prints as JSON, in a fresh interpreter that sees our modules."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)} | environment
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + code],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


ASK = """
try:
    transform = dense.DenseTransform(**one, target=json.loads(sys.argv[1]) if len(sys.argv) > 1 else None)
    print(json.dumps([transform.target, targets.in_force(), targets.best()]))
except status.NativeError as error:
    print(json.dumps([error.code, str(error)]))
"""


@pytest.mark.parametrize("target", targets.available())
def test_forced_target_is_in_force(target: str) -> None:
    assert python(ASK, MAINSPRING_FORCE_TARGET=target) == [target, target, targets.best()]


def test_nothing_forced_is_the_best() -> None:
    assert python(ASK, MAINSPRING_FORCE_TARGET="") == [targets.best()] * 3


def test_unknown_forced_target_is_refused_at_the_first_program() -> None:
    code, message = python(ASK, MAINSPRING_FORCE_TARGET="avx9")
    assert code == "unknown_target"
    assert "MAINSPRING_FORCE_TARGET is `avx9`" in message
    assert "`generic`, `avx2` or `avx512`" in message
    assert python(ASK.replace("json.loads(sys.argv[1]) if len(sys.argv) > 1 else None", "'generic'"),
                  MAINSPRING_FORCE_TARGET="avx9") == [code, message]  # fmt: skip


def test_named_target_overrules_the_forced_one() -> None:
    ask = ASK.replace("json.loads(sys.argv[1]) if len(sys.argv) > 1 else None", "targets.best()")
    assert python(ask, MAINSPRING_FORCE_TARGET="generic") == [targets.best(), "generic", targets.best()]


def test_variable_is_read_once() -> None:
    code = """
import os
first = targets.in_force()
os.environ["MAINSPRING_FORCE_TARGET"] = "generic"
print(json.dumps([first, targets.in_force()]))
"""
    assert python(code, MAINSPRING_FORCE_TARGET=targets.best()) == [targets.best()] * 2


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_flush_to_zero_of_torch_changes_nothing_and_stays() -> None:
    """torch.set_flush_denormal(True) makes NumPy lose 1e-40; our kernels keep it, and torch's setting stays."""
    code = """
import torch
x = np.array([1e-40, -1e-42, 3e-39], np.float32)
many = np.tile(x, 100)
before = [dense.DenseTransform(**one, target=t).run([v]).tobytes() for t in targets.available() for v in (x, many)]
assert torch.set_flush_denormal(True)
flushed = float(x[0] * np.float32(1.0))
after = [dense.DenseTransform(**one, target=t).run([v]).tobytes() for t in targets.available() for v in (x, many)]
fill = dense.DenseTransform(**one | dict(fill=[1e-40])).run([np.array([np.nan], np.float32)])
torch.set_flush_denormal(True)
still = float(x[0] * np.float32(1.0))
bits = int(fill.view(np.uint32)[0, 0])
print(json.dumps([before == after, flushed, still, bits == int(x.view(np.uint32)[0])]))
"""
    assert python(code) == [True, 0.0, 0.0, True]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_flush_to_zero_of_torch_does_not_reach_programs() -> None:
    """Denormals in columns, in a dict's numbers, in a window's sum and as a boundary."""
    code = """
import torch
from mainspring.native import program
spec = {
    "version": 1,
    "inputs": [{"name": "x", "type": "float32"}, {"name": "now", "type": "int64"}, {"name": "e", "type": "events"}],
    "dense": [{"op": "pass", "source": "x"},
              {"op": "pass", "source": {"window": "sum", "events": "e", "as_of": "now", "width": 10}}],
    "ids": [{"op": "bucketise", "source": "x", "boundaries": [1e-41, 1e-39], "right": True}],
}
times, values = np.array([5, 6], np.int64), np.array([1e-40, 2e-40], np.float32)
def column(n):
    lists = (np.arange(n + 1, dtype=np.int32) * 2, np.tile(times, n), np.tile(values, n))
    return {"x": np.full(n, 1e-40, np.float32), "now": np.full(n, 9, np.int64), "e": lists}
batches = [column(1), column(100)]
def answers():
    seen = []
    for target in targets.available():
        compiled = program.Program(spec, target=target)
        seen += [part.tobytes() for batch in batches for part in compiled.run(batch)]
        row = compiled.row()
        row.run_fields({"x": 1e-40, "now": 9, "e": (times, values)})
        seen += [row.dense.tobytes(), row.ids.tobytes()]
    return seen
before = answers()
assert torch.set_flush_denormal(True)
after = answers()
flushed = float(np.float32(1e-40) * np.float32(1.0))
print(json.dumps([before == after, flushed]))
"""
    assert python(code) == [True, 0.0]
