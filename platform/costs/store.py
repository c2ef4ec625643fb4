"""Usage rows with their price."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors
from mainspring.core.contracts import control, tags, training
from mainspring.core.contracts.budgets import ALL, Period
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.cost import periods
from mainspring.platform import database

_table = database.usage
#: How a key of a tag begins where costs are asked for by it.
TAG: Final = "tag:"
_KEYS: Final[Mapping[str, sa.ColumnElement[str]]] = {
    "project": _table.c.project,
    "run": _table.c.run_id,
    "service": _table.c.service,
    "environment": _table.c.environment,
    "sku": _table.c.view["sku_id"].as_string(),
    # Releases that knew one price wrote none.
    "capacity": sa.func.coalesce(_table.c.view["capacity"].as_string(), str(Capacity.ON_DEMAND)),
}


@dataclass(frozen=True)
class Only:
    """Which usage: of `projects` (None: of all), begun in [`since`, `until`), each None without a limit."""

    projects: Collection[str] | None
    since: datetime | None = None
    until: datetime | None = None

    def of(self, query: sa.Select[Any], table: sa.Table = _table) -> sa.Select[Any]:
        """`table` has `project` and `started_at`: the ledger, or serving's own usage."""
        if self.projects is not None:
            query = query.where(table.c.project.in_(self.projects))
        if self.since is not None:
            query = query.where(table.c.started_at >= self.since.astimezone(UTC).isoformat())
        if self.until is not None:
            query = query.where(table.c.started_at < self.until.astimezone(UTC).isoformat())
        return query


async def insert(
    connection: AsyncConnection, record: training.UsageRecord, view: control.CostView, nanos: int
) -> None:
    await connection.execute(
        sa.insert(database.usage).values(
            usage_key=record.usage_key,
            project=record.project,
            run_id=record.run_id,
            service=record.service,
            started_at=record.started_at.isoformat(),
            cost_nanos=nanos,
            currency=view.billing_currency,
            record=record.model_dump(mode="json"),
            view=view.model_dump(mode="json"),
            billed_in=view.billed_in or None,
        )
    )


async def find(connection: AsyncConnection, usage_key: str) -> sa.Row[Any] | None:
    query = sa.select(database.usage).where(database.usage.c.usage_key == usage_key)
    return (await connection.execute(query)).one_or_none()


async def spent_nanos(connection: AsyncConnection, project: str, now: datetime) -> int:
    """What the project used since the month of `now` (UTC) began, by start of use."""
    return await spent_since(connection, project, periods.span(Period.MONTH, now)[0])


async def spent_since(
    connection: AsyncConnection, project: str, since: datetime, environment: str = ALL
) -> int:
    """Billionths that the project used in the environment, by start of use."""
    query = Only(frozenset({project}), since).of(
        sa.select(sa.func.coalesce(sa.func.sum(_table.c.cost_nanos), 0))
    )
    if environment != ALL:
        query = query.where(_table.c.environment == environment)
    return int((await connection.execute(query)).scalar_one())


async def run_costs(connection: AsyncConnection, run_ids: Sequence[str]) -> dict[str, float]:
    """Cost by run; runs without usage are absent."""
    query = (
        sa.select(database.usage.c.run_id, sa.func.sum(database.usage.c.cost_nanos))
        .where(database.usage.c.run_id.in_(run_ids))
        .group_by(database.usage.c.run_id)
    )
    return {run_id: cost.to_amount(int(nanos)) for run_id, nanos in (await connection.execute(query)).all()}


def key_of(group_by: str) -> sa.ColumnElement[str]:
    """What a record counts for: of a tag, the value that its project had then. Errors: InvalidRequest."""
    if group_by.startswith(TAG):
        try:
            name = tags.check_key(group_by.removeprefix(TAG))
        except ValueError as error:
            raise errors.InvalidRequest(f"{error}; name one, as in `tag:team`", field="group_by") from error
        return sa.func.coalesce(_table.c.view["tags", name].as_string(), tags.UNTAGGED)
    if group_by not in _KEYS:
        raise errors.InvalidRequest(
            f"costs have no key `{group_by[:80]}`; use one of {', '.join(f'`{one}`' for one in _KEYS)} or `tag:KEY`",
            field="group_by",
        )
    return _KEYS[group_by]


async def sums(connection: AsyncConnection, group_by: str, currency: str, only: Only) -> dict[str, int]:
    """Billionths of the currency by group, by its name. Errors: InvalidRequest for a cost in another currency, or no such key."""
    key = key_of(group_by)
    query = only.of(sa.select(key, _table.c.currency, sa.func.sum(_table.c.cost_nanos)))
    found: dict[str, int] = {}
    for name, billed_in, nanos in (await connection.execute(query.group_by(key, _table.c.currency))).all():
        if billed_in != currency:
            raise errors.InvalidRequest(
                f"some usage of {group_by} `{name}` is billed in `{billed_in}`, expected `{currency}`; ask for a"
                " project or a period of one currency",
                field="billing_currency",
            )
        found[name] = int(nanos)
    return dict(sorted(found.items()))


async def page(connection: AsyncConnection, only: Only, *, after: str, limit: int) -> list[control.CostView]:
    """Up to `limit` priced records by usage key, which never changes: a page misses nothing that was there before it."""
    query = only.of(sa.select(_table.c.view)).where(_table.c.usage_key > after)
    found = await connection.execute(query.order_by(_table.c.usage_key).limit(limit))
    return [control.CostView.model_validate(v) for v in found.scalars()]
