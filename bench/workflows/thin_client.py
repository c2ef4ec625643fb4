"""How long a fresh process takes to import the thin client, alone and beside busy ones, and of what packages that is."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["busy", "row"]

_IMPORT: Final = (
    "import time; wall, cpu = time.perf_counter(), time.process_time(); {}"
    "; print(time.perf_counter() - wall, time.process_time() - cpu)"
)
_CLIENT: Final = "from mainspring.core.client import workflows"
#: The floor: what no client over Temporal's SDK and pydantic can do without.
_FLOOR: Final = (
    "import temporalio.client, temporalio.contrib.pydantic, pydantic; type('M', (pydantic.BaseModel,), {})"
)


def row(*, rounds: int, load: int = 10) -> dict[str, Any]:
    """Seconds, medians of fresh processes: wall and CPU, of the client and of its floor, quiet and beside `load` loops."""
    _timed(_CLIENT)  # the files are in the page cache for both
    quiet = _rounds(rounds)
    with busy(load):
        loaded = _rounds(max(3, rounds // 2))
    return {
        "name": "import of the thin client",
        "correct": True,
        "load": load,
        "quiet": quiet,
        "loaded": loaded,
    }


def _rounds(rounds: int) -> dict[str, float]:
    seen: dict[str, list[tuple[float, float]]] = {"client": [], "floor": []}
    for _ in range(rounds):
        seen["client"].append(_timed(_CLIENT))
        seen["floor"].append(_timed(_FLOOR))
    return {
        f"{name}_{kind}_seconds": statistics.median(pair[at] for pair in pairs)
        for name, pairs in seen.items()
        for at, kind in enumerate(("wall", "cpu"))
    }


def _timed(statement: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT.format(statement)], capture_output=True, text=True, check=True
    )
    wall, cpu = map(float, done.stdout.split())
    return wall, cpu


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that want a core each, in the block."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], stdout=subprocess.DEVNULL)
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()
