"""What the command line prints, and the exit code it leaves with: data on stdout, words on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from mainspring.core import errors

SCHEMA: Final = "mainspring.cli/v1"

OK, FAILED, USAGE, DENIED, NEEDS_APPROVAL, TIMEOUT, MISCONFIGURED = 0, 1, 2, 3, 4, 5, 78

_CODES: Final[Mapping[str, int]] = {
    "approval_required": NEEDS_APPROVAL,
    "deadline_exceeded": TIMEOUT,
}


def exit_code(error: errors.MainspringError) -> int:
    if error.code in _CODES:
        return _CODES[error.code]
    by_kind = {errors.Kind.DENIED: DENIED, errors.Kind.MISCONFIGURED: MISCONFIGURED}
    return by_kind.get(error.kind, FAILED)


def show(data: Any, *, as_json: bool, columns: Sequence[str] = ()) -> None:
    """One object as `key: value` lines, a list as a table of `columns`; `as_json` gives the versioned document."""
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "data": data}, sort_keys=True))
    elif isinstance(data, list):
        rows = [[_printable(str(item.get(c, ""))) for c in columns] for item in data]
        if sys.stdout.isatty():
            _table(columns, rows)
        else:
            _lines(columns, rows)
    else:
        for key, value in data.items():
            text = json.dumps(value) if isinstance(value, dict | list) else _printable(str(value))
            click.echo(f"{key}: {text}")


def _lines(columns: Sequence[str], rows: list[list[str]]) -> None:
    """For files and other programs: every cell whole, in columns of spaces."""
    widths = [max(len(c), *(len(r[i]) for r in rows)) if rows else len(c) for i, c in enumerate(columns)]
    for row in [list(columns), *rows]:
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def _table(columns: Sequence[str], rows: list[list[str]]) -> None:
    """For people: as wide as the terminal, and long cells folded, not cut."""
    from rich import box, console, table, text

    made = table.Table(*columns, box=box.SIMPLE_HEAD, header_style="bold")
    for column in made.columns:
        column.overflow = "fold"
    for row in rows:
        made.add_row(*(text.Text(cell) for cell in row))  # no markup in what others wrote
    console.Console().print(made)


def _printable(value: str) -> str:
    """What others wrote moves no cursor and colours nothing on this terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in value)


def show_change(what: str, before: Any, after: Any, *, as_json: bool) -> None:
    """What a dry run says: the fields that would be otherwise, as they are and as they would be."""
    changed = {
        name: {"from": (before or {}).get(name), "to": (after or {}).get(name)}
        for name in sorted({**(before or {}), **(after or {})})
        if (before or {}).get(name) != (after or {}).get(name)
    }
    action = "create" if before is None else "remove" if after is None else "change" if changed else "none"
    show({"what": what, "action": action, "changes": changed}, as_json=as_json)


def note(text: str) -> None:
    """A line on stderr, of words that others wrote."""
    click.echo(_printable(text), err=True)


def show_error(error: errors.MainspringError, *, as_json: bool) -> None:
    """One line on stderr; with `as_json` the document on stdout as well."""
    click.echo(f"error: {' '.join(error.message.split())}", err=True)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "error": errors.to_wire(error)}, sort_keys=True))
