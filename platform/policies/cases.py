"""Table cases: a readable file of questions and the answers that policies must give, and who must have given them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mainspring.core import errors
from mainspring.platform.policies import engine, questions

FILE: Final = "cases.toml"

_RUN: Final = {
    "project": "flights",
    "kind": "train",
    "environment": "dev",
    "requested_by": "somebody@example.org",
    "on_behalf_of": "",
    "prompted_by": "",
}
_KEYS: Final = frozenset({"name", "who", "roles", "platform", "action", "on", "with", "allowed", "by"})


@dataclass(frozen=True)
class Case:
    """A question, the answer expected, and the ids that must have decided."""

    name: str
    question: questions.Question
    allowed: bool
    policies: frozenset[str]


@dataclass(frozen=True)
class Missed:
    """A case that was answered otherwise."""

    case: Case
    answer: questions.Decision

    def __str__(self) -> str:
        def told(allowed: bool, by: tuple[str, ...]) -> str:
            return f"{'allowed' if allowed else 'denied'} by {', '.join(by) or 'nothing'}"

        wanted = told(self.case.allowed, tuple(sorted(self.case.policies)))
        return (
            f"case `{self.case.name}`: {told(self.answer.allowed, self.answer.policies)}, expected {wanted}"
        )


def load(path: Path) -> list[Case]:
    """Errors: InvalidSettings that names the case."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _bad(f"`{path}` cannot be read: {error}; mend the file") from error
    defaults = document.get("defaults", {})
    found = []
    for number, one in enumerate(document.get("cases", []), 1):
        name = str(one.get("name", number)) if isinstance(one, dict) else str(number)
        try:
            found.append(_case(one, defaults))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _bad(f"`{path.name}`: case `{name}`: {error!r}; see platform/policies/README.md") from error
    return found


def run(policies: engine.PolicyEngine, cases: list[Case]) -> list[Missed]:
    """Those that are answered otherwise: another decision, or by other policies."""
    answers = [(case, policies.decide(case.question)) for case in cases]
    return [
        Missed(case, answer)
        for case, answer in answers
        if (answer.allowed, frozenset(answer.policies)) != (case.allowed, case.policies)
    ]


def _case(one: Mapping[str, Any], defaults: Mapping[str, Any]) -> Case:
    if unknown := sorted(set(one) - _KEYS):
        raise ValueError(f"no key `{unknown[0]}` is known")
    action, roles = str(one["action"]), frozenset(one.get("roles", ()))
    who = questions.Principal(
        str(one.get("who", "ana@example.org")), roles, roles if one.get("platform", False) else frozenset()
    )
    context = {**defaults.get(action, {}), **one.get("with", {})}
    question = questions.Question(who, action, _resource(one.get("on", "project")), context)
    return Case(str(one["name"]), question, bool(one["allowed"]), frozenset(one.get("by", ())))


def _resource(on: str | Mapping[str, str]) -> questions.Resource:
    """`platform`, `project`, a project by name, or a run by those of its attributes that matter."""
    if isinstance(on, Mapping):
        if unknown := sorted(set(on) - set(_RUN)):
            raise ValueError(f"a run has no `{unknown[0]}`")
        return questions.run("run_of_a_case", **{**_RUN, **on})
    if on == "platform":
        return questions.PLATFORM
    return questions.project("flights" if on == "project" else on)


def _bad(problem: str) -> errors.InvalidSettings:
    return errors.InvalidSettings(problem, problems=(problem,))
