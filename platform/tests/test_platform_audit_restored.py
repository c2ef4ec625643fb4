"""A database that was put back from a copy: what is gone is said to the row, going on is on record, and nobody is spared being told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mainspring.core import canonical, errors, settings
from mainspring.platform import database
from mainspring.platform.audit import checkpoints, rows, signers, store, verification
from mainspring.platform.cli.main import cli

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

Tamper = Callable[[str], list[Any]]


def opened(
    directory: Path, story: Callable[[database.Database, checkpoints.Checkpointer], Awaitable[Any]]
) -> Any:
    async def told() -> Any:
        s = settings.load({}, directory=directory)
        db = database.Database(s.control.database_url)
        kept = checkpoints.embedded(db, s.stack.state_dir)
        await db.open()
        try:
            return await story(db, kept)
        finally:
            await db.close()

    return asyncio.run(told())


async def append(db: database.Database, count: int, what: str = "first") -> None:
    facts = [store.Fact("ana", "run.start", f"run/{what}-{i}", "done", {}) for i in range(count)]
    async with db.write() as connection:
        await store.append(connection, facts)


async def exported(db: database.Database) -> list[bytes]:
    async with db.read() as connection:
        return [rows.to_line(row) for row in await store.page(connection, after=0, limit=1000)]


def found(export: list[bytes], kept: checkpoints.Checkpointer, **more: bool) -> verification.Finding:
    return verification.verify(export, kept.lines(), kept.signer.publics, **more)


async def lost(db: database.Database, kept: checkpoints.Checkpointer, tamper: Tamper) -> None:
    """Signed at 3 and at 6 rows; the copy is of 4."""
    for _ in range(2):
        await append(db, 3)
        await kept.take()
    tamper("DELETE FROM audit WHERE sequence > 4")


def test_what_is_missing_is_said_to_the_row(tmp_path: Path, tamper: Tamper) -> None:
    async def story(db: database.Database, kept: checkpoints.Checkpointer) -> None:
        await lost(db, kept, tamper)
        short = found(await exported(db), kept)
        assert (short.ok, short.rows, short.first_bad_sequence) == (False, 4, 5)
        assert short.problem == (
            "rows 5 to 6 are missing: the log ends at row 4, and 6 were signed; it is as it was signed up to row 3."
            " If the database was put back from a copy, see the runbook"
        )
        await append(db, 4, "later")  # grown over what is gone
        other = found(await exported(db), kept)
        assert (other.rows, other.first_bad_sequence) == (6, 6)
        assert other.problem.startswith(
            "row 6 is not the one that was signed: the log is as it was signed up to row 3, and"
        )
        with pytest.raises(errors.CorruptArtifact):
            await kept.take()

    opened(tmp_path, story)


@pytest.mark.parametrize("later", [0, 1, 9])
def test_going_on_is_on_record_and_told_to_whoever_verifies(
    tmp_path: Path, tamper: Tamper, later: int
) -> None:
    """Whether the log is still shorter than what was signed by then, or longer."""

    async def story(db: database.Database, kept: checkpoints.Checkpointer) -> None:
        await lost(db, kept, tamper)
        await append(db, later, "later")
        said = await kept.go_on("ops@example.org", "the disk of Sunday; the copy is of noon")
        assert (said.kept, said.signed, said.rows) == (3, 6, 5 + later)
        export = await exported(db)
        last = json.loads(export[-1])["row"]
        assert (last["actor"], last["action"], last["detail"]["signed"]) == (
            "ops@example.org",
            "audit.restored",
            6,
        )
        good = found(export, kept)
        assert good.ok and good.restored == (said,) and good.rows == 5 + later
        assert said.reason == "the disk of Sunday; the copy is of noon" and said.at
        # It goes on, and is told forever after.
        await append(db, 2, "after")
        assert await kept.take() == 7 + later
        grown = found(await exported(db), kept)
        assert grown.ok and grown.checkpoints == 3 and grown.restored == (said,)
        # What came before the copy and since is proved as ever.
        assert not found((await exported(db))[:-1], kept).ok
        assert not found([*export[:2], *export[3:]], kept).ok
        again = opened_again(db, kept)
        assert await again.take() == 7 + later
        with pytest.raises(errors.Conflict, match="nothing was put back"):
            await again.go_on("ops@example.org", "once more")

    def opened_again(db: database.Database, kept: checkpoints.Checkpointer) -> checkpoints.Checkpointer:
        return checkpoints.embedded(db, tmp_path / ".mainspring")

    opened(tmp_path, story)


def test_what_was_changed_is_no_copy(tmp_path: Path, tamper: Tamper) -> None:
    async def story(db: database.Database, kept: checkpoints.Checkpointer) -> None:
        await append(db, 3)
        with pytest.raises(errors.Conflict):  # before anything was signed there is nothing to go back from
            await kept.go_on("ops", "why not")
        await lost(db, kept, tamper)
        tamper("UPDATE audit SET actor = 'nobody' WHERE sequence = 2")
        before = kept.lines()
        with pytest.raises(errors.CorruptArtifact, match="row 2 was changed"):
            await kept.go_on("ops", "the disk")
        assert kept.lines() == before and len(await exported(db)) == 4

    opened(tmp_path, story)


def test_nobody_goes_back_without_the_key_or_to_what_was_never_signed(tmp_path: Path, tamper: Tamper) -> None:
    async def story(db: database.Database, kept: checkpoints.Checkpointer) -> None:
        await lost(db, kept, tamper)
        export, lines = await exported(db), kept.lines()
        thief = signers.FileSigner(tmp_path / "thief.key")

        def forged(signer: Any, restored: Any) -> bytes:
            body: dict[str, Any] = {"schema": verification.SCHEMA, "sequence": 4, "at": "now"}
            body |= {"head": json.loads(export[-1])["hash"], "root": rows.GENESIS, "restored": restored}
            body |= {"previous": canonical.digest_bytes(lines[-1].rstrip(b"\n"))}
            body |= {"key_id": verification.key_id(kept.signer.public)}
            signature = signer.sign(verification.signed_bytes(body)).hex()
            return canonical.dumps(body | {"signature": signature}) + b"\n"

        said = {"kept": 3, "by": "x", "reason": "y"}
        for signer, restored, problem in (
            (thief, said, "was not signed by this key"),
            (kept.signer, {**said, "kept": 4}, "does not follow the one before"),
            (kept.signer, {**said, "kept": 6}, "does not follow the one before"),
            (kept.signer, {**said, "kept": -1}, "does not follow the one before"),
            (kept.signer, {"kept": 3}, "is malformed"),
            (kept.signer, None, "is malformed"),
        ):
            bad = verification.verify(export, [*lines, forged(signer, restored)], kept.signer.publics)
            assert bad.problem == f"checkpoint 3 {problem}"
        line = forged(kept.signer, said)
        assert verification.verify(export, [*lines, line], kept.signer.publics).ok  # the test of the test

    opened(tmp_path, story)


def test_the_command_line(tmp_path: Path, tamper: Tamper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened(tmp_path, lambda db, kept: lost(db, kept, tamper))
    asked = ["audit", "restored", "--by", "ops@example.org", "--reason"]
    assert CliRunner().invoke(cli, [*asked, " "]).exit_code != 0
    told = CliRunner().invoke(cli, [*asked, "the disk of Sunday", "--json"])
    assert told.exit_code == 0, told.output
    data = json.loads(told.stdout)["data"]
    assert (data["kept"], data["signed"], data["rows"], data["by"]) == (3, 6, 5, "ops@example.org")
    export = tmp_path / "audit.ndjson"
    export.write_bytes(b"".join(opened(tmp_path, lambda db, _: exported(db))))
    folder = tmp_path / ".mainspring" / "audit"
    files = ["--checkpoints", str(folder / "checkpoints.jsonl"), "--public-key", str(folder / "public.pem")]
    good = CliRunner().invoke(cli, ["audit", "verify", "--export", str(export), *files, "--json"])
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["data"]["restored"] == [data]
    assert CliRunner().invoke(cli, [*asked, "twice"]).exit_code != 0
