"""The tree's documents as text: blocks of commands with the mark above each, code spans, links, headings. Nothing is executed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"

#: Languages of blocks that a person would type.
SHELLS: Final = frozenset({"bash", "console", "sh", "shell", "zsh"})
#: Others' words (licences of what we build with), and history.
_NOT_OURS: Final = frozenset({"node_modules", "bazel4"})
_HISTORY: Final = frozenset({"CHANGELOG.md"})

_FENCE: Final = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_MARK: Final = re.compile(r"<!-- (run|run: [a-z][a-z0-9-]*|run by: [^\n]+|not run: [^\n]+) -->\n\Z")
_INDENTED: Final = re.compile(r"(?:(?<=\n\n)|\A)((?: {4}[^\n]*\n)+)")
_SPAN: Final = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK: Final = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(<?([^()<>\s]+)>?(?: \"[^\"]*\")?\)")
_HEADING: Final = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block of commands. `mark` is what stands in the comment right above it: how a test runs it, or why none does."""

    path: Path
    line: int
    language: str
    text: str
    mark: str

    @property
    def where(self) -> str:
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.line}"

    @property
    def commands(self) -> str:
        """As a shell takes it: of a session, what stands behind the prompt."""
        if self.language != "console":
            return self.text
        return "".join(f"{line[2:]}\n" for line in self.text.splitlines() if line.startswith("$ "))


def documents(root: Path = ROOT) -> list[Path]:
    """Every Markdown file of ours, hidden and built folders left out."""
    found = []
    for folder, below, names in os.walk(root):
        below[:] = [
            name
            for name in sorted(below)
            if not name.startswith((".", "bazel-"))
            and name not in _NOT_OURS
            and Path(folder, name) not in (root / "build", root / "dist")
        ]
        found += [Path(folder, n) for n in sorted(names) if n.endswith(".md") and n not in _HISTORY]
    return found


def blocks(path: Path) -> list[Block]:
    """The blocks of commands of one document."""
    text = path.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        language = fence[3].strip()
        if language in SHELLS:
            marked = _MARK.search(text, 0, fence.start())
            body = re.sub(rf"^{fence[1]}", "", fence[4], flags=re.MULTILINE)
            found.append(
                Block(
                    path, text.count("\n", 0, fence.start()) + 1, language, body, marked[1] if marked else ""
                )
            )
    return found


def without_fences(text: str) -> str:
    return _FENCE.sub("", text)


def indented(path: Path) -> Iterator[str]:
    """Blocks that four spaces make code of."""
    for found in _INDENTED.finditer(without_fences(path.read_text(encoding="utf-8"))):
        yield re.sub(r"^ {4}", "", found[1], flags=re.MULTILINE)


def spans(path: Path) -> Iterator[str]:
    """What stands in backticks within text, on one line; in a table a bar is written `\\|`."""
    for found in _SPAN.finditer(_INDENTED.sub("", without_fences(path.read_text(encoding="utf-8")))):
        yield " ".join(found[2].replace("\\|", "|").split())


def links(path: Path) -> list[str]:
    """Where links and pictures lead, as written."""
    text = _SPAN.sub("", without_fences(path.read_text(encoding="utf-8")))
    return [found[1] for found in _LINK.finditer(text)]


def anchors(path: Path) -> set[str]:
    """The names that headings get, as Python-Markdown's `toc` gives them: the site's, and GitHub's where no two dashes meet."""
    text = without_fences(path.read_text(encoding="utf-8"))
    named: set[str] = set()
    for heading in _HEADING.finditer(text):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "")
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", words).strip().lower())
        number = 0
        while (name := f"{slug}_{number}" if number else slug) in named:
            number += 1
        named.add(name)
    return named
