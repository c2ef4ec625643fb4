"""What a month cost by receiver: sums over the ledger's records that are billed in it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, settings
from mainspring.core.contracts import tags
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.cost import closing, sharing
from mainspring.core.cost.storage import SHARED as NO_ENVIRONMENT
from mainspring.platform import database
from mainspring.platform.costs import store

__all__ = ["Billed", "billed", "budgets_at", "recent"]

_table = database.usage
#: Who may receive costs, beside a tag's values.
_RECEIVERS: Final = ("project", "environment")
#: Names in one question.
_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Billed:
    """Billionths of one currency; `shared` is what no receiver has."""

    direct: sharing.Cost
    shared: Mapping[sharing.Of, int]

    @property
    def total(self) -> int:
        return sum(sum(used.values()) for used in (*self.direct.values(), self.shared))

    def of(self, receiver: str) -> int:
        return sum(self.direct.get(receiver, {}).values())


async def billed(
    connection: AsyncConnection,
    book: settings.CostSettings,
    month: str,
    by: str,
    projects: Collection[str] | None,
) -> Billed:
    """Of `projects`, None: of all. Errors: InvalidRequest for what is no month or no receiver, or costs in another currency."""
    begins, ends = (at.astimezone(UTC).isoformat() for at in closing.span_of(month))
    c = _table.c
    own = sa.and_(c.billed_in.is_(None), c.started_at >= begins, c.started_at < ends)
    receiver, capacity = _receiver(book, by), store.key_of("capacity")
    what = (receiver, c.service, store.key_of("sku"), capacity, c.billed_in.is_not(None), c.currency)
    query = (
        sa.select(*what, sa.func.sum(c.cost_nanos)).where(sa.or_(own, c.billed_in == month)).group_by(*what)
    )
    if projects is not None:
        query = query.where(c.project.in_(projects))
    direct: dict[str, dict[sharing.Of, int]] = {}
    for name, service, sku, rate, late, currency, nanos in (await connection.execute(query)).all():
        if currency != book.currency:
            raise errors.InvalidRequest(
                f"some usage of `{month}` is billed in `{currency}`, expected `{book.currency}`; ask for projects of one"
                " currency",
                field="billing_currency",
            )
        direct.setdefault(name, {})[sharing.Of(service, sku, Capacity(rate), bool(late))] = int(nanos)
    shared = direct.pop("", {})
    return Billed(direct, shared)


async def recent(
    connection: AsyncConnection,
    book: settings.CostSettings,
    by: str,
    projects: Collection[str] | None,
    since: datetime,
    until: datetime,
) -> dict[str, int]:
    """Billionths by receiver of use that began in [`since`, `until`)."""
    receiver = _receiver(book, by)
    sums: tuple[sa.ColumnElement[Any], ...] = (receiver, sa.func.sum(_table.c.cost_nanos))
    query = sa.select(*sums).group_by(receiver)
    rows = (await connection.execute(store.Only(projects, since, until).of(query))).all()
    return {name: int(nanos) for name, nanos in rows}


async def budgets_at(
    connection: AsyncConnection, names: Collection[str], at: datetime
) -> dict[str, int | None]:
    """Projects' monthly budgets as they were then, off the audit log; None: no limit."""
    found: dict[str, int | None] = {}
    projects, log = database.projects.c, database.audit.c
    for some in _pieces(sorted(names)):
        now = sa.select(projects.name, projects.monthly_budget_nanos).where(projects.name.in_(some))
        found |= {row.name: row.monthly_budget_nanos for row in (await connection.execute(now)).all()}
        changes = (
            sa.select(log.resource, log.detail)
            .where(
                log.resource.in_([f"project/{name}" for name in some]),
                log.action == "project.update",
                log.outcome == "done",
                log.at >= at.astimezone(UTC).isoformat(),
            )
            .order_by(log.sequence.desc())
        )
        for row in (await connection.execute(changes)).all():
            changed = _detail(row.detail).get("monthly_budget_nanos")
            if changed is not None:  # the oldest of them is read last, and says what was before it
                found[row.resource.removeprefix("project/")] = changed["from"]
    return found


def _receiver(book: settings.CostSettings, by: str) -> sa.ColumnElement[str]:
    """Whose a record is; empty: of all. Errors: InvalidRequest."""
    if by not in _RECEIVERS and not by.startswith(store.TAG):
        raise errors.InvalidRequest(
            f"`{by[:80]}` receives no costs; use `project`, `environment` or `tag:KEY`", field="by"
        )
    nobody = NO_ENVIRONMENT if by == "environment" else tags.UNTAGGED if by.startswith(store.TAG) else ""
    key, of_all = store.key_of(by), [one for one in book.shared_projects.split(",") if one]
    return sa.case((sa.or_(_table.c.project.in_(of_all), key == nobody), ""), else_=key)


def _detail(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def _pieces(names: list[str]) -> list[list[str]]:
    return [names[i : i + _AT_ONCE] for i in range(0, len(names), _AT_ONCE)]
