"""From answers to a risk: more that applies never makes it smaller, and no measure makes it larger."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.contracts.dpia import DpiaAnswers
from mainspring.core.protection import dpia

CRITERIA = [name for name, _, _ in dpia._CRITERIA]
MEASURES = [name for name, _, _ in dpia._MEASURES]
RISKS = ("low", "medium", "high")


def answers(**given: Any) -> DpiaAnswers:
    words = {"purpose": "who comes back", "necessity": "nothing less does", "measures": "sealed and reviewed"}
    said = dict.fromkeys((*CRITERIA, *MEASURES), False)
    return DpiaAnswers.model_validate({**words, "lawful_basis": "contract", **said, **given})


FLAGS = st.fixed_dictionaries({name: st.booleans() for name in (*CRITERIA, *MEASURES)})


@given(FLAGS, st.sampled_from(CRITERIA))
def test_what_applies_too_makes_no_risk_smaller(said: dict[str, bool], name: str) -> None:
    without, having = (dpia.assess(answers(**{**said, name: is_so})) for is_so in (False, True))
    assert having.score >= without.score
    assert RISKS.index(having.risk) >= RISKS.index(without.risk)


@given(FLAGS, st.sampled_from(MEASURES))
def test_a_measure_makes_no_risk_larger(said: dict[str, bool], name: str) -> None:
    without, having = (dpia.assess(answers(**{**said, name: is_so})) for is_so in (False, True))
    assert 0 <= having.score <= without.score
    assert RISKS.index(having.risk) <= RISKS.index(without.risk)


@pytest.mark.parametrize(
    ("given", "score", "risk"),
    [
        ({}, 0, "low"),
        ({"is_sealed": True, "human_review": True}, 0, "low"),  # against nothing
        ({"large_scale": True}, 2, "low"),
        ({"special_categories": True}, 3, "medium"),
        ({"special_categories": True, "is_sealed": True}, 2, "medium"),  # by law
        ({"automated_decisions": True, "human_review": True}, 2, "medium"),
        ({"special_categories": True, "automated_decisions": True}, 6, "high"),
        ({"special_categories": True, "automated_decisions": True, "human_review": True}, 5, "medium"),
        (dict.fromkeys(CRITERIA, True), 17, "high"),
        (dict.fromkeys((*CRITERIA, *MEASURES), True), 9, "high"),
    ],
)
def test_the_table_says_so(given: dict[str, bool], score: int, risk: str) -> None:
    found = dpia.assess(answers(**given))
    assert (found.score, found.risk) == (score, risk)
    assert len(found.findings) >= sum(name in CRITERIA for name in given)


def test_the_questionnaire_has_every_question_and_no_answer() -> None:
    text = dpia.template()
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(text)  # nobody's answers are handed in by accident
    filled = text.replace("= # true or false", "= false").replace("= # in words", '= "in so many words"')
    filled = filled.replace('lawful_basis = "in so many words"', 'lawful_basis = "contract"')
    filled = filled.replace('= # ["care", "billing"], or []', '= ["care"]')
    made = DpiaAnswers.model_validate(tomllib.loads(filled))
    assert made.purposes == ["care"]
    assert dpia.assess(made).risk == "low"
    assert all(field.description in text for field in DpiaAnswers.model_fields.values() if field.description)


@pytest.mark.parametrize("missing", [n for n, f in DpiaAnswers.model_fields.items() if f.is_required()])
def test_no_question_has_an_answer_that_nobody_gave(missing: str) -> None:
    given = answers().model_dump()
    del given[missing]
    with pytest.raises(ValueError, match=missing):
        DpiaAnswers.model_validate(given)
