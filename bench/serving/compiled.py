"""Programs of this suite in C++, built once for each state of their sources and kept in the cache folder."""

from __future__ import annotations

import concurrent.futures
import hashlib
import pathlib
import platform
import runpy
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any, Final

from mainspring.bench.serving.peers import environments

_HERE: Final = pathlib.Path(__file__).parent
_NATIVE: Final = _HERE.parents[1] / "native"
_WARNINGS: Final = ("-Wall", "-Wextra")


class NotBuilt(Exception):
    """A program cannot be built here; the message says why."""


def load() -> pathlib.Path:
    """The load generator. Errors: NotBuilt."""
    _check_sources()
    sources = sorted((_HERE / "src").glob("load*"))
    units = [(_HERE / "src" / "load.cc", ("-std=c++17", "-O2", *_WARNINGS))]
    return _built("load", units, sources, link=())


def triton_backend() -> pathlib.Path:
    """The backend that runs our kernel in Triton. Errors: NotBuilt."""
    _check_sources()
    lists = runpy.run_path(str(_NATIVE / "sources.bzl"))
    common = (lists["NATIVE_STD"], f"-I{_NATIVE / 'include'}", f"-I{_NATIVE}", "-fPIC")
    units = [(_HERE / "src" / "triton_mlp.cc", (*common, "-O2", *_WARNINGS))]
    for source in ("src/mlp/mlp.cc", "src/packed/packed.cc", "src/target.cc"):
        units.append((_NATIVE / source, (*common, "-O3", *lists["NATIVE_COPTS"])))
    for variant in lists["NATIVE_VARIANTS"].values():
        if variant["cpu"] in ("", platform.machine()):
            mlp = [s for s in variant["srcs"] if s.startswith("src/mlp/")]
            units += [(_NATIVE / s, (*common, *variant["copts"])) for s in mlp]
    read = [*(_HERE / "src").glob("triton*"), *_NATIVE.glob("include/**/*.h")]
    read += [*_NATIVE.glob("src/mlp/*"), *_NATIVE.glob("src/packed/*")]
    return _built("libtriton_mainspring.so", units, sorted(read), link=("-shared",))


def _check_sources() -> None:
    if not (_HERE / "src" / "load.cc").exists() or not (_NATIVE / "sources.bzl").exists():
        raise NotBuilt("this suite is run from a checkout: a wheel has no sources in C++")


def _built(
    name: str,
    units: Sequence[tuple[pathlib.Path, tuple[str, ...]]],
    read: Iterable[pathlib.Path],
    link: tuple[str, ...],
) -> pathlib.Path:
    digest = hashlib.sha256(repr([(u.name, flags) for u, flags in units]).encode())
    for path in read:
        digest.update(path.read_bytes())
    there = environments.cache() / "built" / digest.hexdigest()[:16] / name
    if there.exists():
        return there
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise NotBuilt(f"`{name}` needs a C++ compiler; install g++")
    there.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=there.parent) as scratch:

        def compile_unit(unit: tuple[pathlib.Path, tuple[str, ...]]) -> str:
            made = f"{scratch}/{unit[0].stem}.o"
            _run([compiler, "-c", str(unit[0]), *unit[1], "-o", made])
            return made

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(compile_unit, units))
        linked = pathlib.Path(scratch) / name
        _run([compiler, *link, *objects, "-o", str(linked)])
        linked.rename(there)
    return there


def _run(argv: Sequence[Any]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise NotBuilt(f"`{' '.join(argv[:3])} ...` failed: {done.stderr[-2000:]}")
