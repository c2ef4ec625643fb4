"""`POST /v1/endpoints/{name}:explain`: predictions, and what each input column added to them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from mainspring.core.contracts import prediction
from mainspring.serving import gate, plane
from mainspring.serving.access import guard
from mainspring.serving.http import bodies, payload, v2_infer


@dataclass(frozen=True)
class Parts:
    """What the route calls."""

    plane: plane.Plane
    limits: payload.Limits
    gate: gate.Gate


def build(parts: Parts) -> APIRouter:
    """The route, over `parts`."""
    router = APIRouter(tags=["predictions"])

    @router.post(
        "/v1/endpoints/{name}:explain",
        response_model=prediction.ExplainResponse,
        openapi_extra=bodies.documented(prediction.PredictRequest),
    )
    async def explain(name: str, request: Request) -> Response:
        """Score every entity or row of the body, in order, and say why. At most `serving.max_explain_rows` rows."""
        asked = await bodies.read(request, prediction.PredictRequest, parts.limits)
        guard.charge(asked.n_rows)
        work = functools.partial(parts.plane.explain, name, asked, request.state.request_id)
        answer, _ = await gate.until_gone(
            parts.gate.run(work, deadline=v2_infer.deadline_of(dict(request.headers))),
            lambda: payload.wait_until_gone(request.receive),
        )
        return bodies.answer(answer)

    return router
