"""Each checkpoint has the root of the tree over all rows' hashes; older ones without it count, and a wrong one is found."""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mainspring.core import canonical, errors, identity, settings
from mainspring.platform import database, plane
from mainspring.platform.audit import checkpoints, growing, rows, service, shares, store, verification
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

Story = Callable[[database.Database, checkpoints.Checkpointer], Awaitable[Any]]


def opened(directory: Path, story: Story) -> Any:
    async def told() -> Any:
        s = settings.load({}, directory=directory)
        db = database.Database(s.control.database_url)
        await db.open()
        try:
            return await story(db, checkpoints.embedded(db, s.stack.state_dir))
        finally:
            await db.close()

    return asyncio.run(told())


async def append(db: database.Database, count: int) -> None:
    async with db.write() as connection:
        facts = [store.Fact("ana", "run.start", f"run/{i}", "done", {"n": i}) for i in range(count)]
        await store.append(connection, facts)


async def exported(db: database.Database) -> list[bytes]:
    async with db.read() as connection:
        return [rows.to_line(row) for row in await store.page(connection, after=0, limit=5000)]


def naive(export: list[bytes]) -> str:
    """As RFC 6962 writes it."""

    def root(part: list[bytes]) -> bytes:
        if len(part) == 1:
            return hashlib.sha256(b"\x00" + bytes.fromhex(part[0][16:80].decode())).digest()
        half = 1 << ((len(part) - 1).bit_length() - 1)
        return hashlib.sha256(b"\x01" + root(part[:half]) + root(part[half:])).digest()

    return f"sha256:{root(export).hex()}"


def signed_anew(kept: checkpoints.Checkpointer, lines: list[bytes], **change: Any) -> list[bytes]:
    """By the log's own key, each with this change; of `root=None`: the older form."""
    found, previous = [], rows.GENESIS
    for line in lines:
        body = json.loads(line) | change | {"previous": previous}
        del body["signature"]
        if body["root"] is None:
            body = {name: value for name, value in body.items() if name != "root"}
            body["schema"] = verification.SCHEMA_WITHOUT_ROOT
        signature = kept.signer.sign(verification.signed_bytes(body)).hex()
        found.append(canonical.dumps(body | {"signature": signature}) + b"\n")
        previous = canonical.digest_bytes(found[-1].rstrip(b"\n"))
    return found


def file_of(directory: Path) -> Path:
    return directory / ".mainspring" / "audit" / "checkpoints.jsonl"


@pytest.mark.parametrize("seed", range(2))
def test_each_has_the_root_of_its_rows_whatever_was_started_anew(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)

    async def story(db: database.Database, kept: checkpoints.Checkpointer) -> None:
        state = tmp_path / ".mainspring"
        other = checkpoints.embedded(db, state)
        for _ in range(14):
            await append(db, choose.choice([1, 1, 2, 3, 64, choose.randrange(1, 400)]))
            kind = choose.randrange(3)
            kept = checkpoints.embedded(db, state) if kind == 0 else kept
            kept, other = (other, kept) if kind == 1 else (kept, other)  # two processes share the file
            await kept.take()
        export, found = await exported(db), await kept.signed()
        assert len(found.heads) == 14 and found.roots == {n: naive(export[:n]) for n in found.heads}
        proved = verification.verify(export, kept.lines(), kept.signer.publics, tree=True)
        assert proved.ok and proved.roots == 14

    opened(tmp_path, story)


def test_older_ones_without_it_count_until_the_first_that_has_it(tmp_path: Path) -> None:
    async def story(db: database.Database, kept: checkpoints.Checkpointer) -> None:
        for count in (3, 4):
            await append(db, count)
            await kept.take()
        older = signed_anew(kept, kept.lines(), root=None)
        file_of(tmp_path).write_bytes(b"".join(older))
        kept = checkpoints.embedded(db, tmp_path / ".mainspring")
        assert await kept.take() == 7
        await append(db, 2)
        assert await kept.take() == 9
        export = await exported(db)
        found = await kept.signed()
        assert list(found.heads) == [3, 7, 9] and found.roots == {9: naive(export)}
        assert verification.verify(export, kept.lines(), kept.signer.publics, tree=True).roots == 1
        # One without it that follows.
        await append(db, 1)
        await kept.take()
        lines = kept.lines()
        last = json.loads(signed_anew(kept, lines[-1:], root=None)[0])
        last["previous"] = json.loads(lines[-1])["previous"]
        del last["signature"]
        signature = kept.signer.sign(verification.signed_bytes(last)).hex()
        without = [*lines[:-1], canonical.dumps(last | {"signature": signature}) + b"\n"]
        bad = verification.verify(await exported(db), without, kept.signer.publics)
        assert bad.problem == "checkpoint 4 has no root of the log's tree, and one before it has"

    opened(tmp_path, story)


def test_a_root_in_the_older_form_or_none_in_this_one_is_malformed(tmp_path: Path) -> None:
    async def story(db: database.Database, kept: checkpoints.Checkpointer) -> None:
        await append(db, 3)
        await kept.take()
        publics = kept.signer.publics
        odd = signed_anew(kept, kept.lines(), schema=verification.SCHEMA_WITHOUT_ROOT)
        for lines in (odd, signed_anew(kept, kept.lines(), root=7)):
            with pytest.raises(verification.BadCheckpoints, match="checkpoint 1 is malformed"):
                verification.read_signed(lines, publics)

    opened(tmp_path, story)


