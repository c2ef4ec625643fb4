"""The one way in which state changes: authenticate, authorise, budget, do, and put it on record, or nothing.

Every POST, PUT, PATCH and DELETE goes through :func:`mutate`, and only this file opens a writing transaction; a test
walks the route table and proves both. What has to ask another system first records the intent by :func:`mutate`, asks
outside of any transaction, and records the outcome by :func:`settle`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store as audit_store

T = TypeVar("T")


@dataclass(frozen=True)
class Change(Generic[T]):
    """What was done. `is_new=False`: an idempotent repetition; nothing changed and nothing is put on record."""

    value: T
    resource: str
    detail: dict[str, Any] = field(default_factory=dict)
    is_new: bool = True
    event_key: str | None = None
    """Unique within the log, where the same fact may be reported twice."""
    outcome: str = "done"
    on_behalf_of: str = ""
    """The actor to put on record when a service reports what somebody did."""


async def mutate(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    action: str,
    resource: str,
    roles: tuple[str, ...],
    do: Callable[[AsyncConnection, identity.Actor], Awaitable[Change[T]]],
    authorise: Callable[[AsyncConnection, identity.Actor], Awaitable[None]] | None = None,
) -> T:
    """Change state and append the audit row in the same transaction.

    `authorise` asks the policy and the budget, on the same snapshot that `do` works on. A denial of a known actor
    is put on record too, with outcome `denied`; an unknown caller is not, or anybody could fill the log.
    Errors: Unauthenticated, Denied kinds, and whatever `do` raises; then nothing has changed.
    """
    actor = plane.issuer.authenticate(credential)
    try:
        async with plane.database.write() as connection:
            actor.require(*roles)
            if authorise is not None:
                await authorise(connection, actor)
            change = await do(connection, actor)
            if change.is_new:
                reporter = {"reported_by": actor.name} if change.on_behalf_of else {}
                fact = audit_store.Fact(
                    actor=change.on_behalf_of or actor.name,
                    action=action,
                    resource=change.resource,
                    outcome=change.outcome,
                    detail={**change.detail, **reporter},
                    event_key=change.event_key,
                )
                await audit_store.append(connection, [fact])
            return change.value
    except errors.Denied as denial:
        async with plane.database.write() as connection:
            fact = audit_store.Fact(
                actor=actor.name,
                action=action,
                resource=resource,
                outcome="denied",
                detail=errors.to_wire(denial),
            )
            await audit_store.append(connection, [fact])
        raise


async def settle(
    plane: control_plane.ControlPlane,
    *,
    actor: str,
    action: str,
    do: Callable[[AsyncConnection], Awaitable[Change[T]]],
) -> T:
    """Put on record what came of an intent that :func:`mutate` let in; `actor` is whoever asked for it then."""
    async with plane.database.write() as connection:
        change = await do(connection)
        if change.is_new:
            fact = audit_store.Fact(
                actor=actor,
                action=action,
                resource=change.resource,
                outcome=change.outcome,
                detail=change.detail,
                event_key=change.event_key,
            )
            await audit_store.append(connection, [fact])
        return change.value


async def around(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    action: str,
    resource: str,
    roles: tuple[str, ...],
    detail: dict[str, Any],
    work: Callable[[identity.Actor], Awaitable[tuple[T, dict[str, Any]]]],
) -> T:
    """Change what lies outside of the database: the request on record, `work` outside of any transaction, the outcome on record.

    `work` is safe to repeat, and answers with what goes on record of its outcome. A process that dies in the middle
    leaves a request without an outcome on record: whoever asked asks again.
    Errors: those of :func:`mutate`, and then `work` was not begun; those of `work`, which are on record.
    """

    async def intend(_: AsyncConnection, actor: identity.Actor) -> Change[identity.Actor]:
        return Change(actor, resource, detail, outcome="requested")

    actor = await mutate(plane, credential, action=action, resource=resource, roles=roles, do=intend)

    async def on_record(outcome: str, found: dict[str, Any]) -> None:
        async def do(_: AsyncConnection) -> Change[None]:
            return Change(None, resource, found, outcome=outcome)

        await settle(plane, actor=actor.name, action=action, do=do)

    try:
        value, found = await work(actor)
    except errors.MainspringError as error:
        await on_record("failed", errors.to_wire(error))
        raise
    await on_record("done", found)
    return value


async def note(plane: control_plane.ControlPlane, do: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Write down how a request goes, in `request_keys` alone: the database refuses any other change without audit row."""
    async with plane.database.write() as connection:
        return await do(connection)
