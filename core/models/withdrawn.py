"""Bundles that are not to be used any more: a mark beside the store, that everybody who opens a bundle looks for.

A mark is one file, `withdrawn/<hex>.json` under the store's folder, whole or not there at all. It is never overwritten: who
withdrew a bundle first, and why, stays. The bundle itself is left where it is, since it is evidence of what has answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mainspring.core import durable, errors
from mainspring.core.contracts import prediction

FOLDER: Final = "withdrawn"
#: The rule that denies such a bundle, wherever it is met.
RULE: Final = "bundle.withdrawn"

_MARK: Final = re.compile(r"[0-9a-f]{64}\.json")


def mark(root: Path, withdrawal: prediction.BundleWithdrawal) -> prediction.BundleWithdrawal:
    """Put the mark there, on disk when this returns; one that is there stays, and is the answer.

    Threads: callers are one at a time; of two processes the one that is there last is the answer of both.
    """
    if (known := find(root, withdrawal.digest)) is not None:
        return known
    path = _path(root, withdrawal.digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.replace_file(path, withdrawal.model_dump_json(indent=1))
    durable.sync_folder(root)
    return withdrawal


def find(root: Path, digest: str) -> prediction.BundleWithdrawal | None:
    """The mark of a bundle. One that cannot be read is a mark all the same, without its reason."""
    path = _path(root, digest)
    try:
        return prediction.BundleWithdrawal.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        return prediction.BundleWithdrawal(
            digest=digest, reason=f"its mark `{FOLDER}/{path.name}` cannot be read", by="", at=None
        )


def marked(root: Path) -> frozenset[str]:
    """The digests that have a mark."""
    try:
        names = [path.name for path in (root / FOLDER).iterdir()]
    except FileNotFoundError:
        return frozenset()
    return frozenset("sha256:" + name.removesuffix(".json") for name in names if _MARK.fullmatch(name))


def check(root: Path, digest: str) -> None:
    """Errors: PolicyDenied for a bundle that has a mark."""
    found = find(root, digest)
    if found is not None:
        raise errors.PolicyDenied(
            f"rule `{RULE}` denies it: bundle `{digest}` was"
            f" {'revoked' if found.is_revocation else 'withdrawn'} by `{found.by}`: {found.reason}; deploy another one",
            rule_id=RULE,
        )


class Watch:
    """Tells of marks that other processes made. One caller at a time."""

    def __init__(self, root: Path, told: Callable[[str], None]) -> None:
        """`told` is called with each digest that gets a mark after this."""
        self._root = root
        self._told = told
        self._seen = marked(root)

    def look(self) -> None:
        """See what is new; a digest that `told` fails for is told again at the next look."""
        for digest in sorted(marked(self._root) - self._seen):
            self._told(digest)
            self._seen |= {digest}


def _path(root: Path, digest: str) -> Path:
    return root / FOLDER / f"{digest.removeprefix('sha256:')}.json"
