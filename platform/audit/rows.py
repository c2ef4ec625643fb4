"""The bytes of an audit row: what is hashed, what an export holds, and what a checkpoint signs."""

from __future__ import annotations

import json
from typing import Any, Final

#: What the first row follows.
GENESIS: Final = "sha256:" + "0" * 64

# The C function behind `json.dumps(..., ensure_ascii=False)`: the strings of `core.canonical`, without its walk.
_quoted: Final = json.encoder.encode_basestring


def to_bytes(row: Any) -> bytes:
    """The canonical JSON of a row's facts (`core.canonical`), whose SHA-256 is the row's hash.

    `row.detail` is canonical JSON already and goes in as it is. A row of a project has its number in that, and the hash of the
    project's row before, so that a project's rows alone show that none is missing. Errors: ValueError for text that is no UTF-8.
    """
    chained = ""
    if row.project is not None:
        chained = (
            f'"project":{_quoted(row.project)},"project_previous":{_quoted(row.project_previous)},'
            f'"project_sequence":{row.project_sequence},'
        )
    text = (
        f'{{"action":{_quoted(row.action)},"actor":{_quoted(row.actor)},"at":{_quoted(row.at)},"detail":{row.detail},'
        f'"event_id":{_quoted(row.event_id)},"outcome":{_quoted(row.outcome)},'
        f'"previous_hash":{_quoted(row.previous_hash)},{chained}"resource":{_quoted(row.resource)},"sequence":{row.sequence}}}'
    )
    return text.encode()


def to_line(row: Any) -> bytes:
    """One line of an export: JSON with its two members in this order, without white space."""
    return b'{"hash":"%s","row":%s}\n' % (row.hash.encode(), to_bytes(row))
