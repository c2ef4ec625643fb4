"""Logs as JSON lines with the id of the request they belong to."""

from __future__ import annotations

import contextvars
import itertools
import logging
import re
import sys
import time
from typing import Any, Final

import orjson

from mainspring.core import ids, traces

#: The id of the request at work; the gate takes it along into threads.
REQUEST_ID: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("request_id", default="")

_USABLE: Final = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")

#: Ids made here: one of the process, which sorts by time, and a counter. A whole fresh id would cost 8 us a request.
_PROCESS: Final = ids.new_id("req")
_COUNT: Final = itertools.count(1)

_ACCESS: Final = logging.getLogger("mainspring.serving.access")


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, and what there is of request id, trace id, fields and stack trace."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        if trace_id := traces.current_trace_id():
            line["trace_id"] = trace_id
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def request_id_of(sent: str) -> str:
    """The caller's id if it is usable, else a fresh one."""
    return sent if _USABLE.match(sent) else fresh_request_id()


def fresh_request_id() -> str:
    return f"{_PROCESS}.{next(_COUNT):x}"


def install(*, log_requests: bool) -> None:
    """Write all logs of this process to stderr as JSON lines; called once by `main`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    _ACCESS.setLevel(logging.INFO if log_requests else logging.WARNING)


def request(method: str, path: str, status: int, started: float, caller: str) -> None:
    """One line for a request that ended: always if it was our mistake, else if requests are logged.

    What was shed or came too late is counted by the metrics: a line for each would make an overload worse.

    `started` is on `time.perf_counter`.
    """
    level = logging.WARNING if status == 500 else logging.INFO
    if _ACCESS.isEnabledFor(level):
        _line(level, method, path, status, started, caller)


def call(method: str, code: str, started: float, caller: str) -> None:
    """The same for a gRPC call that ended with the status called `code`."""
    level = logging.WARNING if code == "INTERNAL" else logging.INFO
    if _ACCESS.isEnabledFor(level):
        _line(level, "GRPC", method, code, started, caller)


def _line(level: int, method: str, path: str, status: int | str, started: float, caller: str) -> None:
    millis = round((time.perf_counter() - started) * 1000, 3)
    fields = {"method": method, "path": path, "status": status, "ms": millis, "caller": caller}
    _ACCESS.log(level, "%s %s %s", method, path, status, extra={"fields": fields})
