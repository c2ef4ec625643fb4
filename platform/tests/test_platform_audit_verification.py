"""The verifier looks at many rows at once, and says of every log what a look at one row after the other says."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mainspring.core import canonical, errors
from mainspring.platform.audit import merkle, rows, shares, signers, verification

ROWS = 1_150  # some batches, the last one not full, and numbers of one to four digits
SIGNED = (1, 255, 256, 257, 300, 512, 999, 1_000, 1_140)

#: From the next one on checkpoints have the root of the tree.
LAST_WITHOUT_ROOT = 256


def _line(number: int, previous: str) -> bytes:
    """Every third is of a project; a detail may look like a link, to what stands there or to something else."""
    chain: dict[str, Any] = {"project": None}
    if number % 3 == 0:
        chain = {"project": "flights", "project_previous": previous, "project_sequence": number // 3}
    facts = SimpleNamespace(
        action="run.decide",
        actor=f"person{number % 7}@example.org",
        at="2026-01-01T00:00:00+00:00",
        detail=canonical.dumps({"previous_hash": "sha256:" + "e" * 64, "n": number}).decode(),
        event_id=f"evt_{number}",
        outcome="done",
        previous_hash=previous,
        resource=f"run/{number}",
        sequence=number,
        **chain,
    )
    facts.hash = canonical.digest_bytes(rows.to_bytes(facts))
    return rows.to_line(facts)


def _hash(line: bytes) -> str:
    return line[9:80].decode()


def _root(lines: list[bytes]) -> str:
    return "sha256:" + merkle.Tree([bytes.fromhex(line[16:80].decode()) for line in lines]).root.hex()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], list[bytes], Any]:
    signer = signers.FileSigner(tmp_path_factory.mktemp("key") / "audit.key")
    lines: list[bytes] = []
    for number in range(1, ROWS + 1):
        lines.append(_line(number, _hash(lines[-1]) if lines else rows.GENESIS))
    signed, previous = [], rows.GENESIS
    for sequence in SIGNED:
        body = {"schema": verification.SCHEMA_WITHOUT_ROOT, "sequence": sequence}
        body |= {"head": _hash(lines[sequence - 1])}
        if sequence > LAST_WITHOUT_ROOT:
            body |= {"schema": verification.SCHEMA, "root": _root(lines[:sequence])}
        body |= {"previous": previous, "key_id": verification.key_id(signer.public)}
        line = canonical.dumps(body | {"signature": signer.sign(verification.signed_bytes(body)).hex()})
        signed.append(line + b"\n")
        previous = canonical.digest_bytes(line)
    return lines, signed, signer.public


def one_by_one(export: list[bytes], signed: list[bytes], key: Any) -> verification.Finding:
    """The truth: every row by itself, in the plainest words."""
    heads = verification.read_checkpoints(signed, key)
    count, head, last = 0, rows.GENESIS, max(heads)

    def found(problem: str = "", bad: int | None = None) -> verification.Finding:
        return verification.Finding(count, head, len(heads), max(0, count - last), problem, bad)

    for line in export:
        body, stated = line[88:-2], line[9:80]
        is_line = line[:9] == b'{"hash":"' and line[80:89] == b'","row":{' and line[-3:] == b"}}\n"
        if not is_line or stated != b"sha256:" + hashlib.sha256(body).hexdigest().encode():
            return found(f"row {count + 1} was changed", count + 1)
        before, _, link = body.rpartition(b'"previous_hash":"')
        if not (
            before and link.startswith(head.encode()) and body.endswith(b',"sequence":%d}' % (count + 1))
        ):
            return found(f"row {count + 1} does not follow row {count}", count + 1)
        count, head = count + 1, stated.decode()
        if heads.get(count, head) != head:
            return found(verification.another(count, heads), count)
    if count < last:
        return found(verification.missing(count, heads), count + 1)
    return found(f"rows {last + 1} to {count} were never signed", last + 1) if count > last else found()


def _rehashed(lines: list[bytes], first: int) -> list[bytes]:
    """From there on each row's links and hash are right again."""
    for i in range(first, len(lines)):
        previous = _hash(lines[i - 1]) if i else rows.GENESIS
        at = lines[i].rfind(b'"previous_hash":"') + 17
        body = lines[i][88:at] + previous.encode() + lines[i][at + 71 : -2]
        lines[i] = b'{"hash":"%s","row":%s}\n' % (canonical.digest_bytes(body).encode(), body)
    return lines


