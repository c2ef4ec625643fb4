"""The replay guard finds what would break runs under way: mutants made by rule, not by hand. All of them: `bench workflows`."""

from __future__ import annotations

import asyncio

import pytest

from mainspring.bench.workflows import commands, replay_guard

SOURCES = replay_guard.sources()
#: The whole set has more than a thousand, about three minutes of them.
SAMPLE = 45


@pytest.mark.parametrize(
    ("source", "history"),
    [(source, history) for source in SOURCES for history in source.histories],
    ids=lambda value: getattr(value, "workflow_id", None) or value.name,
)
def test_the_other_witness_finds_every_command_of_a_stored_history(
    source: replay_guard.Source, history: replay_guard.WorkflowHistory
) -> None:
    answer = commands.compare(source.cls, history)
    assert (answer.outcome, answer.why) == (commands.Outcome.SAME, "")
    assert answer.lines


def test_a_sample_of_the_mutants_is_caught_where_it_breaks_and_passes_where_it_does_not() -> None:
    found = asyncio.run(replay_guard.verdicts(SOURCES, sample=SAMPLE))
    breaking = [v for v in found if v.kind == "breaking"]
    assert len(breaking) >= 15
    assert len({v.workflow for v in breaking}) >= 3
    assert [v for v in breaking if not v.is_caught] == []
    passing = [v for v in found if v.kind in ("harmless", "unreached")]
    assert len(passing) >= 5
    assert [v for v in passing if v.is_caught] == []


def test_a_guard_that_lets_everything_through_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def blind(*_: object) -> str:
        return ""

    monkeypatch.setattr(replay_guard, "_replay", blind)
    row = replay_guard.row(sample=20)
    assert row["breaking"] > row["caught"] == 0
    assert len(row["missed"]) == row["breaking"]
