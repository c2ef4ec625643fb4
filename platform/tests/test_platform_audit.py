"""Nothing that was signed can be changed unseen: 100 % of random tamperings over every class are found."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from mainspring.core import canonical, errors, identity, settings
from mainspring.platform import app as control_app
from mainspring.platform import database, plane
from mainspring.platform.audit import checkpoints, rows, service, signers, store, verification
from mainspring.platform.cli.main import cli
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ISSUER = identity.TokenIssuer({"dev": identity.Actor("ana", ("developer",))})
Line = dict[str, Any]


def fact(number: int) -> store.Fact:
    return store.Fact(
        actor=f"actor{number % 7}",
        action="run.start",
        resource=f'run/"previous_hash":"sha256:{number}',  # looks like a member, and is none
        outcome="done",
        detail={"n": number, "previous_hash": "sha256:" + "e" * 64, "text": 'ü\n"\\'},
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


async def append(one: plane.ControlPlane, count: int, first: int = 0) -> str:
    async with one.database.write() as connection:
        return await store.append(connection, [fact(first + i) for i in range(count)])


def files(directory: Path) -> tuple[list[bytes], Any]:
    folder = directory / ".mainspring" / "audit"
    lines = (folder / "checkpoints.jsonl").read_bytes().splitlines(keepends=True)
    return lines, verification.load_public(folder / "public.pem")


@pytest.fixture(scope="module")
def signed_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], list[bytes], Any]:
    """40 rows, a checkpoint after 9, 10, 25 and 40."""
    directory = tmp_path_factory.mktemp("log")

    async def story(one: plane.ControlPlane) -> bytes:
        taken = []
        for count in (9, 1, 15, 15):
            await append(one, count)
            taken.append(await one.checkpointer.take())  # type: ignore[union-attr]
        assert taken == [9, 10, 25, 40]
        return b"".join([piece async for piece in await service.export(one, "Bearer dev")])

    export = opened(directory, story).splitlines(keepends=True)
    assert len(export) == 40
    return (export, *files(directory))


# Neither is a claim about how busy the machine is.
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.text(), st.text() | st.integers() | st.floats(allow_nan=False)), st.text(), st.text()
)
def test_the_bytes_of_a_row_are_its_canonical_json(detail: dict[str, Any], actor: str, resource: str) -> None:
    body = {
        "sequence": 7,
        "event_id": "evt_1",
        "at": "2026-01-01T00:00:00+00:00",
        "actor": actor,
        "action": "a",
        "resource": resource,
        "outcome": "done",
        "previous_hash": rows.GENESIS,
    }
    try:
        expected = canonical.dumps({**body, "detail": detail})
    except errors.InvalidRequest:  # a lone surrogate or an infinity: neither form exists
        return
    row = SimpleNamespace(
        **body, project=None, detail=canonical.dumps(detail).decode(), hash=canonical.digest_bytes(expected)
    )
    assert rows.to_bytes(row) == expected
    assert json.loads(rows.to_line(row))["row"] == json.loads(expected)


def test_a_signed_log_verifies(signed_log: tuple[list[bytes], list[bytes], Any]) -> None:
    export, lines, key = signed_log
    found = verification.verify(export, lines, key)
    assert (found.ok, found.rows, found.checkpoints, found.unsigned_rows) == (True, 40, 4, 0)
    shorter = verification.verify(export, lines[:2], key)
    assert (shorter.problem, shorter.first_bad_sequence) == ("rows 11 to 40 were never signed", 11)
    assert verification.verify(export, lines[:2], key, allow_unsigned=True).ok


def rehash(log: list[Line], start: int) -> None:
    """What somebody does who knows the format: every link and hash from there on is right again."""
    for i in range(start, len(log)):
        row = log[i]["row"]
        row["previous_hash"] = log[i - 1]["hash"] if i else rows.GENESIS
        row["sequence"] = i + 1
        log[i]["hash"] = canonical.digest(row)


def tamper(log: list[Line], kind: str, rng: random.Random) -> None:
    at = rng.randrange(len(log))
    if kind.startswith("edit"):
        name = rng.choice(
            [*log[at]["row"], "hash"] if kind == "edit" else ["actor", "detail", "at", "outcome"]
        )
        holder = log[at] if name == "hash" else log[at]["row"]
        was = holder[name]
        holder[name] = was + 1 if isinstance(was, int) else {"n": -1} if isinstance(was, dict) else f"{was}0"
    elif kind.startswith("delete"):
        del log[at]
    elif kind.startswith("insert"):
        forged = json.loads(json.dumps(rng.choice(log)))
        forged["row"]["actor"] = "nobody"
        forged["hash"] = canonical.digest(forged["row"])
        log.insert(at, forged)
    elif kind.startswith("reorder"):
        other = rng.choice([i for i in range(len(log)) if i != at])
        log[at], log[other] = log[other], log[at]
        at = min(at, other)
    elif kind == "truncate":
        del log[rng.randrange(len(log)) :]
        return
    if kind.endswith("rehash"):
        rehash(log, min(at, len(log)))


KINDS = (
    *("edit", "delete", "insert", "reorder", "truncate"),
    *("edit+rehash", "delete+rehash", "insert+rehash", "reorder+rehash"),
)


def _line(written: Line) -> bytes:
    return b'{"hash":"%s","row":%s}\n' % (written["hash"].encode(), canonical.dumps(written["row"]))


def tampered_and_found(
    signed: tuple[list[bytes], list[bytes], Any], trials: int, seed: int
) -> tuple[dict[str, int], list[str]]:
    """How many tamperings of each kind, and those that nobody saw."""
    export, lines, key = signed
    written = [json.loads(line) for line in export]
    assert list(map(_line, written)) == export
    left = {r["hash"]: (r, line) for r, line in zip(written, export, strict=True)}
    rng, counts, missed = random.Random(seed), dict.fromkeys(KINDS, 0), []
    for trial in range(trials):
        kind = rng.choice(KINDS)
        log = [{**r, "row": dict(r["row"])} for r in written]
        tamper(log, kind, rng)
        # What stayed is not written anew: that would take most of the time.
        changed = [
            line if r == was else _line(r) for r in log for was, line in [left.get(r["hash"], (None, b""))]
        ]
        assert changed != export
        counts[kind] += 1
        if verification.verify(changed, lines, key).ok:
            missed.append(f"{kind} in trial {trial}")
    return counts, missed


def test_ten_thousand_random_tamperings_are_found(signed_log: tuple[list[bytes], list[bytes], Any]) -> None:
    counts, missed = tampered_and_found(signed_log, 10_000, 2)
    assert missed == [] and min(counts.values()) > 1000 and sum(counts.values()) == 10_000


def test_the_checkpoints_are_what_finds_a_cut_tail_and_a_full_rehash(
    signed_log: tuple[list[bytes], list[bytes], Any],
) -> None:
    """Without them both are consistent logs: the test of the test."""
    export, _, key = signed_log
    assert verification.verify(export[:30], [], key, allow_unsigned=True).ok
    log = [json.loads(line) for line in export]
    log[5]["row"]["actor"] = "nobody"
    rehash(log, 5)
    changed = [b'{"hash":"%s","row":%s}\n' % (r["hash"].encode(), canonical.dumps(r["row"])) for r in log]
    assert verification.verify(changed, [], key, allow_unsigned=True).ok


@pytest.mark.parametrize("flip", range(0, 420, 7))
def test_a_flipped_bit_anywhere_is_found(signed_log: tuple[list[bytes], list[bytes], Any], flip: int) -> None:
    export, lines, key = signed_log
    line = bytearray(export[12])
    line[flip % len(line)] ^= 1
    assert not verification.verify([*export[:12], bytes(line), *export[13:]], lines, key).ok


def test_checkpoints_that_were_tampered_with_are_refused(
    signed_log: tuple[list[bytes], list[bytes], Any], tmp_path: Path
) -> None:
    export, lines, key = signed_log
    for bad, problem in (
        ([lines[0], lines[2], lines[3]], "checkpoint 2 does not follow"),
        (
            [*lines[:2], lines[2].replace(b'"sequence":25', b'"sequence":26'), lines[3]],
            "checkpoint 3 was not signed",
        ),
        ([lines[0], b"{}\n"], "checkpoint 2 is malformed"),
        ([b"[]\n"], "checkpoint 1 is malformed"),
        ([lines[0].replace(b"checkpoint/v2", b"checkpoint/v3")], "checkpoint 1 is of another schema"),
        ([lines[0].replace(b"checkpoint/v2", b"checkpoint/v1")], "checkpoint 1 is malformed"),
    ):
        found = verification.verify(export, bad, key)
        assert not found.ok and found.problem.startswith(problem)
    other = signers.FileSigner(tmp_path / "other.key").public
    assert "another schema or key" in verification.verify(export, lines, other).problem


def test_after_a_new_key_older_checkpoints_count_and_older_keys_sign_nothing(tmp_path: Path) -> None:
    key = tmp_path / ".mainspring" / "keys" / "audit.key"

    async def one_more(one: plane.ControlPlane) -> bytes:
        await append(one, 2)
        await one.checkpointer.take()  # type: ignore[union-attr]
        return b"".join([piece async for piece in await service.export(one, "Bearer dev")])

    opened(tmp_path, one_more)
    old = key.read_bytes()
    key.unlink()
    export = opened(tmp_path, one_more).splitlines(keepends=True)
    lines, newest = files(tmp_path)
    both = verification.load_publics(tmp_path / ".mainspring" / "audit" / "public.pem")
    assert len(both) == 2 and verification.key_id(both[1]) == verification.key_id(newest)
    assert verification.verify(export, lines, both).ok
    assert "checkpoint 1 is of another" in verification.verify(export, lines, newest).problem
    assert "checkpoint 2 is of another" in verification.verify(export, lines, both[0]).problem
    swapped = verification.verify(export, lines, tuple(reversed(both)))
    assert swapped.problem == "checkpoint 2 is signed by a key that was replaced before it"
    # Whoever stole the old key cannot go on from there.
    key.write_bytes(old)
    thief = signers.FileSigner(key)
    body = json.loads(lines[1]) | {"sequence": 9, "previous": canonical.digest_bytes(lines[1].rstrip(b"\n"))}
    body |= {"key_id": verification.key_id(thief.public)}
    del body["signature"]
    forged = canonical.dumps(body | {"signature": thief.sign(verification.signed_bytes(body)).hex()}) + b"\n"
    assert "was replaced before it" in verification.verify(export, [*lines, forged], both).problem
    with pytest.raises(errors.InvalidRequest):
        verification.load_publics(tmp_path / "nothing.pem")


def test_what_contradicts_a_checkpoint_is_never_signed_over(
    tmp_path: Path, tamper: Callable[[str], list[Any]]
) -> None:
    async def story(one: plane.ControlPlane) -> None:
        kept = one.checkpointer
        assert kept is not None and await kept.take() == 0
        await append(one, 5)
        assert await kept.take() == 5 and await kept.take() == 5
        assert (await service.verify(one, "Bearer dev")).model_dump(exclude={"head"}) == {
            "ok": True,
            "rows": 5,
            "first_bad_sequence": None,
            "problem": "",
            "checkpoints": 1,
            "unsigned_rows": 0,
            "restored": (),
            "roots": 1,
        }
        tamper("DELETE FROM audit WHERE sequence > 3")
        with pytest.raises(errors.CorruptArtifact, match="row 5 is not the one that was signed"):
            await kept.take()
        said = (await service.verify(one, "Bearer dev")).problem
        assert said.startswith("rows 4 to 5 are missing: the log ends at row 3, and 5 were signed")
        await append(one, 4)  # a log that grew again over the gap
        with pytest.raises(errors.CorruptArtifact):
            await kept.take()
        assert (await service.verify(one, "Bearer dev")).first_bad_sequence == 5
        with pytest.raises(errors.CorruptArtifact):
            await service.export(one, "Bearer dev")

    opened(tmp_path, story)
    assert len(files(tmp_path)[0]) == 1


def test_rows_changed_before_they_were_signed_are_not_signed(
    tmp_path: Path, tamper: Callable[[str], list[Any]]
) -> None:
    async def story(one: plane.ControlPlane) -> None:
        await append(one, 3)
        tamper("UPDATE audit SET actor = 'nobody' WHERE sequence = 2")
        with pytest.raises(errors.CorruptArtifact, match="row 2 was changed"):
            await one.checkpointer.take()  # type: ignore[union-attr]

    opened(tmp_path, story)


def test_a_torn_line_does_not_count_and_two_processes_take_turns(tmp_path: Path) -> None:
    async def story(one: plane.ControlPlane) -> None:
        state = tmp_path / ".mainspring"
        other = checkpoints.embedded(one.database, state)
        for count, kept in enumerate((one.checkpointer, other, one.checkpointer), 1):
            await append(one, 1)
            assert await kept.take() == count  # type: ignore[union-attr]
        with (state / "audit" / "checkpoints.jsonl").open("ab") as file:
            file.write(b'{"schema": "torn')
        await append(one, 1)
        assert await other.take() == 4
        assert list(await other.heads()) == [1, 2, 3, 4]

    opened(tmp_path, story)


def test_the_key_is_private_and_one_for_all(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "audit.key"
    first, second = signers.FileSigner(path), signers.FileSigner(path)
    assert first.public.public_bytes_raw() == second.public.public_bytes_raw()
    assert path.stat().st_mode & 0o777 == 0o600 and len(list(path.parent.iterdir())) == 1
    path.chmod(0o644)
    with pytest.raises(errors.Misconfigured, match="chmod 600"):
        signers.FileSigner(path)
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(errors.Misconfigured, match="replace it"):
        signers.FileSigner(path)
    with pytest.raises(errors.InvalidRequest, match="no public key"):
        verification.load_public(path)


def test_export_and_stand_alone_verification(tmp_path: Path) -> None:
    s = settings.load({}, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(s, issuer=issuer, launcher=launcher.MemoryLauncher())
    headers = {"Authorization": f"Bearer {issuer.token_of('developer@local')}"}
    with TestClient(app) as client:
        for name in ("aa", "bb"):
            body = {"name": name, "owner": "team"}
            assert client.post("/api/v1/projects", json=body, headers=headers).status_code == 201
        export = client.get("/api/v1/audit:export", headers=headers)
        assert client.get("/api/v1/audit:export").status_code == 401
    assert export.headers["content-type"].startswith("application/x-ndjson")
    log = tmp_path / "audit.ndjson"
    log.write_bytes(export.content)
    folder = s.stack.state_dir / "audit"
    arguments = ["audit", "verify", "--export", str(log), "--checkpoints", str(folder / "checkpoints.jsonl")]
    whole = [*arguments, "--public-key", str(folder / "public.pem"), "--json"]
    good = CliRunner().invoke(cli, whole)
    assert good.exit_code == 0 and json.loads(good.stdout)["data"]["rows"] == 2
    assert CliRunner().invoke(cli, [*whole, "--jobs", "2"]).stdout == good.stdout
    log.write_bytes(export.content.replace(b"developer@local", b"somebody@local"))
    bad = CliRunner().invoke(cli, whole)
    assert bad.exit_code == 1 and "row 1 was changed" in bad.output
    assert CliRunner().invoke(cli, arguments).exit_code == 2
