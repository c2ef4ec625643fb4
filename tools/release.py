#!/usr/bin/env python3
"""Puts a release together: `make release KEY=release.key`, or `python tools/release.py --key KEY [--made FOLDER] [--output FOLDER]`.

The tree has to be committed, and the changelog to have a part about the version of `version.bzl`. The wheel is the newest one of that
version in `dist/` (`make wheel`), or that in FOLDER, which is `bazel-bin/release` after `bazel build -c opt //release`: all other files
there must be what this tree makes. What comes out is verified before it is told of. Data goes to stdout. Exit code 1, with a line that says what to do, if it cannot be made.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import release_files
import surface
from cryptography.hazmat.primitives.asymmetric import ed25519

from mainspring.core import errors
from mainspring.core.models import signing
from mainspring.core.supply import release

ROOT = Path(__file__).resolve().parent.parent


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--key", type=Path, required=True, help="Ed25519 in PEM, mode 0600, of who releases")
    wheel = parser.add_mutually_exclusive_group()
    wheel.add_argument("--wheel", type=Path, help="default: the newest of this version in dist/")
    wheel.add_argument("--made", type=Path, help="bazel-bin/release, after `bazel build -c opt //release`")
    parser.add_argument("--output", type=Path, help="default: dist/mainspring-<version>")
    given = parser.parse_args(words)
    version = release_files.version_of(ROOT)
    folder = given.output or ROOT / "dist" / f"mainspring-{version}"
    try:
        wheel_of = given.made or ROOT / "dist"
        made = make(version, given.key, given.wheel or newest_wheel(version, wheel_of), folder, given.made)
    except errors.MainspringError as error:
        print(f"tools/release.py: {error.message}", file=sys.stderr)
        return 1
    print(
        f"{folder}: {len(made.files) + 1} files of {made.version} at {made.commit[:12]}, signed by {made.signer}"
    )
    return 0


def make(
    version: str, key_file: Path, wheel: Path, folder: Path, made: Path | None = None
) -> release.Release:
    """Errors: those of :func:`release.write`; Conflict for a tree that is not committed, a version that is too low for what has
    changed (`tools/surface.py`), or files in `made` that are another tree's; NotFound for what is missing."""
    started, key, commit = datetime.now(UTC), signing.SigningKey.load(key_file), clean_commit()
    surface.require_fit(version)
    release.changes_of((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    beside = release_files.beside(ROOT, version, tracked())
    if made is not None:
        require_same(made, beside)
    release.write(
        folder,
        {wheel.name: wheel.read_bytes(), **beside},
        key,
        version=version,
        commit=commit,
        started_at=started,
        finished_at=datetime.now(UTC),
    )
    own = ed25519.Ed25519PublicKey.from_public_bytes(key.public_bytes)
    return release.verify(folder, signing.TrustedKeys([own]))


def tracked() -> list[Path]:
    return [ROOT / line for line in git("ls-files", "-z").split("\0") if line]


def require_same(made: Path, files: Mapping[str, bytes]) -> None:
    """Errors: Conflict naming a file of `made` that is not what this tree makes."""
    for name, data in files.items():
        path = made / name
        if not path.is_file() or path.read_bytes() != data:
            raise errors.Conflict(
                f"`{path}` is not what this commit makes; run `bazel build -c opt //release` again",
                resource="release",
                name=name,
            )


def clean_commit() -> str:
    """Errors: Conflict if anything that git keeps, or does not ignore, is not committed."""
    if changed := git("status", "--porcelain").splitlines():
        raise errors.Conflict(
            f"{len(changed)} files are not committed, `{changed[0][3:]}` among them; a release is of a commit",
            resource="tree",
        )
    return git("rev-parse", "HEAD").strip()


def newest_wheel(version: str, folder: Path) -> Path:
    """Errors: NotFound without one."""
    found: Iterable[Path] = folder.glob(f"mainspring-{version}-*.whl")
    newest = max(found, key=lambda p: p.stat().st_mtime, default=None)
    if newest is None:
        raise errors.NotFound(
            f"{folder.name}/ has no wheel of {version}; run `make wheel`, or `bazel build -c opt //release`",
            resource="wheel",
            name=version,
        )
    return newest


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
