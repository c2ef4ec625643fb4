"""Sets of policies that were in force, each in a file of its own: decisions name a set by its digest, and this is what that said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from mainspring.core import canonical, durable
from mainspring.platform.policies import engine

__all__ = ["FOLDER", "find", "keep", "plain"]

#: In the state directory.
FOLDER: Final = "policy-sets"


def plain(policies: engine.PolicyEngine) -> list[dict[str, Any]]:
    """What a set is made of: the version is the digest of ids, files and bodies; the text is for people."""
    return [{"id": p.id, "file": p.file, "body": dict(p.body), "text": p.text} for p in policies.policies]


def keep(state_dir: Path, policies: engine.PolicyEngine) -> None:
    """On disk when this returns; one that is there stays. Errors: OSError."""
    path = _path(state_dir, policies.version)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_file(path, json.dumps(plain(policies), indent=1, sort_keys=True))


def find(state_dir: Path, version: str) -> list[dict[str, Any]] | None:
    """The set of that version; None where it was not kept here, or is another one by now."""
    try:
        found: list[dict[str, Any]] = json.loads(_path(state_dir, version).read_bytes())
        named = [[p["id"], p["file"], p["body"]] for p in found]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if canonical.digest(named)[: len(version)] == version else None


def _path(state_dir: Path, version: str) -> Path:
    return state_dir / FOLDER / f"{version.removeprefix('sha256:')}.json"
