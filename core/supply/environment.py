"""What runs here: the installed distributions with their licences, and the commit of the source tree, if it is one."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Final, cast

from mainspring.core import canonical

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SEPARATORS: Final = re.compile(r"[-_.]+")
_CLASSIFIER: Final = "License :: "
#: Longer texts in a `License` field are the licence itself and not its name.
_MAX_NAME: Final = 100


@dataclass(frozen=True, order=True)
class Package:
    """A distribution: its name as the index normalises it, and what it says of its licences."""

    name: str
    version: str
    expression: str = ""
    """An SPDX expression (`License-Expression`), where it gives one."""
    licences: tuple[str, ...] = ()
    """Names otherwise: classifiers, else the `License` field."""


@functools.cache
def packages() -> tuple[Package, ...]:
    """Every installed distribution, by name; of one that is found twice the first on the path, which is what is imported."""
    found: dict[str, Package] = {}
    for distribution in importlib.metadata.distributions():
        metadata = cast(Message, distribution.metadata)  # what it is, with `get`, which the protocol lacks
        raw, version = metadata.get("Name"), metadata.get("Version")
        if not raw or not version:
            continue  # a folder that a removed package left behind
        name = normalised(raw)
        if name not in found:
            found[name] = Package(name, version, *_licences(metadata))
    return tuple(sorted(found.values()))


def digest(listed: Iterable[Package]) -> str:
    """Of names and versions: the lock of an environment, `sha256:<hex>`."""
    return canonical.digest(sorted([p.name, p.version] for p in listed))


def normalised(name: str) -> str:
    """A project's name as PEP 503 compares it."""
    return _SEPARATORS.sub("-", name).lower()


def python_version() -> str:
    return platform.python_version()


def commit_of(folder: Path) -> str:
    """The commit that the source tree around `folder` has checked out; empty in an installed wheel. Runs no git."""
    for parent in (folder, *folder.parents):
        if (git := parent / ".git").exists():
            return _head(git)
    return ""


def _head(git: Path) -> str:
    try:
        if git.is_file():  # a worktree's: `gitdir: <path>`
            git = (git.parent / git.read_text().removeprefix("gitdir:").strip()).resolve()
        shared = git / "commondir"
        common = (git / shared.read_text().strip()).resolve() if shared.exists() else git
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head if _COMMIT.fullmatch(head) else ""
        ref = head.removeprefix("ref: ")
        for place in (git / ref, common / ref):
            if place.is_file():
                return found if _COMMIT.fullmatch(found := place.read_text().strip()) else ""
        for line in (common / "packed-refs").read_text().splitlines():
            commit, _, name = line.partition(" ")
            if name == ref and _COMMIT.fullmatch(commit):
                return commit
    except OSError:
        return ""  # no repository that this process may read: nothing is claimed
    return ""


def _licences(metadata: Message) -> tuple[str, tuple[str, ...]]:
    if expression := (metadata.get("License-Expression") or "").strip():
        return expression, ()
    classifiers = [c for c in metadata.get_all("Classifier") or [] if c.startswith(_CLASSIFIER)]
    names = sorted({c.rpartition(" :: ")[2] for c in classifiers if c.count(" :: ") > 1} - {"OSI Approved"})
    if names:
        return "", tuple(names)
    text = (metadata.get("License") or "").strip()
    return "", (text,) if text and len(text) <= _MAX_NAME and "\n" not in text else ()
