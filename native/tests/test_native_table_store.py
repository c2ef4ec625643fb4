"""The online table on disk and between processes: writers that die, disks that are full, readers that go on."""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pytest

from mainspring.native import status, table

WIDTH = 8
SCHEMA = table.Schema(
    (table.Key("id", "int64"),), tuple(table.Field(f"f{i}", "float32") for i in range(WIDTH))
)
NAMES = [field.name for field in SCHEMA.fields]
NOW = 10**9


def rows(values: Any) -> dict[str, Any]:
    """Every float of a row is one number."""
    return dict.fromkeys(NAMES, np.asarray(values, np.float32))


def read(opened: table.OnlineTable, keys: Any) -> list[float]:
    got = opened.get(keys, now_us=NOW)
    matrix = np.stack([got.values[name] for name in NAMES], 1)
    assert ((matrix == matrix[:, :1]) | np.isnan(matrix)).all()
    return [float(x) for x in matrix[:, 0]]


class Process:
    """Python in another process, told what to do line by line."""

    def __init__(self, code: str, *arguments: str) -> None:
        prelude = "import sys, time, json, resource, signal\nimport numpy as np\nfrom mainspring.native import table, status\n"
        self._process = subprocess.Popen(
            [sys.executable, "-c", prelude + textwrap.dedent(code), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.stdin: IO[str] = self._process.stdin
        self.stdout: IO[str] = self._process.stdout

    def ask(self, line: str) -> Any:
        self.stdin.write(line + "\n")
        self.stdin.flush()
        return self.hear()

    def hear(self) -> Any:
        return json.loads(self.stdout.readline())

    def kill(self) -> list[str]:
        """What it said before it died, the last line only if it is whole."""
        self._process.send_signal(signal.SIGKILL)
        said = self.stdout.read()
        self.stdin.close()
        self.stdout.close()
        assert self._process.wait(20) == -signal.SIGKILL
        return said.splitlines() if said.endswith("\n") else said.splitlines()[:-1]

    def end(self) -> int:
        self.stdin.close()
        self.stdout.close()
        return self._process.wait(20)


def test_a_reader_of_another_process_follows(tmp_path: pathlib.Path) -> None:
    with table.OnlineTable.open(tmp_path / "t", SCHEMA, shared=True) as writer:
        reader = Process(
            """
            reader = table.OnlineTable.open_reader(sys.argv[1])
            bound = reader.bind(3000, matrix=True)
            print(json.dumps(reader.schema.fields[2].name), flush=True)
            for line in sys.stdin:
                n = bound.get(np.arange(int(line)), 10**9)
                found = bound.matrix[:n][bound.status[:n] == 0]
                print(json.dumps([float(found[:, 0].sum()), bool((found == found[:, :1]).all()), len(found)]), flush=True)
            """,
            str(tmp_path / "t"),
        )
        assert reader.hear() == "f2"
        assert reader.ask("10") == [0, True, 0]
        writer.upsert(np.arange(3000), np.ones(3000, np.int64), rows(np.ones(3000)))
        assert reader.ask("3000") == [3000, True, 3000]
        writer.delete([0])
        assert reader.ask("3000") == [2999, True, 2999]
    assert reader.ask("10") == [9, True, 9]  # the writer is gone
    with table.OnlineTable.open(tmp_path / "t", shared=True) as writer:
        writer.upsert([1], [2], rows([5]))
        assert reader.ask("10") == [13, True, 9]
        with pytest.raises(status.NativeError) as caught:
            table.OnlineTable.open(tmp_path / "t")
        assert caught.value.code == "busy"
    assert reader.end() == 0


WRITER = """
keys, batch = np.arange(200), 0
writer = table.OnlineTable.open(sys.argv[1], shared=sys.argv[2] == "shared", snapshot_log_bytes=300_000, memory_directory=sys.argv[3])
first = int(sys.argv[4])
print(json.dumps("open"), flush=True)
for batch in range(first, first + 1_000_000):
    value = np.full(200, batch, np.float32)
    done = writer.upsert(keys, np.full(200, batch), {f"f{i}": value for i in range(8)}, wait=batch % 3 == 0)
    if batch % 3 == 0:
        print(batch, flush=True)
"""


def kill_writers(place: pathlib.Path, seconds: float, seed: int) -> int:
    """Ends a writer at any moment, again and again; whatever it acknowledged is there, and whole batches only."""
    directory = place / "t"
    table.OnlineTable.open(directory, SCHEMA).close()
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    kills, acknowledged = 0, 0
    while time.monotonic() < until or kills < 2:
        writer = Process(WRITER, str(directory), "shared", str(place), str(acknowledged + 1))
        assert writer.hear() == "open"
        reader = table.OnlineTable.open_reader(directory)
        time.sleep(rng.random() * 0.2)  # the moment is the point
        said = writer.kill()
        kills += 1
        before = acknowledged
        acknowledged = max([acknowledged, *(int(line) for line in said)])
        seen = read(reader, np.arange(200))  # still readable
        assert len(set(seen)) == 1 or before == 0
        with table.OnlineTable.open(directory) as again:
            assert again.stats().rows == (200 if acknowledged else again.stats().rows)
            values = set(read(again, np.arange(200)))
            assert len(values) == 1
            (value,) = values
            assert not acknowledged or value >= acknowledged
            # What readers saw was durable.
            assert seen[0] != seen[0] or value >= seen[0]
            acknowledged = max(acknowledged, int(value) if value == value else 0)
    return kills


def test_what_killed_writers_acknowledged_is_there(tmp_path: pathlib.Path) -> None:
    assert kill_writers(tmp_path, seconds=4, seed=1) >= 2


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(3))
def test_what_killed_writers_acknowledged_is_there_for_minutes(tmp_path: pathlib.Path, seed: int) -> None:
    assert kill_writers(tmp_path, seconds=60, seed=seed) > 20


BLOCKS, BLOCK = 100, 1000

REWRITER = """
keys = np.arange(100_000).reshape(100, 1000)
writer = table.OnlineTable.open(sys.argv[1], table.Schema((table.Key("id", "int64"),), tuple(table.Field(f"f{i}", "float32") for i in range(50))),
    shared=True, snapshot_log_bytes=64 << 20)
for version in range(1, 1 << 24):  # as far as float32 counts
    for block in keys if version == 1 else keys[(np.arange(20) * 37 + version) % 100]:
        value = np.full(1000, version, np.float32)
        writer.upsert(block, np.full(1000, version), {f"f{i}": value for i in range(50)}, wait=False)
    if version == 1:
        writer.flush()
        print(json.dumps("ready"), flush=True)
        start = time.monotonic()
    time.sleep(max(0.0, start + version / 10 - time.monotonic()))
"""


@pytest.mark.parametrize(
    "rows",
    [20_000_000, pytest.param(10**9, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])],
)
def test_no_row_is_torn_and_no_batch_is_halved_beside_a_writer(tmp_path: pathlib.Path, rows: int) -> None:
    """Every number of a row is its version, its event too: a mix of two versions shows, whichever words they share.

    The writer rewrites 200 blocks of 1,000 keys a second, each block a batch: the keys of one block have one version in
    every answer, and no key ever goes back to an earlier one.
    """
    writer = Process(REWRITER, str(tmp_path / "t"))
    assert writer.hear() == "ready"
    reader = table.OnlineTable.open_reader(tmp_path / "t")
    blocks, each = 64, 64
    n = blocks * each  # as many as are answered as of one moment
    bound = reader.bind(n, matrix=True)
    assert bound.matrix is not None
    rng = np.random.default_rng(5)
    asked = []
    for _ in range(50):
        of = rng.permutation(BLOCKS)[:blocks]
        asked.append((of, (of[:, None] * BLOCK + rng.integers(0, BLOCK, (blocks, each))).ravel()))
    newest, done, seen = np.zeros(BLOCKS, np.float32), 0, 0
    while done < rows:
        for of, keys in asked:
            bound.get(keys, NOW)
            version = bound.matrix[:, 0]
            assert (bound.matrix == version[:, None]).all(), "a row is torn"
            assert (bound.event_us == version).all(), "a row has another's event"
            assert not bound.status.any()
            by_block = version.reshape(blocks, each)
            assert (by_block == by_block[:, :1]).all(), "a batch is halved"
            assert (by_block[:, 0] >= newest[of]).all(), "a key went back"
            seen += int((by_block[:, 0] > newest[of]).sum())
            newest[of] = by_block[:, 0]
            done += n
    writer.kill()
    assert seen > 0
    print(f"{done:,} rows read, {seen:,} changes of a block seen, newest version {int(newest.max()):,}")


