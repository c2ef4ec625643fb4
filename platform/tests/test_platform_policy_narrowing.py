"""Asking only the policies that can match changes no decision, nor who made it."""

from __future__ import annotations

import dataclasses
import random
from typing import Final

import pytest

from mainspring.core import errors
from mainspring.platform.policies import engine, narrowing, questions, sources

NAMES = ("ana", "eva", "service-account:flights:ci", 'o"hara', "")
PROJECTS = ("flights", "trains", "ana")
ENVIRONMENTS = ("dev", "staging", "prod")
ROLES = ("viewer", "developer", "approver", "admin")
ACTIONS = ("run.start", "member.set", "project.update", "run.decide")
HEADS = (
    "principal, {action}, resource",
    'principal == Actor::"{name}", {action}, resource',
    'principal, {action}, resource == Project::"{project}"',
    'principal == Actor::"{name}", {action}, resource == Project::"{project}"',
    'principal, {action}, resource in Project::"{project}"',
    'principal is Actor, {action}, resource is Project in Project::"{project}"',
)
#: Of every action.
PARTS = (
    'principal.name == "{name}"',
    '"{name}" == principal.name',
    'principal == Actor::"{name}"',
    '["{name}", "ben"].contains(principal.name)',
    'principal.roles.contains("{role}")',
    'principal.name != "{name}"',
    '!(principal.name == "{name}")',
    'principal.name like "*a"',
    'if principal.name == "{name}" then true else principal.roles.contains("{role}")',
    'resource in Project::"{project}"',
    '[Project::"{project}"].contains(Project::"ana")',
)
OF_ACTION: Final = {
    "run.start": (
        'resource == Project::"{project}"',
        'resource.name == "{project}"',
        'context.environment == "{environment}"',
        '["dev", "{environment}"].contains(context.environment)',
        'context has on_behalf_of && context.on_behalf_of == "{name}"',
        "context.is_sample",
        'context.kind == context.environment || context.kind == "train"',
    ),
    "member.set": ('context.member == "{name}"', "context.member == principal.name"),
    "project.update": ('resource.name == "{project}"',),
    "run.decide": (
        'resource.environment == "{environment}"',
        'resource has on_behalf_of && resource.on_behalf_of == "{name}"',
        'resource.project == "{project}" && context.approve',
    ),
}
#: Are let through by the schema's check, and fail when they are asked; without end, or only of some.
FAILING = (
    "9223372036854775807 + 1 > 0",
    '(if principal.name == "{name}" then 9223372036854775807 + 1 else 1) > 0',
    'decimal("123456.1234").lessThan(decimal("1.0")) || ip("1.2.3.4").isLoopback()',
)


def _expression(choose: random.Random, parts: tuple[str, ...], depth: int = 2) -> str:
    if depth == 0 or choose.random() < 0.4:
        return f"({choose.choice(parts)})"
    sides = [_expression(choose, parts, depth - 1) for _ in range(2)]
    return choose.choice(("({} && {})", "({} && {})", "({} || {})")).format(*sides)


def _own(choose: random.Random, count: int, failing: float) -> str:
    """Policies of an organisation: any head with any conditions, about one action or all."""

    def one(i: int) -> str:
        action = choose.choice((*ACTIONS, ""))
        parts = (*PARTS, *OF_ACTION.get(action, ()))
        name, project = choose.choice(NAMES).replace('"', '\\"'), choose.choice(PROJECTS)
        said = {"name": name, "project": project, "role": choose.choice(ROLES[:2])}
        said |= {"environment": choose.choice(ENVIRONMENTS)}
        head = choose.choice(HEADS[:5] if action == "run.decide" else HEADS)
        head = head.replace("{action}", f'action == Action::"{action}"' if action else "action")
        conditions = []
        for _ in range(choose.randrange(3)):
            written = _expression(choose, parts)
            if choose.random() < failing:
                written = choose.choice(("{0} && {1}", "{1} && {0}")).format(written, choose.choice(FAILING))
            conditions.append(f"{choose.choice(('when', 'when', 'unless'))} {{{{ {written} }}}}")
        text = f"({head}) {' '.join(conditions)}".format(**said)
        return f'@id("own.{i}") @advice("x") {choose.choice(("permit", "forbid"))} {text};'

    return "\n".join(map(one, range(count)))


def _question(choose: random.Random) -> questions.Question:
    action, project = choose.choice(ACTIONS), choose.choice(PROJECTS)
    roles = frozenset(choose.sample(ROLES, choose.randrange(3)))
    who = questions.Principal(choose.choice(NAMES), roles)
    environment, behind = choose.choice(ENVIRONMENTS), choose.choice(NAMES)
    context: dict[str, dict[str, str | bool]] = {
        "run.start": {
            "kind": choose.choice(("train", "deploy", "dev")),
            "environment": environment,
            "auto_approve_by": "",
            "is_sample": choose.random() < 0.5,
            "has_cause": False,
            **({"on_behalf_of": behind} if behind else {}),
        },
        "member.set": {"member": choose.choice(NAMES)},
        "run.decide": {"approve": True},
    }
    run = questions.run(
        "run_1",
        project=project,
        kind="train",
        environment=environment,
        requested_by="eva",
        on_behalf_of=behind,
    )
    what = run if action == "run.decide" else questions.project(project)
    return questions.Question(who, action, what, context.get(action, {}))


