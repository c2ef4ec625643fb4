"""The table of bad input in docs/workflows.md names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import source_tree

ROOT = source_tree.ROOT
NAMED = re.compile(r"`([a-z0-9_/]+/test_[a-z0-9_]+\.py)::(test_[a-z0-9_]+)`")


def rows(document: str) -> list[str]:
    """The lines of the table, without its head."""
    section = document.split("## Bad input\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


def named_in(path: Path) -> set[str]:
    if not path.exists():
        return set()
    return {n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)}


def missing(table: list[str], root: Path) -> list[str]:
    """Rows that name no test, or one that there is not."""
    found = []
    for row in table:
        named = NAMED.findall(row)
        if not named or any(test not in named_in(root / path) for path, test in named):
            found.append(row)
    return found


def test_each_row_names_a_test_that_there_is() -> None:
    table = rows((ROOT / "docs" / "workflows.md").read_text())
    assert len(table) >= 10 and missing(table, ROOT) == []


def test_a_row_without_one_is_seen(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "test_a.py").write_text("def test_b() -> None: ...\n")
    good = "| x | y | `core/test_a.py::test_b` |"
    bad = ["| x | y | z |", "| x | y | `core/test_a.py::test_c` |", "| x | y | `core/test_z.py::test_b` |"]
    assert missing([good, *bad], tmp_path) == bad
