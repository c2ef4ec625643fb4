"""FastAPI with the routes: OpenAPI, and whatever is not hot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI

from mainspring.core import traces
from mainspring.serving.access import guard
from mainspring.serving.http import edge, errors, openapi


class Api(FastAPI):
    """With a description that has the raw routes, too."""

    def openapi(self) -> dict[str, Any]:
        """Made once, when somebody first asks."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.complete(super().openapi())
        return self.openapi_schema


def build(routers: Iterable[APIRouter], guarded: guard.Guard, tracer: traces.Tracer) -> FastAPI:
    """The app over `routers`, behind the edge that knows callers and gives requests their ids."""
    app = Api(title="Mainspring serving", version="1")
    for router in routers:
        app.include_router(router)
    errors.install(app)
    app.add_middleware(edge.Edge, guarded=guarded, tracer=tracer)
    return app
