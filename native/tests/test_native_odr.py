"""One definition for all: units of newer instruction sets share no code with the rest. Bazel runs the same script."""

from __future__ import annotations

import pathlib
import re
import runpy
import shutil
import subprocess

import pytest

ROOM = pathlib.Path(__file__).resolve().parents[1]
SOURCES = ROOM / "sources.bzl"

pytestmark = [
    pytest.mark.skipif(
        not SOURCES.exists(), reason="the C++ sources are not here (Bazel has //native:odr_test)"
    ),
    pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed"),
]


def compile_unit(source: pathlib.Path, copts: list[str], to: pathlib.Path) -> pathlib.Path:
    standard = runpy.run_path(str(SOURCES))["NATIVE_STD"]
    command = ["g++", standard, *copts, "-fPIC", f"-I{ROOM / 'include'}", "-c", str(source), "-o", str(to)]
    subprocess.run(command, check=True, timeout=100)
    return to


def odr_test(*objects: pathlib.Path) -> subprocess.CompletedProcess[str]:
    script = ROOM / "tests" / "odr_test.sh"
    return subprocess.run(
        [str(script), *map(str, objects)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimise", ["-O3", "-O0"])
def test_kernels_share_no_code(tmp_path: pathlib.Path, optimise: str) -> None:
    """-O0 too: what the optimiser inlines away there stands as a symbol."""
    variants = runpy.run_path(str(SOURCES))["NATIVE_VARIANTS"]
    objects = [
        compile_unit(ROOM / source, [*variant["copts"], optimise], tmp_path / f"{name}_{i}.o")
        for name, variant in variants.items()
        if variant["cpu"]
        for i, source in enumerate(variant["srcs"])
    ]
    assert len(objects) >= 2
    done = odr_test(*objects)
    assert done.returncode == 0, done.stdout
    for unit in objects:
        exported = subprocess.run(
            ["nm", "-g", "--defined-only", str(unit)], capture_output=True, text=True, check=True
        )
        names = {line.split()[2] for line in exported.stdout.splitlines()}
        assert names and all(
            re.fullmatch(
                r"Mainspring(Dense|Jagged(Pad|Unpad)|Mlp|Program(Rows?|Bags)|Trees(Block|Group))(Avx2|Avx512)",
                n,
            )
            for n in names
        )


def test_shared_code_is_found(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "seeded.cc"
    source.write_text("#include <vector>\nint f(std::vector<int>& v) { v.push_back(1); return v[0]; }\n")
    done = odr_test(compile_unit(source, ["-O0"], tmp_path / "seeded.o"))
    assert done.returncode == 1
    assert "std::vector" in done.stdout


def test_checking_nothing_is_a_failure() -> None:
    assert odr_test().returncode == 1
