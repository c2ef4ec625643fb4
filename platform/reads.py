"""The one way in which state is read: authenticate, take a snapshot, and ask the policies of which projects.

The counterpart of `mutation`: every GET goes through :func:`reading`, and a test walks the route table and proves it.
Whoever may not read a project is answered as if it were not there, in lists, by name, and in what is added up.
What the policies answered is counted (`decisions/log.py`), and of a sensitive read on record before it is answered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.platform import access
from mainspring.platform import plane as control_plane
from mainspring.platform.decisions import log, writing
from mainspring.platform.policies import engine, questions
from mainspring.platform.projects import store as project_store

#: A list of more projects is counted as one answer about several.
_MAX_LISTED: Final = 50


@dataclass(frozen=True)
class Reader:
    """Somebody who asks for something, on one snapshot of the database."""

    connection: AsyncConnection
    who: access.Who
    action: str
    _policies: engine.PolicyEngine
    _log: log.ReadLog

    def by(self, action: str) -> Reader:
        """The same, by another right: for what several nouns' rows are in."""
        return dataclasses.replace(self, action=action)

    def may(self, project: str) -> bool:
        return self._decided(access.to_read(self.who, self.action, project)).allowed

    async def project(self, name: str) -> sa.Row[Any]:
        """A project's row. Errors: NotFound, also for one that must not be known of, with close names that may."""
        row = await project_store.look_up(self.connection, name) if self.may(name) else None
        if row is None:
            known = await access.readable(self._policies, self.connection, self.who, self.action)
            raise await project_store.unknown(self.connection, name, known)
        return row

    async def projects(self, only: str = "") -> frozenset[str] | None:
        """Whose part of a list is shown; None: everybody's. Errors: NotFound for `only`, as in :meth:`project`."""
        if only:
            await self.project(only)
            return frozenset({only})
        found = await access.readable(self._policies, self.connection, self.who, self.action)
        self._note_list(found)
        return found

    def require_platform(self) -> None:
        """For what is of all projects together. Errors: Denied kinds."""
        question = access.to_read(self.who, self.action)
        decision = self._decided(question)
        if not decision.allowed:
            raise engine.denial(self._policies, question, decision)

    def _decided(self, question: questions.Question) -> questions.Decision:
        decision = self._policies.decide(question)
        self._note(question, decision)
        return decision

    def _note(self, question: questions.Question, decision: questions.Decision) -> None:
        is_sensitive = self.action in self._policies.sensitive
        self._log.note(question, decision, self._policies.version, sensitive=is_sensitive)

    def _note_list(self, found: frozenset[str] | None) -> None:
        """A list is an answer about each project that it shows. One of nothing is a denial only where a policy forbids it: whoever is
        in no project yet was denied nothing."""
        of_all = access.to_read(self.who, self.action)
        decision = self._policies.decide(of_all)
        if found is None or (not found and not decision.allowed and decision.policies):
            self._note(of_all, decision)
            return
        asked = [access.to_read(self.who, self.action, name) for name in sorted(found)]
        if len(asked) > _MAX_LISTED:
            several = dataclasses.replace(asked[0], resource=questions.project(log.SEVERAL))
            self._note(several, self._policies.decide(asked[0]))
            return
        for question in asked:
            self._note(question, self._policies.decide(question))


@asynccontextmanager
async def reading(
    plane: control_plane.ControlPlane, credential: str, *, action: str
) -> AsyncIterator[Reader]:
    """Errors: Unauthenticated; DependencyDown for a sensitive read that cannot be put on record."""
    actor = plane.issuer.authenticate(credential)
    policies = plane.policies
    async with plane.database.read() as connection:
        yield Reader(connection, await access.identify(connection, actor), action, policies, plane.reads)
    if action in policies.sensitive:
        await writing.write(plane)
