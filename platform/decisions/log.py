"""Reads as they are answered, added up in memory until they are written: what comes again costs a look in a table, and no row.

An answer is counted by the hour with all that made it: who, with which roles, asked what of which project, and by which policies of which
set it was decided. A denial is told apart, one row each, up to a number for each actor and hour; more are counted in one row,
as are the projects of an actor beyond a number, so that nobody can fill the log. No count is lost by either.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mainspring.core import canonical, ids
from mainspring.core.contracts import base
from mainspring.platform.policies import questions

#: Denials of one actor in one hour that have a row each.
MAX_DENIALS: Final = 20
#: Answers of one actor in one hour that are told apart.
MAX_APART: Final = 500
#: Answers that are held while the database does not take them; beyond it projects are not told apart.
MAX_HELD: Final = 50_000
#: Several projects, or names that no project can have, which whoever asks may choose.
SEVERAL: Final = "*"

_HOUR: Final = 13  # characters of an ISO time
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class Answer:
    """What was asked and answered; equal ones of an hour are one row."""

    hour: str
    who: questions.Principal
    action: str
    project: str
    allowed: bool
    policies: tuple[str, ...]
    version: str
    is_sensitive: bool
    own: str = ""
    """Of a denial that has a row of its own."""

    @property
    def key(self) -> str:
        roles, of_platform = sorted(self.who.roles), sorted(self.who.platform_roles)
        facts = dataclasses.asdict(self) | {"who": [self.who.name, roles, of_platform]}
        return canonical.digest(facts)

    @property
    def question(self) -> questions.Question:
        about = questions.project(self.project) if self.project else questions.PLATFORM
        return questions.Question(self.who, self.action, about)


@dataclass
class Counted:
    first_at: str
    last_at: str
    count: int


@dataclass
class _Actor:
    """What one actor has asked in an hour, by digest: enough to tell whether more is told apart."""

    hour: str
    denials: int = 0
    apart: set[int] = dataclasses.field(default_factory=set)


class ReadLog:
    """Of one event loop. What it holds is lost with the process: see `writing.py`."""

    def __init__(self) -> None:
        self.writing = asyncio.Lock()
        self._held: dict[Answer, Counted] = {}
        self._actors: dict[str, _Actor] = {}

    def __len__(self) -> int:
        return len(self._held)

    def note(
        self, question: questions.Question, answer: questions.Decision, version: str, *, sensitive: bool
    ) -> None:
        """Count it."""
        now = base.utc_now().isoformat()
        name = "" if question.resource.type == questions.PLATFORM.type else question.resource.id
        made = Answer(
            now[:_HOUR],
            question.principal,
            question.action,
            name if not name or _NAME.fullmatch(name) else SEVERAL,
            answer.allowed,
            answer.policies,
            version,
            sensitive,
        )
        self._add(self._bounded(made), Counted(now, now, 1))

    def take(self) -> dict[Answer, Counted]:
        """All that is held; whoever cannot write it gives it back."""
        taken, self._held = self._held, {}
        return taken

    def give_back(self, taken: dict[Answer, Counted]) -> None:
        for answer, counted in taken.items():
            self._add(answer, counted)

    def _add(self, answer: Answer, more: Counted) -> None:
        known = self._held.get(answer)
        if known is None and len(self._held) >= MAX_HELD:
            answer = _together(answer)
            known = self._held.get(answer)
        if known is None:
            self._held[answer] = dataclasses.replace(more)
            return
        known.first_at = min(known.first_at, more.first_at)
        known.last_at = max(known.last_at, more.last_at)
        known.count += more.count

    def _bounded(self, answer: Answer) -> Answer:
        known = self._actors.get(answer.who.name)
        if known is None or known.hour != answer.hour:
            if known is None and len(self._actors) >= MAX_HELD:
                self._actors.clear()
            known = self._actors[answer.who.name] = _Actor(answer.hour)
        if not answer.allowed and known.denials < MAX_DENIALS:
            known.denials += 1
            return dataclasses.replace(answer, own=ids.new_id("read"))
        if (mark := hash(answer)) not in known.apart:
            if len(known.apart) >= MAX_APART:
                return _together(answer)
            known.apart.add(mark)
        return answer


def _together(answer: Answer) -> Answer:
    return dataclasses.replace(answer, project=SEVERAL, own="")


def rows(taken: dict[Answer, Counted]) -> Sequence[dict[str, object]]:
    """As the table has them."""
    return [
        {
            "decision_key": answer.key,
            "first_at": counted.first_at,
            "last_at": counted.last_at,
            "actor": answer.who.name,
            "action": answer.action,
            "project": answer.project,
            "allowed": answer.allowed,
            "policies": list(answer.policies),
            "version": answer.version,
            "asked": answer.question.to_record(),
            "is_sensitive": answer.is_sensitive,
            "count": counted.count,
        }
        for answer, counted in taken.items()
    ]
