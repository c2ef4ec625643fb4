"""The CUDA library without a GPU: it compiles, spills nothing, exports its ABI only, and says that there is no device.

What needs a GPU is in cuda_test.cc, and skipped there; what needs no CUDA at all in cuda_emulation_test.cc.
"""

from __future__ import annotations

import copy
import ctypes
import json
import pathlib
import re
import runpy
import subprocess
from typing import Any

import pytest

from mainspring.native import budget, device_plan, status

CUDA = pathlib.Path(__file__).resolve().parents[1] / "cuda"
HERE = (CUDA / "build.py").exists()
BUILD: dict[str, Any] = runpy.run_path(str(CUDA / "build.py")) if HERE else {"NVCC": None}
OK, NO_DEVICE, BAD_ARGUMENT = 0, 1, 2

needs_nvcc = [
    pytest.mark.skipif(not HERE, reason="the CUDA sources are not here (Bazel has //native:cuda)"),
    pytest.mark.skipif(BUILD["NVCC"] is None, reason="nvcc is not installed"),
    pytest.mark.slow,
]


def marked(test: Any) -> Any:
    for mark in needs_nvcc:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path: pathlib.Path = BUILD["library"](tmp_path_factory.mktemp("cuda"))
    return path


@marked
def test_kernels_keep_their_budget(tmp_path: pathlib.Path) -> None:
    used = BUILD["usage"](tmp_path)
    allowed = json.loads((CUDA / "budget.json").read_text())
    wrong = budget.check(used, allowed, renew=BUILD["RENEW"])
    assert not wrong, "\n".join(wrong)
    kernels = [
        n for f in CUDA.glob("*.cu") for n in re.findall(r"^ +([A-Z]\w+Kernel)\(", f.read_text(), re.M)
    ]
    assert sorted(used) == sorted(kernels)


def test_a_spill_or_a_tenth_more_is_refused_and_says_what_to_do() -> None:
    usage = {"registers": 40, "shared_bytes": 1000, "stack_bytes": 0, "spill_bytes": 0}
    allowed = {"K": {"sm_90": usage}}
    measured: dict[str, dict[str, dict[str, int]]] = copy.deepcopy(allowed)
    assert budget.check(measured, allowed, renew="renew it") == []
    measured["K"]["sm_90"]["registers"] = 44
    assert budget.check(measured, allowed, renew="renew it") == []
    measured["K"]["sm_90"]["registers"] = 45
    (line,) = budget.check(measured, allowed, renew="renew it")
    assert "`K` for sm_90 has 45 registers" in line and line.endswith("`renew it`")
    measured = copy.deepcopy(allowed)
    measured["K"]["sm_90"]["spill_bytes"] = 4
    assert "expected 0" in budget.check(measured, allowed, renew="renew it")[0]
    measured = copy.deepcopy(allowed)
    measured["K"]["sm_90"]["stack_bytes"] = 8
    assert "8 stack_bytes" in budget.check(measured, allowed, renew="renew it")[0]
    assert "not in the budget" in budget.check({**allowed, "L": {}}, allowed, renew="r")[0]
    assert "not in what was compiled" in budget.check({}, allowed, renew="r")[0]
    assert "lacks sm_80" in budget.check(allowed, {"K": {"sm_90": usage, "sm_80": usage}}, renew="r")[0]


@marked
def test_library_exports_its_abi_only(library: pathlib.Path) -> None:
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True
    )
    symbols = sorted(line.split()[-1] for line in listing.stdout.splitlines())
    assert symbols == (CUDA / "abi.txt").read_text().split(), "an ABI change raises MAINSPRING_CUDA_VERSION"
    needed = subprocess.run(
        ["readelf", "-d", str(library)], capture_output=True, text=True, check=True
    ).stdout
    assert "libcuda" not in needed  # so it loads on a machine without a driver


