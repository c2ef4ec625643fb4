"""Traces: what was done for one request, in whichever process, under one id (W3C Trace Context).

Own code, of what is needed: OpenTelemetry's SDK would cost each request some 100 us of spans that nobody asked for. Here a request
that is not sampled costs one look at its header; a sampled one some microseconds a span. This file has no I/O: spans go to an
:class:`Exporter`, which is `core/otlp.py`, and without one ids are for logs and for whoever is asked next.
"""

from __future__ import annotations

import contextlib
import contextvars
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

__all__ = [
    "HEADER",
    "INTERNAL",
    "SERVER",
    "Exporter",
    "Span",
    "Trace",
    "Tracer",
    "Value",
    "current",
    "current_trace_id",
    "headers",
    "is_sampled",
    "new_id",
    "on_request",
    "on_request_awaited",
    "outgoing",
    "read",
    "resumed",
    "span",
    "trace_id_of",
]

_TRACEPARENT: Final = re.compile(r"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")
_SAMPLED: Final = 0x01
HEADER: Final = "traceparent"
SERVER, INTERNAL = 2, 1

Value: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of work; times are Unix nanoseconds. `error`: what kind, never what it said: that may tell of people."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    error: str = ""


class Exporter(Protocol):
    """Takes spans from any thread, and never makes whoever brings one wait."""

    def add(self, one: Span) -> None: ...


@dataclass(frozen=True, slots=True)
class Trace:
    """What the spans of a piece of work belong to. `exporter` is None where they are not kept: then its id is for logs only.

    `span_id` is empty where no span is made here: who is asked next is then a child of `parent_id`.
    """

    trace_id: str
    parent_id: str
    span_id: str
    exporter: Exporter | None
    start_ns: int
    sampled: bool = False
    """Whether spans of it are to be kept by whoever can."""


_NOTHING: Final = contextlib.nullcontext()
_CURRENT: Final[contextvars.ContextVar[Trace | None]] = contextvars.ContextVar("trace", default=None)


def current() -> Trace | None:
    """Of what this task or thread is at."""
    return _CURRENT.get()


def current_trace_id() -> str:
    """Of the request at work; "" if its client sent none and it is not sampled."""
    trace = _CURRENT.get()
    return "" if trace is None else trace.trace_id


def is_sampled() -> bool:
    """Whether the spans of the request at work are kept: what they would say need not be put together else."""
    trace = _CURRENT.get()
    return trace is not None and trace.exporter is not None


def outgoing() -> str:
    """The `traceparent` for who is asked on behalf of what is at work; empty if that has no trace."""
    trace = _CURRENT.get()
    if trace is None:
        return ""
    flags = _SAMPLED if trace.sampled else 0
    return f"00-{trace.trace_id}-{trace.span_id or trace.parent_id}-{flags:02x}"


def headers() -> dict[str, str]:
    """:func:`outgoing` as a header of HTTP; none where there is no trace."""
    told = outgoing()
    return {HEADER: told} if told else {}


def on_request(request: Any) -> None:
    """A hook of httpx's: what a client asks belongs to the trace at work."""
    if told := outgoing():
        request.headers.setdefault(HEADER, told)


async def on_request_awaited(request: Any) -> None:
    """:func:`on_request` for who awaits."""
    on_request(request)


@contextlib.contextmanager
def resumed(traceparent: str) -> Iterator[None]:
    """What is done within belongs to that trace, as what was asked then does; no span is made of it here."""
    trace_id, parent_id, sampled = read(traceparent)
    token = _CURRENT.set(Trace(trace_id, parent_id, "", None, 0, bool(sampled)) if trace_id else None)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def trace_id_of(traceparent: str) -> str:
    """Empty for what is no such header."""
    return read(traceparent)[0]


