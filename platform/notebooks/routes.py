"""`/api/v1/projects/{project}/notebooks:change` and `...:end`."""

from __future__ import annotations

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from mainspring.core.contracts import notebooks
from mainspring.platform import plane as control_plane
from mainspring.platform.notebooks import records

_PATH = "/api/v1/projects/{project:str}/notebooks"
_TAGS = ["notebooks"]


@post(_PATH + ":change", tags=_TAGS, status_code=200)
async def change_notebook(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[notebooks.NotebookChange],
) -> notebooks.NotebookRecorded:
    """May a workspace be started, extended or stopped: asked before it is. Roles: developer, admin."""
    return await records.change(plane, credential, project, data)


@post(_PATH + ":end", tags=_TAGS, status_code=200)
async def end_notebook(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[notebooks.NotebookEnd],
) -> notebooks.NotebookRecorded:
    """A workspace has ended. Role: service."""
    return await records.end(plane, credential, project, data)


HANDLERS = (change_notebook, end_notebook)
