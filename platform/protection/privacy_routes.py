"""`/api/v1/projects/{project}/privacy`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, privacy
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.protection import privacy_service

_PATH = "/api/v1/projects/{project:str}/privacy"
_ONE = _PATH + "/{dataset:str}"
_TAGS = ["data protection"]


@get(_PATH, tags=_TAGS)
async def list_privacy_budgets(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Privacy budgets by dataset, with what is left of each."""
    return await privacy_service.read(plane, credential, project, after=after, limit=limit)


@put(_ONE, tags=_TAGS)
async def put_privacy_budget(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    dataset: FromPath[str],
    data: JSONBody[privacy.PrivacyBudgetPut],
    if_match: versions.IfMatch = "",
) -> Response[privacy.PrivacyBudgetView]:
    """Set how much epsilon may be spent on a dataset; a budget is changed by the version in `If-Match`. Role: admin."""
    made = await privacy_service.put(plane, credential, project, dataset, data, if_match=if_match)
    return versions.tagged(made, made.version)


@post(_ONE + "/spends", tags=_TAGS, status_code=200)
async def spend_privacy(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    dataset: FromPath[str],
    data: JSONBody[privacy.PrivacySpend],
) -> privacy.PrivacySpent:
    """Charge one answer before it is computed. Roles: developer, approver, admin."""
    return await privacy_service.spend(plane, credential, project, dataset, data)


HANDLERS = (list_privacy_budgets, put_privacy_budget, spend_privacy)
