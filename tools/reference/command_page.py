"""The command line, read from the parsers themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import click
from words import cell, code, page, prose, table

INTRO = """A thin client of the control API. Every command has `--help`, those that answer with data have `--json` (one document, `"schema":
"mainspring.cli/v1"`), and those that ask the API have `--as ACTOR`. Exit codes: 0 ok, 1 failed, 2 usage, 3 denied, 4 needs approval,
5 timeout, 78 misconfigured."""

#: Said once, above.
COMMON = ("--json", "--as", "--help")


def pages() -> dict[str, str]:
    from mainspring.platform.cli.main import cli

    parts = []
    alone = [c for c in cli.commands.values() if not isinstance(c, click.Group)]
    groups = [c for c in cli.commands.values() if isinstance(c, click.Group)]
    for command in sorted(alone, key=lambda c: str(c.name)):
        parts += _command(f"mainspring {command.name}", command, "##")
    for group in sorted(groups, key=lambda c: str(c.name)):
        parts += [f"## mainspring {group.name}", prose(group.help)]
        for words, command in _below(f"mainspring {group.name}", group):
            parts += _command(words, command, "###")
    return {"reference/cli.md": page("Command line", INTRO, parts)}


def _below(words: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _below(f"{words} {name}", command)
        elif not command.hidden:
            yield f"{words} {name}", command


def _command(words: str, command: click.Command, level: str) -> list[str]:
    context = click.Context(command, info_name=words)
    usage = " ".join(command.collect_usage_pieces(context))
    options = [_option(o, context) for o in command.params if isinstance(o, click.Option) and not o.hidden]
    return [
        f"{level} {words}",
        f"```text\n{words} {usage}\n```",
        _paragraphs(command.help),
        table(("option", "value", "default", ""), (o for o in options if o[0])),
    ]


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(prose(p) for p in inspect.cleandoc(text or "").split("\n\n"))


def _option(option: click.Option, context: click.Context) -> tuple[str, ...]:
    names = ", ".join(code(n) for n in (*option.opts, *option.secondary_opts))
    if option.opts[-1] in COMMON:
        return ("", "", "", "")
    said = option.to_info_dict()
    value = "" if option.is_flag else _value(said["type"], str(option.make_metavar(context)))
    default = option.default if option.show_default and not callable(option.default) else ""
    many = " (may be repeated)" if option.multiple else ""
    words = prose(option.help) + (" Required." if option.required else "")
    return (names + many, value, _default(default), words.strip())


def _value(kind: dict[str, Any], metavar: str) -> str:
    if "choices" in kind:
        return ", ".join(code(getattr(c, "value", c)) for c in kind["choices"])
    low, high = kind.get("min"), kind.get("max")
    if low is None and high is None:
        return code(metavar.strip("[]"))
    limits = "" if low is None else f"{low} {'<' if kind.get('min_open') else '≤'} "
    return cell(limits + "x" + ("" if high is None else f" {'<' if kind.get('max_open') else '≤'} {high}"))


def _default(value: object) -> str:
    if value is None or value == () or str(value) in ("", "Sentinel.UNSET"):
        return ""
    return code(value)
