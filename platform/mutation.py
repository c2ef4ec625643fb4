"""The one way in which state changes: authenticate, ask the policies, budget, do, put it on record and tell lineage, or nothing.

Every POST, PUT, PATCH and DELETE goes through :func:`mutate`, and only this file opens a writing transaction; a test
walks the route table and proves both. What has to ask another system first records the intent by :func:`mutate`, asks
outside of any transaction, and records the outcome by :func:`settle`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity, traces
from mainspring.platform import access
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store as audit_store
from mainspring.platform.lineage import telling
from mainspring.platform.policies import engine, questions
from mainspring.platform.projects import store as project_store

T = TypeVar("T")

#: What is to be changed: known from the request, or to be looked up; of several each is asked about.
On: TypeAlias = access.Target | Sequence[access.Target] | access.Finder

#: Where a row of the log has what the policies were asked and answered. Nobody who reports a fact writes there.
AUTHORISATION: Final = "authorisation"
#: Where a row has the digests of the lineage events that were kept with it.
LINEAGE: Final = "lineage"
#: What a row's detail has beside what was changed: `traceparent` is the trace that the change was made in.
_NOT_FIELDS: Final = frozenset({AUTHORISATION, LINEAGE, "reported_by", traces.HEADER})
#: Of one change, so many are kept on record.
_MAX_DECISIONS: Final = 4
#: Of a change that came in between, so many names of fields are told.
_MAX_CHANGED: Final = 20


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
    lineage: telling.Told | None = None
    """What the change says of datasets; None: it is about none, or the job that it starts tells by itself."""


async def mutate(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    action: str,
    resource: str,
    on: On,
    do: Callable[[AsyncConnection, identity.Actor], Awaitable[Change[T]]],
    afford: Callable[[AsyncConnection, identity.Actor], Awaitable[None]] | None = None,
    right: str = "",
    issuer: identity.Issuer | None = None,
) -> T:
    """Change state, and append the audit row and what lineage is told in the same transaction.

    The policies are asked about `action` (or `right`, where the log's word is the caller's; or the target's own) on each target, then
    `afford` about the budget, on the same snapshot that `do` works on. What was asked and answered goes on record with
    the change. A denial of a known actor is put on record too, with outcome `denied`; an unknown caller is not, or
    anybody could fill the log. Whoever may not know of the target is told that there is none. `issuer` is whom to believe
    about the caller where it is not the plane's: who comes for a token has none yet.
    Errors: Unauthenticated, Denied kinds, NotFound, and whatever `do` raises; then nothing has changed.
    """
    actor = (issuer or plane.issuer).authenticate(credential)
    asked = _Asked(plane.policies)
    try:
        async with plane.database.write() as connection:
            who = await access.identify(connection, actor)
            targets = await on(connection) if callable(on) else on
            for target in [targets] if isinstance(targets, access.Target) else targets:
                await asked.require(connection, who, target.action or right or action, target)
            if afford is not None:
                await afford(connection, actor)
            change = await do(connection, actor)
            if change.is_new:
                reporter = {"reported_by": actor.name} if change.on_behalf_of else {}
                told = await _told(connection, action, change, actor.name)
                fact = audit_store.Fact(
                    actor=change.on_behalf_of or actor.name,
                    action=action,
                    resource=change.resource,
                    outcome=change.outcome,
                    detail={**change.detail, **told, **reporter, **asked.on_record(), **traces.headers()},
                    event_key=change.event_key,
                )
                await audit_store.append(connection, [fact])
        plane.news.tell()
        return change.value
    except errors.NotFound as missing:
        raise await _without_hidden_names(plane, actor, missing) from None
    except errors.PreconditionFailed as late:
        raise await _with_last_change(plane, resource, late) from None
    except errors.Denied as denial:
        async with plane.database.write() as connection:
            fact = audit_store.Fact(
                actor=actor.name,
                action=action,
                resource=resource,
                outcome="denied",
                detail={**errors.to_wire(denial), **asked.on_record(), **traces.headers()},
            )
            await audit_store.append(connection, [fact])
        raise asked.hidden or denial from None


async def _told(
    connection: AsyncConnection, action: str, change: Change[Any], by: str
) -> dict[str, list[str]]:
    """Lineage of the change, and its digests for the record: it cannot be rewritten unseen either."""
    if change.lineage is None:
        return {}
    return {LINEAGE: await telling.tell(connection, action, change.lineage, change.on_behalf_of or by)}


async def _without_hidden_names(
    plane: control_plane.ControlPlane, actor: identity.Actor, missing: errors.NotFound
) -> errors.NotFound:
    """A project that is not there is not told by the name of another that must not be known of."""
    if missing.resource != "project" or not missing.did_you_mean:
        return missing
    async with plane.database.read() as connection:
        who = await access.identify(connection, actor)
        visible = await access.readable(plane.policies, connection, who, "project.read")
        return await project_store.unknown(connection, missing.name, visible)


async def _with_last_change(
    plane: control_plane.ControlPlane, resource: str, late: errors.PreconditionFailed
) -> errors.PreconditionFailed:
    """Who came too late is told by whom, and what was changed: he may change it, so he may know."""
    async with plane.database.read() as connection:
        row = await audit_store.last_change(connection, resource)
    if row is None:
        return late
    changed = tuple(sorted(set(json.loads(row.detail)) - _NOT_FIELDS))[:_MAX_CHANGED]
    return dataclasses.replace(
        late,
        message=f"{late.message} (last `{row.action}` by `{row.actor}` at {row.at})",
        changed=changed,
        by=row.actor,
        at=row.at,
    )


class _Asked:
    """What the policies were asked for one change, and what they answered."""

    def __init__(self, policies: engine.PolicyEngine) -> None:
        self._policies = policies
        self._answers: list[dict[str, Any]] = []
        self.hidden: errors.MainspringError | None = None
        """What somebody is told who may not know what was denied."""

    async def require(
        self, connection: AsyncConnection, who: access.Who, action: str, target: access.Target
    ) -> None:
        """Errors: PermissionDenied, PolicyDenied."""
        question = access.to_change(who, action, target)
        decision = self._policies.decide(question)
        self._answers.append(_on_record(question, decision))
        if not decision.allowed:
            self._answers = self._answers[-1:]
            denial = engine.denial(self._policies, question, decision)
            told = await access.unless_hidden(self._policies, connection, who, target, denial)
            self.hidden = None if told is denial else told
            raise denial

    def on_record(self) -> dict[str, Any]:
        if not self._answers:
            return {}
        return {
            AUTHORISATION: {
                "policies": self._policies.version,
                "decisions": self._answers[:_MAX_DECISIONS],
            }
        }


def _on_record(question: questions.Question, decision: questions.Decision) -> dict[str, Any]:
    found: dict[str, Any] = {
        "allowed": decision.allowed,
        "policies": list(decision.policies),
        "asked": question.to_record(),
    }
    return found | ({"errors": [e[:500] for e in decision.errors[:5]]} if decision.errors else {})


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
                detail={**change.detail, **traces.headers()},
                event_key=change.event_key,
            )
            await audit_store.append(connection, [fact])
    plane.news.tell()
    return change.value


async def around(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    action: str,
    resource: str,
    on: On,
    detail: dict[str, Any],
    work: Callable[[identity.Actor], Awaitable[tuple[T, dict[str, Any]]]],
    right: str = "",
    check: Callable[[], None] | None = None,
) -> T:
    """Change what lies outside of the database: the request on record, `work` outside of any transaction, the outcome on record.

    `check` refuses, once the policies have said yes, what is not worth a record. `work` is safe to repeat, and answers
    with what goes on record of its outcome. A process that dies in the middle leaves a request without an outcome on
    record: whoever asked asks again.
    Errors: those of :func:`mutate` and of `check`, and then `work` was not begun; those of `work`, which are on record.
    """

    async def intend(_: AsyncConnection, actor: identity.Actor) -> Change[identity.Actor]:
        if check is not None:
            check()
        return Change(actor, resource, detail, outcome="requested")

    actor = await mutate(plane, credential, action=action, resource=resource, on=on, do=intend, right=right)

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
    """Write down how a request goes, in `request_keys` or `read_decisions`: the database refuses any other change without audit row."""
    async with plane.database.write() as connection:
        return await do(connection)
