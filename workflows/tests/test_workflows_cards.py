"""What a model's card shows to whom: the values in its tables, and nothing else of it, are masked."""

from __future__ import annotations

from mainspring.core.contracts import evaluation
from mainspring.core.monitoring import tokens
from mainspring.core.protection import showing
from mainspring.workflows.training import card


def test_a_card_has_the_cells_of_its_tables_masked_and_no_other_word() -> None:
    found = evaluation.Evaluation.model_validate(
        {
            "slices": [{"column": "mail", "value": "a|b\\c", "rows": 3}, {"column": "age", "value": "a|b\\c", "rows": 3}],
            "fairness": [{"column": "mail", "threshold": 0.5, "groups": [{"value": "zoe", "rows": 3, "positives": 1}]}],
        }
    )  # fmt: skip
    text = "\n".join(["# zoe's model", *card._slices(found), *card._fairness(found)])
    shown = showing.Shown({"mail": ("full", "")}, tokens.Tokeniser(b"k" * 32))
    masked = showing.card(text, found, shown).split("\n")
    assert masked[0] == "# zoe's model"
    assert [line for line in masked if line.startswith("| mail | *** | 3")]
    assert [line for line in masked if line.startswith("| age | a\\|b\\\\c | 3")]
    assert [line for line in masked if line.startswith("| *** | 3 | 1")]
    assert showing.card(text, found, showing.Shown({}, tokens.Tokeniser(b"k" * 32))) == text
