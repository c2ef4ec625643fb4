"""One project's part of the audit log shows by itself that nothing of it was removed, reordered, inserted or changed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from mainspring.core import canonical, errors, identity, settings
from mainspring.platform import database, plane
from mainspring.platform.audit import checkpoints, project_chains, rows, service, signers, store, verification
from mainspring.platform.cli.main import cli
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ISSUER = identity.TokenIssuer(
    {"dev": identity.Actor("ana", ("developer",)), "tenant": identity.Actor("tom", ())}
)


def opened(directory: Path, story: Callable[[plane.ControlPlane], Awaitable[Any]]) -> Any:
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


def fact(resource: str, number: int = 0) -> store.Fact:
    return store.Fact("ana", "test.done", resource, "done", {"n": number, "project": "x"})


async def append(one: plane.ControlPlane, *resources: str) -> None:
    async with one.database.write() as connection:
        await store.append(connection, [fact(name, i) for i, name in enumerate(resources)])


async def make_project(one: plane.ControlPlane, name: str) -> None:
    async with one.database.write() as connection:
        row = {"name": name, "owner": "t", "description": "", "created_at": "2026", "created_by": "ana"}
        await connection.execute(sa.insert(database.projects).values(row))
        await store.append(connection, [fact(f"project/{name}")])


async def exported(one: plane.ControlPlane, project: str, credential: str = "Bearer dev") -> list[bytes]:
    whole = b"".join([piece async for piece in await service.export(one, credential, project)])
    return whole.splitlines(keepends=True)


async def filled(one: plane.ControlPlane) -> None:
    """12 rows of `aa` and 9 of `bb` between one another, and three of nobody's."""
    for name in ("aa", "bb"):
        await make_project(one, name)
    for i in range(4):
        await append(
            one,
            "member/aa/x",
            "policies",
            f"catalog/{'aa' if i else 'bb'}",
            "alert/bb/1",
            "project/aa",
            "run/gone",
        )
    await append(one, *(["dpia/bb", "dpia/bb/7"] * 2), "project/aa/odd")


def keys_of(directory: Path) -> tuple[Any, ...]:
    return verification.load_publics(directory / ".mainspring" / "audit" / "public.pem")


def signed_by(directory: Path) -> list[bytes]:
    return (directory / ".mainspring" / "audit" / "checkpoints.jsonl").read_bytes().splitlines(keepends=True)


def test_each_project_has_a_chain_that_verifies_alone(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane) -> dict[str, list[bytes]]:
        await filled(one)
        assert (await service.verify(one, "Bearer dev")).ok
        return {name: await exported(one, name) for name in ("aa", "bb")}

    found, keys = opened(tmp_path, story), keys_of(tmp_path)
    for name, count in (("aa", 12), ("bb", 10)):
        for signed in (None, signed_by(tmp_path)):
            seen = project_chains.verify(found[name], name, keys, signed)
            assert (seen.problem, seen.rows) == ("", count)
        told = [json.loads(line)["row"] for line in found[name][:-1]]
        assert {row["project"] for row in told} == {name}
        assert [row["project_sequence"] for row in told] == list(range(1, count + 1))
    assert "is not of `aa`" in project_chains.verify(found["bb"], "aa", keys).problem
    other = signers.FileSigner(tmp_path / "other.key").publics
    assert "not signed by this key" in project_chains.verify(found["aa"], "aa", other).problem
    assert "no checkpoint signs" in project_chains.verify(found["aa"], "aa", keys, []).problem


def rehashed(log: list[dict[str, Any]], start: int) -> None:
    """Who knows the format makes every number, link and hash of the project right again from there on."""
    for i in range(start, len(log)):
        row = log[i]["row"]
        row["project_previous"], row["project_sequence"] = log[i - 1]["hash"] if i else rows.GENESIS, i + 1
        log[i]["hash"] = canonical.digest(row)


def tampered(lines: list[bytes], kind: str, rng: random.Random) -> list[bytes]:
    log, end = [json.loads(line) for line in lines[:-1]], lines[-1]
    at = rng.randrange(len(log))
    match kind.removesuffix("+rehash"):
        case "edit":
            name = rng.choice(["actor", "at", "outcome", "resource"])
            log[at]["row"][name] += "0"
        case "remove":
            del log[at]
        case "insert":
            log.insert(at, json.loads(canonical.dumps(log[at])))
            log[at]["row"]["actor"] = "nobody"
            log[at]["hash"] = canonical.digest(log[at]["row"])
        case "reorder":
            other = rng.choice([i for i in range(len(log)) if i != at])
            log[at], log[other] = log[other], log[at]
            at = min(at, other)
        case "truncate":
            del log[at:]
        case "unstated":
            end = b""
        case "statement":
            body = json.loads(end)
            body["rows"] -= 1
            end = canonical.dumps(body) + b"\n"
    if kind.endswith("+rehash"):
        rehashed(log, min(at, len(log)))
    return [*(canonical.dumps(one) + b"\n" for one in log), *([end] if end else [])]


KINDS = (
    *("edit", "remove", "insert", "reorder", "truncate", "unstated", "statement"),
    *("edit+rehash", "remove+rehash", "insert+rehash", "reorder+rehash"),
)


