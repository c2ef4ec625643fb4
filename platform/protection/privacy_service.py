"""Set a dataset's privacy budget, and charge answers to it before they are computed: what is spent does not come back."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import control, privacy
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import privacy_store as store


async def put(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    dataset: str,
    wanted: privacy.PrivacyBudgetPut,
    *,
    if_match: str = "",
) -> privacy.PrivacyBudgetView:
    """Set a budget. Role: admin. `if_match`: the version that is changed; a new one needs none, and the same again neither.

    Errors: NotFound for the project; Conflict for less than was spent already; PreconditionFailed, PreconditionRequired.
    """
    nanos = privacy.to_nanos(wanted.epsilon)

    async def do(
        connection: AsyncConnection, by: identity.Actor
    ) -> mutation.Change[privacy.PrivacyBudgetView]:
        await project_store.find(connection, project)
        before = await store.budget(connection, project, dataset)
        spent, _ = await store.spent(connection, project, dataset)
        if nanos < spent:
            raise errors.Conflict(
                f"{spent / privacy.NANOS:g} of the budget of `{dataset}` are spent; what was told cannot be taken back",
                resource="privacy budget",
                name=dataset,
            )
        is_new = before is None or before.nanos != nanos
        if before is not None and is_new:
            versions.require(if_match, store.version(before), resource="privacy budget", name=dataset)
        elif before is None and if_match.strip():
            raise errors.NotFound(
                f"dataset `{dataset}` has no privacy budget; leave `If-Match` out to set its first",
                resource="privacy budget",
                name=dataset,
            )
        if is_new:
            await store.put_budget(connection, project, dataset, nanos, by.name)
        row = await store.budget(connection, project, dataset)
        assert row is not None  # it was there or is now
        detail = {
            "epsilon": wanted.epsilon,
            "was": None if before is None else before.nanos / privacy.NANOS,
            "reason": wanted.reason,
        }
        return mutation.Change(
            await store.view(connection, row), _resource(project, dataset), detail, is_new=is_new
        )

    return await mutation.mutate(
        plane,
        credential,
        action="privacy.budget",
        resource=_resource(project, dataset),
        on=access.project(project),
        do=do,
    )


async def spend(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    dataset: str,
    asked: privacy.PrivacySpend,
) -> privacy.PrivacySpent:
    """Charge one answer; the same key again is charged once. Roles: developer, approver, admin.

    Errors: NotFound for the project, or a dataset without a budget; BudgetExceeded, and then nothing is charged; Conflict for a
    key that came with another charge.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[privacy.PrivacySpent]:
        await project_store.find(connection, project)
        budget = await store.budget(connection, project, dataset)
        if budget is None:
            raise errors.NotFound(
                f"dataset `{dataset}` has no privacy budget, and nothing is told of it; an admin runs"
                f" `mainspring privacy budget {project} {dataset}`",
                resource="privacy budget",
                name=dataset,
            )
        nanos = privacy.to_nanos(asked.epsilon)
        spent, _ = await store.spent(connection, project, dataset)
        known = await store.find_spend(connection, project, asked.spend_key)
        if known is not None:
            same = (dataset, nanos, asked.question, asked.column)
            if (known.dataset, known.nanos, known.question, known.column_name) != same:
                raise errors.Conflict(
                    f"key `{asked.spend_key}` came with another charge; use a fresh key",
                    resource="privacy spend",
                    name=asked.spend_key,
                )
            return mutation.Change(
                _told(asked, budget.nanos - spent), _resource(project, dataset), is_new=False
            )
        if spent + nanos > budget.nanos:
            raise errors.BudgetExceeded(
                f"{asked.epsilon:g} of epsilon are asked for and {(budget.nanos - spent) / privacy.NANOS:g} of"
                f" {budget.nanos / privacy.NANOS:g} are left of `{dataset}`; ask with less, or not at all: it does not grow back",
                project=project,
            )
        await store.spend(connection, project, dataset, asked, by.name)
        detail = asked.model_dump(mode="json") | {"left": (budget.nanos - spent - nanos) / privacy.NANOS}
        return mutation.Change(
            _told(asked, budget.nanos - spent - nanos), _resource(project, dataset), detail
        )

    return await mutation.mutate(
        plane,
        credential,
        action="privacy.spend",
        resource=_resource(project, dataset),
        on=access.project(project),
        do=do,
    )


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, *, after: str, limit: int
) -> control.Page:
    """A project's budgets by dataset, with what is left. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="privacy.read") as reader:
        await reader.project(project)
        rows = await store.page(reader.connection, project, after=after, limit=limit + 1)
        items = [(await store.view(reader.connection, row)).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].dataset if len(rows) > limit else "")


def _told(asked: privacy.PrivacySpend, left: int) -> privacy.PrivacySpent:
    return privacy.PrivacySpent(spend_key=asked.spend_key, epsilon=asked.epsilon, left=left / privacy.NANOS)


def _resource(project: str, dataset: str) -> str:
    return f"privacy/{project}/{dataset}"
