"""Budgets of a project by environment and period, beside the monthly one that it is made with: set, shown, and asked before work begins.

Whoever may change the project's monthly budget may set these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors, identity, policy, settings
from mainspring.core.contracts import base, control
from mainspring.core.contracts import budgets as contracts
from mainspring.core.cost import forecast, periods
from mainspring.platform import access, database, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import reservations, store
from mainspring.platform.http import versions
from mainspring.platform.projects import store as project_store

__all__ = ["Named", "Spent", "put", "read", "remove", "require", "rows_of", "show", "spent_of", "stopping"]

_table = database.budgets


@dataclass(frozen=True)
class Named:
    """Which of a project's budgets."""

    project: str
    environment: str
    period: contracts.Period

    def __post_init__(self) -> None:
        """Errors: InvalidRequest for an environment that there is not."""
        known = (contracts.ALL, *policy.ENVIRONMENTS)
        if self.environment not in known:
            raise errors.InvalidRequest(
                f"`{self.environment[:80]}` is no environment; use one of {', '.join(f'`{one}`' for one in known)}",
                field="environment",
            )

    @classmethod
    def of(cls, project: str, environment: str, period: str) -> Named:
        """Errors: InvalidRequest."""
        if period not in tuple(contracts.Period):
            raise errors.InvalidRequest(
                f"`{period[:80]}` is no period; use one of {', '.join(f'`{one}`' for one in contracts.Period)}",
                field="period",
            )
        return cls(project, environment, contracts.Period(period))

    @property
    def name(self) -> str:
        return f"{self.environment}/{self.period}"

    @property
    def resource(self) -> str:
        return f"budget/{self.project}/{self.name}"

    @property
    def where(self) -> sa.ColumnElement[bool]:
        c = _table.c
        return sa.and_(
            c.project == self.project, c.environment == self.environment, c.period == str(self.period)
        )


async def put(
    plane: control_plane.ControlPlane,
    credential: str,
    named: Named,
    wanted: contracts.BudgetPut,
    *,
    if_match: str = "",
) -> contracts.BudgetView:
    """Role: admin, in all environments. What was set is changed by its version; the same again changes nothing.

    Errors: NotFound for the project; PreconditionFailed, PreconditionRequired.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[contracts.BudgetView]:
        project = await project_store.find(connection, named.project)
        before = await _find(connection, named)
        was = None if before is None else _was(before)
        if is_new := was != wanted:
            ask = versions.check if before is None else versions.require
            ask(if_match, _version(before), resource="budget", name=named.name)
            await _put(connection, named, wanted, by.name)
        row = await _require(connection, named)
        view = await _view(connection, plane.book, project, row, base.utc_now())
        detail = {
            **wanted.model_dump(mode="json"),
            "was": None if was is None else was.model_dump(mode="json"),
        }
        return mutation.Change(view, named.resource, detail, is_new=is_new)

    return await mutation.mutate(
        plane,
        credential,
        action="budget.set",
        right="project.update",
        resource=named.resource,
        on=access.project(named.project),
        do=do,
    )


async def remove(plane: control_plane.ControlPlane, credential: str, named: Named, *, if_match: str) -> None:
    """Role: admin, in all environments. Errors: NotFound; PreconditionFailed, PreconditionRequired."""

    async def do(connection: AsyncConnection, _: identity.Actor) -> mutation.Change[None]:
        await project_store.find(connection, named.project)
        row = await _require(connection, named)
        versions.require(if_match, _version(row), resource="budget", name=named.name)
        await connection.execute(sa.delete(_table).where(named.where))
        return mutation.Change(None, named.resource, {"was": _was(row).model_dump(mode="json")})

    await mutation.mutate(
        plane,
        credential,
        action="budget.remove",
        right="project.update",
        resource=named.resource,
        on=access.project(named.project),
        do=do,
    )


async def show(plane: control_plane.ControlPlane, credential: str, named: Named) -> contracts.BudgetView:
    """Errors: NotFound."""
    async with reads.reading(plane, credential, action="cost.read") as reader:
        project = await reader.project(named.project)
        row = await _require(reader.connection, named)
        return await _view(reader.connection, plane.book, project, row, base.utc_now())


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, *, after: str, limit: int
) -> control.Page:
    """By `environment/period`. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="cost.read") as reader:
        owner, now = await reader.project(project), base.utc_now()
        rows = [row for row in await rows_of(reader.connection, [project]) if _key(row) > after]
        shown = [await _view(reader.connection, plane.book, owner, row, now) for row in rows[:limit]]
    return control.Page(
        items=[one.model_dump(mode="json") for one in shown],
        next=_key(rows[limit - 1]) if len(rows) > limit else "",
    )


async def require(
    connection: AsyncConnection, project: str, environment: str, wanted: int, now: datetime
) -> None:
    """Errors: BudgetExceeded where a hard budget has not `wanted` billionths left for the environment."""
    for row in await rows_of(connection, [project]):
        if not row.is_hard or row.environment not in (contracts.ALL, environment):
            continue
        spent = await spent_of(connection, row, now)
        held = await reservations.held_nanos(connection, project, now, row.environment)
        needed = spent + held + wanted
        if needed > row.amount_nanos:
            limit, left = (
                cost.to_amount(row.amount_nanos),
                cost.to_amount(max(0, row.amount_nanos - spent - held)),
            )
            raise errors.BudgetExceeded(
                f"project `{project}` may spend {limit:.6g} {_in(row)} and has {left:.6g} left, this may cost"
                f" {cost.to_amount(wanted):.6g}; ask for less with `--max-cost`, wait for the next {row.period}, or ask an admin of"
                f" the project for `mainspring budget set {project} --environment {row.environment} --period {row.period}`",
                project=project,
                limit_usd=limit,
                needed_usd=cost.to_amount(needed),
            )


