"""`pip install .`: the same sources, flags, files and version as Bazel, read from Bazel's own lists."""

from __future__ import annotations

import fnmatch
import os
import platform
import runpy
from concurrent import futures
from typing import Any

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup
from setuptools.command.build_py import build_py

VERSION = runpy.run_path("version.bzl")["VERSION"]
SHIPPED = runpy.run_path("tools/shipped.bzl")
NATIVE = runpy.run_path("native/sources.bzl")


def packages() -> dict[str, str]:
    """Every package of the namespace and its folder: {"mainspring.core.contracts": "core/contracts", ...}."""
    found = {}
    for room in SHIPPED["ROOMS"]:
        for folder, below, files in os.walk(room):
            below[:] = sorted(set(below) - {*SHIPPED["NOT_SHIPPED_FOLDERS"], "__pycache__"})
            # Only what ships makes a folder a package; the room itself always is one.
            if folder == room or any(f.endswith((".py", *SHIPPED["SHIPPED_ENDINGS"])) for f in files):
                found["mainspring." + folder.replace(os.sep, ".")] = folder
    return found


def units() -> list[tuple[str, list[str]]]:
    """Every source of the extension with the flags that only it gets."""
    plain = [(src, NATIVE["NATIVE_COPTS"]) for src in NATIVE["NATIVE_EXT_SRCS"] + NATIVE["NATIVE_SRCS"]]
    variants = [v for v in NATIVE["NATIVE_VARIANTS"].values() if v["cpu"] in ("", platform.machine())]
    return [
        (f"native/{src}", copts)
        for src, copts in plain + [(s, v["copts"]) for v in variants for s in v["srcs"]]
    ]


class BuildModules(build_py):
    """Leaves out what only serves pytest."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        skipped = SHIPPED["NOT_SHIPPED_FILES"]
        return [m for m in found if not any(fnmatch.fnmatch(os.path.basename(m[2]), s) for s in skipped)]


class BuildNative(build_ext):  # type: ignore[misc]
    """Compiles each unit with its own flags, as many at once as there are cores, then links them."""

    def build_extension(self, ext: Any) -> None:
        def compile_unit(unit: tuple[str, list[str]]) -> list[str]:
            objects: list[str] = self.compiler.compile(
                [unit[0]],
                output_dir=self.build_temp,
                include_dirs=ext.include_dirs,
                extra_postargs=[*ext.extra_compile_args, "-O3", *unit[1]],
            )
            return objects

        with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            ext.extra_objects = [obj for objects in pool.map(compile_unit, units()) for obj in objects]
        super().build_extension(ext)


PACKAGES = packages()

setup(
    version=VERSION,
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    package_data={"": [f"*{ending}" for ending in SHIPPED["SHIPPED_ENDINGS"]]},
    ext_modules=[
        Pybind11Extension(
            "mainspring.native._native",
            [],  # BuildNative compiles them: setuptools knows only one set of flags for all
            include_dirs=["native/include"],
            depends=[src for src, _ in units()] + [f"native/{header}" for header in NATIVE["NATIVE_HDRS"]],
            cxx_std=int(NATIVE["NATIVE_STD"].removeprefix("-std=c++")),
        )
    ],
    cmdclass={"build_ext": BuildNative, "build_py": BuildModules},
)
