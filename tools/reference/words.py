"""Words that every made page consists of: a head that says what made it, tables, and text that Markdown leaves alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MADE = "<!-- Made by tools/reference of the code; not edited by hand. -->"


def page(title: str, intro: str, parts: Iterable[str]) -> str:
    """A whole page; parts are blocks, which blank lines part."""
    return "\n\n".join([f"# {title}", MADE, intro, *(p.strip("\n") for p in parts if p.strip())]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table without empty columns; empty text if there are no rows."""
    rows = [[cell(c) for c in row] for row in rows]
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    if not kept:
        return ""
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """One line; a bar in it ends no cell."""
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))


def code(text: object) -> str:
    """In backticks; nothing stays nothing."""
    return f"`{text}`" if str(text) else ""


def prose(text: str | None) -> str:
    """A docstring as Markdown: Sphinx's roles become code, and angle brackets outside of code are no HTML."""
    said = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", " ".join((text or "").split()))
    said = re.sub(r"``([^`]+)``", r"`\1`", said)
    return "".join(
        part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "\\*")
        for part in re.split(r"(`[^`]*`)", said)
    )


def sentence(text: str | None) -> str:
    """The first paragraph of a docstring."""
    return prose((text or "").strip().split("\n\n")[0])
