"""A row is proved to be in the log by itself, and a newer log to go on an older one; nothing else is."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from litestar.testing import TestClient
from platform_api import transport

from mainspring.core import canonical, errors, identity, settings
from mainspring.core.client import control as control_client
from mainspring.platform import app as control_app
from mainspring.platform import database, plane
from mainspring.platform.audit import checkpoints, proofs, rows, service, signers, store, verification
from mainspring.platform.cli import main, session
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ISSUER = identity.TokenIssuer(
    {"dev": identity.Actor("ana", ("developer",)), "tenant": identity.Actor("tom", ())}
)
Story = Callable[[plane.ControlPlane], Awaitable[Any]]


def opened(directory: Path, story: Story) -> Any:
    async def told() -> Any:
        s = settings.load({}, directory=directory)
        db = database.Database(s.control.database_url)
        kept = checkpoints.embedded(db, s.stack.state_dir)
        one = plane.ControlPlane(db, ISSUER, launcher.MemoryLauncher(), s.cost, 2, kept)
        await one.database.open()
        try:
            return await story(one)
        finally:
            await one.database.close()

    return asyncio.run(told())


async def append(one: plane.ControlPlane, count: int, resource: str = "policies") -> None:
    async with one.database.write() as connection:
        facts = [
            store.Fact("ana", "test.done", resource, "done", {"n": i, "x": 'ü\n"'}) for i in range(count)
        ]
        await store.append(connection, facts)


def keys_of(directory: Path) -> tuple[Any, ...]:
    return verification.load_publics(directory / ".mainspring" / "audit" / "public.pem")


def held(proof: proofs.Proof, keys: Any, **more: Any) -> bool:
    try:
        proofs.verify(proof, keys, **more)
    except errors.CorruptArtifact:
        return False
    return True


def test_every_row_of_every_length_is_proved_and_goes_on_every_older_one(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane) -> None:
        older: list[proofs.Proof] = []
        for count in (1, 1, 2, 9, 7):
            await append(one, count)
            size = await one.checkpointer.take()  # type: ignore[union-attr]
            keys = one.checkpointer.signer.publics  # type: ignore[union-attr]
            for sequence in range(1, size + 1):
                proof = await service.prove(one, "Bearer dev", sequence)
                found = proofs.verify(proofs.read(proof.model_dump_json().encode()), keys)
                assert (found.row["sequence"], found.checkpoint) == (sequence, size)
            older.append(proof)
            for was in older:
                since = json.loads(was.checkpoint)["sequence"]
                new = await service.prove(one, "Bearer dev", 1, since=since)
                assert proofs.verify(new, keys, older=was.checkpoint.encode()).since == since

    opened(tmp_path, story)


def test_rows_of_many_tiles_are_proved_by_few_hashes(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane) -> None:
        await append(one, 2_300)
        keys = one.checkpointer.signer.publics  # type: ignore[union-attr]
        for sequence in (1, 1024, 1025, 2048, 2049, 2300):
            for since in (1, 1000, 1024, 1025, 2048, 2299, 2300):
                proof = await service.prove(one, "Bearer dev", sequence, since=since)
                assert proofs.verify(proof, keys).row["sequence"] == sequence
                assert len(proof.path) <= 12 and len(proof.consistency) <= 13

    opened(tmp_path, story)


def _other_hash(path: tuple[str, ...], choose: random.Random) -> tuple[str, ...]:
    at = choose.randrange(len(path))
    flipped = bytearray(bytes.fromhex(path[at]))
    flipped[choose.randrange(32)] ^= 1 << choose.randrange(8)
    return (*path[:at], flipped.hex(), *path[at + 1 :])


def _flipped(text: str, choose: random.Random) -> str:
    at = choose.randrange(len(text))
    return text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]


Tampering = Callable[[proofs.Proof, proofs.Proof, random.Random], dict[str, Any]]
TAMPERINGS: dict[str, Tampering] = {
    "a hash of the path": lambda p, _, choose: {"path": _other_hash(p.path, choose)},
    "a path that is cut": lambda p, _, choose: {"path": p.path[:-1]},
    "a longer path": lambda p, _, choose: {"path": (*p.path, p.path[0])},
    "a path in another order": lambda p, _, choose: {"path": p.path[::-1]},
    "the path of another row": lambda p, q, choose: {"path": q.path},
    "another row": lambda p, q, choose: {"row": q.row},
    "a letter of the row": lambda p, _, choose: {"row": _flipped(p.row, choose)},
    "a letter of the checkpoint": lambda p, _, choose: {"checkpoint": _flipped(p.checkpoint, choose)},
}


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_every_tampering_is_found(tmp_path: Path, kind: str) -> None:
    async def story(one: plane.ControlPlane) -> None:
        await append(one, 37)
        keys = one.checkpointer.signer.publics  # type: ignore[union-attr]
        made = [await service.prove(one, "Bearer dev", sequence) for sequence in (1, 8, 20, 36, 37)]
        choose = random.Random(f"of {kind}")
        for trial in range(100):
            one_of, other = choose.sample(made, 2)
            changed = one_of.model_copy(update=TAMPERINGS[kind](one_of, other, choose))
            assert held(one_of, keys) and not held(changed, keys), (kind, trial)

    opened(tmp_path, story)


def test_a_row_that_was_made_up_or_is_of_another_log_is_in_no_tree(tmp_path: Path) -> None:
    async def made(one: plane.ControlPlane) -> proofs.Proof:
        await append(one, 5)
        return await service.prove(one, "Bearer dev", 3)

    ours = opened(tmp_path, made)
    (tmp_path / "other").mkdir()
    forged = json.loads(ours.row)["row"] | {"actor": "nobody"}
    line = b'{"hash":"%s","row":%s}' % (canonical.digest(forged).encode(), canonical.dumps(forged))
    keys = keys_of(tmp_path)
    with pytest.raises(errors.CorruptArtifact, match="row 3 is not in the tree that the checkpoint of 5"):
        proofs.verify(ours.model_copy(update={"row": line.decode()}), keys)
    stranger = signers.FileSigner(tmp_path / "stranger.key").publics
    with pytest.raises(errors.CorruptArtifact, match="of another schema or key"):
        proofs.verify(ours, stranger)
    for odd in ("[]", "{}", '{"row":{}}', '{"row":{"sequence":"x"}}', "", "[" * 100_000):
        assert not held(ours.model_copy(update={"row": odd}), keys)
    with pytest.raises(errors.InvalidRequest, match="no hash of SHA-256"):
        proofs.verify(ours.model_copy(update={"path": ("zz",)}), keys)


def _signed(signer: Any, line: str, **change: Any) -> str:
    body = {
        name: v for name, v in (json.loads(line) | change).items() if name != "signature" and v is not None
    }
    return canonical.dumps(body | {"signature": signer.sign(verification.signed_bytes(body)).hex()}).decode()


def test_a_checkpoint_of_another_log_by_the_same_key_is_found(tmp_path: Path) -> None:
    """Two logs that one key signs: a fork. Each proof holds by itself; together with what somebody kept they do not."""

    async def story(one: plane.ControlPlane) -> None:
        kept = one.checkpointer
        assert kept is not None
        await append(one, 6)
        older = await service.prove(one, "Bearer dev", 2)
        await append(one, 5)
        proof = await service.prove(one, "Bearer dev", 2, since=6)
        keys, before = kept.signer.publics, older.checkpoint.encode()
        assert proofs.verify(proof, keys, older=before, checkpoints=kept.lines()).since == 6
        forked = _signed(kept.signer, older.checkpoint, root="sha256:" + "1" * 64).encode()
        with pytest.raises(errors.CorruptArtifact, match="does not go on the one of 6: both are signed"):
            proofs.verify(proof, keys, older=forked)
        same = _signed(kept.signer, proof.checkpoint, root="sha256:" + "1" * 64).encode()
        with pytest.raises(errors.CorruptArtifact, match="does not go on the one of 11"):
            proofs.verify(proof, keys, older=same)
        assert proofs.verify(proof, keys, older=proof.checkpoint.encode()).since == 11
        choose = random.Random(6)
        for changed in (
            *(_other_hash(proof.consistency, choose) for _ in range(50)),
            proof.consistency[:-1],
            (*proof.consistency, proof.consistency[0]),
            proof.consistency[::-1],
            (),
        ):
            assert not held(proof.model_copy(update={"consistency": changed}), keys, older=before)
        # What is signed and in none of the checkpoints that somebody has.
        aside = proof.model_copy(update={"checkpoint": _signed(kept.signer, proof.checkpoint, at="never")})
        assert held(aside, keys, checkpoints=kept.lines())  # the same tree at the same length
        with pytest.raises(errors.CorruptArtifact, match="of 11 rows is none of those"):
            proofs.verify(proof, keys, checkpoints=kept.lines()[:1])
        with pytest.raises(errors.CorruptArtifact, match="checkpoint 1 does not follow"):
            proofs.verify(proof, keys, checkpoints=kept.lines()[1:])
        with pytest.raises(errors.InvalidRequest, match="give the older one"):
            proofs.verify(older, keys, older=proof.checkpoint.encode())
        with pytest.raises(errors.InvalidRequest, match="says nothing of a log of 6 rows"):
            proofs.verify(await service.prove(one, "Bearer dev", 2), keys, older=before)
        rootless = _signed(
            kept.signer, older.checkpoint, root=None, schema=verification.SCHEMA_WITHOUT_ROOT
        ).encode()
        with pytest.raises(errors.InvalidRequest, match="of before checkpoints signed a tree"):
            proofs.verify(proof, keys, older=rootless)

    opened(tmp_path, story)


def test_a_member_proves_its_projects_row_and_learns_of_no_other(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane) -> None:
        async with one.database.write() as connection:
            for name in ("aa", "bb"):
                row = {
                    "name": name,
                    "owner": "t",
                    "description": "",
                    "created_at": "2026",
                    "created_by": "ana",
                }
                await connection.execute(sa.insert(database.projects).values(row))
                await store.append(connection, [store.Fact("ana", "x", f"project/{name}", "done", {})])
            one_of = {"project": "aa", "actor": "tom", "roles": {"*": ["viewer"]}, "set_at": "", "set_by": ""}
            await connection.execute(sa.insert(database.members).values(one_of))
            await store.append(connection, [store.Fact("ana", "x", "member/aa/tom", "done", {})])
        keys = one.checkpointer.signer.publics  # type: ignore[union-attr]
        mine = await service.prove(one, "Bearer tenant", 3)
        assert proofs.verify(mine, keys).row["resource"] == "member/aa/tom"
        assert "project/bb" not in mine.model_dump_json()
        told = []
        for sequence in (2, 4, 0, -1, 2**63, 2**80):  # another's, and those that are not there
            with pytest.raises(errors.NotFound) as none:
                await service.prove(one, "Bearer tenant", sequence)
            told.append(none.value.message.replace(str(sequence), "N"))
        assert len(set(told)) == 1
        with pytest.raises(errors.Unauthenticated):
            await service.prove(one, "Bearer nobody", 1)
        with pytest.raises(errors.InvalidRequest, match="3 signed rows, not 4"):
            await service.prove(one, "Bearer dev", 1, since=4)

    opened(tmp_path, story)


def test_what_was_changed_in_the_database_is_not_proved(
    tmp_path: Path, tamper: Callable[[str], list[Any]]
) -> None:
    async def story(one: plane.ControlPlane) -> None:
        await append(one, 5)
        await one.checkpointer.take()  # type: ignore[union-attr]
        tamper("UPDATE audit SET actor = 'nobody' WHERE sequence = 2")
        with pytest.raises(errors.CorruptArtifact, match="row 2 was changed"):
            await service.prove(one, "Bearer dev", 2)
        tamper(f"UPDATE audit SET hash = '{rows.GENESIS}' WHERE sequence = 3")
        with pytest.raises(errors.CorruptArtifact, match="row 1 is not the one that was signed"):
            await service.prove(one, "Bearer dev", 1)

    opened(tmp_path, story)


def test_an_unsigned_log_or_one_without_trees_proves_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane) -> None:
        with pytest.raises(errors.NotFound):
            await service.prove(one, "Bearer dev", 1)
        await append(one, 2)
        kept = one.checkpointer
        assert kept is not None
        await kept.take()
        line = kept.lines()[0].decode()
        older = _signed(kept.signer, line, root=None, schema=verification.SCHEMA_WITHOUT_ROOT)
        (tmp_path / ".mainspring" / "audit" / "checkpoints.jsonl").write_text(older + "\n")
        again = checkpoints.embedded(one.database, tmp_path / ".mainspring")
        one = dataclasses.replace(one, checkpointer=again)
        with pytest.raises(errors.Conflict, match="of before there were trees"):
            await service.prove(one, "Bearer dev", 1)
        await append(one, 1)
        proof = await service.prove(one, "Bearer dev", 1)
        assert proofs.verify(proof, again.signer.publics).checkpoint == 3
        one = dataclasses.replace(one, checkpointer=None)
        with pytest.raises(errors.Misconfigured):
            await service.prove(one, "Bearer dev", 1)

    opened(tmp_path, story)


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = settings.load({}, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    monkeypatch.chdir(tmp_path)
    key = str(s.stack.state_dir / "audit" / "public.pem")

    def run(*words: str, expect: int = 0) -> Any:
        done = CliRunner().invoke(main.cli, ["audit", *words, "--json"])
        assert done.exit_code == expect, done.output
        return json.loads(done.stdout)["data"] if expect == 0 else done.output

    app = control_app.create_app(s, issuer=issuer, launcher=launcher.MemoryLauncher())
    with TestClient(app) as client:
        monkeypatch.setattr(session, "client", _client_of(client, issuer))
        headers = {"Authorization": f"Bearer {issuer.token_of('developer@local')}"}
        for name in ("one-1", "two-2"):
            body = {"name": name, "owner": "team"}
            assert client.post("/api/v1/projects", json=body, headers=headers).status_code == 201
        first = run("prove", "1", "--out", "first.json")
        body = {"name": "three-3", "owner": "team"}
        assert client.post("/api/v1/projects", json=body, headers=headers).status_code == 201
        later = run("prove", "2", "--out", "later.json", "--consistent-with", "first.json")
        assert later == {"file": "later.json", "row": 2, "rows": first["rows"] + 1, "since": first["rows"]}
        assert "there is no row 99" in run("prove", "99", "--out", "none.json", expect=1)
        assert not Path("none.json").exists()
    alone = ("verify", "--public-key", key)
    assert run(*alone, "--proof", "first.json")["row"]["resource"] == "project/one-1"
    grown = run(*alone, "--proof", "later.json", "--consistent-with", "first.json")
    assert (grown["ok"], grown["since"], grown["checkpoint"]) == (True, first["rows"], later["rows"])
    signed = str(s.stack.state_dir / "audit" / "checkpoints.jsonl")
    assert run(*alone, "--proof", "later.json", "--consistent-with", signed, "--checkpoints", signed)["ok"]
    forged = json.loads(Path("later.json").read_text())
    forged["path"][0] = forged["path"][0][::-1]
    Path("forged.json").write_text(json.dumps(forged))
    assert "row 2 is not in the tree" in run(*alone, "--proof", "forged.json", expect=1)
    Path("odd.json").write_text("{}")
    assert "this is no proof" in run(*alone, "--proof", "odd.json", expect=1)
    assert "no checkpoint in it" in run(
        *alone, "--proof", "later.json", "--consistent-with", "odd.json", expect=1
    )
    for words in (("--proof", "later.json"), ("--consistent-with", "first.json", "--public-key", key)):
        assert CliRunner().invoke(main.cli, ["audit", "verify", *words]).exit_code == 2


def _client_of(client: TestClient[Any], issuer: identity.TokenIssuer) -> Any:
    def made(actor: str) -> control_client.ControlClient:
        return control_client.ControlClient("http://api", issuer.token_of(actor), transport=transport(client))

    return made