@marked
def test_no_device_is_a_status_and_not_a_crash(library: pathlib.Path) -> None:
    native = ctypes.CDLL(str(library))
    native.MainspringCudaStatusText.restype = ctypes.c_char_p
    header = (CUDA / "status.h").read_text()
    assert native.MainspringCudaVersion() == int(re.findall(r"MAINSPRING_CUDA_VERSION (\d+)", header)[0])
    count = ctypes.c_int32(7)
    status = native.MainspringCudaDeviceCount(ctypes.byref(count))
    if status == OK:
        pytest.skip("this machine has a GPU; cuda_test.cc compares it with the CPU")
    assert (status, count.value) == (NO_DEVICE, 0)
    assert b"no usable CUDA device" in native.MainspringCudaStatusText(status)
    program = ctypes.c_void_p(1)
    assert native.MainspringCudaDenseCreate(None, ctypes.byref(program)) == BAD_ARGUMENT
    assert program.value is None
    assert native.MainspringCudaDenseRun(None, None, 0, 0, None, None) == BAD_ARGUMENT


@marked
def test_a_plan_is_taken_and_a_damaged_one_is_not(library: pathlib.Path) -> None:
    native = ctypes.CDLL(str(library))
    plan = device_plan.compile(
        {
            "version": 1,
            "inputs": [{"name": "x", "type": "float32"}, {"name": "user", "type": "int64"}],
            "dense": [{"op": "numeric", "source": "x"}],
            "ids": [{"op": "vocabulary", "source": "user", "values": [3, 5]}],
        }
    )
    program = ctypes.c_void_p(1)
    create = native.MainspringCudaProgramCreate
    create.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
    status = create(plan.image, len(plan.image), ctypes.byref(program))
    if status == OK:
        pytest.skip("this machine has a GPU; cuda_test.cc compares it with the CPU")
    assert (status, program.value) == (NO_DEVICE, None)  # checked before the device is asked for
    for bad in (plan.image[:-8], b"", b"\0" * len(plan.image), plan.image[:8] + b"\x09" + plan.image[9:]):
        assert create(bad, len(bad), ctypes.byref(program)) == BAD_ARGUMENT
    assert create(None, 0, ctypes.byref(program)) == BAD_ARGUMENT
    assert create(plan.image, len(plan.image), None) == BAD_ARGUMENT
    assert native.MainspringCudaProgramRun(None, None, None) == BAD_ARGUMENT
    native.MainspringCudaProgramDestroy(None)
    assert native.MainspringCudaJaggedToPaddedDense(None, None, None, None, None) == BAD_ARGUMENT
    assert native.MainspringCudaDenseToJagged(None, None, None, None, None) == BAD_ARGUMENT


@marked
def test_the_script_says_where_the_library_is(tmp_path: pathlib.Path, monkeypatch: Any, capsys: Any) -> None:
    main = BUILD["main"]
    monkeypatch.setattr("sys.argv", ["build.py", "--output", str(tmp_path / "out")])
    monkeypatch.setitem(main.__globals__, "NVCC", None)
    assert main() == 77
    assert capsys.readouterr().err == "skipped: nvcc is not installed\n"
    assert not (tmp_path / "out").exists()


def test_compiled_plans_say_what_is_in_them() -> None:
    window = {"events": "e", "as_of": "now", "width": 10}
    plan = device_plan.compile(
        {
            "version": 1,
            "inputs": [
                {"name": "now", "type": "int64"}, {"name": "e", "type": "events"}, {"name": "x", "type": "float32"},
                {"name": "then", "type": "int64"},
            ],
            "dense": [
                {"op": "pass", "source": {"window": "sum", **window}},
                {"op": "pass", "source": {"window": "sum", **window, "as_of": "then"}},
                {"op": "missing", "source": {"window": "max", **window}},
                {"op": "missing", "source": {"window": "sum", **window}},
            ],
        }
    )  # fmt: skip
    assert plan.header["bytes"] == len(plan.image) and plan.header["n_windows"] == 3
    assert plan.groups == (device_plan.Group(0, 0, (0, 2)), device_plan.Group(0, 1, (1,)))
    assert plan.names("int64") == ["now", "then"]
    with pytest.raises(status.NativeError, match="`dense` must be a list"):
        device_plan.compile({"version": 1, "inputs": [], "dense": 3})
    text = {"version": 1, "inputs": [{"name": "city", "type": "string"}],
            "ids": [{"op": "hash", "source": "city", "buckets": 10}]}  # fmt: skip
    with pytest.raises(status.NativeError, match="takes no strings, got `city`") as refused:
        device_plan.compile(text)
    assert refused.value.code == "bad_spec"
