"""The one place where the parts of serving are chosen and joined."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from mainspring.core import identity, ports, settings
from mainspring.serving import bundles, endpoints, plane, stats, traffic
from mainspring.serving.http import edge, errors, routes


def create_app(
    settings: settings.Settings,
    *,
    online: ports.OnlineFeatures,
    loader: bundles.BundleLoader,
    issuer: identity.TokenIssuer,
) -> FastAPI:
    """The data plane, with every bundle loaded that the traffic in force names.

    Errors: Misconfigured if a traffic document or one of its bundles does not load.
    """
    serving = settings.serving
    tables = traffic.TrafficStore(serving.traffic_dir)
    shelf = bundles.BundleShelf(loader, online)
    book = stats.StatsBook()
    served = endpoints.Endpoints(tables, shelf, book)
    served.restore()
    answerer = plane.Plane(
        tables=tables, shelf=shelf, online=online, book=book, max_rows=serving.max_rows_per_request
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        answerer.close()

    app = FastAPI(title="Mainspring serving", version="1", lifespan=lifespan)
    app.include_router(
        routes.build(routes.Parts(answerer, served, shelf, online, issuer, serving.max_body_bytes))
    )
    errors.install(app)
    app.add_middleware(edge.Edge)
    return app