def _engines(
    choose: random.Random, monkeypatch: pytest.MonkeyPatch, worth: int
) -> tuple[engine.PolicyEngine, engine.PolicyEngine]:
    """Of the same policies, narrowed and not; what the schema's check refuses is drawn again."""
    while True:
        own = _own(choose, 12, failing=choose.choice((0.0, 0.0, 0.2)))
        texts = dataclasses.replace(sources.load(None), own={"own.cedar": own})
        with monkeypatch.context() as patch:
            patch.setattr(narrowing, "WORTH", worth)
            try:
                narrowed = engine.PolicyEngine.of(texts)
            except errors.InvalidSettings:
                continue
            patch.setattr(narrowing, "placed", lambda bodies: [None] * len(bodies))
            return narrowed, engine.PolicyEngine.of(texts)


def compare(monkeypatch: pytest.MonkeyPatch, *, sets: int, asked: int, seed: int) -> None:
    choose, found, failed, spared = random.Random(seed), set(), 0, 0
    for i in range(sets):
        narrowed, whole = _engines(choose, monkeypatch, worth=i % 2)
        assert all(list(of) == [None] for of in whole._sets.values())
        spared += sum(len(narrowed._sets[action]) - 1 for action in ACTIONS)
        for question in [_question(choose) for _ in range(asked)]:
            answer, truth = narrowed.decide(question), whole.decide(question)
            same = (answer.allowed, answer.policies, bool(answer.errors))
            assert same == (truth.allowed, truth.policies, bool(truth.errors)), (question, answer, truth)
            failed += bool(answer.errors)
            found.add((answer.allowed, any(p.startswith("own.") for p in answer.policies)))
    assert spared > sets * len(ACTIONS) and failed > asked / 4
    assert found >= {(True, True), (True, False), (False, True), (False, False)}


def test_a_narrowed_set_decides_as_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compare(monkeypatch, sets=40, asked=150, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_of_a_quarter_of_a_million_questions_none_is_decided_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compare(monkeypatch, sets=125, asked=2_000, seed=2)


ANA, FLIGHTS = ("principal.name", "ana"), ("resource", "Project::flights")
IN_FLIGHTS, PROD = ("resource in", "Project::flights"), ("context.environment", "prod")


@pytest.mark.parametrize(
    ("head", "conditions", "demands"),
    [
        (1, "", [{ANA}]),
        (2, "", [{FLIGHTS}]),
        (3, "", [{ANA}, {FLIGHTS}]),
        (4, "", [{IN_FLIGHTS}]),
        (0, "", []),
        (0, 'when { principal.name == "ana" }', [{ANA}]),
        (0, 'when { "ana" == principal.name }', [{ANA}]),
        (0, 'when { principal == Actor::"ana" }', [{ANA}]),
        (0, 'when { resource == Project::"flights" }', [{FLIGHTS}]),
        (0, 'when { resource in Project::"flights" }', [{IN_FLIGHTS}]),
        (0, 'when { ["ana", "eva"].contains(principal.name) }', [{ANA, ("principal.name", "eva")}]),
        (0, 'when { principal.name == "ana" || resource == Project::"flights" }', [{ANA, FLIGHTS}]),
        (0, 'when { principal.roles.contains("viewer") && principal.name == "ana" }', [{ANA}]),
        (0, 'when { principal.roles.contains("viewer") } when { principal.name == "ana" }', [{ANA}]),
        (0, 'unless { context.is_sample } when { principal.name == "ana" }', [{ANA}]),
        (
            0,
            'when { context.environment == "prod" && (context.is_sample && principal.name == "ana") }',
            [{PROD}, {ANA}],
        ),
        (0, 'when { principal.name == "ana" || principal.roles.contains("viewer") }', []),
        (0, 'when { principal.name != "ana" }', []),
        (0, 'when { !(principal.name == "ana") }', []),
        (0, 'unless { principal.name == "ana" }', []),
        (0, 'when { if principal.name == "ana" then true else context.is_sample }', []),
        # What may fail stands before it.
        (0, 'when { 9223372036854775807 + 1 > 0 && principal.name == "ana" }', []),
        (0, 'when { principal.name == "ana" && 9223372036854775807 + 1 > 0 }', [{ANA}]),
        (0, 'unless { ip("1.2.3.4").isLoopback() } when { principal.name == "ana" }', []),
    ],
)
def test_what_a_policy_demands(head: int, conditions: str, demands: list[set[narrowing.Place]]) -> None:
    text = HEADS[head].format(action='action == Action::"run.start"', name="ana", project="flights")
    text = f'@id("a.b") @advice("x") forbid ({text}) {conditions};'
    found = engine.PolicyEngine.of(dataclasses.replace(sources.load(None), own={"own.cedar": text}))
    (own,) = [p for p in found.policies if not p.is_ours]
    assert [set(demand) for demand in narrowing.demands(own.body)] == demands


def test_policies_are_found_by_an_attribute_only_where_enough_are_spared() -> None:
    """A name always; an environment if another set costs less than all that need not be looked at."""

    def bodies(count: int) -> list[dict[str, object]]:
        text = "\n".join(
            f'@id("a.{i}") @advice("x") forbid (principal, action == Action::"run.start", resource)'
            f' when {{ context.environment == "e{i % 7}" && principal.roles.contains("viewer") }};'
            for i in range(count)
        )
        found = engine.PolicyEngine.of(dataclasses.replace(sources.load(None), own={"own.cedar": text}))
        return [dict(p.body) for p in found.policies if not p.is_ours]

    assert narrowing.placed(bodies(narrowing.WORTH)) == [None] * narrowing.WORTH
    assert narrowing.placed(bodies(2 * narrowing.WORTH))[8] == frozenset({("context.environment", "e1")})


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
