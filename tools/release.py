#!/usr/bin/env python3
"""Puts a release together: `make release KEY=release.key`, or `python tools/release.py --key KEY [--wheel WHEEL] [--output FOLDER]`.

The tree has to be committed, and the changelog to have a part about the version of `version.bzl`. The wheel is the newest one of that
version in `dist/` (`make wheel`, or a copy of Bazel's `bazel-bin/mainspring-*.whl`). What comes out is verified before it is told of.
Data goes to stdout. Exit code 1, with a line that says what to do, if it cannot be made.
"""

from __future__ import annotations

import argparse
import runpy
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import surface
from cryptography.hazmat.primitives.asymmetric import ed25519

from mainspring.core import errors
from mainspring.core.models import signing
from mainspring.core.supply import environment, release, sbom

ROOT = Path(__file__).resolve().parent.parent


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--key", type=Path, required=True, help="Ed25519 in PEM, mode 0600, of who releases")
    parser.add_argument("--wheel", type=Path, help="default: the newest of this version in dist/")
    parser.add_argument("--output", type=Path, help="default: dist/mainspring-<version>")
    given = parser.parse_args(words)
    version = str(runpy.run_path(str(ROOT / "version.bzl"))["VERSION"])
    folder = given.output or ROOT / "dist" / f"mainspring-{version}"
    try:
        made = make(version, given.key, given.wheel or newest_wheel(version), folder)
    except errors.MainspringError as error:
        print(f"tools/release.py: {error.message}", file=sys.stderr)
        return 1
    print(
        f"{folder}: {len(made.files) + 1} files of {made.version} at {made.commit[:12]}, signed by {made.signer}"
    )
    return 0


def make(version: str, key_file: Path, wheel: Path, folder: Path) -> release.Release:
    """Errors: those of :func:`release.write`; Conflict for a tree that is not committed, or a version that is too low for what has
    changed (`tools/surface.py`); NotFound for what is missing."""
    started, key, commit = datetime.now(UTC), signing.SigningKey.load(key_file), clean_commit()
    surface.require_fit(version)
    files = {wheel.name: wheel.read_bytes(), **beside(version)}
    release.write(
        folder, files, key, version=version, commit=commit, started_at=started, finished_at=datetime.now(UTC)
    )
    own = ed25519.Ed25519PublicKey.from_public_bytes(key.public_bytes)
    return release.verify(folder, signing.TrustedKeys([own]))


def beside(version: str) -> dict[str, bytes]:
    """What is not the wheel, by name."""
    return {
        "CHANGES.md": release.changes_of((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version).encode(),
        "requirements.txt": (ROOT / "requirements_lock.txt").read_bytes(),
        sbom.FILE: sbom.render(
            "mainspring", version, (), environment.packages(), environment.python_version(),
            licence="Apache-2.0", kind="application",
        ),
        "contracts.zip": packed("docs/schemas/next"),
        "histories.zip": packed("tests/replay/histories"),
        "deploy.zip": packed("platform/deploy"),
        "surface.zip": packed("docs/surface/next"),
    }  # fmt: skip


def packed(folder: str) -> bytes:
    return release.pack(
        ROOT / folder, (ROOT / line for line in git("ls-files", "-z", folder).split("\0") if line)
    )


def clean_commit() -> str:
    """Errors: Conflict if anything that git keeps, or does not ignore, is not committed."""
    if changed := git("status", "--porcelain").splitlines():
        raise errors.Conflict(
            f"{len(changed)} files are not committed, `{changed[0][3:]}` among them; a release is of a commit",
            resource="tree",
        )
    return git("rev-parse", "HEAD").strip()


def newest_wheel(version: str) -> Path:
    """Errors: NotFound without one."""
    found: Iterable[Path] = (ROOT / "dist").glob(f"mainspring-{version}-*.whl")
    newest = max(found, key=lambda p: p.stat().st_mtime, default=None)
    if newest is None:
        raise errors.NotFound(
            f"dist/ has no wheel of {version}; run `make wheel`", resource="wheel", name=version
        )
    return newest


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
