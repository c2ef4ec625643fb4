"""The platform's bench measures what it says: its tamperings are real ones, and its rows are complete."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mainspring.bench.control_plane import audit, requests
from mainspring.platform.audit import verification


def test_each_tampering_changes_the_log_and_only_checkpoints_find_two_of_them(tmp_path: Path) -> None:
    async def story() -> None:
        db, kept = audit.opened(tmp_path)
        await db.open()
        assert await audit.appends_per_second(db, total=30, batch=10) > 0
        lines = await audit.export(db, kept)
        await db.close()
        assert len(lines) == 30
        assert audit.verified_rows_per_second(lines, kept.lines(), kept.public, rounds=1) > 0
        found = audit.tamperings(lines, kept.lines(), kept.public, trials=60)
        assert set(found) == {"edit", "delete", "insert", "reorder", "truncate", "full re-hash"}
        assert all(kind == {"trials": 10, "found": 10} for kind in found.values())
        # The bench's own test: nobody vouches for this log, so consistent changes pass.
        blind = audit.tamperings(lines, [], kept.public, trials=6)
        assert all(kind["found"] == 1 for kind in blind.values())
        assert verification.verify(lines[:7], [], kept.public, allow_unsigned=True).ok

    asyncio.run(story())


@pytest.mark.integration
def test_requests_are_answered_and_on_record(tmp_path: Path) -> None:
    found = requests.latencies(tmp_path, reads=3, writes=2)
    assert {name: len(seconds) for name, seconds in found.items()} == {"write": 2, "read": 3}
