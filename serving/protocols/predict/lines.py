"""`application/jsonl`: a row or an entity a line, and an answer a line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Final

import orjson

from mainspring.core import errors
from mainspring.core.contracts import prediction
from mainspring.serving import plane

MEDIA_TYPE: Final = "application/jsonl"
#: Other names of the same.
MEDIA_TYPES: Final = frozenset({MEDIA_TYPE, "application/x-ndjson", "application/jsonlines"})

_ROW: Final = re.compile(r"(?:rows|entities)\[(\d+)\]")

Line = dict[str, prediction.Scalar]


@dataclasses.dataclass(frozen=True)
class Bad:
    """A line that cannot be answered, and why."""

    error: errors.MainspringError


def parse(body: bytes | bytearray, *, max_rows: int) -> tuple[list[int], list[Line | Bad]]:
    """Numbers of the lines, from 1 on, and what they hold; blank lines are passed over.

    Errors: InvalidRequest if there is no line, or there are more than `max_rows`.
    """
    numbers: list[int] = []
    lines: list[Line | Bad] = []
    for number, text in enumerate(bytes(body).split(b"\n"), 1):
        if not text.strip():
            continue
        if len(lines) == max_rows:
            raise errors.InvalidRequest(
                f"the body has more than {max_rows} lines, expected 1 to {max_rows}; split the request",
                field="body",
            )
        numbers.append(number)
        lines.append(_line(text, number))
    if not lines:
        raise errors.InvalidRequest("the body has no line; send one JSON object a line", field="body")
    return numbers, lines


def placed(error: errors.MainspringError, numbers: Sequence[int]) -> errors.MainspringError:
    """The error with the line where it says `rows[i]` or `entities[i]`; `numbers`: the line of each row asked."""

    def line(match: re.Match[str]) -> str:
        return f"line {numbers[int(match[1])]}"

    changes: dict[str, Any] = {"message": _ROW.sub(line, error.message)}
    if isinstance(error, errors.InvalidRequest):
        changes["field"] = _ROW.sub(line, error.field)
    return dataclasses.replace(error, **changes)


def row_of(error: errors.MainspringError) -> int | None:
    """The first row that an error names, of those asked."""
    found = _ROW.search(error.message)
    return None if found is None else int(found[1])


def to_bytes(given: plane.Given) -> bytes:
    """An answer a line: the prediction, and who made it."""
    made_by = {"model_version": given.digest, "role": given.role}
    return b"".join(
        orjson.dumps({**row, **made_by}, option=orjson.OPT_APPEND_NEWLINE) for row in given.rows()
    )


def bad_line(error: errors.MainspringError, number: int) -> bytes:
    """The answer to a line that is none."""
    return orjson.dumps({"error": errors.to_wire(error), "line": number}, option=orjson.OPT_APPEND_NEWLINE)


def _line(text: bytes, number: int) -> Line | Bad:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return Bad(_refusal(f"line {number} is not JSON: {error}; send one object a line", number))
    if not isinstance(value, dict):
        return Bad(_refusal(f"line {number} is no JSON object; send one object a line", number))
    for name, field in value.items():
        if isinstance(field, dict | list):
            return Bad(
                _refusal(f"`{name}` of line {number} is no single value; send numbers, text or null", number)
            )
    return value


def _refusal(message: str, number: int) -> errors.InvalidRequest:
    return errors.InvalidRequest(message, field=f"line {number}")
