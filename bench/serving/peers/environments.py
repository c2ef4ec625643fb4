"""The peers' environments: `python -m mainspring.bench.serving peers install [NAME ...]`, `peers list`, `peers remove`.

Each peer has a virtual environment in a cache folder outside of any checkout, made from a lock file that is kept here.
An environment's folder is named by its lock's content, and is there whole or not at all.
"""

from __future__ import annotations

import argparse
import hashlib
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

LOCKS: Final = pathlib.Path(__file__).parent / "locks"

#: What has an environment; Ray Serve and FastAPI are in our own. Of Triton only the wheel itself: its server is a program, and needs none of what the wheel's Python part imports.
NAMES: Final = ("triton", "mlserver", "litserve", "bentoml")


class NotInstalled(Exception):
    """A peer that is not here; the message says what installs it."""


def cache() -> pathlib.Path:
    """Where environments and programs are kept."""
    return pathlib.Path.home() / ".cache" / "mainspring" / "bench"


def folder(name: str) -> pathlib.Path:
    """Where that peer's environment is, or would be."""
    digest = hashlib.sha256((LOCKS / f"{name}.txt").read_bytes() + sys.version.encode()).hexdigest()
    return cache() / f"{name}-{digest[:12]}"


def found(name: str) -> pathlib.Path:
    """The environment. Errors: NotInstalled."""
    there = folder(name)
    if not (there / "bin" / "python").exists():
        raise NotInstalled(f"not installed; run `python -m mainspring.bench.serving peers install {name}`")
    return there


def install(name: str) -> pathlib.Path:
    """Make the environment if it is not there. Errors: subprocess.CalledProcessError, with pip's words on stderr."""
    there = folder(name)
    if (there / "bin" / "python").exists():
        return there
    # Made beside it and moved: scripts in bin/ keep the old path, so everything is started by its python.
    making = there.with_name(f"{there.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", making], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(making / "bin" / "python")]
        pip += ["--disable-pip-version-check", "--no-input", "--quiet"]
        how = ["install", "--no-deps", "--only-binary=:all:", "--no-compile", "--requirement"]
        subprocess.run([*pip, *how, str(LOCKS / f"{name}.txt")], check=True)
        making.rename(there)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return there


def main(argv: Sequence[str]) -> int:
    """`install`, `list` or `remove`."""
    parser = argparse.ArgumentParser(prog="python -m mainspring.bench serving peers", description=__doc__)
    parser.add_argument("what", choices=("install", "list", "remove"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; none: all")
    asked = parser.parse_args(argv)
    unknown = sorted(set(asked.names) - set(NAMES))
    if unknown:
        parser.error(f"no peer `{unknown[0]}`; name of {', '.join(NAMES)}")
    for name in asked.names or NAMES:
        if asked.what == "install":
            install(name)
        elif asked.what == "remove":
            shutil.rmtree(folder(name), ignore_errors=True)
        print(
            f"{name:9} {'installed' if (folder(name) / 'bin' / 'python').exists() else 'absent':9} {folder(name)}"
        )
    return 0