def test_random_tamperings_of_a_projects_part_are_found(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane) -> list[bytes]:
        await filled(one)
        return await exported(one, "aa")

    lines, keys = opened(tmp_path, story), keys_of(tmp_path)
    rng, missed, counts = random.Random(7), [], dict.fromkeys(KINDS, 0)
    for trial in range(800):
        kind = KINDS[trial % len(KINDS)]
        changed = tampered(lines, kind, rng)
        assert changed != lines
        counts[kind] += 1
        if project_chains.verify(changed, "aa", keys).ok:
            missed.append(f"{kind} in trial {trial}")
    assert missed == [] and min(counts.values()) > 70
    for position in range(0, len(lines[3]), 5):
        line = bytearray(lines[3])
        line[position] ^= 1
        assert not project_chains.verify([*lines[:3], bytes(line), *lines[4:]], "aa", keys).ok
    assert not project_chains.verify([*lines, lines[0]], "aa", keys).ok
    assert not project_chains.verify([b"[" * 100_000], "aa", keys).ok


def test_two_writers_of_one_project_make_one_chain(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane) -> None:
        await make_project(one, "aa")
        other = database.Database(one.database.url)
        await other.open()
        beside = plane.ControlPlane(other, ISSUER, launcher.MemoryLauncher(), one.book, 2)

        async def writes(who: plane.ControlPlane) -> None:
            for _ in range(15):
                await append(who, "member/aa/x", "member/bb/x")

        await asyncio.gather(writes(one), writes(beside), writes(one))
        await other.close()
        lines = await exported(one, "aa")
        assert project_chains.verify(lines, "aa", keys_of(tmp_path)).rows == 46

    opened(tmp_path, story)


def test_rows_of_many_projects_at_once_go_on_with_each_ones_chain(tmp_path: Path) -> None:
    """More than are asked for in one statement; some are new in the middle, and one is in it twice."""

    async def story(one: plane.ControlPlane) -> None:
        for count in (1, 60, 130):
            await append(one, *(f"member/project-{i}/x" for i in range(count)), "member/project-0/y")
        assert (await service.verify(one, "Bearer dev")).ok
        async with one.database.read() as connection:
            found = await store.page(connection, after=0, limit=1000)
        numbers = {
            name: [row.project_sequence for row in found if row.project == name]
            for name in ("project-0", "project-59", "project-60", "project-129")
        }
        assert numbers == {
            "project-0": [1, 2, 3, 4, 5, 6], "project-59": [1, 2], "project-60": [1], "project-129": [1]
        }  # fmt: skip

    opened(tmp_path, story)


def test_the_database_lets_no_row_in_beside_its_projects_chain(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane) -> None:
        await make_project(one, "aa")
        await append(one, "member/aa/x")
        for number, previous in ((2, None), (4, None), (3, rows.GENESIS), (None, None)):
            async with one.database.read() as connection:
                last = (await store.page(connection, after=1, limit=1))[0]
            row = {
                **last._mapping, "sequence": 3, "event_id": "e", "previous_hash": last.hash, "project_sequence": number,
                "project_previous": previous or (last.hash if number else None),
            }  # fmt: skip
            forged = type("Row", (), row)
            row["hash"] = canonical.digest_bytes(rows.to_bytes(forged)) if number else rows.GENESIS
            with pytest.raises(sa.exc.DBAPIError, match="last one of its project"):
                async with one.database.write() as connection:
                    await connection.execute(sa.insert(database.audit).values(row))
        await append(one, "member/aa/x")

    opened(tmp_path, story)


def test_a_member_exports_its_project_and_a_stranger_learns_nothing(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane) -> None:
        await make_project(one, "aa")
        await make_project(one, "bb")
        async with one.database.write() as connection:
            row = {"project": "aa", "actor": "tom", "roles": {"*": ["viewer"]}, "set_at": "", "set_by": ""}
            await connection.execute(sa.insert(database.members).values(row))
            await store.append(connection, [fact("member/aa/tom")])
        assert len(await exported(one, "aa", "Bearer tenant")) == 3
        for name in ("bb", "none"):
            with pytest.raises(errors.NotFound):
                await service.export(one, "Bearer tenant", name)
        with pytest.raises(errors.PermissionDenied):
            await service.export(one, "Bearer tenant")

    opened(tmp_path, story)


def test_what_was_changed_in_the_database_gets_no_statement(
    tmp_path: Path, tamper: Callable[[str], list[Any]]
) -> None:
    async def story(one: plane.ControlPlane) -> None:
        await filled(one)
        await exported(one, "aa")
        tamper("UPDATE audit SET project = 'zz' WHERE sequence = 3")
        with pytest.raises(errors.CorruptArtifact, match="row 3 was changed"):
            await exported(one, "aa")
        assert (await service.verify(one, "Bearer dev")).first_bad_sequence == 3

    opened(tmp_path, story)


def test_on_the_command_line(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane) -> list[bytes]:
        await filled(one)
        return await exported(one, "bb")

    lines = opened(tmp_path, story)
    log, folder = tmp_path / "bb.ndjson", tmp_path / ".mainspring" / "audit"
    log.write_bytes(b"".join(lines))
    alone = ["audit", "verify", "--export", str(log), "--public-key", str(folder / "public.pem"), "--json"]
    for more in ([], ["--checkpoints", str(folder / "checkpoints.jsonl")]):
        done = CliRunner().invoke(cli, [*alone, "--project", "bb", *more])
        assert done.exit_code == 0 and json.loads(done.stdout)["data"]["rows"] == 10
    assert CliRunner().invoke(cli, alone).exit_code == 2
    log.write_bytes(b"".join(lines[1:]))
    gone = CliRunner().invoke(cli, [*alone, "--project", "bb"])
    assert gone.exit_code == 1 and "row 1 of `bb` does not follow row 0" in gone.output
