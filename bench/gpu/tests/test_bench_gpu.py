"""bench/gpu where there is no GPU: it says so, and times nothing. Its host code runs to the end against a driver whose
device is this process's memory: kernels that write nothing are called wrong, emulated and interpreted ones right.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest

from mainspring.bench.gpu import __main__ as script
from mainspring.bench.gpu import cases, cuda_runs, driver, runs

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
#: 16 divides it, and no block does.
ROWS = 2064
TIMES = {"value", "min_us", "gb_per_s", "copy_share"}

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None or not (REPOSITORY / "native" / "cuda" / "program.h").exists(),
    reason="no C++ compiler, or the native sources are not here",
)
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)


def has_gpu() -> bool:
    try:
        driver.Device()
    except driver.NoDevice:
        return False
    return True


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_it_is_skipped_and_says_why(tmp_path: pathlib.Path, capsys: Any) -> None:
    output = tmp_path / "gpu.json"
    assert script.main(["--json", "--output", str(output)]) == 77
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads(output.read_text())
    assert said["status"] == "skipped" and "CUDA driver" in said["reason"]
    assert not {"results", "goals", "copy_gb_per_s", "device"} & said.keys()
    assert script.main([]) == 77
    assert capsys.readouterr().out.startswith("skipped: the CUDA driver")


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("stub") / "libcuda_stub.so"
    spec = importlib.util.find_spec("triton")
    assert spec is not None and spec.origin is not None
    include = pathlib.Path(spec.origin).parent / "backends" / "nvidia" / "include"
    subprocess.run(
        ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", f"-I{include}", "-o", str(path),
         str(HERE / "stub_driver.c")],
        check=True,
    )  # fmt: skip
    return str(path)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("emulated") / "libemulated.so"
    subprocess.run(
        ["g++", "-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", f"-I{REPOSITORY}",
         f"-I{REPOSITORY / 'native/include'}", "-o", str(path), str(HERE / "emulated_library.cc"),
         str(REPOSITORY / "native/src/device_plan/check.cc")],
        check=True,
    )  # fmt: skip
    return path


@needs_compiler
@needs_triton
def test_a_driver_without_devices_is_no_gpu(stub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_NO_DEVICE", "1")
    said = script.run(driver=stub)
    assert said["status"] == "skipped" and said["reason"] == "the CUDA driver finds no device: 0 devices"


@needs_compiler
@needs_triton
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kernels_that_write_nothing_are_wrong_and_have_no_time(
    stub: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    said = script.run(driver=stub, rows=ROWS, quick=True, library=tmp_path / "none.so")
    assert said["status"] == "failed"
    names = [f"triton/program/{ROWS}", f"triton/dense/{ROWS}", f"triton/embedding_bag/{ROWS // 8}"]
    names += [f"triton/{n}/{ROWS // 4}" for n in ("jagged_to_padded_dense", "dense_to_jagged")]
    assert [row["name"] for row in said["results"]] == names
    for row in said["results"]:
        assert row["correct"] is False and "differs in" in row["wrong"] and not TIMES & row.keys()
    (left,) = said["left_out"]
    assert left["name"] == "cuda" and "cannot be loaded" in left["reason"]
    assert [goal["ok"] for goal in said["goals"]] == [False, False]
    counters = ctypes.CDLL(stub)
    assert counters.StubLaunches() == 6  # one each, and the program's windows
    assert counters.StubAllocated() == 0  # everything was given back
    assert "WRONG" in script.table(said)


@needs_compiler
@needs_triton
def test_the_cuda_librarys_host_code_reaches_the_end(
    stub: str, emulated: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.triton_runs, "runs", lambda *_: iter(()))
    said = script.run(driver=stub, rows=ROWS, quick=True, library=emulated)
    assert [row.get("wrong") for row in said["results"]] == [None] * 6
    assert said["status"] == "ok" and said["device"]["name"] == "stub, no GPU"
    assert {row["name"].split("/")[1] for row in said["results"]} == {
        "program", "dense", "jagged_to_padded_dense", "dense_to_jagged", "gather_rows", "scatter_rows"
    }  # fmt: skip
    assert all(row.keys() >= TIMES for row in said["results"])


INTERPRET = """
import ctypes, json, pathlib, sys
import numpy as np
import torch
from mainspring.bench.gpu import __main__ as script
from mainspring.bench.gpu import driver
from mainspring.native.triton import aot

made = json.loads(pathlib.Path(sys.argv[1]).joinpath("kernels.json").read_text())
kernels = {}

def build(folder, architectures):
    assert architectures == [90]
    for name, by_arch in made.items():
        (folder / by_arch["sm_90"]["file"]).write_bytes(b"\\x7fELF" + name.encode())
    return made

DTYPES = {"*i64": np.int64, "*i32": np.int32, "*i16": np.int16, "*fp32": np.float32}

