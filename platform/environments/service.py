"""What each environment lets through: asked of the policies in force, so that it is never said otherwise than it is."""

from __future__ import annotations

import sqlalchemy as sa

from mainspring.core import policy
from mainspring.core.contracts import control, environments
from mainspring.platform import database, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.policies import questions
from mainspring.platform.protection import reading_service

#: Somebody and a project that nobody is: policies about names say nothing of environments.
_SOMEBODY, _PROJECT = "somebody", "any-project"


async def read(plane: control_plane.ControlPlane, credential: str) -> environments.EnvironmentList:
    """All of them. Whoever has a token may know; how many projects is of those that he may know of."""
    table = database.endpoints
    async with reads.reading(plane, credential, action="project.read") as reader:
        visible = await reader.projects()
        query = sa.select(table.c.environment, table.c.project).distinct()
        claimed = [tuple(row) for row in (await reader.connection.execute(query)).all()]
    counts = {
        name: sum(place == name and (visible is None or project in visible) for place, project in claimed)
        for name in policy.ENVIRONMENTS
    }
    return environments.EnvironmentList(
        environments=tuple(_view(plane, name, counts[name]) for name in policy.ENVIRONMENTS)
    )


def _view(plane: control_plane.ControlPlane, name: str, projects: int) -> environments.EnvironmentView:
    return environments.EnvironmentView(
        name=name,
        reads_synthetic_only=reading_service.is_synthetic_only(plane, name),
        decides_own=_may_decide_own(plane, name),
        approves_itself=_may_start(plane, name, auto_approve_by=_SOMEBODY),
        trains_on_samples=_may_start(plane, name, is_sample=True),
        projects=projects,
    )


def _may_start(
    plane: control_plane.ControlPlane, name: str, *, auto_approve_by: str = "", is_sample: bool = False
) -> bool:
    context: dict[str, str | bool] = {
        "kind": str(control.RunKind.TRAIN),
        "environment": name,
        "auto_approve_by": auto_approve_by,
        "is_sample": is_sample,
        "has_cause": False,
    }
    who = questions.Principal(_SOMEBODY, frozenset({"developer"}))
    asked = questions.Question(who, "run.start", questions.project(_PROJECT), context)
    return plane.policies.decide(asked).allowed


def _may_decide_own(plane: control_plane.ControlPlane, name: str) -> bool:
    what = questions.run(
        "run_of_nobody",
        project=_PROJECT,
        kind=str(control.RunKind.TRAIN),
        environment=name,
        requested_by=_SOMEBODY,
    )
    who = questions.Principal(_SOMEBODY, frozenset({"approver"}))
    return plane.policies.decide(questions.Question(who, "run.decide", what, {"approve": True})).allowed
