"""`:predict` in other forms than one JSON object: lines and Arrow streams in, these and events out.

What is not a stream of events is answered whole, by one bundle, or refused whole. A stream answers in batches, each by the
bundle that traffic then chooses, so it takes as many rows as its body holds.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar

import orjson
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from pydantic import TypeAdapter, ValidationError

from mainspring.core import errors
from mainspring.core.contracts import base, prediction
from mainspring.serving import columnar, gate, logs, plane
from mainspring.serving.access import guard
from mainspring.serving.http import bodies, edge, payload, v2_infer
from mainspring.serving.http import errors as http_errors
from mainspring.serving.protocols.predict import events, lines

_LOG: Final = logging.getLogger("mainspring.serving")

Form = Literal["json", "jsonl", "arrow", "events"]
R = TypeVar("R")

JSON: Final = "application/json"
ARROW: Final = "application/vnd.apache.arrow.stream"
MEDIA_TYPES: Final[Mapping[Form, str]] = {
    "json": JSON,
    "jsonl": lines.MEDIA_TYPE,
    "arrow": ARROW,
    "events": events.MEDIA_TYPE,
}

#: Rows of one batch of a stream: a few milliseconds of work, so that others get their turns in between.
BATCH_ROWS: Final = 512
#: Of a stream; bodies are limited, but rows of nothing take no room in one.
MAX_STREAM_ROWS: Final = 1_000_000

#: Bodies above this are read in a thread.
_LARGE_BYTES: Final = 64 << 10

_TIME: Final[TypeAdapter[Any]] = TypeAdapter(base.UtcTime)


@dataclass(frozen=True)
class Parts:
    """What answers."""

    plane: plane.Plane
    limits: payload.Limits
    gate: gate.Gate
    max_rows: int


class Asked(Protocol):
    """A request whose rows can be asked in batches."""

    @property
    def n_rows(self) -> int: ...

    def part(self, first: int, end: int) -> prediction.PredictRequest | columnar.Columns: ...


@dataclass(frozen=True)
class _Objects:
    """Rows as JSON has them. `numbers`: the line of each, where they came as lines."""

    request: prediction.PredictRequest
    numbers: Sequence[int] = ()

    @property
    def n_rows(self) -> int:
        return self.request.n_rows

    def part(self, first: int, end: int) -> prediction.PredictRequest:
        label = "rows" if self.request.entities is None else "entities"
        return self.request.model_copy(update={label: getattr(self.request, label)[first:end]})


@dataclass(frozen=True)
class _How:
    """The forms of a request and of its answer."""

    given: Form
    wanted: Form
    by_entity: bool = False
    as_of: Any = None
    by_line: bool = False
    """Bad lines are answered one by one; otherwise they refuse the request."""


def applies(request: Request) -> bool:
    """Whether the request or its answer is something else than one JSON object."""
    return _given(request) != "json" or _wanted(request, "json") != "json"


async def answer(parts: Parts, name: str, request: Request) -> Response:
    """The answer in the form that `accept` names, else in that of the body.

    Errors: as for one JSON object; those of lines say which line.
    """
    how = _how(request)
    headers = dict(request.headers)
    deadline = v2_infer.deadline_of(headers)
    body = await payload.receive_body(request.receive, headers, parts.limits)
    max_rows = MAX_STREAM_ROWS if how.wanted == "events" else parts.max_rows
    parse = functools.partial(_parse, body, how, max_rows)
    if len(body) > _LARGE_BYTES:
        with parts.limits.holding(body):
            asked, _ = await _until_gone(parts, request, parse, deadline)
    else:
        asked = parse()
    guard.charge(asked.n_rows)
    if how.wanted == "events":
        return await _stream(parts, name, asked, deadline, body)
    work = functools.partial(_whole, parts.plane, name, asked, how, request.state.request_id)
    with parts.limits.holding(body):
        content, _ = await _until_gone(parts, request, work, deadline)
    return Response(content, media_type=MEDIA_TYPES[how.wanted])


async def _until_gone(
    parts: Parts, request: Request, work: Callable[[], R], deadline: float
) -> tuple[R, float]:
    return await gate.until_gone(
        parts.gate.run(work, deadline=deadline), lambda: payload.wait_until_gone(request.receive)
    )


def _given(request: Request) -> Form:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == ARROW:
        return "arrow"
    return "jsonl" if media_type in lines.MEDIA_TYPES else "json"


def _wanted(request: Request, given: Form) -> Form:
    accepted = request.headers.get("accept", "").lower()
    if events.MEDIA_TYPE in accepted:
        return "events"
    if ARROW in accepted:
        return "arrow"
    if any(media_type in accepted for media_type in lines.MEDIA_TYPES):
        return "jsonl"
    return "json" if JSON in accepted else given


def _how(request: Request) -> _How:
    query, given = request.query_params, _given(request)
    wanted = _wanted(request, given)
    for name, words in (("by", ("row", "entity")), ("errors", ("refuse", "lines"))):
        if query.get(name, words[0]) not in words:
            raise errors.InvalidRequest(
                f"`{name}` is `{query[name][:40]}`, expected {' or '.join(f'`{w}`' for w in words)}; correct it",
                field=name,
            )
    by_line = query.get("errors") == "lines"
    if by_line and (given, wanted) != ("jsonl", "jsonl"):
        raise errors.InvalidRequest(
            "`errors=lines` goes with lines in and lines out; send `content-type: application/jsonl`",
            field="errors",
        )
    as_of = query.get("as_of")
    if as_of is not None:
        if given != "jsonl":
            raise errors.InvalidRequest(
                "`as_of` in the query goes with lines; put it into the JSON body, or ask as of now",
                field="as_of",
            )
        try:
            as_of = _TIME.validate_python(as_of)
        except ValidationError as error:
            raise errors.InvalidRequest(
                f"`as_of` is no time: {error.errors()[0]['msg']}; write it like 2026-11-29T10:00:00Z",
                field="as_of",
            ) from error
    return _How(given, wanted, query.get("by") == "entity", as_of, by_line)


@dataclass(frozen=True)
class _Lines:
    """Lines, some of which may be no rows."""

    numbers: list[int]
    lines: list[lines.Line | lines.Bad]
    how: _How

    @property
    def n_rows(self) -> int:
        return len(self.lines)

    def part(self, first: int, end: int) -> prediction.PredictRequest:
        return _objects(self.lines[first:end], self.how)


def _objects(rows: Sequence[Any], how: _How) -> prediction.PredictRequest:
    # Each value was seen to be a scalar: the contract would look at each of them again.
    return prediction.PredictRequest.model_construct(
        entities=list(rows) if how.by_entity else None,
        rows=None if how.by_entity else list(rows),
        overrides={},
        as_of=how.as_of,
    )


def _parse(body: bytes | bytearray, how: _How, max_rows: int) -> _Objects | _Lines | columnar.Columns:
    if how.given == "json":
        return _Objects(bodies.parse(body, prediction.PredictRequest))
    if how.given == "arrow":
        from mainspring.serving.protocols.predict import arrow  # PyArrow, 0.2 s, for those who send it

        return arrow.parse(body, by_entity=how.by_entity, max_rows=max_rows)
    numbers, found = lines.parse(body, max_rows=max_rows)
    if not how.by_line:
        for line in found:
            if isinstance(line, lines.Bad):
                raise line.error
    return _Lines(numbers, found, how)


def _whole(answerer: plane.Plane, name: str, asked: Any, how: _How, request_id: str) -> bytes:
    if how.by_line:
        return b"".join(_each(answerer, name, asked, range(asked.n_rows)))
    given = _give(answerer, name, asked, 0, asked.n_rows)
    if how.wanted == "jsonl":
        return lines.to_bytes(given)
    if how.wanted == "json":
        return plane.respond(request_id, name, given).model_dump_json().encode()
    from mainspring.serving.protocols.predict import arrow

    return arrow.to_ipc([given])


def _give(answerer: plane.Plane, name: str, asked: Asked, first: int, end: int) -> plane.Given:
    try:
        return answerer.give(name, asked.part(first, end))
    except errors.Rejected as error:
        if isinstance(asked, _Lines):
            raise lines.placed(error, asked.numbers[first:end]) from error
        raise


def _each(answerer: plane.Plane, name: str, asked: _Lines, rows: Sequence[int]) -> list[bytes]:
    """Answers of `rows`, good and bad; halved until what is bad stands alone."""
    good = [i for i in rows if not isinstance(asked.lines[i], lines.Bad)]
    answers: dict[int, bytes] = {}
    for i in rows:
        line = asked.lines[i]
        if isinstance(line, lines.Bad):
            answers[i] = lines.bad_line(line.error, asked.numbers[i])
    waiting = [good] if good else []
    while waiting:
        part = waiting.pop()
        try:
            given = answerer.give(name, _objects([asked.lines[i] for i in part], asked.how))
        except (errors.InvalidRequest, errors.SchemaMismatch) as error:
            bad = lines.row_of(error)
            if len(part) > 1:
                # Most errors name the row; others are looked for.
                at = bad if bad is not None and bad < len(part) else len(part) // 2
                around = (
                    [part[:at], part[at : at + 1], part[at + 1 :]]
                    if bad is not None
                    else [part[:at], part[at:]]
                )
                waiting += [half for half in around if half]
                continue
            answers[part[0]] = lines.bad_line(
                lines.placed(error, [asked.numbers[part[0]]]), asked.numbers[part[0]]
            )
            continue
        for i, text in zip(part, lines.to_bytes(given).splitlines(keepends=True), strict=True):
            answers[i] = text
    return [answers[i] for i in rows]


async def _stream(
    parts: Parts, name: str, asked: Asked, deadline: float, body: bytes | bytearray
) -> StreamingResponse:
    """The first batch is made before the answer begins, so that what is wrong with the whole request has its status."""

    async def batch(first: int) -> bytes:
        work = functools.partial(_give, parts.plane, name, asked, first, first + BATCH_ROWS)
        given, _ = await parts.gate.run(work, deadline=deadline)
        return events.predictions(given, first)

    if not asked.n_rows:
        raise errors.InvalidRequest("the request has 0 rows, expected 1 or more; send some", field="body")
    with parts.limits.holding(body):
        opening = await batch(0)

    async def told() -> AsyncIterator[bytes]:
        # When the client leaves, Starlette cancels this; what runs ends, the rest is not asked.
        yield opening
        try:
            with parts.limits.holding(body):
                for first in range(BATCH_ROWS, asked.n_rows, BATCH_ROWS):
                    yield await batch(first)
        except errors.MainspringError as error:
            yield events.event("error", _problem(error))
            return
        except Exception:  # noqa: BLE001 - the edge of the process: the status is sent already
            _LOG.exception("a stream of predictions failed")
            yield events.event("error", _problem(edge.own_mistake(name, logs.REQUEST_ID.get())))
            return
        yield events.event("end", {"rows": asked.n_rows})

    return StreamingResponse(told(), media_type=events.MEDIA_TYPE, headers={"cache-control": "no-store"})


def _problem(error: errors.MainspringError) -> Any:
    return orjson.loads(bytes(http_errors.problem(error, logs.REQUEST_ID.get()).body))