def test_a_dead_writers_memory_is_removed(tmp_path: pathlib.Path) -> None:
    table.OnlineTable.open(tmp_path / "t", SCHEMA).close()
    memory = tmp_path / "memory"
    memory.mkdir()
    writer = Process(WRITER, str(tmp_path / "t"), "shared", str(memory), "1")
    assert writer.hear() == "open"
    writer.kill()
    assert len(list(memory.iterdir())) == 1
    with table.OnlineTable.open(tmp_path / "t", shared=True, memory_directory=memory):
        assert len(list(memory.iterdir())) == 1
    assert list(memory.iterdir()) == []


def test_a_full_disk_loses_nothing_acknowledged(tmp_path: pathlib.Path) -> None:
    table.OnlineTable.open(tmp_path / "t", SCHEMA).close()
    writer = Process(
        """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        writer = table.OnlineTable.open(sys.argv[1])
        def put(value, n=500):
            x = np.full(n, value, np.float32)
            writer.upsert(np.arange(n), np.full(n, int(value)), {f"f{i}": x for i in range(8)})
        def seen():
            return sorted(set(writer.get(np.arange(500), now_us=10**9).values["f0"].tolist()))
        put(1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
        answers = []
        for value in (2, 3, 4):
            try:
                put(value)
            except status.NativeError as error:
                answers.append([error.code, "make room" in str(error), "log-" in str(error)])
        answers.append(seen())
        try:
            writer.snapshot()
        except status.NativeError as error:
            answers.append(error.code)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        put(9)
        answers.append(seen())
        print(json.dumps(answers), flush=True)
        sys.stdin.readline()
        """,
        str(tmp_path / "t"),
    )
    refused = ["full", True, True]
    assert writer.hear() == [refused, refused, refused, [1], "full", [9]]
    writer.kill()
    with table.OnlineTable.open(tmp_path / "t") as again:
        assert set(read(again, np.arange(500))) == {9}


