"""The process that runs a step's own code: `python -m mainspring.workflows.ray_jobs.step_child --spec ... --out ...`.

It is started and watched by `step.py`, in an empty folder, without our settings and without Ray's token.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mainspring.core import errors, secrets
from mainspring.core.pipelines import execution, given
from mainspring.core.pipelines.store import PipelineStore
from mainspring.workflows.ray_jobs import job_files, step_messages

_PR_SET_PDEATHSIG: Final = 1
_TRACE_CHARACTERS: Final = 2000
_MESSAGE_CHARACTERS: Final = 500


def main() -> int:
    parser = argparse.ArgumentParser(prog="step_child", description=__doc__.splitlines()[0])
    parser.add_argument("--spec", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True, help="the pid that starts this one")
    arguments = parser.parse_args()
    _end_with(arguments.parent)
    spec = step_messages.read_spec(arguments.spec)
    if spec.secrets:
        given.give_process(json.load(sys.stdin))
    job_files.write_output(arguments.out, _run(spec, arguments.out.parent))
    return 0


def _end_with(parent: int) -> None:
    """Nobody watches a step whose watcher was killed: it ends, too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _run(spec: step_messages.StepSpec, folder: Path) -> step_messages.StepOutput:
    store = PipelineStore(spec.store)
    pack = store.pack(spec.pack)
    node = pack.graph.node(spec.node)
    try:
        step = execution.load_step(store.unpack(pack), node.function)
        value = execution.execute(store, step, node, spec.inputs, folder / "inputs")
    # The step's code is somebody else's: whatever it raises, `sys.exit` too, is told.
    except BaseException as error:  # noqa: BLE001
        traceback.print_exc()
        return step_messages.StepOutput(
            failure=_failure(error, [given.secret(name) for name in spec.secrets])
        )
    return step_messages.StepOutput(value=value)


def _failure(error: BaseException, values: Sequence[str]) -> step_messages.Failure:
    """It goes into the workflow's history, where no value of a secret is to be."""
    kinds = step_messages.FailureKind
    ours = isinstance(error, errors.MainspringError)
    return step_messages.Failure(
        kind=kinds.MEMORY if isinstance(error, MemoryError) else kinds.EXCEPTION,
        message=secrets.mask(f"{type(error).__name__}: {error}", values)[:_MESSAGE_CHARACTERS],
        classes=tuple(c.__name__ for c in type(error).__mro__ if c is not object),
        error=secrets.masked(errors.to_wire(error), values)
        if isinstance(error, errors.MainspringError) and ours
        else {},
        trace=secrets.mask("".join(traceback.format_exception(error)), values)[-_TRACE_CHARACTERS:],
    )


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that the step left behind, and what it registered for the end, hold up nothing.
    os._exit(code)