def test_a_wrong_root_is_found_by_who_asks_for_the_tree_and_by_the_control_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(db: database.Database, kept: checkpoints.Checkpointer) -> None:
        for count in (3, 400, 100):
            await append(db, count)
            await kept.take()
        export, lines, publics = await exported(db), kept.lines(), kept.signer.publics
        wrong = signed_anew(kept, lines, root=naive(export[:403]))  # right for the second alone
        assert verification.verify(export, wrong, publics).ok
        found = verification.verify(export, wrong, publics, tree=True)
        assert (found.first_bad_sequence, found.rows) == (3, 3)
        assert found.problem.startswith("the tree over rows 1 to 3 has another root")
        monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", InThisProcess)
        (tmp_path / "export").write_bytes(b"".join(export))
        assert shares.verify(tmp_path / "export", wrong, publics, jobs=3, tree=True) == found
        # A row that was changed before a root that is wrong is what is told.
        changed = [export[0], export[1].replace(b"ana", b"eve"), *export[2:]]
        assert verification.verify(changed, wrong, publics, tree=True).problem == "row 2 was changed"
        file_of(tmp_path).write_bytes(b"".join(wrong))
        kept = checkpoints.embedded(db, tmp_path / ".mainspring")
        issuer = identity.TokenIssuer({"dev": identity.Actor("ana", ("developer",))})
        one = plane.ControlPlane(db, issuer, launcher.MemoryLauncher(), settings.CostSettings(), 2, kept)
        online = await service.verify(one, "Bearer dev")
        assert not online.ok and online.problem == found.problem
        await append(db, 1)
        with pytest.raises(errors.CorruptArtifact, match="tree over rows 1 to 503 is not the one"):
            await kept.take()
        assert file_of(tmp_path).read_bytes() == b"".join(wrong)

    opened(tmp_path, story)


class InThisProcess(concurrent.futures.ThreadPoolExecutor):
    """In the place of processes, which take a second to start."""

    def __init__(self, jobs: int, mp_context: object) -> None:
        super().__init__(jobs)


def test_nothing_is_signed_over_a_row_whose_hash_was_changed_before_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain from the last checkpoint on says nothing of it; the tree is over all rows."""
    read = checkpoints.Checkpointer._grow

    async def changed(self: Any, connection: Any, tree: growing.Part, until: int) -> None:
        await read(self, connection, tree, 1)
        tree.extend([b"\x00" * 32])
        await read(self, connection, tree, until)

    async def story(db: database.Database, kept: checkpoints.Checkpointer) -> None:
        await append(db, 5)
        await kept.take()
        await append(db, 1)
        monkeypatch.setattr(checkpoints.Checkpointer, "_grow", changed)
        with pytest.raises(errors.CorruptArtifact, match="tree over rows 1 to 5"):
            await checkpoints.embedded(db, tmp_path / ".mainspring").take()
        assert await kept.take() == 6  # it has them in memory

    opened(tmp_path, story)


def test_the_first_root_is_over_rows_that_were_recomputed(tmp_path: Path) -> None:
    """Where no root was signed yet, a hash that stands in the database proves nothing."""

    async def story(db: database.Database, kept: checkpoints.Checkpointer) -> None:
        await append(db, 5)
        await kept.take()
        file_of(tmp_path).write_bytes(b"".join(signed_anew(kept, kept.lines(), root=None)))
        await append(db, 1)
        was = store.problem
        seen: list[int] = []

        def asked(row: sa.Row[Any], sequence: int, head: str) -> str:
            seen.append(sequence)
            return was(row, sequence, head)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "problem", asked)
            assert await checkpoints.embedded(db, tmp_path / ".mainspring").take() == 6
        assert seen == [1, 2, 3, 4, 5, 6]

    opened(tmp_path, story)


@pytest.mark.parametrize("count", [1, 4])
def test_a_process_that_knows_rows_that_are_gone_makes_the_tree_anew(
    tmp_path: Path, tamper: Callable[[str], list[Any]], count: int
) -> None:
    """Another one says that the log was put back, to fewer rows than this one has in its tree, or to more that are others."""

    async def story(db: database.Database, kept: checkpoints.Checkpointer) -> None:
        await append(db, 3)
        await kept.take()
        await append(db, 3)
        assert await kept.take() == 6
        tamper("DELETE FROM audit WHERE sequence > 3")
        await append(db, count)
        await checkpoints.embedded(db, tmp_path / ".mainspring").go_on("ops", "the disk")
        await append(db, 2)
        last = await kept.take()
        export, found = await exported(db), await kept.signed()
        assert last == len(export) == 6 + count
        assert found.roots == {n: naive(export[:n]) for n in (3, 4 + count, last)}
        proved = verification.verify(export, kept.lines(), kept.signer.publics, tree=True)
        assert proved.ok and proved.roots == 3

    opened(tmp_path, story)
