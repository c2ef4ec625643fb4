"""The policies give the answers of their table, and refuse to be loaded or asked amiss."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mainspring.core import errors, identity, settings
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.policies import cases, engine, questions, sources
from mainspring.platform.runs import launcher

OURS = engine.PolicyEngine.load()
TABLE = cases.load(sources.FOLDER / cases.FILE)
FREEZE = """
@id("acme.freeze")
@advice("the year-end freeze is on; start it in January")
forbid (principal, action == Action::"run.start", resource)
when { context.environment == "prod" };
"""
START: Mapping[str, str | bool] = {
    "kind": "train",
    "environment": "dev",
    "auto_approve_by": "",
    "is_sample": False,
    "has_cause": False,
}


def start(*roles: str, **context: str | bool) -> questions.Question:
    who = questions.Principal("ana", frozenset(roles))
    return questions.Question(who, "run.start", questions.project("flights"), {**START, **context})


def with_own(text: str, name: str = "acme.cedar") -> engine.PolicyEngine:
    return engine.PolicyEngine.of(dataclasses.replace(sources.load(None), own={name: text}))


def test_every_case_of_the_table_is_answered_so() -> None:
    assert [str(one) for one in cases.run(OURS, TABLE)] == []


def test_the_table_asks_about_every_action_and_sees_every_policy_decide() -> None:
    assert {case.question.action for case in TABLE} >= OURS.actions
    assert {p.id for p in OURS.policies} <= set().union(*(case.policies for case in TABLE))


def test_a_case_that_is_answered_otherwise_is_told() -> None:
    wrong = dataclasses.replace(TABLE[0], allowed=not TABLE[0].allowed)
    (missed,) = cases.run(OURS, [wrong])
    assert (
        str(missed) == "case `project.read: viewer`: allowed by read.project, expected denied by read.project"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cases = [", "cannot be read"),
        ('cases = [{ name = "a" }]', "case `a`: KeyError('action')"),
        ('cases = [{ name = "a", action = "x", allowed = true, color = 1 }]', "no key `color`"),
        ('cases = [{ name = "a", action = "x", allowed = true, on = { size = "1" } }]', "no `size`"),
        ("cases = [1]", "case `1`"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "cases.toml").write_text(text)
    with pytest.raises(errors.InvalidSettings) as caught:
        cases.load(tmp_path / "cases.toml")
    assert problem in caught.value.message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("permit (principal", "`acme.cedar`: "),
        ("permit (principal, action, resource);", "policy `policy0` has no `@id`, `@advice`; annotate it"),
        ('@id("a") permit (principal, action, resource);', "policy `a` has no `@advice`"),
        ('@id("a") @advice(" ") permit (principal, action, resource);', "policy `a` has no `@advice`"),
        (
            '@id("a") @advice("b") permit (principal, action == Action::"run.start", resource)'
            ' when { context.enviroment == "x" };',
            "policy `a`: ",
        ),
        ('@id("a") @advice("b") permit (principal, action == Action::"run.go", resource);', "run.go"),
        ('@id("a") @advice("b") permit (principal == ?principal, action, resource);', "templates"),
        ('@id("run.role") @advice("b") permit (principal, action, resource);', "is in `runs.cedar` too"),
        (FREEZE + FREEZE, "`acme.freeze` is in `acme.cedar` too"),
    ],
)
def test_a_bad_policy_is_named_with_its_file(text: str, problem: str) -> None:
    with pytest.raises(errors.InvalidSettings) as caught:
        with_own(text)
    assert problem in caught.value.message and "`acme.cedar`" in caught.value.message
    assert caught.value.problems


def test_a_bad_schema_is_named() -> None:
    with pytest.raises(errors.InvalidSettings, match="cedarschema"):
        engine.PolicyEngine.of(dataclasses.replace(sources.load(None), schema="entity {"))


def test_a_folder_without_policies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidSettings, match=r"no `\*\.cedar` file"):
        engine.PolicyEngine.load(tmp_path)
    (tmp_path / "a.cedar").write_bytes(b"\xff")
    with pytest.raises(errors.InvalidSettings, match="cannot be read"):
        engine.PolicyEngine.load(tmp_path)


def test_the_api_does_not_start_on_a_bad_policy(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "acme.cedar").write_text('@id("a") permit (principal, action, resource);')
    s = settings.load({"MAINSPRING_CONTROL_POLICIES_DIR": str(tmp_path / "own")}, directory=tmp_path)
    with pytest.raises(errors.InvalidSettings, match=r"`acme\.cedar`: policy `a`"):
        control_app.create_app(s, issuer=identity.TokenIssuer({}), launcher=launcher.MemoryLauncher())


def test_a_forbid_of_an_organisation_goes_before_our_permits() -> None:
    own = with_own(FREEZE)
    assert own.has_own and not OURS.has_own and own.version != OURS.version
    assert own.decide(start("admin")).policies == ("run.start",)
    denied = own.decide(start("admin", environment="prod"))
    assert denied == questions.Decision(False, ("acme.freeze",))
    refusal = engine.denial(own, start("admin", environment="prod"), denied)
    assert isinstance(refusal, errors.PolicyDenied) and refusal.rule_id == "acme.freeze"
    assert refusal.message == "rule `acme.freeze` denies it: the year-end freeze is on; start it in January"


def test_a_permit_of_an_organisation_does_not_go_before_our_forbids() -> None:
    own = with_own('@id("acme.all") @advice("-") permit (principal, action, resource);')
    assert own.decide(start()).policies == ("acme.all",)
    assert own.decide(start(environment="moon")).policies == ("run.environment",)


def test_a_policy_that_cannot_be_evaluated_is_a_no() -> None:
    own = with_own(
        '@id("acme.sum") @advice("-") forbid (principal, action == Action::"run.start", resource)'
        " when { 9223372036854775807 + 1 == 0 };"
    )
    denied = own.decide(start("developer"))
    assert (denied.allowed, denied.policies) == (False, ("policy.error",)) and "overflow" in denied.errors[0]
    refusal = engine.denial(own, start("developer"), denied)
    assert isinstance(refusal, errors.PolicyDenied) and "overflow" in refusal.cause


def test_what_nothing_permits_says_what_would() -> None:
    refusal = engine.denial(OURS, start("viewer"), OURS.decide(start("viewer")))
    assert isinstance(refusal, errors.PermissionDenied) and refusal.action == "run.start"
    assert "`ana` has roles `viewer` here" in refusal.message and "ask an admin" in refusal.message
    with pytest.raises(errors.PermissionDenied, match="`ana` has no role here"):
        engine.require(OURS, start())
    assert engine.require(OURS, start("developer")).policies == ("run.start",)


TEXTS = st.text(max_size=30)


@given(
    name=TEXTS.filter(bool),
    action=st.sampled_from(sorted(OURS.actions)) | TEXTS,
    kind=st.sampled_from(["Project", "Platform", "Run", "Actor"]) | TEXTS,
    roles=st.frozensets(st.sampled_from(identity.ROLES) | TEXTS, max_size=4),
    context=st.dictionaries(TEXTS, TEXTS | st.booleans(), max_size=3),
)
@hypothesis_settings(max_examples=300, deadline=None)
def test_whatever_is_asked_there_is_an_answer(
    name: str, action: str, kind: str, roles: frozenset[str], context: dict[str, Any]
) -> None:
    question = questions.Question(
        questions.Principal(name, roles, roles), action, questions.Resource(kind, name), context
    )
    answer = OURS.decide(question)
    assert answer.allowed == bool(answer.policies and not answer.errors and answer.policies[0] in PERMITS)
    assert questions.Question.of_record(question.to_record()) == question


PERMITS = {p.id for p in OURS.policies if p.is_permit}


def test_policies_are_kept_by_action_and_none_is_lost() -> None:
    """Over every action, the small set answers as the whole one does."""
    whole = engine._set_of(OURS.policies)
    for case, roles in itertools.product(TABLE, ((), ("viewer",), ("admin",), ("service",))):
        asked = dataclasses.replace(
            case.question, principal=dataclasses.replace(case.question.principal, roles=frozenset(roles))
        )
        if asked.action not in OURS.actions:
            continue
        answer = engine.cedarpy.is_authorized(
            engine._request(asked), whole, engine._entities(asked), OURS._schema
        )
        found = OURS.decide(asked)
        assert found.allowed == answer.allowed
        if not found.errors:
            assert set(found.policies) == set(answer.diagnostics.reasons)


def test_the_command_line_checks_a_folder(tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli.cli, ["policy", "check", *arguments])

    ours = run(str(sources.FOLDER))
    assert ours.exit_code == 0 and "missed: []" in ours.output
    (tmp_path / "acme.cedar").write_text(FREEZE)
    row = 'name = "frozen", roles = ["admin"], action = "run.start", with = { environment = "prod" }'
    defaults = '[defaults]\n"run.start" = { kind = "train", auto_approve_by = "", is_sample = false, has_cause = false }'
    table = tmp_path / "cases.toml"
    table.write_text(f'cases = [{{ {row}, allowed = false, by = ["acme.freeze"] }}]\n{defaults}\n')
    assert run(str(tmp_path)).exit_code == 0
    table.write_text(f"cases = [{{ {row}, allowed = true }}]\n{defaults}\n")
    missed = run(str(tmp_path))
    assert missed.exit_code == 78
    assert "case `frozen`: denied by acme.freeze, expected allowed by nothing" in missed.output
    (tmp_path / "acme.cedar").write_text("permit")
    assert run(str(tmp_path)).exit_code == 78


def test_an_answer_is_kept_and_what_could_not_be_evaluated_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = engine.PolicyEngine.load()
    who = questions.Principal("ana", frozenset({"developer"}))
    asked = questions.Question(who, "run.read", questions.project("flights"))
    assert ours.decide(asked).allowed
    calls, real = [], engine.cedarpy.is_authorized

    def counted(*given: Any) -> Any:
        calls.append(given)
        return real(*given)

    monkeypatch.setattr(engine.cedarpy, "is_authorized", counted)
    assert ours.decide(asked).allowed and not calls
    # Another role, project, action or context is another question.
    others = [
        dataclasses.replace(asked, principal=questions.Principal("ana", frozenset())),
        dataclasses.replace(asked, resource=questions.project("other")),
        dataclasses.replace(asked, action="cost.read"),
        dataclasses.replace(asked, context={"x": True}),
    ]
    told = [ours.decide(other) for other in others]
    assert [one.allowed for one in told] == [False, True, True, False] and len(calls) == 4
    assert told[3].policies == (questions.ERROR,) and ours.decide(others[3]) == told[3] and len(calls) == 5

    def broken(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(engine.cedarpy, "is_authorized", broken)
    fresh = dataclasses.replace(asked, resource=questions.project("fresh"))
    assert ours.decide(fresh).policies == (questions.ERROR,)
    monkeypatch.setattr(engine.cedarpy, "is_authorized", real)
    assert ours.decide(fresh).allowed
    # A new set is a new engine, which has kept nothing of the one before.
    forbid = '@id("acme.no") @advice("no") forbid (principal, action, resource);'
    stricter = engine.PolicyEngine.of(dataclasses.replace(sources.load(None), own={"acme.cedar": forbid}))
    assert not stricter.decide(asked).allowed
