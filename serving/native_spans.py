"""What the native front tells of a sampled request, as the app would have traced it."""

from __future__ import annotations

from mainspring.core import traces
from mainspring.native import front
from mainspring.serving import spans as serving_spans

__all__ = ["spans"]


def spans(one: front.Span) -> list[traces.Span]:
    """As the app has them, the inner ones first."""
    made = [
        traces.Span(
            one.trace_id,
            part.span_id,
            one.span_id,
            part.name,
            traces.INTERNAL,
            part.start_ns,
            part.end_ns,
            _attributes(part.name, one),
        )
        for part in one.parts
    ]
    name, attributes = _request(one)
    made.append(
        traces.Span(
            one.trace_id,
            one.span_id,
            one.parent_id,
            name,
            traces.SERVER,
            one.start_ns,
            one.end_ns,
            attributes,
        )
    )
    return made


def _request(one: front.Span) -> tuple[str, dict[str, traces.Value]]:
    """The name of the request's own span, and what it says."""
    if one.path.startswith(f"/{serving_spans.GRPC_SERVICE}/"):
        method = one.path.rpartition("/")[2]
        return serving_spans.grpc_name(method), serving_spans.grpc_attributes(
            method, 0, one.request_id, one.caller
        )
    attributes = serving_spans.request_attributes("POST", one.path, 200, one.request_id, one.caller)
    return f"POST {one.path}", attributes


def _attributes(part: str, one: front.Span) -> dict[str, traces.Value]:
    match part:
        case "infer":
            return {"model": one.model, "rows": one.rows}
        case "model":
            return {"rows": one.rows, "bundle": one.bundle}
        case _:
            return {"rows": one.rows}
