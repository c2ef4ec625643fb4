#!/usr/bin/env python3
"""The public surface of this tree: what of it is written down, what has changed since the last release, and which version is due.

    python tools/surface.py --write       docs/surface/next: this tree's; after every change of an option, a route, a setting, ...
    python tools/surface.py --check       is it this tree's; says what is otherwise
    python tools/surface.py --due         changes since docs/surface/released, and the version that is due
    python tools/surface.py --released    docs/surface/released: what `version.bzl` names is out; once, after `make release`

Data go to stdout. Exit code 1, with a line that says what to do, if it is not as it should be.
"""

from __future__ import annotations

import argparse
import logging
import runpy
import sys
from pathlib import Path
from typing import Final

from mainspring.core import errors
from mainspring.core.supply import release, surface

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "docs" / "surface"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = parser.add_mutually_exclusive_group(required=True)
    for name in ("write", "check", "due", "released"):
        choices.add_argument(f"--{name}", action="store_const", dest="wanted", const=name)
    wanted = parser.parse_args(words).wanted
    logging.disable(logging.INFO)  # of the apps that are asked
    try:
        lines = {"write": write, "check": check, "due": say_due, "released": released}[wanted]()
    except errors.MainspringError as error:
        print(f"tools/surface.py: {error.message}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def write() -> list[str]:
    written = surface.write(FOLDER / "next", collected())
    return [f"{FOLDER.relative_to(ROOT)}/next: {', '.join(written) or 'as it was'}"]


def check() -> list[str]:
    """Errors: Conflict with what is otherwise."""
    _, stored = surface.read(FOLDER / "next")
    today = collected()
    if found := surface.changes(stored, today):
        raise errors.Conflict(
            f"docs/surface/next is not this tree's: {'; '.join(map(str, found[:10]))}; run `python tools/surface.py --write` and"
            " look at the difference",
            resource="surface",
            name="next",
        )
    return [f"{sum(map(len, today.values()))} items, as they are written down"]


def say_due() -> list[str]:
    before, old = last_release()
    _, new = surface.read(FOLDER / "next")
    if not before:
        return ["nothing was released; any version will do"]
    found = surface.changes(old, new)
    lines = [f"{'break' if change.is_break else 'addition'}\t{change}" for change in found]
    return [*lines, f"{before} may be followed by {surface.due(before, found)}"]


def released() -> list[str]:
    """Errors: those of :func:`require_fit`."""
    version = str(runpy.run_path(str(ROOT / "version.bzl"))["VERSION"])
    require_fit(version)
    _, new = surface.read(FOLDER / "next")
    written = surface.write(FOLDER / "released", new, version)
    return [f"{FOLDER.relative_to(ROOT)}/released is {version}'s: {', '.join(written) or 'as it was'}"]


def require_fit(version: str) -> None:
    """May this tree be released as `version`. Errors: those of `surface.require_fit`; NotFound without a part of the changelog."""
    before, old = last_release()
    if before:
        _, new = surface.read(FOLDER / "next")
        told = release.changes_of((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
        surface.require_fit(before, version, surface.changes(old, new), told)


def last_release() -> tuple[str, surface.Surface]:
    """Its version and surface; nothing before the first one. Errors: CorruptArtifact for a surface that does not say whose it is."""
    if not (FOLDER / "released").is_dir():
        return "", {}
    version, old = surface.read(FOLDER / "released")
    if not version:
        raise errors.CorruptArtifact(
            "docs/surface/released does not say which version it is of; take it from the commit of the last release",
            artifact="docs/surface/released/release.json",
            expected="a version",
            got="none",
        )
    return version, old


def collected() -> surface.Surface:
    import surface_collected  # a second: it takes in both APIs and the command line

    return surface_collected.everything()


if __name__ == "__main__":
    sys.exit(main())
