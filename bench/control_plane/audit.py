"""Durable audit appends a second, verified rows a second, and random tamperings found."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mainspring.core import canonical
from mainspring.platform import database
from mainspring.platform.audit import checkpoints, rows, shares, store, verification

#: Whose rows they are, where they are of projects: each has a chain of its own within the log's.
PROJECTS: Final = 20

Tamper = Callable[[list[bytes], random.Random], list[bytes]]


def _fact(number: int, *, of_projects: bool) -> store.Fact:
    detail = {"intent": f"intent_{number:026d}", "approve": True, "reason": "gates passed"}
    resource = f"run/run_{number:026d}"
    if of_projects:
        resource = f"schedule/project-{number % PROJECTS}/{number:026d}"
    return store.Fact(f"person{number % 50}@example.org", "run.decide", resource, "done", detail)


async def appends_per_second(
    db: database.Database, *, total: int, batch: int, of_projects: bool = False
) -> float:
    """Rows a second over whole transactions, each durable (`synchronous=FULL`) when it returns."""
    begun = time.perf_counter()
    for first in range(0, total, batch):
        async with db.write() as connection:
            facts = [_fact(first + i, of_projects=of_projects) for i in range(batch)]
            await store.append(connection, facts)
    return total / (time.perf_counter() - begun)


async def export(db: database.Database, kept: checkpoints.Checkpointer) -> list[bytes]:
    """Every line, up to a fresh checkpoint."""
    await kept.take()
    lines: list[bytes] = []
    async with db.read() as connection:
        while page := await store.page(connection, after=len(lines), limit=1000):
            lines += map(rows.to_line, page)
    return lines


def verified_rows_per_second(lines: list[bytes], signed: list[bytes], key: Any, *, rounds: int) -> float:
    """The best round of the stand-alone verifier on one core; the answer is checked."""
    best = 0.0
    for _ in range(rounds):
        begun = time.perf_counter()
        found = verification.verify(lines, signed, key)
        best = max(best, len(lines) / (time.perf_counter() - begun))
        assert found.ok and found.rows == len(lines), found.problem
    return best


def in_shares(folder: Path, lines: list[bytes], signed: list[bytes], key: Any, *, jobs: int) -> float:
    """Rows a second of a file that several processes read, their start included; the answer is checked."""
    file = folder / "export.ndjson"
    file.write_bytes(b"".join(lines))
    begun = time.perf_counter()
    found = shares.verify(file, signed, key, jobs=jobs)
    seconds = time.perf_counter() - begun
    assert found.ok and found.rows == len(lines), found.problem
    return len(lines) / seconds


def tamperings(lines: list[bytes], signed: list[bytes], key: Any, *, trials: int) -> dict[str, Any]:
    """Trials and finds by kind. A consistent new chain from the changed row on is the strongest of them."""
    rng = random.Random(20261124)
    by_kind: dict[str, dict[str, int]] = {name: {"trials": 0, "found": 0} for name in _KINDS}
    for trial in range(trials):
        name = list(_KINDS)[trial % len(_KINDS)]
        changed = _KINDS[name](list(lines), rng)
        assert changed != lines
        by_kind[name]["trials"] += 1
        by_kind[name]["found"] += not verification.verify(changed, signed, key).ok
    return by_kind


def _edit(lines: list[bytes], rng: random.Random) -> list[bytes]:
    at = rng.randrange(len(lines))
    place = rng.randrange(len(lines[at]) - 1)
    changed = bytearray(lines[at])
    changed[place] ^= 1 << rng.randrange(7)
    lines[at] = bytes(changed)
    return lines


def _delete(lines: list[bytes], rng: random.Random) -> list[bytes]:
    del lines[rng.randrange(len(lines))]
    return lines


def _insert(lines: list[bytes], rng: random.Random) -> list[bytes]:
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return lines


def _reorder(lines: list[bytes], rng: random.Random) -> list[bytes]:
    a, b = rng.sample(range(len(lines)), 2)
    lines[a], lines[b] = lines[b], lines[a]
    return lines


def _truncate(lines: list[bytes], rng: random.Random) -> list[bytes]:
    return lines[: rng.randrange(len(lines))]


def _rehash(lines: list[bytes], rng: random.Random) -> list[bytes]:
    at = rng.randrange(len(lines))
    before, new = b"person", b"nobody"
    for i in range(at, len(lines)):
        old, body = lines[i][16:80], lines[i][88:-2].replace(before, new, 1)
        before, new = old, canonical.digest_bytes(body).removeprefix("sha256:").encode()
        lines[i] = b'{"hash":"sha256:%s","row":%s}\n' % (new, body)
    return lines


_KINDS: dict[str, Tamper] = {
    "edit": _edit,
    "delete": _delete,
    "insert": _insert,
    "reorder": _reorder,
    "truncate": _truncate,
    "full re-hash": _rehash,
}


def opened(folder: Path) -> tuple[database.Database, checkpoints.Checkpointer]:
    """A fresh database with its checkpoints; the caller opens and closes it."""
    db = database.Database(f"sqlite+aiosqlite:///{folder / 'control.db'}")
    return db, checkpoints.embedded(db, folder)
