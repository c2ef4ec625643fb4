"""The trace of whoever starts a workflow goes with it, as W3C's `traceparent` in Temporal's headers.

Headers are not encrypted, as payloads are: this one has ids and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from temporalio import client
from temporalio.api.common.v1 import Payload

from mainspring.core import traces

__all__ = ["StartsWithTrace", "sent", "with_trace"]


def with_trace(headers: Mapping[str, Payload], traceparent: str) -> Mapping[str, Payload]:
    """`headers` and the trace; an empty one changes nothing."""
    if not traceparent:
        return headers
    payload = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(traceparent).encode())
    return {**headers, traces.HEADER: payload}


def sent(headers: Mapping[str, Payload]) -> str:
    """The `traceparent` that came; empty where there is none, or none that is read."""
    payload = headers.get(traces.HEADER)
    if payload is None:
        return ""
    try:
        found = json.loads(payload.data)
    except ValueError:
        return ""
    return found if isinstance(found, str) and traces.trace_id_of(found) else ""


class StartsWithTrace(client.Interceptor):
    """Of a client: what it starts belongs to the trace at work."""

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        return _Outbound(next)


class _Outbound(client.OutboundInterceptor):
    async def start_workflow(self, input: client.StartWorkflowInput) -> client.WorkflowHandle[Any, Any]:
        input.headers = with_trace(input.headers, traces.outgoing())
        return await super().start_workflow(input)
