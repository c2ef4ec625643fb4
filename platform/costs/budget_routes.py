"""`/api/v1/projects/{project}/budgets`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import budgets as contracts
from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import budgets, holding
from mainspring.platform.http import versions

_PATH = "/api/v1/projects/{project:str}/budgets"
_ONE = _PATH + "/{environment:str}/{period:str}"
_TAGS = ["costs"]


@get(_PATH, tags=_TAGS)
async def list_budgets(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 100,
) -> control.Page:
    """A project's budgets and where they stand, by environment and period; the monthly one of the project itself is with the project."""
    return await budgets.read(plane, credential, project, after=after, limit=limit)


@get(_ONE, tags=_TAGS)
async def show_budget(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    environment: FromPath[str],
    period: FromPath[str],
) -> Response[contracts.BudgetView]:
    """A budget, what is spent, kept free and forecast of it."""
    found = await budgets.show(plane, credential, budgets.Named.of(project, environment, period))
    return versions.tagged(found, found.version)


@put(_ONE, tags=_TAGS)
async def put_budget(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    environment: FromPath[str],
    period: FromPath[str],
    data: JSONBody[contracts.BudgetPut],
    if_match: versions.IfMatch = "",
) -> Response[contracts.BudgetView]:
    """Set a budget of an environment, or of `all`, for each day, week, month, quarter or year; one that is there is changed by the
    version in `If-Match`. Role: admin."""
    named = budgets.Named.of(project, environment, period)
    made = await budgets.put(plane, credential, named, data, if_match=if_match)
    return versions.tagged(made, made.version)


@delete(_ONE, tags=_TAGS, status_code=204)
async def remove_budget(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    environment: FromPath[str],
    period: FromPath[str],
    if_match: versions.IfMatch = "",
) -> None:
    """Take a budget away, by the version in `If-Match`. Role: admin."""
    named = budgets.Named.of(project, environment, period)
    await budgets.remove(plane, credential, named, if_match=if_match)


_HELD = "/api/v1/projects/{project:str}/reservations"


@post(_HELD + ":renew", tags=_TAGS, status_code=200)
async def renew_reservation(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[contracts.ReservationRenewal],
) -> contracts.Reservation:
    """Keep money free for what a workspace or a reader of a stream may use next, before it begins and while it works. Role: service."""
    return await holding.renew(plane, credential, project, data)


@post(_HELD + ":end", tags=_TAGS, status_code=200)
async def end_reservation(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[contracts.ReservationEnd],
) -> contracts.Reservation:
    """The work has ended: nothing is kept free for it any more. Role: service."""
    return await holding.end(plane, credential, project, data)


HANDLERS = (list_budgets, show_budget, put_budget, remove_budget, renew_reservation, end_reservation)
