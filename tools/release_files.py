#!/usr/bin/env python3
"""What is in a release beside its wheel, made of files of the tree; `tools/release.py` asks for it, and Bazel's `//release`.

    python tools/release_files.py --wheel WHEEL --output FOLDER FILE...

FILE: the tree's files, by their paths in it, run from its root. Those of the folders in `PACKED` are packed, others are left alone.
Into FOLDER go the wheel, all that is beside it, and SHA256SUMS. Nothing is signed: whose release it is says `tools/release.py`.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mainspring.core import errors
from mainspring.core.supply import environment, release, sbom

PACKED: Final = {
    "contracts.zip": "docs/schemas/next",
    "histories.zip": "tests/replay/histories",
    "deploy.zip": "platform/deploy",
    "surface.zip": "docs/surface/next",
}
#: The distribution that is released: its bill does not list it as a part of itself.
_NAME: Final = "mainspring"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("files", type=Path, nargs="+")
    given = parser.parse_args(words)
    files = {given.wheel.name: given.wheel.read_bytes(), **beside(Path(), version_of(Path()), given.files)}
    files[release.SUMS] = release.sums(files)
    given.output.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (given.output / name).write_bytes(data)
    return 0


def version_of(root: Path) -> str:
    return str(runpy.run_path(str(root / "version.bzl"))["VERSION"])


def beside(root: Path, version: str, files: Iterable[Path]) -> dict[str, bytes]:
    """What is not the wheel, by name; `files` are below `root`. Between two releases the changes are those that are not released.

    Errors: NotFound for a folder that is to be packed and has no file among `files`.
    """
    there = [path.relative_to(root) for path in files]
    packages = (package for package in environment.packages() if package.name != _NAME)
    return {
        "CHANGES.md": _changes((root / "CHANGELOG.md").read_text(encoding="utf-8"), version).encode(),
        "requirements.txt": (root / "requirements_lock.txt").read_bytes(),
        sbom.FILE: sbom.render(
            _NAME, version, (), packages, environment.python_version(), licence="Apache-2.0", kind="application"
        ),
        **{name: _packed(root, folder, there) for name, folder in PACKED.items()},
    }  # fmt: skip


def _changes(changelog: str, version: str) -> str:
    try:
        return release.changes_of(changelog, version)
    except errors.NotFound:
        return release.changes_of(changelog, "Unreleased")


def _packed(root: Path, folder: str, files: Iterable[Path]) -> bytes:
    chosen = [root / path for path in files if path.is_relative_to(folder)]
    if not chosen:
        raise errors.NotFound(
            f"no file of `{folder}` is given; name those that git has of it", resource="folder", name=folder
        )
    return release.pack(root / folder, chosen)


if __name__ == "__main__":
    sys.exit(main())
