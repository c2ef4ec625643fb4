"""Stored states of earlier releases: where they are, how one is put somewhere, and what must be in what is asked of it today."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

#: What a row of a list is known by, whichever of them it has.
IDS = ("run_id", "event_id", "name", "actor")
#: What is of the moment in which it is asked: of the engine, or of the month.
LIVE = ("stage", "status", "reserved", "spent_this_month")
STATES = sorted((Path(__file__).parent / "state").glob("*.tar.xz"))


def unpack(state: Path, home: Path) -> dict[str, Any]:
    """Into an empty folder, with the key that its audit log goes on to be signed by; what the release itself had answered."""
    with tarfile.open(state) as archive:
        archive.extractall(home, filter="fully_trusted")  # with modes
    write_audit_key(home)
    expected: dict[str, Any] = json.loads((home / "expected.json").read_text())
    return expected


def write_audit_key(home: Path) -> Path:
    """Of these words, so that no state has a private key in it: nobody's, and known to everybody."""
    path = home / ".mainspring" / "keys" / "audit.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = hashlib.sha256(b"audit key of stored states of releases").digest()
    path.touch(mode=0o600)
    path.write_bytes(
        ed25519.Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


def lost(old: Any, new: Any, where: str = "") -> list[str]:
    """What of `old` is not in `new`, which may have more fields of an object and more rows of a list."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key, value in old.items()
            if key not in LIVE
            for line in (
                lost(value, new[key], f"{where}.{key}") if key in new else [f"{where}.{key} is gone"]
            )
        ]
    by = next((name for name in IDS if isinstance(old, list) and old and name in old[0]), "")
    if by and isinstance(new, list):
        rows = {row[by]: row for row in new}
        return [
            line
            for row in old
            for line in (
                lost(row, rows[row[by]], f"{where}[{row[by]}]")
                if row[by] in rows
                else [f"{where}[{row[by]}] is gone"]
            )
        ]
    return [] if old == new else [f"{where} is {new!r}, was {old!r}"]
