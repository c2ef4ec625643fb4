"""A second engine (Rego, by regorus) with the policies written once more answers as Cedar does, over generated questions."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import regorus

from mainspring.core import identity
from mainspring.platform.policies import cases, engine, questions, sources

REGO = Path(__file__).parent / "oracle" / "policies.rego"
OURS = engine.PolicyEngine.load()
TABLE = cases.load(sources.FOLDER / cases.FILE)
BATCH: Final = 500
#: A million in all.
PIECES: Final = 10
PIECE: Final = 100_000

ENVIRONMENTS = ("dev", "staging", "prod", "moon", "")
NAMES = ("ana", "eva", "")
ACCOUNT = "service-account:flights:ci"
PROJECT_ACTIONS = (
    *("project.read", "run.read", "cost.read", "lineage.read", "catalog.read", "quarantine.read"),
    *(
        "classification.read",
        "classification.find",
        "keyset.read",
        "masking.read",
        "purpose.read",
        "purpose.decide",
        "dpia.read",
        "dpia.submit",
        "privacy.read",
        "secret.read",
        "secret.set",
        "secret.remove",
        "service-account.read",
        "service-account.create",
        "service-account.change",
        "service-account.rotate",
        "service-account.delete",
        "service-account.token",
        "quota.read",
        "quota.set",
        "privacy.budget",
        "privacy.spend",
        "erasure.read",
        "erasure.request",
        "hold.read",
        "hold.place",
        "hold.lift",
        "erasure.report",
    ),
    *(
        "schedule.read",
        "endpoint.read",
        "member.read",
        "access.read",
        "approval.read",
        "access.expire",
        "endpoint.report",
        "retention.remove",
        "audit.read",
        "project.update",
        "notebook.end",
        "usage.record",
        "catalog.put",
    ),
    *("lineage.record", "quarantine.release", "model.import"),
)
CONTEXTS: dict[str, dict[str, tuple[str | bool | None, ...]]] = {
    "run.start": {
        "kind": ("train", "deploy", "score", "retire", "release"),
        "environment": ENVIRONMENTS,
        "auto_approve_by": NAMES,
        "is_sample": (True, False),
        "has_cause": (True, False),
        "on_behalf_of": NAMES,
        "prompted_by": NAMES,
        "purpose": ("", "care"),
        "is_for_purpose": (True, True, None, False),
        "is_assessed": (True, True, None, False),
    },
    "run.decide": {"approve": (True, False)},
    "notebook.change": {"change": ("start", "extend", "stop")},
    "run.steer": {"order": ("pause", "resume", "promote", "abort")},
    "pipeline.run": {"environment": ENVIRONMENTS},
    "classification.decide": {"confirm": (True, False)},
    "dpia.decide": {"risk": ("", "low", "high"), "submitted_by": NAMES, "sign": (True, False)},
    "erasure.decide": {"requested_by": NAMES, "approve": (True, False)},
    "hold.decide": {"requested_by": NAMES, "approve": (True, False)},
    "data.see": {
        "classification": ("public", "confidential", "restricted"),
        "purpose": ("", "prediction", "care"),
        "form": ("clear", "partial", "hash"),
        "is_synthetic_only": (True, False),
    },
    "data.use": {
        "environment": ENVIRONMENTS,
        "classification": ("", "confidential", "restricted"),
        "form": ("open", "synthetic", "sealed", "clear"),
        "columns": ("", "lake.people.mail"),
        "is_synthetic_only": (True, False),
        "purpose": ("", "care"),
        "is_for_purpose": (True, None, False),
    },
    "secret.use": {
        "environment": ENVIRONMENTS,
        "name": ("warehouse", "mail"),
        "requested_by": NAMES,
    },
    "data.export": {
        "environment": ENVIRONMENTS,
        "classification": ("", "public", "confidential", "restricted"),
        "columns": ("", "lake.people.mail"),
        "destination": ("/srv/out", "s3://partner/out"),
        "purpose": ("", "care"),
        "exit": ("scores", "table", "bundle", "history"),
        "is_inside": (True, False),
        "is_for_purpose": (True, None, False),
    },
    "sealed.open": {"classification": ("public", "confidential", "restricted"), "purpose": ("care",)},
    "keyset.change": {"change": ("rotate", "forget")},
    "project.create": {"name": ("flights",)},
    "key.change": {"kind": ("bundles", "payloads"), "change": ("rotate", "deny", "vouch")},
    "member.set": {"member": NAMES},
    "member.remove": {"member": NAMES},
    **{
        f"access.{verb}": {
            "role": identity.ROLES,
            "environment": ENVIRONMENTS,
            **({} if verb in ("request", "break-glass") else {"requested_by": NAMES}),
            **({"approve": (True, False)} if verb == "decide" else {}),
        }
        for verb in ("request", "break-glass", "decide", "revoke", "review")
    },
    **{f"schedule.{verb}": {"process": ("skew", "retrain")} for verb in ("put", "remove", "run")},
}
ON_PLATFORM = {
    *("project.create", "audit.verify", "audit.export", "usage.record-serving", "policy.dry-run"),
    "service-account.introspect",
    *("key.read", "key.change", "key.report", "policy.read"),
}
ON_RUNS = {"run.decide", "run.cancel", "run.resume", "run.steer", "run.report"}


def question(choose: random.Random) -> questions.Question:
    """One that fits the schema: any actor, action and resource. Starts of runs, which have the most rules, come more often."""
    action = choose.choice(sorted(OURS.actions) + ["run.start"] * 8)

    def some(values: tuple[str, ...]) -> frozenset[str]:
        return frozenset(choose.sample(values, choose.choice((0, 1, 1, 2, 3))))

    name = ACCOUNT if choose.random() < 0.1 else choose.choice(NAMES[:2])
    held = some(identity.ROLES)
    who = questions.Principal(name, held | some(identity.ROLES), held)
    drawn = {key: choose.choice(values) for key, values in CONTEXTS.get(action, {}).items()}
    context = {key: value for key, value in drawn.items() if value is not None}
    for named in questions.NAMED_BY_PROCESSES:
        if not context.get(named, True):
            del context[named]  # absent where nobody is named
    return questions.Question(who, action, _resource(action, choose), context)


def _resource(action: str, choose: random.Random) -> questions.Resource:
    if action in ON_RUNS:
        return questions.run(
            "run_1",
            project="flights",
            kind=choose.choice(("train", "deploy", "score")),
            environment=choose.choice(ENVIRONMENTS),
            requested_by=choose.choice(NAMES),
            on_behalf_of=choose.choice(NAMES),
            prompted_by=choose.choice(NAMES),
        )
    if action in ON_PLATFORM or (action.endswith(".read") and choose.random() < 0.5):
        return questions.PLATFORM
    return questions.project("flights")


class Oracle:
    def __init__(self, text: str) -> None:
        self._engine = regorus.Engine()
        self._engine.add_policy("policies.rego", text)

    def decide(self, asked: list[questions.Question]) -> Iterator[tuple[bool, frozenset[str]]]:
        self._engine.set_input_json(json.dumps({"questions": [q.to_record() for q in asked]}))
        answers: list[Any] = json.loads(self._engine.eval_rule_as_json("data.mainspring.answers"))
        assert len(answers) == len(asked)
        return ((bool(a["allowed"]), frozenset(a["by"])) for a in answers)


def disagreements(oracle: Oracle, asked: list[questions.Question]) -> list[str]:
    found = []
    for some in (asked[i : i + BATCH] for i in range(0, len(asked), BATCH)):
        for one, told in zip(some, oracle.decide(some), strict=True):
            answer = OURS.decide(one)
            assert not answer.errors, (one, answer)
            if (answer.allowed, frozenset(answer.policies)) != told:
                found.append(f"{one.to_record()}: {answer}, the oracle {told}")
    return found


def asked(count: int, seed: int) -> list[questions.Question]:
    choose = random.Random(seed)
    return [question(choose) for _ in range(count)]


def measure(piece: int) -> dict[str, Any]:
    """One piece of the million, as it is stored."""
    some = asked(PIECE, seed=1_000 + piece)
    begun = time.process_time()
    found = disagreements(Oracle(REGO.read_text()), some)
    allowed = sum(OURS.decide(q).allowed for q in some)
    return {
        "schema": "mainspring.bench.oracle/v1",
        "piece": piece,
        "asked": len(some),
        "distinct": len({json.dumps(q.to_record(), sort_keys=True) for q in some}),
        "actions": len({q.action for q in some}),
        "allowed": allowed,
        "disagreements": len(found),
        "first": found[:3],
        "policies": OURS.version,
        "cpu_seconds": round(time.process_time() - begun, 1),
    }


def test_both_engines_answer_alike() -> None:
    some = asked(8_000, seed=3)
    assert {q.action for q in some} == OURS.actions
    answers = [OURS.decide(q) for q in some]
    assert {p for a in answers for p in a.policies} == {p.id for p in OURS.policies}
    assert disagreements(Oracle(REGO.read_text()), some) == []


@pytest.mark.slow
def test_both_engines_answer_many_alike() -> None:
    assert disagreements(Oracle(REGO.read_text()), asked(20_000, seed=2)) == []


@pytest.mark.soak
@pytest.mark.timeout(280)
@pytest.mark.parametrize("piece", range(PIECES))
def test_of_a_million_questions_none_is_answered_otherwise(piece: int) -> None:
    """In pieces of 50 s of CPU; run as a program with their numbers, this file prints a line of JSON for each."""
    assert measure(piece)["disagreements"] == 0


def test_the_oracle_answers_the_table_too() -> None:
    fitting = [c for c in TABLE if not set(c.policies) & {questions.ERROR, questions.UNKNOWN_ACTION}]
    told = list(Oracle(REGO.read_text()).decide([c.question for c in fitting]))
    assert told == [(c.allowed, c.policies) for c in fitting]


@pytest.mark.parametrize(
    ("ours", "otherwise"),
    [
        ('has(q, {"approver", "admin"})', 'has(q, {"approver"})'),
        ('{"dev", "staging", "prod"}', '{"dev", "prod"}'),
        ("attributes[who] == q.principal.name", "attributes[who] != q.principal.name"),
        ('["requested_by", "on_behalf_of", "prompted_by"]', '["requested_by", "on_behalf_of"]'),
        ('["on_behalf_of", "prompted_by"]', '["on_behalf_of"]'),
        ("not q.context.on_behalf_of", "q.context.on_behalf_of"),
        ("q.context.is_synthetic_only\n", ""),
    ],
)
def test_a_rule_that_is_written_otherwise_is_found(ours: str, otherwise: str) -> None:
    text = REGO.read_text()
    assert ours in text
    changed = Oracle(text.replace(ours, otherwise, 1))
    # Some rules are about few questions: more are asked only where the first ones did not tell.
    assert any(disagreements(changed, asked(2_000, seed=seed)) for seed in range(20))


if __name__ == "__main__":  # pieces of the million by their numbers, a line of JSON each
    for number in map(int, sys.argv[1:]):
        print(json.dumps(measure(number)), flush=True)