def test_damage_is_told_with_file_place_and_what_to_do(tmp_path: pathlib.Path) -> None:
    opened = table.OnlineTable.open(tmp_path / "t", SCHEMA)
    for event in range(3):
        opened.upsert([1], [event], rows([event]))
    del opened
    (log,) = (tmp_path / "t").glob("log-*")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    with pytest.raises(status.NativeError) as caught:
        table.OnlineTable.open(tmp_path / "t")
    assert caught.value.code == "corrupt"
    for word in (f"`{log}` at byte", "restore the directory from a copy"):
        assert word in str(caught.value)


def test_wait_flush_and_the_context(tmp_path: pathlib.Path) -> None:
    with table.OnlineTable.open(tmp_path / "t", SCHEMA, group_seconds=3600) as opened:
        ticket = opened.upsert([1], [1], rows([1]), wait=False).ticket
        assert read(opened, [1])[0] != 1
        opened.wait(ticket)
        assert read(opened, [1]) == [1]
        opened.upsert([1], [2], rows([2]), wait=False)
        opened.flush()
        assert read(opened, [1]) == [2]
        assert opened.stats().log_bytes > 0
        opened.snapshot()
        assert opened.stats().snapshots == 1
    with table.OnlineTable.open(tmp_path / "t") as again:
        assert again.schema == SCHEMA
        assert read(again, [1]) == [2]


@pytest.mark.parametrize("code", ["io", "bad_spec", "not_writable"])
def test_refusals(tmp_path: pathlib.Path, code: str) -> None:
    with pytest.raises(status.NativeError) as caught:
        if code == "io":
            table.OnlineTable.open(tmp_path / "nothing")
        elif code == "bad_spec":
            table.OnlineTable.open(tmp_path / "t", SCHEMA).close()
            table.OnlineTable.open(tmp_path / "t", table.Schema((table.Key("k", "string"),), SCHEMA.fields))
        else:
            with table.OnlineTable.open(tmp_path / "t", SCHEMA, shared=True, memory_directory=tmp_path):
                reader = table.OnlineTable.open_reader(tmp_path / "t")
                assert reader.stats().rows == 0
                reader.upsert([1], [1], rows([1]))
    assert caught.value.code == code


def flipped(content: bytes, rng: random.Random) -> Iterator[bytes]:
    """Damaged copies: bits, cuts, pieces of itself in the wrong place."""
    for _ in range(60):
        made = bytearray(content)
        kind = rng.randrange(3)
        if kind == 0:
            for _ in range(rng.randrange(1, 5)):
                made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del made[rng.randrange(len(made)) :]
        else:
            at, start = rng.randrange(len(made)), rng.randrange(len(made))
            made[at:at] = made[start : start + rng.randrange(200)]
        yield bytes(made)


@pytest.mark.parametrize("name", ["log-*", "snapshot-*"])
def test_damaged_files_never_give_wrong_rows(tmp_path: pathlib.Path, name: str) -> None:
    opened = table.OnlineTable.open(tmp_path / "t", SCHEMA)
    for event in range(10):
        opened.upsert(np.arange(20) + 10 * event, np.full(20, event), rows(np.full(20, event)))
    if name.startswith("snapshot"):
        opened.snapshot()
    want = read(opened, np.arange(150))
    del opened
    (path,) = (tmp_path / "t").glob(name)
    others = {p: p.read_bytes() for p in (tmp_path / "t").iterdir()}
    for content in flipped(others[path], random.Random(3)):
        for p in (tmp_path / "t").iterdir():
            p.unlink()
        for p, original in others.items():
            p.write_bytes(original)
        path.write_bytes(content)
        try:
            again = table.OnlineTable.open(tmp_path / "t")
        except status.NativeError as error:
            assert error.code == "corrupt"
            assert os.fspath(path) in str(error)
            continue
        got = read(again, np.arange(150))
        if name.startswith("snapshot"):
            assert got == pytest.approx(want, nan_ok=True)
        # Of a log, what a tear at the end leaves: the batches before it.
        newest = max((x for x in got if x == x), default=-1.0)
        assert [x for x in got if x == x] == [min(x, newest) for x in want if x == x][
            : sum(x == x for x in got)
        ]
        del again
