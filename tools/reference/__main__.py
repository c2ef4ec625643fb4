#!/usr/bin/env python3
"""Makes the pages of docs/reference of the code; with --check it only says whether they are as made.

    docs/reference/*.md, docs/images/bench/*.svg, docs/images/concepts/*.svg

Each `*_page.py` beside this file makes some of them, of what is in force: parsers, settings, errors, contracts, routes, rules, results.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import alert_page
import bench_page
import command_page
import concept_pictures
import error_page
import process_page
import rest_page
import settings_page

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
#: Whatever else lies in these was made once and is made no more.
OURS: Final = ("reference/*.md", "images/bench/*.svg", "images/concepts/*.svg")


def made() -> dict[str, str]:
    """Text of each file by its path below docs/."""
    logging.disable(logging.WARNING)  # an app that is only described has no secrets to warn of
    found: dict[str, str] = {}
    for maker in (
        concept_pictures,
        command_page,
        settings_page,
        error_page,
        process_page,
        rest_page,
        alert_page,
        bench_page,
    ):
        found |= maker.pages()
    return found


def stale(wanted: Mapping[str, str], docs: Path) -> list[str]:
    """What is absent, otherwise, or left over below `docs`."""
    there = {p.relative_to(docs).as_posix() for pattern in OURS for p in docs.glob(pattern)}
    other = {
        name
        for name, text in wanted.items()
        if name not in there or (docs / name).read_text(encoding="utf-8") != text
    }
    return sorted(other | (there - set(wanted)))


def main(arguments: list[str]) -> int:
    """0 if every file is as it would be made, or was made."""
    wanted = made()
    changed = stale(wanted, DOCS)
    if "--check" in arguments:
        if changed:
            print(f"not as made: {', '.join(changed)}; run tools/reference", file=sys.stderr)
        return 1 if changed else 0
    for name in changed:
        path = DOCS / name
        if name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[name], encoding="utf-8")
        else:
            path.unlink()
        print(f"docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
