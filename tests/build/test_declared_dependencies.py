"""What a room imports is what its BUILD file and pyproject.toml say.

Bazel 4.2.3 shows every test the whole `.venv` (third_party/README.md), so that a missing `@pypi//x` would go
unnoticed there and break the build of whoever has a hermetic one. This reads the imports instead.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import pathlib
import re
import runpy
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).absolute().parents[2]
SHIPPED = runpy.run_path(str(ROOT / "tools" / "shipped.bzl"))
#: Programs that other environments run, each with a lock file of its own beside them: no room imports them.
FOREIGN = (ROOT / "bench" / "serving" / "peers" / "apps",)


def normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "_", distribution).lower()


def files(room: str) -> list[pathlib.Path]:
    skipped = {*SHIPPED["NOT_SHIPPED_FOLDERS"], "__pycache__"}
    shipped = [p for p in (ROOT / room).rglob("*.py") if not skipped & set(p.relative_to(ROOT / room).parts)]
    ours = [p for p in shipped if p.parent not in FOREIGN]
    return [p for p in ours if not any(p.match(pattern) for pattern in SHIPPED["NOT_SHIPPED_FILES"])]


def imported_modules(path: pathlib.Path) -> set[str]:
    """Top-level names of all imports of a file, those inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"mainspring"}


#: Namespaces that several distributions share, and the one of them that is imported here.
SHARED = {"google": "protobuf"}


@functools.cache
def provider(module: str) -> str:
    if module in SHARED:
        return SHARED[module]
    names = importlib.metadata.packages_distributions().get(module, [])
    assert names, (
        f"no installed distribution provides `{module}`; add it to requirements.in and run make lock"
    )
    # mlflow ships in parts (mlflow-skinny, ...): the one called like the module is the one to ask for.
    return normalised(module) if normalised(module) in map(normalised, names) else normalised(names[0])


def imported(room: str) -> dict[str, pathlib.Path]:
    return {provider(module): path for path in files(room) for module in imported_modules(path)}


def declared(room: str) -> set[str]:
    return set(re.findall(r'"@pypi//(\w+)"', (ROOT / room / "BUILD.bazel").read_text()))


@pytest.mark.parametrize("room", SHIPPED["ROOMS"])
def test_build_file_declares_each_import(room: str) -> None:
    missing = {d: str(p.relative_to(ROOT)) for d, p in imported(room).items() if d not in declared(room)}
    assert not missing, f'add "@pypi//NAME" to deps in {room}/BUILD.bazel for {missing}'


def test_wheel_asks_for_each_import() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    names = {normalised(re.split(r"[^A-Za-z0-9._-]", requirement)[0]) for requirement in asked}
    missing = {d: room for room in SHIPPED["ROOMS"] for d in imported(room) if d not in names}
    assert not missing, f"add to dependencies or to an extra in pyproject.toml: {missing}"


def test_lock_pins_what_the_wheel_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [r for name, extra in project["optional-dependencies"].items() if name != "all" for r in extra]
    pins = {
        normalised(line.split("==")[0]) for line in (ROOT / "requirements_lock.txt").read_text().splitlines()
    }
    asked = {normalised(re.split(r"[^A-Za-z0-9._-]", r)[0]) for r in [*project["dependencies"], *extras]}
    assert asked <= pins, f"add to requirements.in and run make lock: {sorted(asked - pins)}"
