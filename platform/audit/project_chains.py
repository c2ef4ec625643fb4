"""Is an exported project's part of the audit log whole: stands alone, needs the export and the public key, and no row of others.

Each row of a project has its number in that and the hash of the project's row before, both under its own hash. That shows that
none was changed, removed, reordered or inserted between two others. The last line says where the part ends, at which length of
which log, signed by the log's key: it shows that the end was not cut off, and who holds checkpoints can see that this log is the one
that they sign.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

from mainspring.core import canonical
from mainspring.platform.audit import rows, signers, verification

__all__ = ["Statement", "signed", "verify"]

SCHEMA: Final = "mainspring.audit-project/v1"
DOMAIN: Final = b"mainspring.audit-project.v1\x00"
_MEMBERS: Final = ("hash", "row")


@dataclass(frozen=True)
class Statement:
    """`project` had `rows` rows, the last with hash `head`, when the log had `log_sequence` and ended with `log_head`."""

    project: str
    rows: int
    head: str
    log_sequence: int
    log_head: str


def signed(statement: Statement, signer: signers.Signer) -> bytes:
    """The last line of a project's export. Asks the signer: not for an event loop."""
    body = {
        "schema": SCHEMA,
        "key_id": verification.key_id(signer.public),
        **dataclasses.asdict(statement),
    }
    return canonical.dumps({**body, "signature": signer.sign(DOMAIN + canonical.dumps(body)).hex()}) + b"\n"


def verify(
    export: Iterable[bytes],
    project: str,
    keys: verification.Keys,
    checkpoints: Sequence[bytes] | None = None,
) -> verification.Finding:
    """Every row, every link and the statement at the end; with `checkpoints` that they sign the statement's log.

    Stops at the first thing that is not right.
    """
    count, head, last = 0, rows.GENESIS, 0
    heads: Mapping[int, str] = {}

    def found(problem: str = "", bad: int | None = None) -> verification.Finding:
        return verification.Finding(count, head, len(heads), problem=problem, first_bad_sequence=bad)

    if checkpoints is not None:
        try:
            heads = verification.read_checkpoints(checkpoints, keys)
        except verification.BadCheckpoints as bad:
            return found(str(bad))
    statement: dict[str, Any] | None = None
    for line in export:
        if statement is not None:
            return found("something follows the statement at the end", count + 1)
        value = _parsed(line)
        if value is None:
            return found(f"row {count + 1} of `{project}` was changed", count + 1)
        if tuple(value) != _MEMBERS:
            statement = value
            continue
        row = value["row"]
        if not isinstance(row, dict) or canonical.digest(row) != value["hash"]:
            return found(f"row {count + 1} of `{project}` was changed", count + 1)
        if row.get("project") != project:
            return found(f"row {count + 1} is not of `{project}`", count + 1)
        linked = row.get("project_sequence") == count + 1 and row.get("project_previous") == head
        if not linked or row["sequence"] <= last:
            return found(f"row {count + 1} of `{project}` does not follow row {count}", count + 1)
        count, head, last = count + 1, value["hash"], row["sequence"]
    problem = _problem(
        statement, Statement(project, count, head, last, ""), keys, heads, checkpoints is not None
    )
    return found(problem, count + 1 if problem else None)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """None for what is not canonical: the same meaning in other bytes is no line of ours."""
    try:
        value = json.loads(line)
        is_ours = isinstance(value, dict) and canonical.dumps(value) + b"\n" == line
    except (ValueError, RecursionError):
        return None
    return value if is_ours else None


def _problem(
    statement: dict[str, Any] | None,
    seen: Statement,
    keys: verification.Keys,
    heads: Mapping[int, str],
    is_held_against: bool,
) -> str:
    """What is wrong with the statement; empty for nothing."""
    if statement is None:
        return "the statement at the end is missing"
    known = {verification.key_id(k): k for k in (keys if isinstance(keys, Sequence) else [keys])}
    body = dict(statement)
    try:
        signature, key = bytes.fromhex(body.pop("signature")), known[body["key_id"]]
        key.verify(signature, DOMAIN + canonical.dumps(body))
        said = (body["schema"], body["project"], int(body["rows"]), body["head"])
        at, log_head = int(body["log_sequence"]), body["log_head"]
    except (KeyError, TypeError, ValueError, InvalidSignature):
        return "the statement at the end was not signed by this key"
    if said != (SCHEMA, seen.project, seen.rows, seen.head) or seen.log_sequence > at:
        return f"the statement is of {body['rows']} rows of `{body['project']}`, these are {seen.rows} of `{seen.project}`"
    if is_held_against and heads.get(at) != log_head:
        return f"no checkpoint signs the log of {at} rows that the statement is of"
    return ""
