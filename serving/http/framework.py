"""FastAPI with the routes: OpenAPI, and whatever is not hot."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, FastAPI

from mainspring.serving import traces
from mainspring.serving.access import guard
from mainspring.serving.http import edge, errors


def build(routers: Iterable[APIRouter], guarded: guard.Guard, tracer: traces.Tracer) -> FastAPI:
    """The app over `routers`, behind the edge that knows callers and gives requests their ids."""
    app = FastAPI(title="Mainspring serving", version="1")
    for router in routers:
        app.include_router(router)
    errors.install(app)
    app.add_middleware(edge.Edge, guarded=guarded, tracer=tracer)
    return app
