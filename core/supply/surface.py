"""What others build on, as one document, and which version is due when it changes.

A surface is kinds (commands, settings, an API's operations, ...) of items (`run watch`) of parts (`--project`). `tools/surface.py`
makes that of this tree; here are the rules, which know nothing of how a surface was made. What others give (`in`) may be asked
less strictly, what they get (`out`) may only become more certain:

| | `in` | `out` |
|---|---|---|
| an item, or a part that may be left out, is new | addition | addition |
| a part that must be given is new | break | addition |
| an item or a part is gone, or at another place | break | break |
| one more type it may have | addition | break |
| one type less | break | addition |
| must be there now | break | addition |
| may be missing now | addition | break |
| one value less, a tighter limit | break | addition |
| one value more, a wider limit, another default | addition | addition |

An addition is due a minor version, a break a major one and its name in the changelog under a heading that says `(major)`. Before
1.0.0 both are due a minor version, as semantic versioning has it (its clause 4), and the changelog all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

from packaging import version as versions

from mainspring.core import durable, errors

__all__ = ["Change", "Part", "Surface", "changes", "due", "read", "require_fit", "write"]

_RELEASE: Final = "release"
_BREAKS: Final = re.compile(r"^###[^\n]*\(major\)[^\n]*\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
_BETWEEN_TYPES: Final = " | "
#: Beyond so many, more of them help nobody who reads a message.
_TOLD: Final = 5

#: A request's may be loosened, never tightened.
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")

Way = Literal["in", "out", "both"]


class Part(TypedDict, total=False):
    """One parameter, option, field, value or name. What a part does not say is not limited."""

    type: str
    """Alternatives with ` | ` between."""
    required: bool
    way: Way
    """Who gives it: `in` others (the default), `out` we."""
    at: int
    """Its place, if it may be given by place."""
    values: list[Any]
    limits: dict[str, Any]
    default: Any


Item = Mapping[str, Part]
Surface = Mapping[str, Mapping[str, Item]]


@dataclass(frozen=True, order=True)
class Change:
    """One difference between two surfaces."""

    kind: str
    item: str
    part: str
    what: str
    is_break: bool

    def __str__(self) -> str:
        where = f"`{self.item}`" + (f" `{self.part}`" if self.part else "")
        return f"{self.kind}: {where} {self.what}"


def changes(old: Surface, new: Surface) -> list[Change]:
    """Every difference, sorted."""
    found: list[Change] = []
    for kind in sorted({*old, *new}):
        before, after = old.get(kind, {}), new.get(kind, {})
        found += [Change(kind, item, "", "is new", False) for item in after if item not in before]
        found += [Change(kind, item, "", "is gone", True) for item in before if item not in after]
        for item in before.keys() & after.keys():
            found += [
                Change(kind, item, part, what, is_break)
                for part, what, is_break in _of_item(before[item], after[item])
            ]
    return sorted(found)


def due(before: str, found: Iterable[Change]) -> str:
    """The least version that may follow `before`. Errors: InvalidRequest if that is no version."""
    of = versions.Version(before) if _is_version(before) else _no_version(before)
    kinds = {change.is_break for change in found}
    if kinds and not of.major:
        return f"0.{of.minor + 1}.0"
    if True in kinds:
        return f"{of.major + 1}.0.0"
    return f"{of.major}.{of.minor + 1}.0" if kinds else f"{of.major}.{of.minor}.{of.micro + 1}"


def require_fit(before: str, now: str, found: list[Change], told: str) -> None:
    """`told` is what the changelog says about `now`, which is to follow `before`; empty: nothing was released.

    Errors: Conflict with the version that is due, or with the breaks that the changelog does not name; InvalidRequest for what is
    no version.
    """
    if not _is_version(now):
        _no_version(now)
    if not before:
        return
    least = due(before, found)
    # A release candidate is of the version that it is a candidate for.
    if versions.Version(versions.Version(now).base_version) < versions.Version(least):
        raise errors.Conflict(
            f"version {now} cannot follow {before}: {_why(found)}; put at least {least} into `version.bzl`",
            resource="version",
            name=now,
        )
    named = "\n".join(_BREAKS.findall(told))
    if silent := [c for c in found if c.is_break and f"`{c.item}`" not in named]:
        raise errors.Conflict(
            f"the changelog of {now} does not name what others must change for: {_listed(silent)}; write a line about each, with"
            " its name in backticks, under a heading that says `(major)`",
            resource="changelog",
            name=now,
        )


def read(folder: Path) -> tuple[str, Surface]:
    """Version (empty for a tree's own) and surface that :func:`write` wrote. Errors: NotFound, CorruptArtifact."""
    if not folder.is_dir():
        raise errors.NotFound(
            f"there is no surface in `{folder}`; write it with `python tools/surface.py --write`",
            resource="surface",
            name=str(folder),
        )
    version, kinds = "", {}
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_bytes())
            if path.stem == _RELEASE:
                version = str(document["version"])
            else:
                kinds[path.stem] = {str(item): dict(parts) for item, parts in document.items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise errors.CorruptArtifact(
                f"`{path.name}` is no surface: {error!r}; write it with `python tools/surface.py --write`",
                artifact=str(path),
                expected="items of parts",
                got="something else",
            ) from error
    return version, kinds


def write(folder: Path, surface: Surface, version: str = "") -> list[str]:
    """Names of the files that were otherwise; one that has not changed stays as it is, one of a kind that is gone goes."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {f"{kind}.json": rendered(items) for kind, items in surface.items()}
    if version:
        wanted[f"{_RELEASE}.json"] = json.dumps({"version": version}) + "\n"
    written = []
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            durable.replace_file(path, text)
            written.append(name)
    for path in folder.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
            written.append(path.name)
    return sorted(written)


def rendered(items: Mapping[str, Item]) -> str:
    """A line for each item, so that two who add one meet in a merge only where they add the same."""
    lines = (f"{json.dumps(name)}: {json.dumps(items[name], sort_keys=True)}" for name in sorted(items))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _of_item(old: Item, new: Item) -> Iterator[tuple[str, str, bool]]:
    for part in old:
        if part not in new:
            yield part, "is gone", True
        else:
            for what, is_break in _of_part(old[part], new[part]):
                yield part, what, is_break
    for part in new:
        if part not in old:
            must = "in" in _ways(new[part]) and new[part].get("required", False)
            yield part, "is new, and must be given" if must else "is new", must


def _of_part(old: Part, new: Part) -> Iterator[tuple[str, bool]]:
    """What is otherwise, and whether who knows `old` cannot live with it."""
    is_in, is_out = "in" in _ways(old), "out" in _ways(old)
    before, after = _types(old), _types(new)
    for kind in sorted(before - after):
        yield f"is no `{kind}` any more", is_in
    for kind in sorted(after - before):
        yield f"may be `{kind}`", is_out
    if old.get("required", False) != new.get("required", False):
        must = new.get("required", False)
        yield "must be there now" if must else "may be missing now", is_in if must else is_out
    yield from _of_values(old, new, is_in)
    for limit in sorted({*old.get("limits", {}), *new.get("limits", {})}):
        one, other = old.get("limits", {}).get(limit), new.get("limits", {}).get(limit)
        if one != other:
            yield f"has `{limit}` {other}, was {one}", is_in and _is_tighter(limit, one, other)
    if old.get("at") != new.get("at"):
        yield "is at another place", "at" in old
    if old.get("default") != new.get("default"):
        yield f"is `{new.get('default')}` by default, was `{old.get('default')}`", False


def _of_values(old: Part, new: Part, is_in: bool) -> Iterator[tuple[str, bool]]:
    one, other = old.get("values"), new.get("values")
    if one is None or other is None:
        if one != other:
            yield ("is one of few values now", is_in) if one is None else ("may be anything", False)
        return
    for value in one:
        if value not in other:
            yield f"has no value `{value}` any more", is_in
    for value in other:
        if value not in one:
            yield f"has value `{value}`", False


def _is_tighter(limit: str, old: Any, new: Any) -> bool:
    """A limit that is no number, as a pattern is, counts as tighter: what it lets through, nobody can tell."""
    if new is None:
        return False
    if old is None or not isinstance(old, int | float) or not isinstance(new, int | float):
        return True
    return new > old if limit in _LOWER else new < old


def _ways(part: Part) -> tuple[str, ...]:
    way = part.get("way", "in")
    return ("in", "out") if way == "both" else (way,)


def _types(part: Part) -> set[str]:
    return set(part.get("type", "").split(_BETWEEN_TYPES)) - {""}


def _why(found: list[Change]) -> str:
    breaks = [change for change in found if change.is_break]
    return _listed(breaks or found) if found else "it is no later one"


def _listed(found: list[Change]) -> str:
    more = len(found) - _TOLD
    return "; ".join(map(str, found[:_TOLD])) + (f"; and {more} more" if more > 0 else "")


def _is_version(text: str) -> bool:
    return re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", text) is not None


def _no_version(text: str) -> versions.Version:
    raise errors.InvalidRequest(
        f"`{text}` is no version; expected three numbers, as in 1.2.0, and at most a candidate's, as in 1.2.0rc1",
        field="version",
    )
