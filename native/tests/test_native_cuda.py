"""The CUDA library without a GPU: it compiles, spills nothing, exports its ABI only, and says that there is no device.

What needs a GPU is in cuda_test.cc, and skipped there.
"""

from __future__ import annotations

import ctypes
import pathlib
import re
import runpy
import shutil
import subprocess

import pytest

ROOM = pathlib.Path(__file__).resolve().parents[1]
SOURCES = ROOM / "sources.bzl"
NVCC = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")

pytestmark = [
    pytest.mark.skipif(
        not SOURCES.exists(), reason="the CUDA sources are not here (Bazel has //native:cuda)"
    ),
    pytest.mark.skipif(NVCC is None, reason="nvcc is not installed"),
    pytest.mark.slow,
]

ABI = {
    "MainspringCudaDenseCreate",
    "MainspringCudaDenseDestroy",
    "MainspringCudaDenseRun",
    "MainspringCudaDeviceCount",
    "MainspringCudaStatusText",
}
OK, NO_DEVICE, BAD_ARGUMENT = 0, 1, 2
#: Registers a thread, by ptxas of CUDA 13.0 when this was written. A tenth more is a decision, not an accident.
REGISTERS = {"sm_80": 40, "sm_90": 32, "sm_100": 32}
SHARED_BYTES = 8320


def nvcc(*arguments: str) -> str:
    sources = runpy.run_path(str(SOURCES))
    command = [
        str(NVCC),
        sources["NATIVE_STD"],
        *sources["NATIVE_CUDA_COPTS"],
        f"-I{ROOM / 'include'}",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("arch", REGISTERS)
def test_kernel_keeps_its_register_budget(tmp_path: pathlib.Path, arch: str) -> None:
    report = nvcc(
        f"-arch={arch}", "-cubin", "-Xptxas", "-v,--warn-on-spills", "-o", str(tmp_path / "k.cubin"),
        str(ROOM / "cuda" / "dense.cu"),
    )  # fmt: skip
    used = re.search(r"Used (\d+) registers, used 1 barriers, (\d+) bytes smem", report)
    assert used, report
    assert "0 bytes spill stores, 0 bytes spill loads" in report
    assert int(used[1]) <= 1.1 * REGISTERS[arch]
    assert int(used[2]) <= SHARED_BYTES


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("cuda") / "libmainspring_cuda.so"
    nvcc(
        "-gencode=arch=compute_90,code=sm_90", "-gencode=arch=compute_90,code=compute_90",
        "-Xcompiler", "-fPIC,-fvisibility=hidden", "--shared", "-cudart", "static", "-o", str(path),
        str(ROOM / "cuda" / "dense.cu"),
    )  # fmt: skip
    return path


def test_library_exports_its_abi_only(library: pathlib.Path) -> None:
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True
    )
    symbols = {line.split()[-1] for line in listing.stdout.splitlines()}
    assert {s for s in symbols if s.startswith("Mainspring")} == ABI
    needed = subprocess.run(
        ["readelf", "-d", str(library)], capture_output=True, text=True, check=True
    ).stdout
    assert "libcuda" not in needed  # so it loads on a machine without a driver


def test_no_device_is_a_status_and_not_a_crash(library: pathlib.Path) -> None:
    native = ctypes.CDLL(str(library))
    native.MainspringCudaStatusText.restype = ctypes.c_char_p
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
