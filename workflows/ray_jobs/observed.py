"""A Ray job as a span of the trace that started it, which comes by its environment: jobs have no headers."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from typing import Final

from mainspring.core import distribution, errors, otlp, settings, traces

__all__ = ["command", "job"]

SERVICE: Final = "mainspring-ray-job"


def command(entrypoint: str) -> str:
    """`entrypoint`, one shell command, as part of the trace at work; without one it is as it was."""
    told = traces.outgoing()
    return f"TRACEPARENT={shlex.quote(told)} {entrypoint}" if told else entrypoint


@contextlib.contextmanager
def job(what: str) -> Iterator[None]:
    """What is done within is the job. Where its spans go is in the cluster's environment, as settings are; that they
    cannot be told of is no reason not to work."""
    came = settings.inherited_trace()
    if not traces.trace_id_of(came):
        yield
        return
    try:
        told = otlp.told_by(settings.load().telemetry, SERVICE, distribution.version())
    except errors.Misconfigured as error:
        print(f"warning: the job is not traced: {error.message}", file=sys.stderr)
        told = otlp.Told(traces.Tracer(None, 0.0), None, None)
    with told, told.tracer.within(came, f"ray job {what}", _kind):
        yield


def _kind(error: BaseException) -> str:
    return error.code if isinstance(error, errors.MainspringError) else type(error).__name__
