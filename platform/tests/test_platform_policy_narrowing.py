"""Asking only the policies that can match changes no decision, nor who made it."""

from __future__ import annotations

import dataclasses
import random

import pytest

from mainspring.platform.policies import engine, narrowing, questions, sources

NAMES = ("ana", "eva", "service-account:flights:ci", 'o"hara', "")
PROJECTS = ("flights", "trains", "ana")
ACTIONS = ("run.start", "member.set", "project.update", "run.decide")
#: How a policy may say whom it is about, and ways of writing that no policy is narrowed by.
HEADS = (
    "principal, {action}, resource",
    'principal == Actor::"{name}", {action}, resource',
    'principal, {action}, resource == Project::"{project}"',
    'principal == Actor::"{name}", {action}, resource == Project::"{project}"',
    'principal, {action}, resource in Project::"{project}"',
)
CONDITIONS = (
    "",
    'when {{ principal.name == "{name}" }}',
    'when {{ "{name}" == principal.name }}',
    'when {{ principal.name == "{name}" && principal.roles.contains("{role}") }}',
    'when {{ (principal.name == "{name}" && principal.roles.contains("{role}")) && principal.name != "eva" }}',
    'when {{ principal.roles.contains("{role}") && principal.name == "{name}" }}',
    'when {{ principal.name == "{name}" || principal.roles.contains("{role}") }}',
    'when {{ principal.name != "{name}" }}',
    'when {{ !(principal.name == "{name}") }}',
    'unless {{ principal.name == "{name}" }}',
    'when {{ principal.roles.contains("{role}") }} when {{ principal.name == "{name}" }}',
    'when {{ principal.name == "{name}" }} unless {{ principal.roles.contains("{role}") }}',
    'when {{ if principal.name == "{name}" then true else principal.roles.contains("{role}") }}',
)


def _own(choose: random.Random, count: int) -> str:
    """Policies of an organisation: any head with any condition, about one action, two or all."""
    heads = (f'action == Action::"{choose.choice(ACTIONS[:3])}"', "action")

    def one(i: int) -> str:
        name, project = choose.choice(NAMES).replace('"', '\\"'), choose.choice(PROJECTS)
        said = {"name": name, "project": project, "role": choose.choice(("viewer", "developer", "admin"))}
        head = choose.choice(HEADS).format(action=choose.choice(heads), **said)
        condition = choose.choice(CONDITIONS).format(**said)
        return f'@id("own.{i}") @advice("x") {choose.choice(("permit", "forbid"))} ({head}) {condition};'

    return "\n".join(map(one, range(count)))


def _question(choose: random.Random) -> questions.Question:
    action, project = choose.choice(ACTIONS), choose.choice(PROJECTS)
    roles = frozenset(choose.sample(("viewer", "developer", "approver", "admin"), choose.randrange(3)))
    who = questions.Principal(choose.choice(NAMES), roles)
    context = {
        "run.start": {"kind": "train", "environment": "dev", "auto_approve_by": "", "is_sample": False}
        | {"has_cause": False},
        "member.set": {"member": "ben"},
        "run.decide": {"approve": True},
    }
    run = questions.run("run_1", project=project, kind="train", environment="prod", requested_by="eva")
    what = run if action == "run.decide" else questions.project(project)
    return questions.Question(who, action, what, context.get(action, {}))


def test_a_narrowed_set_decides_as_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    choose, told, found = random.Random(1), 0, set()
    for _ in range(40):
        texts = dataclasses.replace(sources.load(None), own={"own.cedar": _own(choose, 8)})
        narrowed = engine.PolicyEngine.of(texts)
        with monkeypatch.context() as patch:
            patch.setattr(narrowing, "named", lambda _: None)
            whole = engine.PolicyEngine.of(texts)
        assert all(list(sets) == [None] for sets in whole._sets.values())
        told += any(narrowing.named(p.body) for p in narrowed.policies if not p.is_ours)
        for question in [_question(choose) for _ in range(150)]:
            answer = narrowed.decide(question)
            assert answer == whole.decide(question) and not answer.errors
            found.add((answer.allowed, any(p.startswith("own.") for p in answer.policies)))
    assert told > 30 and found == {(True, True), (True, False), (False, True), (False, False)}


@pytest.mark.parametrize(
    ("head", "condition", "name"),
    [
        (1, 0, ("Actor", "ana")),
        (2, 0, ("Project", "flights")),
        (0, 1, ("Actor", "ana")),
        (0, 2, ("Actor", "ana")),
        (0, 3, ("Actor", "ana")),
        (0, 4, ("Actor", "ana")),
        (0, 11, ("Actor", "ana")),
        (2, 3, ("Project", "flights")),
        *((0, i, None) for i in (0, 5, 6, 7, 8, 9, 10, 12)),
        (4, 0, None),
    ],
)
def test_what_names_nobody_first_is_asked_about_everybody(
    head: int, condition: int, name: tuple[str, str] | None
) -> None:
    said = {"name": "ana", "project": "flights", "role": "viewer"}
    text = HEADS[head].format(action='action == Action::"project.update"', **said)
    text = f'@id("a.b") @advice("x") forbid ({text}) {CONDITIONS[condition].format(**said)};'
    found = engine.PolicyEngine.of(dataclasses.replace(sources.load(None), own={"own.cedar": text}))
    assert [narrowing.named(p.body) for p in found.policies if not p.is_ours] == [name]


def test_one_that_cannot_be_evaluated_is_a_no_in_every_set() -> None:
    """A narrowed set that fails closes as the whole one would; of somebody else nothing is asked, and nothing fails."""
    ours = engine.PolicyEngine.load()
    broken = {
        "effect": "permit",
        "principal": {"op": "==", "entity": {"type": "Actor", "id": "ana"}},
        "action": {"op": "All"},
        "resource": {"op": "All"},
        "conditions": [{"kind": "when", "body": {".": {"left": {"Var": "principal"}, "attr": "gone"}}}],
    }
    policy = engine.Policy("own.broken", "x", "own.cedar", False, broken)
    found = engine.PolicyEngine(ours._schema, (*ours.policies, policy))
    question = questions.Question(
        questions.Principal("ana", frozenset({"admin"})), "project.update", questions.project("flights")
    )
    assert found.decide(question).policies == (questions.ERROR,)
    other = dataclasses.replace(question, principal=questions.Principal("eva", frozenset({"admin"})))
    assert found.decide(other) == ours.decide(other) and found.decide(other).allowed
