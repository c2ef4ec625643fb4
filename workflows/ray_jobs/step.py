"""A step's job: `python -m mainspring.workflows.ray_jobs.step --spec SPEC.json --out OUT.json`.

It starts the step's own code as a process of its own and watches it: memory (its own, of the whole process tree),
time, and an end without a word each become a failure that the workflow understands. Whatever the process has started
ends with it. The job imports no ray: it is a driver only so that Ray gives it a place.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from mainspring.core import errors, secrets, settings
from mainspring.core.pipelines.store import PipelineStore, fresh_folder
from mainspring.workflows.ray_jobs import books, job_files, memory, observed, step_messages

_LOOK_SECONDS: Final = 0.1
_KILL_SECONDS: Final = 5.0
_GIB: Final = 1 << 30
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


def main() -> int:
    parser = argparse.ArgumentParser(prog="step", description=__doc__.splitlines()[0])
    parser.add_argument("--spec", type=Path, required=True, help="what to do, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="where the answer or the error goes")
    arguments = parser.parse_args()
    arguments.out.unlink(missing_ok=True)
    answer: step_messages.StepOutput | errors.MainspringError
    try:
        with observed.job("step"):
            spec = step_messages.read_spec(arguments.spec)
            answer = run(spec, fresh_folder(spec.folder / arguments.out.stem))
    except errors.MainspringError as error:
        answer = error
    job_files.write_output(arguments.out, answer)
    if isinstance(answer, errors.MainspringError):
        print(f"error: {answer.message}", file=sys.stderr)
        return 1
    return 0


def run(spec: step_messages.StepSpec, folder: Path) -> step_messages.StepOutput:
    """What came of it. `folder` is empty; of a step that failed it keeps what that wrote. Errors: those of the store."""
    store = PipelineStore(spec.store)
    store.unpack(store.pack(spec.pack))
    told = folder / "spec.json"
    job_files.write_file(told, spec.model_dump_json().encode())
    out, begun = folder / "answer.json", time.monotonic()
    used = 0.0
    given = _read_secrets(spec)
    with _started(spec, told, out, given) as process:

        def so_far() -> float:
            # At the end exactly; before, as the kernel tells of what runs.
            return used or _cpu_seconds(process.pid)

        held = memory.Held(lambda: _own_bytes(process.pid))
        with books.keeping(spec.book, so_far, held.byte_seconds):
            failure, peak = _watch(process.pid, spec, held)
            code, used = _end(process)
    answer = step_messages.StepOutput()
    if failure is None:
        answer, failure = _read(out, code)
    if answer.value is not None and not store.has(answer.value):
        failure = step_messages.Failure(
            kind=step_messages.FailureKind.DIED, message="the answer is not in the store"
        )
    if failure is None:
        # Its answer is in the store by now; what a failed one left is for whoever looks for the reason.
        for name in ("work", "inputs"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return answer.model_copy(
        update={
            "value": None if failure else answer.value,
            "failure": failure,
            "wall_seconds": time.monotonic() - begun,
            "cpu_seconds": used,
            "peak_memory_gib": peak / _GIB,
        }
    )


def _read_secrets(spec: step_messages.StepSpec) -> dict[str, str]:
    """What the step is given, as it is at this moment, in memory alone. Errors: those of the resolver."""
    if not spec.secrets or spec.keeper is None:
        return {}
    resolver = secrets.Resolver(spec.keeper)
    return {name: resolver.read_for(spec.project, place).reveal() for name, place in spec.secrets.items()}


@contextlib.contextmanager
def _started(
    spec: step_messages.StepSpec, told: Path, out: Path, given: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The step's process, the first of a session of its own; all of the session ends with the block.

    What it is given comes by its standard input, and is in its log as a mask.
    """
    work = told.parent / "work"
    work.mkdir()
    threads = str(max(1, math.ceil(spec.cpus)))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", step_messages.CHILD_MODULE),
            *("--spec", str(told), "--out", str(out), "--parent", str(os.getpid())),
        ],
        cwd=work,
        env=settings.foreign_environment(dict.fromkeys(_THREADS, threads)),
        stdin=subprocess.PIPE if given else subprocess.DEVNULL,
        stdout=subprocess.PIPE if given else None,
        stderr=subprocess.STDOUT if given else None,
        start_new_session=True,
    )
    copier = threading.Thread(target=_copy_masked, args=(process, tuple(given.values())), daemon=True)
    if given:
        assert process.stdin is not None
        copier.start()
        with contextlib.suppress(BrokenPipeError), process.stdin:  # it may have ended by now, and says why
            process.stdin.write(json.dumps(dict(given)).encode())

    def stop(number: int, _: object) -> None:
        _kill(process.pid)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)  # Ray asks before it kills
    try:
        yield process
    finally:
        _kill(process.pid)
        if given:
            copier.join(timeout=_KILL_SECONDS)
        signal.signal(signal.SIGTERM, before)


def _copy_masked(process: subprocess.Popen[bytes], values: Sequence[str]) -> None:
    """What the step prints, line by line, into the job's log."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            sys.stdout.write(secrets.mask(line.decode("utf-8", "replace"), values))
            sys.stdout.flush()


def _watch(
    pid: int, spec: step_messages.StepSpec, held: memory.Held
) -> tuple[step_messages.Failure | None, int]:
    """Until it has ended or does what it may not; and the most memory that was seen, in bytes."""
    kinds = step_messages.FailureKind
    deadline, limit, peak = time.monotonic() + spec.timeout_seconds, spec.memory_gib * _GIB, 0
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        peak = max(peak, held.look())
        if peak > limit:
            return step_messages.Failure(
                kind=kinds.MEMORY,
                message=f"it took {peak / _GIB:.2f} GiB and may take {spec.memory_gib:g}; raise `memory_gib`, or set"
                " `max_memory_gib`",
            ), peak
        if time.monotonic() > deadline:
            return step_messages.Failure(
                kind=kinds.TIMEOUT,
                message=f"it was still at work after {spec.timeout_seconds:g} s; raise `timeout_seconds`",
                classes=("TimeoutError",),
            ), peak
        time.sleep(_LOOK_SECONDS)
    return None, peak


def _end(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Its exit code, and the CPU seconds of it and of all that it waited for."""
    _kill(process.pid)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime


def _read(out: Path, code: int) -> tuple[step_messages.StepOutput, step_messages.Failure | None]:
    try:
        answer = step_messages.read_output(out)
    except errors.NotFound:
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return step_messages.StepOutput(), step_messages.Failure(
            kind=step_messages.FailureKind.DIED,
            message=f"its process ended by {how} without an answer; read the job's log",
        )
    return answer, answer.failure


def _kill(pid: int) -> None:
    """The session's processes, until none is alive: one may have begun another while it was being killed.

    The first of them keeps its number until it is waited for. What the system cannot end at once, it ends later.
    """
    until = time.monotonic() + _KILL_SECONDS
    while (alive := _session(pid)) and time.monotonic() < until:
        for member in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        time.sleep(0.002)


def _session(pid: int) -> list[int]:
    """Those that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        # Processes end while we look.
        with contextlib.suppress(OSError, ValueError, IndexError):
            if entry.name.isdigit():
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == pid and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def _own_bytes(pid: int) -> int:
    # Pages of files that it has mapped are the machine's, which takes them back when it needs them.
    return sum(memory.own_bytes(member) for member in _session(pid))


def _cpu_seconds(pid: int) -> float:
    """Of the session's processes, and of those that they have waited for."""
    total = 0
    for member in _session(pid):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / _TICKS


if __name__ == "__main__":
    sys.exit(main())
