"""The platform's bench measures what it says: its tamperings are real ones, and its rows are complete."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from mainspring.bench.control_plane import __main__ as bench
from mainspring.bench.control_plane import audit, decisions, evidence, race, requests
from mainspring.platform.audit import verification


def test_each_tampering_changes_the_log_and_only_checkpoints_find_two_of_them(tmp_path: Path) -> None:
    async def story() -> None:
        db, kept = audit.opened(tmp_path / "platform")
        await db.open()
        assert await audit.appends_per_second(db, total=30, batch=10) > 0
        lines = await audit.export(db, kept)
        await db.close()
        assert len(lines) == 30
        assert audit.verified_rows_per_second(lines, kept.lines(), kept.signer.public, rounds=1) > 0
        found = audit.tamperings(lines, kept.lines(), kept.signer.public, trials=60)
        assert set(found) == {"edit", "delete", "insert", "reorder", "truncate", "full re-hash"}
        assert all(kind == {"trials": 10, "found": 10} for kind in found.values())
        # The bench's own test: nobody vouches for this log, so consistent changes pass.
        blind = audit.tamperings(lines, [], kept.signer.public, trials=6)
        assert all(kind["found"] == 1 for kind in blind.values())
        assert verification.verify(lines[:7], [], kept.signer.public, allow_unsigned=True).ok

    asyncio.run(story())


def test_rows_of_projects_are_in_chains_of_theirs(tmp_path: Path) -> None:
    async def story() -> list[bytes]:
        db, kept = audit.opened(tmp_path)
        await db.open()
        assert await audit.appends_per_second(db, total=100, batch=50, of_projects=True) > 0
        lines = await audit.export(db, kept)
        await db.close()
        assert verification.verify(lines, kept.lines(), kept.signer.public).ok
        assert audit.in_shares(tmp_path, lines, kept.lines(), kept.signer.public, jobs=2) > 0
        return lines

    found = [json.loads(line)["row"] for line in asyncio.run(story())]
    assert {row["project"] for row in found} == {f"project-{i}" for i in range(audit.PROJECTS)}
    assert [row["project_sequence"] for row in found if row["project"] == "project-3"] == [1, 2, 3, 4, 5]


def test_a_pack_has_the_project_s_rows_and_is_verified_by_its_script(tmp_path: Path) -> None:
    found = asyncio.run(evidence.run(tmp_path, total=1_000))
    assert (found.rows, found.log_rows) == (902, 1_002)
    assert found.made_seconds > 0 and found.verified_seconds > 0 and found.mebibytes > 0.01


def test_decisions_are_those_of_the_peer_before_they_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = decisions.measure(rounds=1)
    crowd = next(int(name.split()[1]) for name in found if "about the action" in name)
    assert 100 < crowd < 200
    assert {name: len(timed) for name, timed in found.items()} == {
        "authorisation, 200 policies, first asked": 900,
        "authorisation, 200 policies, asked again": 900,
        **{
            f"authorisation, {crowd} of 200 policies about the action{how}, first asked": 400
            for how in ("", ", named last", ", none by name", ", nothing tells them apart")
        },
        "authorisation, cedarpy as it comes": 900,
    }
    first, again = (
        sorted(wall for wall, _ in found[f"authorisation, 200 policies, {how}"])[450]
        for how in ("first asked", "asked again")
    )
    assert again < first / 5  # nothing that was asked before is among the first
    assert all(wall > 0 for timed in found.values() for wall, _ in timed)
    held_back = decisions.questions.Principal("actor-0", frozenset({"viewer", "developer"}))
    one = decisions.dataclasses.replace(decisions.asked(1)[0], principal=held_back)
    assert decisions.policies().decide(one).policies == ("acme.0",)  # the 200 are real ones
    monkeypatch.setattr(decisions.AsItComes, "decide", lambda *_: decisions.questions.Decision(True, ()))
    with pytest.raises(AssertionError):
        decisions.measure(rounds=1)


def test_no_more_start_at_once_than_the_budget_has(tmp_path: Path) -> None:
    found = asyncio.run(race.run(tmp_path, starts=12, fits=3))
    assert (found.started, found.refused, found.launched) == (3, 9, 3) and found.seconds > 0
    rows = bench._race(_fresh(tmp_path / "whole"))
    assert [(row["value"], row.get("ok")) for row in rows] == [(10, True), (rows[1]["value"], None)]


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.integration
def test_requests_are_answered_and_on_record(tmp_path: Path) -> None:
    found = requests.latencies(tmp_path, reads=3, writes=2)
    assert {name: len(seconds) for name, seconds in found.items()} == {"write": 2, "read": 3}
