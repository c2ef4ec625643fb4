"""`/api/v1/projects/{project}/service-accounts`; `/api/v1/service-accounts:token`, where their secrets are for tokens, and
`:introspect`, where serving asks of those.
"""

from __future__ import annotations

from typing import Annotated

from litestar import Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, service_accounts
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.service_accounts import exchange, introspection, service

_PATH = "/api/v1/projects/{project:str}/service-accounts"
_ONE = _PATH + "/{name:str}"
_TAGS = ["service-accounts"]
#: A secret or a token is for whoever asked, and nobody's to keep.
_UNKEPT = {"Cache-Control": "no-store"}


@get(_PATH, tags=_TAGS)
async def list_service_accounts(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """A project's service accounts by name."""
    return await service.read(plane, credential, project, after=after, limit=limit)


@get(_ONE, tags=_TAGS)
async def show_service_account(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    name: FromPath[str],
) -> Response[service_accounts.ServiceAccountView]:
    """One, with its version as ETag."""
    found = await service.show(plane, credential, project, name)
    return versions.tagged(found, found.version)


@post(_PATH, tags=_TAGS)
async def create_service_account(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[service_accounts.ServiceAccountCreate],
) -> Response[service_accounts.ServiceAccountIssued]:
    """A new one, with its secret, which is told this once. Role: admin."""
    made = await service.create(plane, credential, project, data)
    return Response(made, status_code=201, headers=_UNKEPT)


@patch(_ONE, tags=_TAGS)
async def change_service_account(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    name: FromPath[str],
    data: JSONBody[service_accounts.ServiceAccountPatch],
    if_match: versions.IfMatch = "",
) -> Response[service_accounts.ServiceAccountView]:
    """Another owner or description, or disabled or not, by the version in `If-Match`. Role: admin."""
    made = await service.change(plane, credential, project, name, data, if_match=if_match)
    return versions.tagged(made, made.version)


@post(_ONE + "/rotate", tags=_TAGS, status_code=200)
async def rotate_service_account(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    name: FromPath[str],
    if_match: versions.IfMatch = "",
) -> Response[service_accounts.ServiceAccountIssued]:
    """Another secret, told this once: the one before and every token count no more. By the version in `If-Match`. Role: admin."""
    made = await service.rotate(plane, credential, project, name, if_match=if_match)
    return Response(made, headers={**_UNKEPT, "ETag": f'"{made.account.version}"'})


@delete(_ONE, tags=_TAGS, status_code=204)
async def delete_service_account(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    name: FromPath[str],
    if_match: versions.IfMatch = "",
) -> None:
    """With its roles, secret and tokens, by the version in `If-Match`. Role: admin."""
    await service.remove(plane, credential, project, name, if_match=if_match)


@post("/api/v1/service-accounts:token", tags=_TAGS, status_code=200)
async def ask_service_token(
    plane: NamedDependency[control_plane.ControlPlane],
    data: JSONBody[service_accounts.ServiceTokenAsk],
) -> Response[service_accounts.ServiceToken]:
    """A token of minutes for an account's client id and secret, for whoever has them; narrowed, if it is asked to be."""
    return Response(await exchange.exchange(plane, data), headers=_UNKEPT)


@post("/api/v1/service-accounts:introspect", tags=_TAGS, status_code=200)
async def introspect_service_token(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    data: JSONBody[service_accounts.ServiceTokenQuestion],
) -> Response[service_accounts.ServiceTokenState]:
    """Does the token count, and what may whoever has it: for serving, of its callers. Changes nothing. Role: service."""
    return Response(await introspection.introspect(plane, credential, data), headers=_UNKEPT)


HANDLERS = (
    list_service_accounts,
    show_service_account,
    create_service_account,
    change_service_account,
    rotate_service_account,
    delete_service_account,
    ask_service_token,
    introspect_service_token,
)
