"""`/metrics`: the process, for anybody. `/api/v1/metrics`: projects, those that the scraper's token may read."""

from __future__ import annotations

from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency

from mainspring.core import otlp
from mainspring.core.contracts import base
from mainspring.platform import plane as control_plane
from mainspring.platform import reads
from mainspring.platform.metrics import requests

_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@get("/metrics", tags=["health"], media_type="text/plain")
async def metrics(
    plane: NamedDependency[control_plane.ControlPlane],
    request_book: NamedDependency[requests.RequestBook],
    told: NamedDependency[otlp.Told],
) -> Response[bytes]:
    """Requests by route, memory and CPU: nothing of anybody's."""
    from mainspring.platform.metrics import families  # prometheus_client, with the first scrape

    late = plane.checkpointer.late_seconds() if plane.checkpointer else 0.0
    found = [*families.of_process(request_book, told.sender), families.of_audit(late)]
    return Response(families.text(found, with_process=True), media_type=_TYPE)


@get("/api/v1/metrics", tags=["health"], media_type="text/plain")
async def project_metrics(
    plane: NamedDependency[control_plane.ControlPlane], credential: NamedDependency[str]
) -> Response[bytes]:
    """Runs, costs, alerts and what monitoring found, of the projects that the caller may read."""
    from mainspring.platform.metrics import families

    async with reads.reading(plane, credential, action="run.read") as reader:
        found = await families.of_runs(reader.connection, await reader.projects())
    async with reads.reading(plane, credential, action="cost.read") as reader:
        found += await families.of_costs(reader.connection, await reader.projects(), base.utc_now())
    async with reads.reading(plane, credential, action="alert.read") as reader:
        found += await families.of_alerts(reader.connection, await reader.projects())
    async with reads.reading(plane, credential, action="monitor.read") as reader:
        found += await families.of_reports(reader.connection, await reader.projects())
    return Response(families.text(found), media_type=_TYPE)


HANDLERS = (metrics, project_metrics)