def _flip(lines: list[bytes], at: int, choose: random.Random) -> list[bytes]:
    changed = bytearray(lines[at])
    changed[choose.randrange(len(changed))] ^= 1 << choose.randrange(8)
    return [*lines[:at], bytes(changed), *lines[at + 1 :]]


def _hashed(lines: list[bytes], at: int, choose: random.Random) -> list[bytes]:
    """A row whose own hash is right, whatever stands in it: it may follow nothing, have another number, or be no row."""
    old, new = choose.choice(
        [
            (b'"sequence":', b'"sequence":1'),
            (b',"sequence":', b'"sequence":'),
            (b'"previous_hash":"sha256:', b'"previous_hash":"sha256:0'),
            (b'"previous_hash"', b'"previous"'),
            (b'"resource"', b'"previous_hash":"sha256:' + b"e" * 64 + b'","resource"'),
            (b'"actor":"', b'"actor":"x'),
        ]
    )
    body = lines[at][88:-2].replace(old, new)
    line = b'{"hash":"%s","row":%s}\n' % (canonical.digest_bytes(body).encode(), body)
    return [*lines[:at], line, *lines[at + 1 :]]


TAMPERINGS: dict[str, Callable[[list[bytes], int, random.Random], list[bytes]]] = {
    "a bit": _flip,
    "a row and its hash": _hashed,
    "a row and all hashes after it": lambda lines, at, choose: _rehashed(_hashed(lines, at, choose), at + 1),
    "left out": lambda lines, at, _: lines[:at] + lines[at + 1 :],
    "left out, and all hashes after it": lambda lines, at, _: _rehashed(lines[:at] + lines[at + 1 :], at),
    "twice": lambda lines, at, _: lines[: at + 1] + lines[at:],
    "at another place": lambda lines, at, choose: [
        lines[i] for i in choose.sample(range(len(lines)), len(lines))
    ],
    "cut off": lambda lines, at, _: lines[:at],
    "cut off within a row": lambda lines, at, _: [*lines[:at], lines[at][:-1]],
    "without its line end": lambda lines, at, _: [*lines[:at], lines[at][:-1], *lines[at + 1 :]],
    "an empty line": lambda lines, at, _: [*lines[:at], b"", *lines[at:]],
    "upper case": lambda lines, at, _: [*lines[:at], lines[at].upper(), *lines[at + 1 :]],
}


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_many_rows_at_once_are_judged_as_one_by_one(
    log: tuple[list[bytes], list[bytes], Any], kind: str
) -> None:
    lines, signed, key = log
    choose = random.Random(f"of {kind}")
    for trial in range(40):
        at = (
            (0, 98, 99, 255, 256, 511, 512, 998, 999, 1_023, 1_024, ROWS - 1)[trial]
            if trial < 12
            else choose.randrange(ROWS)
        )
        changed = TAMPERINGS[kind](list(lines), at, choose)
        found = verification.verify(changed, signed, key, tree=bool(trial % 2))
        found = dataclasses.replace(found, roots=0)
        assert found == one_by_one(changed, signed, key), (kind, at)
        assert not found.ok


