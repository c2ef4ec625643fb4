"""Compiles a program of `torch.export` to machine code (AOTInductor), in a process of its own that can be stopped.

A compile takes half a minute of a core and a C++ compiler, and gives a program without Python: a small network
answers one row in 20 us instead of 120. What was compiled is of this machine, is in memory only, and is not kept.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from mainspring.core import errors

#: Nothing compiles in less.
LEAST_SECONDS: Final = 10.0

_MODULE: Final = "mainspring.core.models.aot"
_PROGRAM: Final = "program.pt2"
_COMPILED: Final = "compiled.pt2"
_LOG: Final = "log"


def has_compiler() -> bool:
    """Whether the C++ compiler is there that torch would take."""
    return shutil.which("g++") is not None


def compiled(program: bytes, widths: Sequence[int], *, seconds: float) -> Callable[..., Any]:
    """The compiled program, of tensors (rows, width) as the program: float32, then int32. It runs on one thread.

    `program` is one that :func:`mainspring.core.models.exported.problem_of` has nothing to say of.
    Errors: DeadlineExceeded after `seconds`, and what compiles is stopped; JobFailed with torch's last line.
    """
    with tempfile.TemporaryDirectory(prefix="mainspring-aot-") as name:
        folder = Path(name)
        (folder / _PROGRAM).write_bytes(program)
        _run([sys.executable, "-m", _MODULE, name, *map(str, widths)], folder / _LOG, seconds)
        # It is unpacked into a folder of its own, which goes with it.
        loaded: Callable[..., Any] = torch._inductor.aoti_load_package(str(folder / _COMPILED))
    return loaded


def _run(command: Sequence[str], log: Path, seconds: float) -> None:
    with log.open("wb") as told:
        # A session of its own: the compilers that it starts are stopped with it.
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, start_new_session=True
        )
        try:
            status = child.wait(timeout=seconds)
        except BaseException as error:
            # It was not waited for yet, so the number is still its own.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise errors.DeadlineExceeded(
                f"the program was not compiled in {seconds:.1f} s; raise `serving.warm_up_seconds`",
                stage="aot.compile",
            ) from error
    if status:
        last = (log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]
        raise errors.JobFailed(
            f"torch cannot compile the program: {last[:200]}; it runs as it is",
            job_id=_MODULE,
            status=str(status),
        )


def main(arguments: Sequence[str]) -> None:
    """The process: a folder with the program, and the widths of its inputs. Errors: whatever torch raises."""
    from torch._inductor.runtime import cache_dir_utils

    folder, (dense, *ids) = Path(arguments[0]), map(int, arguments[1:])
    exported = torch.export.load(io.BytesIO((folder / _PROGRAM).read_bytes()))
    # Two rows: one could be taken for a size that never varies.
    exported.example_inputs = (
        (torch.zeros(2, dense), *(torch.zeros(2, n, dtype=torch.int32) for n in ids)),
        {},
    )
    with cache_dir_utils.temporary_cache_dir(str(folder / "cache")):
        torch._inductor.aoti_compile_and_package(
            exported, package_path=str(folder / _COMPILED), inductor_configs={"cpp.threads": 1}
        )


if __name__ == "__main__":
    main(sys.argv[1:])
