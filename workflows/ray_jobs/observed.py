"""What a Ray job tells of itself: log lines, and a span of the trace that started it.

The trace comes by the job's environment: jobs have no headers. Where spans go, and how lines are written, is in the environment of
the cluster, as settings are; that they cannot be read is no reason not to work.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from typing import Final

from mainspring.core import distribution, errors, logs, otlp, settings, traces

__all__ = ["command", "job"]

SERVICE: Final = "mainspring-ray-job"


def command(entrypoint: str) -> str:
    """`entrypoint`, one shell command, as part of the trace at work; without one it is as it was."""
    told = traces.outgoing()
    return f"TRACEPARENT={shlex.quote(told)} {entrypoint}" if told else entrypoint


@contextlib.contextmanager
def job(what: str) -> Iterator[None]:
    """What is done within is the job."""
    version, came = distribution.version(), settings.inherited_trace()
    told = otlp.Told(traces.Tracer(None, 0.0), None, None)
    try:
        telemetry = settings.load().telemetry
        logs.install(telemetry.logs, SERVICE, version, lambda: {"job": what})
        if traces.trace_id_of(came):
            told = otlp.told_by(telemetry, SERVICE, version)
    except errors.Misconfigured as error:
        print(f"warning: the job is not traced: {error.message}", file=sys.stderr)
    with told, told.tracer.within(came or None, f"ray job {what}", _kind):
        yield


def _kind(error: BaseException) -> str:
    return error.code if isinstance(error, errors.MainspringError) else type(error).__name__
