"""Authorisation in process: 200 policies, 1,000 actors and 1,000 projects, against cedarpy as it comes.

The peer has every policy in one set and the 2,000 entities in one parsed handle. Ours has a set for each action and for each actor that
value of an attribute that policies of it demand, and passes the two entities that a question is about. Where an organisation's
policies demand nothing that tells them apart, all of them are asked. It is asked questions that nobody asked before, and the same ones again: what it keeps
is told apart from what it computes. Answers are compared before anything is timed.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import cedarpy

from mainspring.platform.policies import engine, questions, sources

POLICIES: Final = 200
ACTORS = PROJECTS = 1_000
#: What an organisation's own policies are about: as ours, most are about something else than what is asked.
ACTIONS: Final = (
    *("run.start", "run.decide", "run.cancel", "catalog.put", "lineage.record", "quarantine.release"),
    *("schedule.put", "schedule.run", "usage.record", "project.update", "member.set"),
)
_START: Final[Mapping[str, str | bool]] = {
    "kind": "train",
    "environment": "prod",
    "auto_approve_by": "",
    "is_sample": False,
    "has_cause": False,
}
_ROLES: Final = ("viewer", "developer", "approver", "admin")


#: How an organisation's policy may say the same: whom it is about first, or last.
NAME_FIRST: Final = 'principal.name == "{name}" && principal.roles.contains("viewer")'
NAME_LAST: Final = 'principal.roles.contains("viewer") && principal.name == "{name}"'
#: And others: of one environment in three, or in words that no policy is told apart by.
BY_ENVIRONMENT: Final = 'principal.roles.contains("viewer") && context.environment == "{environment}" && resource.name like "*t-{i}"'
ALIKE: Final = 'principal.roles.contains("viewer") && resource.name like "*t-{i}"'
_ENVIRONMENTS: Final = ("dev", "staging", "prod")


def policies(*, actions: Sequence[str] = ACTIONS, condition: str = NAME_FIRST) -> engine.PolicyEngine:
    """Ours, and an organisation's that make them 200: each holds somebody back."""
    ours = sources.load(None)
    count = POLICIES - len(engine.PolicyEngine.of(ours).policies)
    text = "\n".join(
        f'@id("acme.{i}") @advice("ask the owner of project-{i}")'
        f' forbid (principal, action == Action::"{actions[i % len(actions)]}", resource)'
        f" when {{ {condition.format(name=f'actor-{i}', environment=_ENVIRONMENTS[i % 3], i=i)} }};"
        for i in range(count)
    )
    made = engine.PolicyEngine.of(dataclasses.replace(ours, own={"acme.cedar": text}))
    assert len(made.policies) == POLICIES
    return made


def asked(count: int, seed: int = 1) -> list[questions.Question]:
    """Starts and looks, half and half, of any actor in any project."""
    choose = random.Random(seed)

    def one(i: int) -> questions.Question:
        name, roles = f"actor-{choose.randrange(ACTORS)}", frozenset(choose.sample(_ROLES, 2))
        project = questions.project(f"project-{choose.randrange(PROJECTS)}")
        who = questions.Principal(name, roles)
        if i % 2:
            return questions.Question(who, "run.read", project)
        return questions.Question(who, "run.start", project, _START)

    return [one(i) for i in range(count)]


class AsItComes:
    """cedarpy with handles, all policies in one set and all entities in another; `roles` come with the actor."""

    def __init__(self, ours: engine.PolicyEngine, some: Sequence[questions.Question]) -> None:
        bodies = {p.id: p.body for p in ours.policies}
        document = {"templates": {}, "staticPolicies": bodies, "templateLinks": []}
        self._policies = cedarpy.PolicySet.from_json_str(json.dumps(document))
        self._schema = cedarpy.Schema.from_str(sources.load(None).schema)
        self._ids = {id(q): f"actor-of-question-{i}" for i, q in enumerate(some)}
        # With the schema, or the groups of actions are not among the entities.
        self._entities = cedarpy.Entities.from_json_str(json.dumps(self._world(some)), self._schema)

    def _world(self, some: Sequence[questions.Question]) -> list[dict[str, object]]:
        """An actor for each question, as its roles are the question's, up to 2,000 entities with the projects."""
        found: list[dict[str, object]] = [
            {
                "uid": {"type": "Project", "id": f"project-{i}"},
                "attrs": {"name": f"project-{i}"},
                "parents": [],
            }
            for i in range(PROJECTS)
        ]
        for q in some:
            who = {"name": q.principal.name, "roles": sorted(q.principal.roles), "platform_roles": []}
            uid = {"type": "Actor", "id": self._ids[id(q)]}
            found.append({"uid": uid, "attrs": who, "parents": []})
        return found

    def decide(self, q: questions.Question) -> questions.Decision:
        request = {
            "principal": {"type": "Actor", "id": self._ids[id(q)]},
            "action": {"type": "Action", "id": q.action},
            "resource": {"type": q.resource.type, "id": q.resource.id},
            "context": dict(q.context),
        }
        answer = cedarpy.is_authorized(request, self._policies, self._entities, self._schema)
        return questions.Decision(answer.allowed, tuple(answer.diagnostics.reasons))


def measure(*, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Of each way of asking, (wall, CPU) seconds of every decision. Errors: AssertionError if two ways disagree."""
    some = asked(ACTORS)
    spread = policies()
    crowds = {
        how: policies(actions=("run.start",), condition=condition)
        for how, condition in (
            ("", NAME_FIRST),
            (", named last", NAME_LAST),
            (", none by name", BY_ENVIRONMENT),
            (", nothing tells them apart", ALIKE),
        )
    }
    crowd = len(crowds[""].about("run.start"))
    peer = AsItComes(spread, some)
    _agree(spread, peer, some)
    for crowded in crowds.values():
        _agree(crowded, AsItComes(crowded, some), some)
    assert {spread.decide(q).allowed for q in some} == {True, False}
    new = [asked(ACTORS, seed=2 + i) for i in range(rounds)]
    starts = [[q for q in some if q.action == "run.start"] for some in new]
    return {
        "authorisation, 200 policies, first asked": _timed(spread.decide, new),
        "authorisation, 200 policies, asked again": _timed(spread.decide, [some] * rounds),
        **{
            f"authorisation, {crowd} of 200 policies about the action{how}, first asked": _timed(
                crowded.decide, starts
            )
            for how, crowded in crowds.items()
        },
        "authorisation, cedarpy as it comes": _timed(peer.decide, [some] * rounds),
    }


def _agree(ours: engine.PolicyEngine, peer: AsItComes, some: Sequence[questions.Question]) -> None:
    for q in some:
        one, other = ours.decide(q), peer.decide(q)
        assert (one.allowed, sorted(one.policies)) == (other.allowed, sorted(other.policies)), q


def _timed(
    decide: Callable[[questions.Question], object], rounds: Sequence[Sequence[questions.Question]]
) -> list[tuple[float, float]]:
    for q in rounds[0][:100]:
        decide(q)
    found = []
    gc.collect()
    for q in [q for some in rounds for q in some][100:]:
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        decide(q)
        cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
        found.append((wall / 1e9, cpu / 1e9))
    return found
