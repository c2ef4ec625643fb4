"""Is one row in the log, and did the log only grow: stands alone, needs a proof and the public keys, and no other row.

A proof has the row, its path in RFC 6962's tree, and the signed checkpoint that names the tree's root; of an older checkpoint also what shows that this tree
begins with that one. Whose row it is and what it says is in its bytes; that nothing else was done, no proof of a row can show.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from mainspring.core import errors
from mainspring.platform.audit import exported, merkle, verification

__all__ = ["FORMAT", "Proof", "Proved", "checkpoint_in", "is_consistent", "is_included", "read", "verify"]

FORMAT: Final = "mainspring.audit-proof/v1"
#: A tree of 2**63 leaves is no deeper; a path of consistency is one hash longer.
_DEEPEST: Final = 64


class Proof(BaseModel):
    """`row` and `checkpoint` are the very bytes that were hashed and signed, a line of each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["mainspring.audit-proof/v1"] = FORMAT
    row: str
    path: tuple[str, ...] = Field(max_length=_DEEPEST)
    checkpoint: str
    since: int = Field(0, ge=0)
    """The older length that `consistency` is about; 0: none."""
    consistency: tuple[str, ...] = Field((), max_length=_DEEPEST)


@dataclass(frozen=True)
class Proved:
    """The row as it stands in the log, and of the checkpoint its length, the root and when its signer says it was."""

    row: dict[str, Any]
    checkpoint: int
    root: str
    at: str
    key_id: str
    since: int = 0
    """It goes on the log that had this length; 0: not asked."""


def read(data: bytes) -> Proof:
    """Errors: InvalidRequest for what is no proof."""
    try:
        return Proof.model_validate_json(data)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise errors.InvalidRequest(
            f"this is no proof: {'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}; make one by `mainspring audit prove`",
            field="proof",
        ) from error


def checkpoint_in(data: bytes) -> bytes:
    """Of an older proof, or the last line of a file of checkpoints. Errors: InvalidRequest for a file without any."""
    try:
        return read(data).checkpoint.encode()
    except errors.InvalidRequest:
        lines = data.strip().splitlines()
    if not lines or b'"signature"' not in lines[-1]:
        raise errors.InvalidRequest(
            "there is no checkpoint in it; give an older proof, or a file of `mainspring audit checkpoints`",
            field="consistent_with",
        )
    return lines[-1]


def verify(
    proof: Proof,
    keys: verification.Keys,
    *,
    older: bytes | None = None,
    checkpoints: Sequence[bytes] | None = None,
) -> Proved:
    """With `older`, a checkpoint, that the log only grew since; with `checkpoints` that they have the proof's own.

    Without those a key that was replaced still counts: a proof cannot say what was signed after it. Errors: InvalidRequest for what is
    no proof of what is asked; CorruptArtifact for what proves nothing.
    """
    row, leaf = _row(proof.row.encode())
    body = _signed(proof.checkpoint.encode(), keys, "the proof's checkpoint")
    size, root = body["sequence"], _bytes(body["root"].removeprefix("sha256:"))
    if not is_included(leaf, row["sequence"] - 1, size, list(map(_bytes, proof.path)), root):
        raise _no_proof(f"row {row['sequence']} is not in the tree that the checkpoint of {size} rows signs")
    if size == row["sequence"] and body["head"] != f"sha256:{leaf.hex()}":
        raise _no_proof(f"the checkpoint of {size} rows signs another last row")
    if checkpoints is not None:
        _require_known(body, keys, checkpoints)
    since = 0
    if older is not None:
        since = _consistent(proof, size, root, _signed(older, keys, "the older checkpoint"))
    return Proved(row, size, body["root"], str(body.get("at", "")), body["key_id"], since)


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        return False
    node, last = hashlib.sha256(merkle.LEAF + leaf).digest(), size - 1
    for sibling in path:
        if last == 0:
            return False
        if index & 1 or index == last:
            node = _above(sibling, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = _above(node, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and node == root


def is_consistent(older: int, size: int, older_root: bytes, root: bytes, path: Sequence[bytes]) -> bool:
    """RFC 9162, 2.1.4.2."""
    if older == size:
        return older_root == root and not path
    if not 0 < older < size:
        return False
    if older & (older - 1) == 0:
        path = [older_root, *path]
    if not path:
        return False
    index, last = older - 1, size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            first, second = _above(sibling, first), _above(sibling, second)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            second = _above(second, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and first == older_root and second == root


def _row(line: bytes) -> tuple[dict[str, Any], bytes]:
    """What it says, and its leaf."""
    try:
        row = json.loads(line)["row"]
        sequence, previous = int(row["sequence"]), str(row["previous_hash"]).removeprefix("sha256:")
        problem = exported.problem(line + b"\n", previous.encode(), sequence - 1)
    except (KeyError, TypeError, ValueError, RecursionError):
        problem = "the row is none of an audit log"
    if problem:
        raise _no_proof(problem)
    return row, _bytes(exported.hash_of(line).decode())


def _signed(line: bytes, keys: verification.Keys, name: str) -> dict[str, Any]:
    known = keys if isinstance(keys, Sequence) else [keys]
    try:
        body, _ = verification.read_one(line, known, name)
    except verification.BadCheckpoints as bad:
        raise _no_proof(str(bad)) from bad
    if "root" not in body:
        raise errors.InvalidRequest(
            f"{name}, of {body['sequence']} rows, is of before checkpoints signed a tree; take a newer one",
            field="proof",
        )
    return body


def _require_known(body: dict[str, Any], keys: verification.Keys, checkpoints: Sequence[bytes]) -> None:
    try:
        signed = verification.read_signed(checkpoints, keys)
    except verification.BadCheckpoints as bad:
        raise _no_proof(str(bad)) from bad
    size = body["sequence"]
    if (signed.heads.get(size), signed.roots.get(size)) != (body["head"], body["root"]):
        raise _no_proof(f"the checkpoint of {size} rows is none of those that you gave")


def _consistent(proof: Proof, size: int, root: bytes, older: dict[str, Any]) -> int:
    since = int(older["sequence"])
    if since > size:
        raise errors.InvalidRequest(
            f"the checkpoint to be consistent with is of {since} rows and the proof of {size}; give the older one",
            field="consistent_with",
        )
    if since not in (proof.since, size):
        raise errors.InvalidRequest(
            f"this proof says nothing of a log of {since} rows; make one by `mainspring audit prove --consistent-with`",
            field="consistent_with",
        )
    path = list(map(_bytes, proof.consistency)) if since == proof.since else []
    if not is_consistent(since, size, _bytes(older["root"].removeprefix("sha256:")), root, path):
        raise _no_proof(
            f"the log of {size} rows does not go on the one of {since}: both are signed and they are two; keep both checkpoints"
        )
    return since


def _above(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(merkle.NODE + left + right).digest()


def _bytes(hexadecimal: str) -> bytes:
    try:
        found = bytes.fromhex(hexadecimal)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise errors.InvalidRequest(f"`{hexadecimal[:80]}` is no hash of SHA-256 in hex", field="proof")
    return found


def _no_proof(problem: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(f"the proof does not hold: {problem}", artifact="audit proof")