async def rows_of(connection: AsyncConnection, projects: Sequence[str] | None) -> list[sa.Row[Any]]:
    """All budgets of those projects, of all projects for None, in order."""
    c = _table.c
    query = sa.select(_table).order_by(c.project, c.environment, c.period)
    if projects is not None:
        query = query.where(c.project.in_(projects))
    return list((await connection.execute(query)).all())


async def spent_of(connection: AsyncConnection, row: sa.Row[Any], now: datetime) -> int:
    """Billionths, in the period that is now."""
    begins, _ = periods.span(contracts.Period(row.period), now)
    return await store.spent_since(connection, row.project, begins, row.environment)


@dataclass(frozen=True)
class Spent:
    """A budget that is spent, as it was set `since`, or since its period began."""

    named: Named
    since: datetime

    def is_for(self, project: str, environment: str) -> bool:
        return self.named.project == project and self.named.environment in (contracts.ALL, environment)


async def stopping(connection: AsyncConnection, projects: Sequence[str], now: datetime) -> list[Spent]:
    """Those that are spent and let no endpoint go on, the one for the longest first."""
    found = []
    for row in await rows_of(connection, projects):
        if row.is_hard and row.stop_endpoints and await spent_of(connection, row, now) >= row.amount_nanos:
            named = Named(row.project, row.environment, contracts.Period(row.period))
            begins, _ = periods.span(named.period, now)
            found.append(Spent(named, max(begins, datetime.fromisoformat(row.set_at))))
    return sorted(found, key=lambda one: one.since)


def _in(row: sa.Row[Any]) -> str:
    return f"a {row.period}" if row.environment == contracts.ALL else f"a {row.period} in {row.environment}"


def _key(row: sa.Row[Any]) -> str:
    return f"{row.environment}/{row.period}"


def _was(row: sa.Row[Any]) -> contracts.BudgetPut:
    return contracts.BudgetPut(
        amount=cost.to_amount(row.amount_nanos),
        is_hard=row.is_hard,
        thresholds=tuple(row.thresholds),
        stop_endpoints=row.stop_endpoints,
    )


def _version(row: sa.Row[Any] | None) -> str:
    """Of what was set, and not of where it stands."""
    if row is None:
        return versions.of("none")
    return versions.of(row.project, _key(row), *_was(row).model_dump(mode="json").values(), row.set_at)


async def _find(connection: AsyncConnection, named: Named) -> sa.Row[Any] | None:
    return (await connection.execute(sa.select(_table).where(named.where))).one_or_none()


async def _require(connection: AsyncConnection, named: Named) -> sa.Row[Any]:
    row = await _find(connection, named)
    if row is None:
        raise errors.NotFound(
            f"project `{named.project}` has no budget `{named.name}`; see `mainspring budget list {named.project}`",
            resource="budget",
            name=named.name,
        )
    return row


async def _put(connection: AsyncConnection, named: Named, wanted: contracts.BudgetPut, by: str) -> None:
    values = {
        "amount_nanos": cost.to_nanos(wanted.amount),
        "is_hard": wanted.is_hard,
        "thresholds": list(wanted.thresholds),
        "stop_endpoints": wanted.stop_endpoints,
        "set_at": base.utc_now().isoformat(),
        "set_by": by,
        # Of another amount other shares are spent: what was told is told again, as it is then.
        "began": "",
        "reached": 0.0,
        "told": 0.0,
    }
    keys = {"project": named.project, "environment": named.environment, "period": str(named.period)}
    statement = database.insert(connection, _table).values(**keys, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=values))


async def _view(
    connection: AsyncConnection,
    book: settings.CostSettings,
    project: sa.Row[Any],
    row: sa.Row[Any],
    now: datetime,
) -> contracts.BudgetView:
    begins, ends = periods.span(contracts.Period(row.period), now)
    window = forecast.window_of(datetime.fromisoformat(project.created_at), now)
    spent = await spent_of(connection, row, now)
    told = forecast.of(
        spent_nanos=spent,
        recent_nanos=await store.spent_since(connection, row.project, now - window, row.environment),
        window=window,
        limit_nanos=row.amount_nanos,
        now=now,
        ends=ends,
    )
    return contracts.BudgetView(
        project=row.project,
        environment=row.environment,
        period=contracts.Period(row.period),
        **_was(row).model_dump(),
        currency=book.currency,
        begins=begins,
        ends=ends,
        spent=cost.to_amount(spent),
        held=cost.to_amount(await reservations.held_nanos(connection, row.project, now, row.environment)),
        forecast=cost.to_amount(told.nanos),
        reached=row.reached if row.began == begins.isoformat() else 0.0,
        version=_version(row),
        set_at=datetime.fromisoformat(row.set_at),
        set_by=row.set_by,
    )
