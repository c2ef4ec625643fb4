"""Log lines of every process: JSON in the words of Elastic's Common Schema (ECS), or text for eyes.

Names have dots and are not nested, which Elasticsearch takes as the same. Our own ids are `labels.*`. What looks like a
credential is left out of messages, fields and stack traces (:func:`redacted`), whoever wrote it there.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

from mainspring.core import errors, traces

__all__ = ["EcsLines", "Labels", "TextLines", "access", "install", "message_of", "redacted"]

ECS_VERSION: Final = "8.17.0"
HIDDEN: Final = "[redacted]"

#: Ids of what is at work, by name.
Labels: TypeAlias = Callable[[], Mapping[str, str]]

#: Each keeps what tells a reader which credential it was, in its groups.
_CREDENTIALS: Final = (
    re.compile(r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(r"\b(msk_[A-Za-z0-9]+_)[A-Za-z0-9_-]+"),
    re.compile(r"\b()eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"),
    re.compile(r"(://[^\s/:@]*:)[^\s/@]+(?=@)"),
    re.compile(
        r"(?i)((?:password|passwd|secret|token|api[_-]?key|access[_-]?key|authorization)[\"'`]?\s*[=:]\s*[\"'`]?)"
        r"(?!(?:bearer|basic)\b)[^\s\"'`,;&)\]}]+"
    ),
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|$)", re.DOTALL),
)


def redacted(text: str) -> str:
    """Without what looks like a password, token or key. It may hide a word too many, and rather does."""
    for pattern in _CREDENTIALS:
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text


def _none() -> Mapping[str, str]:
    return {}


class EcsLines(logging.Formatter):
    """One JSON object a line.

    `extra={"fields": {...}}` of a record: names with a dot are ECS's (`event.duration`, in nanoseconds), others become labels.
    """

    def __init__(self, service: str, version: str, labels: Labels = _none) -> None:
        super().__init__()
        self._constant = {"ecs.version": ECS_VERSION, "service.name": service, "service.version": version}
        self._labels = labels

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "@timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{record.msecs:03.0f}Z",
            "log.level": record.levelname.lower(),
            "message": redacted(record.getMessage()),
            "log.logger": record.name,
            **self._constant,
            "process.pid": record.process,
        }
        if (trace := traces.current()) is not None:
            line["trace.id"] = trace.trace_id
            if trace.span_id:
                line["span.id"] = trace.span_id
        line |= {f"labels.{name}": value for name, value in self._labels().items()}
        for name, value in getattr(record, "fields", {}).items():
            line[name if "." in name else f"labels.{name}"] = (
                redacted(value) if isinstance(value, str) else value
            )
        line |= self._error(record)
        return json.dumps(line, default=str, ensure_ascii=False, separators=(",", ":"))

    def _error(self, record: logging.LogRecord) -> dict[str, str]:
        if not record.exc_info or record.exc_info[1] is None:
            return {}
        error = record.exc_info[1]
        code = {"error.code": error.code} if isinstance(error, errors.MainspringError) else {}
        return {
            "error.type": type(error).__name__,
            "error.message": redacted(str(error)),
            "error.stack_trace": redacted(self.formatException(record.exc_info)),
            **code,
        }


class TextLines(logging.Formatter):
    """For eyes: time, level, logger, message, and the trace's id where there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        trace_id = traces.current_trace_id()
        return redacted(super().format(record)) + (f" trace={trace_id}" if trace_id else "")


def message_of(line: str) -> str:
    """What a line of a log says, for people: its message and its error if it is of ours, else all of it."""
    try:
        found = json.loads(line)
    except ValueError:
        return line
    if not isinstance(found, dict) or "message" not in found:
        return line
    return ": ".join(str(found[name]) for name in ("message", "error.message") if found.get(name))


def access(is_success: bool, duration_nanos: int) -> dict[str, Any]:
    """Fields of a line for a request that ended."""
    outcome = "success" if is_success else "failure"
    return {
        "event.kind": "event",
        "event.category": ["web"],
        "event.outcome": outcome,
        "event.duration": duration_nanos,
    }


def install(form: Literal["json", "text"], service: str, version: str, labels: Labels = _none) -> None:
    """Write all logs of this process to stderr; called once by `main`. `form` is `telemetry.logs`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EcsLines(service, version, labels) if form == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # A line for each request that we make, with its whole address.
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