class Interpreted(driver.Function):
    def __init__(self, device, cubin, entry, **about):
        super().__init__(device, cubin, entry, **about)
        self.kernel = aot.KERNELS[cubin[4:].decode()]

    def launch(self, grid, **arguments):
        super().launch(grid, **arguments)
        values = []
        for name, kind in self._parameters.items():
            given = arguments[name]
            if kind[0] != "*":
                values.append(given)
                continue
            pointer = given.pointer if isinstance(given, driver.DeviceArray) else given
            memory = (ctypes.c_ubyte * 64).from_address(pointer)  # only its address counts
            values.append(torch.from_numpy(np.frombuffer(memory, np.dtype(DTYPES[kind]))))
        self.kernel.fn[tuple(grid)](*values, **self.kernel.constants)

aot.build = build
import mainspring.bench.gpu.triton_runs as triton_runs
triton_runs.Function = Interpreted
script.cuda_runs.runs = lambda *_: iter(())
script.ROUNDS = script.QUICK_ROUNDS = script.WARM_UP = 1
said = script.run(driver=sys.argv[2], rows=int(sys.argv[3]), quick=True, library=pathlib.Path(sys.argv[4]))
print(json.dumps([[row["name"], row.get("wrong")] for row in said["results"]]))
"""


@needs_compiler
@needs_triton
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_triton_kernels_are_launched_as_they_are_meant(
    stub: str, emulated: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """What the driver is given, the interpreter runs in its place: every argument and every grid."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    folder = tmp_path / "aot"
    subprocess.run(
        [sys.executable, "-m", "mainspring.native.triton.aot", "--arch", "90", "--output", str(folder)],
        check=True, env={**environment, "TRITON_CACHE_DIR": str(tmp_path / "cache")}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INTERPRET, str(folder), stub, "144", str(emulated)],
        env={**environment, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    assert len(rows) == 5 and [wrong for _, wrong in rows] == [None] * 5, rows


@needs_compiler
def test_structures_are_those_of_the_headers(tmp_path: pathlib.Path) -> None:
    """The headers are C, and ctypes lays the same structures out in the same way."""
    pairs = {
        "MainspringCudaBatch": cuda_runs.Batch, "MainspringCudaEvents": cuda_runs.Events,
        "MainspringCudaJagged": cuda_runs.Jagged, "MainspringCudaDenseSpec": cuda_runs.DenseSpec,
    }  # fmt: skip
    lines = [
        f'printf("%zu ", offsetof({name}, {field[0]}));'
        for name, made in pairs.items()
        for field in made._fields_
    ]
    lines += [f'printf("%zu ", sizeof({name}));' for name in pairs]
    code = tmp_path / "offsets.c"
    code.write_text(
        '#include <stdio.h>\n#include "native/cuda/program.h"\n#include "native/cuda/dense.h"\n'
        '#include "native/cuda/jagged.h"\nint main(void) {\n' + "\n".join(lines) + "\nreturn 0;\n}\n"
    )
    subprocess.run(
        [
            "gcc",
            "-std=gnu11",
            "-Wall",
            "-Werror",
            f"-I{REPOSITORY}",
            "-o",
            str(tmp_path / "offsets"),
            str(code),
        ],
        check=True,
    )
    printed = subprocess.run([str(tmp_path / "offsets")], capture_output=True, text=True, check=True).stdout
    want = [getattr(made, field[0]).offset for made in pairs.values() for field in made._fields_]
    want += [ctypes.sizeof(made) for made in pairs.values()]
    assert [int(n) for n in printed.split()] == want
    header = (REPOSITORY / "native/cuda/program.h").read_text()
    assert f"MAINSPRING_CUDA_MAX_EVENTS {cuda_runs.MAX_EVENTS}\n" in header


def test_answers_are_compared_bit_by_bit() -> None:
    import numpy as np

    a = np.array([1.0, np.nan, -0.0], np.float32)
    assert runs.differs("x", a, a.copy()) is None
    assert "1 of 3 places, first at (2,): 0.0 instead of -0.0" in str(runs.differs("x", np.abs(a), a))
    assert runs.differs("x", np.array([1], np.int32), np.array([2], np.int32)) is not None


def test_the_bytes_counted_are_those_of_the_plan() -> None:
    case = cases.program_case(ROWS)
    per_row = (case.bytes - 12 * len(case.batch.times) - 4) / ROWS
    assert per_row == 13 * 4 + 27 * 8 + 4 + 16 * 4 + 32 * 4  # 464 + 192 with sixteen events


@needs_compiler
@needs_triton
def test_a_launch_must_name_its_parameters(stub: str) -> None:
    device = driver.Device(stub)
    function = driver.Function(
        device, b"\x7fELF", "k", parameters={"x": "*fp32", "n": "i32"}, threads=128, shared=0
    )
    with pytest.raises(TypeError, match="got others or not all: \\['m', 'n'\\]"):
        function.launch((1,), x=0, m=3)
    with pytest.raises(driver.DriverError, match="`cuLaunchKernel` said CUDA_ERROR_INVALID_VALUE"):
        function.launch((0,), x=0, n=3)
