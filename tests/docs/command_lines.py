"""`mainspring ...` as documents write it, held against the real parsers without running anything."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import documents

from mainspring.platform.cli.main import cli

#: What ends a command in a shell. `<` and `>` stand for words to be filled in just as often as for redirections.
_ENDS: Final = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "2>", "<", "2>&1"})
_PLACEHOLDER: Final = re.compile(r"\A[A-Z][A-Z0-9_]*\Z|\.\.\.|\A<.*>\Z|\A\$")
#: Values whose choices are written in the parsers.
_CHECKED: Final = (click.Choice, click.IntRange, click.FloatRange)


def in_blocks(path: Path) -> Iterator[list[str]]:
    """The words behind `mainspring` of every whole command."""
    for block in documents.blocks(path):
        yield from of_block(block)
    for text in documents.indented(path):
        if "mainspring " in text:
            yield from _of_text(text)


def of_block(block: documents.Block) -> Iterator[list[str]]:
    """Those of one block; `make X` stands for what its recipe runs."""
    yield from _of_text(block.commands)
    recipes = (documents.ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([a-z]+)", block.commands, re.MULTILINE):
        recipe = re.search(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n)+)", recipes, re.MULTILINE)
        yield from (w.split() for w in re.findall(r"\$\(BIN\)/mainspring (.+)", recipe[1] if recipe else ""))


def name_of(words: list[str]) -> list[str]:
    """The names of the command itself: groups and command."""
    found, command = [], cli
    for word in words:
        if not isinstance(command, click.Group) or word not in command.commands:
            break
        found.append(word)
        command = command.commands[word]
    return found


def in_text(path: Path) -> Iterator[list[str]]:
    """The same of code within text, which may leave arguments out and name several commands at once."""
    for span in documents.spans(path):
        found = re.match(r"(?:\.venv/bin/)?mainspring (.+)", span)
        if found:
            yield from _alternatives(found[1])


def _of_text(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        yield from _commands(line)


def _commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        words = list(lexer)
    except ValueError:  # an apostrophe in the words beside a command
        words = line.split("#")[0].split()
    while words:
        ends = next((i for i, word in enumerate(words) if word in _ENDS), len(words))
        command, words = words[:ends], words[ends + 1 :]
        names = [
            i for i, word in enumerate(command) if re.fullmatch(r"(\$\()?(\.venv/bin/)?mainspring", word)
        ]
        if names and all(
            re.fullmatch(r"\$|\$?\(|\w+=.*|timeout|\d+|exec|sudo|eval", w) for w in command[: names[0]]
        ):
            yield _before_prose(command[names[0] + 1 :])


def _before_prose(words: list[str]) -> list[str]:
    return [w for w in words if w not in ("(", ")")]


def _alternatives(text: str) -> Iterator[list[str]]:
    """`a|b c [--d 1]` as two commands; what is in brackets is there."""
    text = re.sub(r"(?<![=\w\"'])\[([^\]]*)\](?![\"'])", r"\1", text)
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    ends = next((i for i, word in enumerate(words) if word in _ENDS), len(words))
    choices = [w.split("|") if re.fullmatch(r"[\w-]+(\|[\w-]+)+", w) else [w] for w in words[:ends]]
    for chosen in itertools.product(*choices):
        # Dots behind an option are its value; elsewhere they are whatever else there is to say.
        yield [w for i, w in enumerate(chosen) if w != "..." or (i and chosen[i - 1].startswith("--"))]


def problem(words: list[str], *, is_whole: bool) -> str:
    """Why the parsers refuse a command; empty: they do not. One that is not whole may lack arguments."""
    command: click.Command = cli
    context = click.Context(cli, info_name="mainspring")
    rest = list(words)
    while isinstance(command, click.Group):
        if not rest:
            return "" if not is_whole else f"`{context.command_path}` wants one of its commands"
        if rest[0] == "--help":
            return ""
        if not is_whole and "/" in rest[0]:
            return next((p for one in rest[0].split("/") if (p := _named(command, context, [one])[0])), "")
        said, found, rest = _named(command, context, rest)
        if found is None:
            return said
        command = found
        context = click.Context(command, info_name=command.name, parent=context)
    return _arguments(command, context, rest, is_whole=is_whole)


def _named(
    group: click.Group, context: click.Context, rest: list[str]
) -> tuple[str, click.Command | None, list[str]]:
    try:
        _, found, rest = group.resolve_command(context, rest)
    except click.UsageError as error:
        return error.format_message(), None, []
    return "", found, rest


def _arguments(command: click.Command, context: click.Context, rest: list[str], *, is_whole: bool) -> str:
    if "--help" in rest:
        return ""
    if (
        not is_whole
        and rest
        and rest[-1] in (o for p in command.params for o in p.opts)
        and not _is_flag(command, rest[-1])
    ):
        rest = [*rest, "..."]  # an option that is spoken of has no value
    try:
        given, more, _ = command.make_parser(context).parse_args(list(rest))
    except click.UsageError as error:
        return error.format_message()
    if more:
        return f"`{context.command_path}` does not take `{more[0]}`"
    for parameter in command.params:
        value = given.get(str(parameter.name))
        is_there = parameter.name in given and value not in (None, ()) and str(value) != "Sentinel.UNSET"
        if not is_there:
            if is_whole and parameter.required:
                return f"`{context.command_path}` wants {parameter.human_readable_name}"
        elif said := _value(parameter, context, value):
            return said
    return ""


def _is_flag(command: click.Command, name: str) -> bool:
    return any(isinstance(p, click.Option) and name in p.opts and p.is_flag for p in command.params)


def _value(parameter: click.Parameter, context: click.Context, value: Any) -> str:
    if not isinstance(parameter.type, _CHECKED):
        return ""
    for one in value if isinstance(value, list | tuple) else (value,):
        for alternative in str(one).split("|"):
            if _PLACEHOLDER.search(alternative):
                continue
            try:
                parameter.type.convert(alternative, parameter, context)
            except click.UsageError as error:
                return error.format_message()
    return ""
