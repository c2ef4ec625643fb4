"""Serving's log lines (`core/logs.py`), with the id of the request that they belong to."""

from __future__ import annotations

import contextvars
import itertools
import logging
import re
import time
from collections.abc import Mapping
from typing import Final

from mainspring.core import distribution, ids, logs, settings
from mainspring.serving import spans

#: The id of the request at work; the gate takes it along into threads.
REQUEST_ID: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("request_id", default="")

_USABLE: Final = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")

#: Ids made here: one of the process, which sorts by time, and a counter. A whole fresh id would cost 8 us a request.
_PROCESS: Final = ids.new_id("req")
_COUNT: Final = itertools.count(1)

_ACCESS: Final = logging.getLogger("mainspring.serving.access")


def request_id_of(sent: str) -> str:
    """The caller's id if it is usable, else a fresh one."""
    return sent if _USABLE.match(sent) else fresh_request_id()


def fresh_request_id() -> str:
    return f"{_PROCESS}.{next(_COUNT):x}"


def labels() -> dict[str, str]:
    """Whose line it is."""
    request_id = REQUEST_ID.get()
    return {"request_id": request_id} if request_id else {}


def install(in_force: settings.Settings) -> None:
    """Write all logs of this process to stderr; called once by `main`."""
    logs.install(in_force.telemetry.logs, spans.SERVICE, distribution.version(), labels)
    _ACCESS.setLevel(logging.INFO if in_force.serving.log_requests else logging.WARNING)


def request(method: str, path: str, status: int, started: float, caller: str) -> None:
    """One line for a request that ended: always if it was our mistake, else if requests are logged.

    What was shed or came too late is counted by the metrics: a line for each would make an overload worse.

    `started` is on `time.perf_counter`.
    """
    level = logging.WARNING if status == 500 else logging.INFO
    if _ACCESS.isEnabledFor(level):
        said: dict[str, str | int] = {
            "http.request.method": method,
            "url.path": path,
            "http.response.status_code": status,
        }
        _line(level, said, f"{method} {path} {status}", status < 400, started, caller)


def call(method: str, code: str, started: float, caller: str) -> None:
    """The same for a gRPC call that ended with the status called `code`."""
    level = logging.WARNING if code == "INTERNAL" else logging.INFO
    if _ACCESS.isEnabledFor(level):
        said = {"grpc_method": method, "grpc_status": code}
        _line(level, said, f"GRPC {method} {code}", code == "OK", started, caller)


def _line(
    level: int, said: Mapping[str, str | int], message: str, is_success: bool, started: float, caller: str
) -> None:
    nanos = round((time.perf_counter() - started) * 1e9)
    _ACCESS.log(
        level, "%s", message, extra={"fields": {**said, **logs.access(is_success, nanos), "caller": caller}}
    )