class InThisProcess(concurrent.futures.ThreadPoolExecutor):
    """In the place of processes, which take a second to start."""

    def __init__(self, jobs: int, mp_context: object) -> None:
        super().__init__(jobs)


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_shares_are_judged_as_the_whole(
    log: tuple[list[bytes], list[bytes], Any], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", InThisProcess)
    lines, signed, key = log
    choose, file = random.Random(f"of {kind}"), tmp_path / "export"
    for jobs in (2, 3, 7, 64):
        # Where the shares begin, and the lines beside.
        file.write_bytes(b"".join(lines))
        edges = [file.read_bytes()[:edge].count(b"\n") for edge in shares._edges(file, jobs)[:8]]
        for at in (*(max(0, edge - 1) for edge in edges), *edges[:-1], choose.randrange(ROWS)):
            file.write_bytes(b"".join(TAMPERINGS[kind](list(lines), at, choose)))
            with file.open("rb") as again:
                tree = bool(at % 2)
                whole = verification.verify(again, signed, key, tree=tree)
            assert shares.verify(file, signed, key, jobs=jobs, tree=tree) == whole, (kind, jobs, at)
            assert not whole.ok


@pytest.mark.parametrize("count", [0, 1, 2, 700, ROWS])
def test_a_log_in_shares_is_whole(
    log: tuple[list[bytes], list[bytes], Any], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is read once: what is good in shares needs no second look."""
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", InThisProcess)
    lines, signed, key = log
    some = [line for line, sequence in zip(signed, SIGNED, strict=True) if sequence <= count]
    (tmp_path / "export").write_bytes(b"".join(lines[:count]))
    whole = verification.verify(lines[:count], some, key, allow_unsigned=True)
    with monkeypatch.context() as patch:
        patch.setattr(verification, "verify", None)
        for jobs in (2, 3, 64):
            found = shares.verify(tmp_path / "export", some, key, jobs=jobs, allow_unsigned=True)
            assert found == whole and found.ok and found.rows == count
            rooted = shares.verify(tmp_path / "export", some, key, jobs=jobs, allow_unsigned=True, tree=True)
            expected = sum(LAST_WITHOUT_ROOT < sequence <= count for sequence in SIGNED)
            assert rooted == dataclasses.replace(whole, roots=expected)
        if count == 700:
            assert "were never signed" in shares.verify(tmp_path / "export", some, key, jobs=2).problem


def test_shares_of_processes_of_their_own(log: tuple[list[bytes], list[bytes], Any], tmp_path: Path) -> None:
    lines, signed, key = log
    (tmp_path / "export").write_bytes(b"".join(lines))
    found = shares.verify(tmp_path / "export", signed, key, jobs=2, allow_unsigned=True)
    assert found == verification.verify(lines, signed, key, allow_unsigned=True) and found.ok
    bad = shares.verify(tmp_path / "export", [b"[]\n"], key, jobs=2)
    assert bad.problem == "checkpoint 1 is malformed"
    for jobs in (0, 65):
        with pytest.raises(errors.InvalidRequest, match=f"{jobs} jobs cannot verify"):
            shares.verify(tmp_path / "export", signed, key, jobs=jobs)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 255, 256, 257, 512, 999, 1_000, 1_024, ROWS])
def test_a_whole_log_of_any_length(log: tuple[list[bytes], list[bytes], Any], count: int) -> None:
    lines, signed, key = log
    some = [line for line, sequence in zip(signed, SIGNED, strict=True) if sequence <= count]
    found = verification.verify(iter(lines[:count]), some, key, allow_unsigned=True)
    rooted = verification.verify(iter(lines[:count]), some, key, allow_unsigned=True, tree=True)
    expected = sum(LAST_WITHOUT_ROOT < sequence <= count for sequence in SIGNED)
    assert rooted == dataclasses.replace(found, roots=expected)
    assert (found.ok, found.rows, found.checkpoints) == (True, count, len(some))
    assert found.head == (_hash(lines[count - 1]) if count else rows.GENESIS)


def test_a_link_in_a_detail_is_no_link(log: tuple[list[bytes], list[bytes], Any]) -> None:
    """Whoever writes a detail cannot have the row stand after another one than it names."""
    lines, _, key = log
    body = lines[1][88:-2]
    forged = body.replace(b'"previous_hash":"sha256:' + b"e" * 64, b'"previous_hash":"%s' % lines[0][9:80])
    at = forged.rfind(b'"previous_hash":"') + 17
    forged = forged[:at] + b"sha256:" + b"1" * 64 + forged[at + 71 :]
    line = b'{"hash":"%s","row":%s}\n' % (canonical.digest_bytes(forged).encode(), forged)
    found = verification.verify([lines[0], line], [], key, allow_unsigned=True)
    assert found.problem == "row 2 does not follow row 1"
