"""Which tags a project must have, by the price book's settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mainspring.core import errors, settings

__all__ = ["RULE", "denial", "lacking", "notice", "require", "required"]

#: The rule that a run without tags is refused by.
RULE: Final = "cost.required-tags"


def required(book: settings.CostSettings) -> dict[str, tuple[str, ...]]:
    """Keys in their order, each with the values that it may have; none: any."""
    found: dict[str, tuple[str, ...]] = {}
    for one in filter(None, book.required_tags.split(",")):
        key, _, values = one.partition("=")
        found[key] = tuple(filter(None, values.split("|")))
    return found


def lacking(tags: Mapping[str, str], book: settings.CostSettings) -> dict[str, str]:
    """By key: what is wrong with it, in words; empty: nothing."""
    found = {}
    for key, allowed in required(book).items():
        given = tags.get(key, "")
        if given and (not allowed or given in allowed):
            continue
        may = f"one of {', '.join(f'`{value}`' for value in allowed)}" if allowed else "any value"
        found[key] = f"{f'it is `{given}`' if given else 'it has none'}, expected {may}"
    return found


def require(project: str, tags: Mapping[str, str], book: settings.CostSettings) -> None:
    """Errors: InvalidRequest that names each tag that is missing or has a value that there is not."""
    if found := lacking(tags, book):
        raise errors.InvalidRequest(
            f"project `{project}` needs tags: {_told(found)}; give each, as in `--tag {next(iter(found))}=...`",
            field="tags",
        )


def denial(project: str, found: Mapping[str, str]) -> errors.PolicyDenied:
    """What somebody is told who would start a run in a project that lacks tags."""
    return errors.PolicyDenied(notice(project, found), rule_id=RULE)


def notice(project: str, found: Mapping[str, str]) -> str:
    return (
        f"project `{project}` lacks tags that its costs are told by: {_told(found)}; ask an admin of the project for"
        f" `mainspring project update {project} --tag {next(iter(found))}=...`"
    )


def _told(found: Mapping[str, str]) -> str:
    return "; ".join(f"`{key}`: {what}" for key, what in found.items())