def span(name: str, /, **attributes: Value) -> contextlib.AbstractContextManager[None]:
    """What is done within is a span of the request at work, if that is sampled; one that raises is marked so."""
    trace = _CURRENT.get()
    if trace is None or trace.exporter is None:
        return _NOTHING
    return _timed(trace, trace.exporter, name, attributes)


@contextlib.contextmanager
def _timed(trace: Trace, exporter: Exporter, name: str, attributes: Mapping[str, Value]) -> Iterator[None]:
    began, error = time.time_ns(), ""
    try:
        yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        ended = time.time_ns()
        span_id = new_id(16)
        exporter.add(
            Span(trace.trace_id, span_id, trace.span_id, name, INTERNAL, began, ended, attributes, error)
        )


class Tracer:
    """Begins and ends the spans of requests. Thread-safe."""

    def __init__(self, exporter: Exporter | None, share: float, *, names_all: bool = False) -> None:
        """`share` of the requests is sampled whose client has not decided it. `exporter` None: ids are for logs only.

        `names_all`: with an exporter, those that are not sampled have an id as well, which goes on record."""
        self._exporter, self._share, self._names_all = exporter, share, names_all

    @property
    def exporter(self) -> Exporter | None:
        return self._exporter

    @property
    def share(self) -> float:
        return self._share

    def begin(self, traceparent: str | None) -> None:
        """Make the request the one at work. A header that is not W3C's is as good as none."""
        if traceparent is None and self._exporter is None:
            if _CURRENT.get() is not None:
                _CURRENT.set(None)
            return
        _CURRENT.set(self._begun(traceparent))

    def _begun(self, traceparent: str | None) -> Trace | None:
        trace_id, parent_id, decided = read(traceparent)
        if self._exporter is None:
            return Trace(trace_id, parent_id, "", None, 0, bool(decided)) if trace_id else None
        if decided is None:
            decided = random.random() < self._share
        if not decided and not trace_id and not self._names_all:
            return None
        exporter = self._exporter if decided else None
        return Trace(trace_id or new_id(32), parent_id, new_id(16), exporter, time.time_ns(), decided)

    def end(self, name: str, attributes: Mapping[str, Value], error: str = "") -> None:
        """The request was answered. `error` is its code where the mistake is ours: a caller's is no error of the server."""
        trace = _CURRENT.get()
        if trace is not None:
            _ended(trace, name, SERVER, attributes, error)

    @contextlib.contextmanager
    def within(
        self,
        traceparent: str | None,
        name: str,
        error_of: Callable[[BaseException], str],
        /,
        **attributes: Value,
    ) -> Iterator[None]:
        """What is done within is one span of that trace, and the one at work; afterwards what was at work before is again.

        `error_of` says of what kind an error is; empty: that it is none.
        """
        trace, error = self._begun(traceparent), ""
        token = _CURRENT.set(trace)
        try:
            yield
        except BaseException as raised:
            error = error_of(raised)
            raise
        finally:
            _CURRENT.reset(token)
            if trace is not None:
                _ended(trace, name, INTERNAL, attributes, error)


def _ended(trace: Trace, name: str, kind: int, attributes: Mapping[str, Value], error: str) -> None:
    if trace.exporter is None:
        return
    now = time.time_ns()
    ids = (trace.trace_id, trace.span_id, trace.parent_id)
    trace.exporter.add(Span(*ids, name, kind, trace.start_ns, now, attributes, error))


def read(traceparent: str | None) -> tuple[str, str, bool | None]:
    """Trace, parent and whether the client samples it; empty and None for a header that says nothing."""
    found = _TRACEPARENT.match(traceparent) if traceparent is not None else None
    if found is None:
        return "", "", None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(parent_id, 16):
        return "", "", None
    return trace_id, parent_id, bool(int(flags, 16) & _SAMPLED)


def new_id(digits: int) -> str:
    # Not a secret: the fast generator will do. Never all zero, which means none.
    return f"{random.getrandbits(digits * 4) or 1:0{digits}x}"
