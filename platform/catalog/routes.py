"""`/api/v1/catalog`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import catalog, control
from mainspring.platform import plane as control_plane
from mainspring.platform.catalog import service, store
from mainspring.platform.http import versions


@put(["/api/v1/catalog/{project:str}", "/v1/catalog/{project:str}"], tags=["catalog"])
async def put_catalog(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[catalog.CatalogPut],
    if_match: versions.IfMatch = "",
) -> Response[catalog.CatalogReceipt]:
    """Put a project's whole catalog in force, in the place of the one of `If-Match` where there is any. Roles: service, developer."""
    made = await service.put(plane, credential, project, data.entries, if_match=if_match)
    return versions.tagged(made, made.version)


@get(["/api/v1/catalog/{project:str}", "/v1/catalog/{project:str}"], tags=["catalog"])
async def summarise_catalog(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
) -> Response[catalog.CatalogSummary]:
    """A project's catalog as a whole: how many entries, and their version as ETag."""
    found = await service.summarise(plane, credential, project)
    return versions.tagged(found, found.version)


@get(["/api/v1/catalog", "/v1/catalog"], tags=["catalog"])
async def search_catalog(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    search: FromQuery[str] = "",
    project: FromQuery[str] = "",
    kind: FromQuery[str] = "",
    classification: FromQuery[str] = "",
    owner: FromQuery[str] = "",
    pii: FromQuery[bool | None] = None,
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Entries that have every word of `search` in their names, columns, description, tags or owner."""
    wanted = store.Wanted(project, kind, classification, owner, pii, tuple(search.split()))
    return await service.search(plane, credential, wanted, after=after, limit=limit)


@get(["/api/v1/catalog/{project:str}/{name:str}", "/v1/catalog/{project:str}/{name:str}"], tags=["catalog"])
async def show_catalog(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    name: FromPath[str],
) -> catalog.CatalogView:
    """One entry, with its freshness and with what is made of it."""
    return await service.show(plane, credential, project, name)


HANDLERS = (put_catalog, summarise_catalog, search_catalog, show_catalog)
