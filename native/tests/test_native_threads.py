"""Programs on several threads: the same bits, whoever calls, after a fork, and when the interpreter ends."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import textwrap
import threading
from typing import Any

import numpy as np
import pytest

from mainspring.native import program, status

ROWS = 60_000
SPEC: dict[str, Any] = {
    "version": 1,
    "inputs": [
        {"name": "x", "type": "float32"}, {"name": "u", "type": "int64"}, {"name": "now", "type": "int64"},
        {"name": "e", "type": "events"},
    ],
    "dense": [
        {"op": "numeric", "source": "x", "log1p": True, "mean": 0.5},
        {"op": "numeric", "source": {"window": "sum", "events": "e", "as_of": "now", "width": 50}},
    ],
    "ids": [
        {"op": "hash", "source": "u", "buckets": 1000},
        {"op": "vocabulary", "source": "u", "values": list(range(100))},
        {"op": "bucketise", "source": "x", "boundaries": [0.0, 1.0], "right": True},
    ],
}  # fmt: skip


def make_columns(rows: int) -> dict[str, Any]:
    rng = np.random.default_rng(rows)
    x = rng.normal(size=rows).astype(np.float32)
    x[::7] = np.nan
    offsets = np.append(0, np.cumsum(rng.integers(0, 6, rows)))
    now = np.full(rows, 100)
    return {
        "x": x, "u": rng.integers(-5, 200, rows), "now": now,
        "e": (offsets, rng.integers(0, 120, offsets[-1]), rng.normal(size=offsets[-1]).astype(np.float32)),
    }  # fmt: skip


def same(got: program.Outputs, want: program.Outputs) -> bool:
    return got.dense.tobytes() == want.dense.tobytes() and got.ids.tobytes() == want.ids.tobytes()


@pytest.mark.parametrize("rows", [0, 1, 700, 3001, ROWS])
def test_any_number_of_threads_gives_the_same_bits(rows: int) -> None:
    compiled, columns = program.Program(SPEC), make_columns(rows)
    want = compiled.run(columns, threads=1)
    for threads in (2, 3, 8):
        for _ in range(5):
            assert same(compiled.run(columns, threads=threads), want)
        bound = compiled.bind(columns, threads=threads)
        bound.run(rows)
        assert same(bound.outputs, want)


@pytest.mark.parametrize("threads", [0, -1, 9])
def test_a_senseless_number_of_threads_is_refused(threads: int) -> None:
    compiled, columns = program.Program(SPEC), make_columns(3)
    for call in (compiled.run, compiled.bind):
        with pytest.raises(status.NativeError, match="`threads` must be 1 to 8") as caught:
            call(columns, threads=threads)
        assert caught.value.code == "bad_spec"


def test_bad_offsets_are_told_by_whichever_thread_finds_them() -> None:
    compiled, columns = program.Program(SPEC), make_columns(ROWS)
    offsets, times, values = columns["e"]
    for row in (3, ROWS // 2, ROWS - 1):
        bad = offsets.copy()
        bad[row + 1 :] = len(times) + 1
        with pytest.raises(status.NativeError, match=rf"row {row}:") as caught:
            compiled.run(columns | {"e": (bad, times, values)}, threads=2)
        assert caught.value.code == "bad_shape"
    assert same(compiled.run(columns, threads=2), compiled.run(columns))


def test_callers_at_once_each_get_their_answer() -> None:
    compiled, columns = program.Program(SPEC), make_columns(ROWS)
    want = compiled.run(columns)
    right: list[bool] = []

    def work() -> None:
        right.extend(same(compiled.run(columns, threads=2), want) for _ in range(20))

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert right == [True] * 80


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_starts_its_own_threads() -> None:
    compiled, columns = program.Program(SPEC), make_columns(ROWS)
    want = compiled.run(columns, threads=2)
    child = os.fork()
    if child == 0:  # no test framework from here on
        os._exit(0 if all(same(compiled.run(columns, threads=2), want) for _ in range(5)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same(compiled.run(columns, threads=2), want)


def test_the_interpreter_ends_while_threads_sleep_and_while_they_work() -> None:
    """Exit code 0 and not a word, also where a daemon thread is in the middle of a batch."""
    script = textwrap.dedent("""
        import sys, threading, time
        import test_native_threads as t
        compiled, columns = t.program.Program(t.SPEC), t.make_columns(t.ROWS)
        want = compiled.run(columns, threads=2)
        begun = threading.Event()
        def work():
            out = compiled.run(columns)
            while True:
                compiled.run(columns, out, threads=2)
                begun.set()
        if sys.argv[1] == "working":
            threading.Thread(target=work, daemon=True).start()
            begun.wait()
    """)
    for how in ("asleep", "working"):
        done = subprocess.run(
            [sys.executable, "-c", script, how],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), how
