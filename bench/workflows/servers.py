"""The real servers that a row needs, in a folder of their own, for as long as the row is measured."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from temporalio import client as temporal
from temporalio import runtime

from mainspring.core import errors, settings
from mainspring.core.client import connection
from mainspring.platform.stack import parts, processes, stack

__all__ = ["connected", "running"]

#: Ports of one stack: a block whose first ones nobody has, below the ephemeral range.
_BLOCK, _FIRST, _LAST, _LOOKED_AT = 200, 20_000, 32_000, 20
_BLOCKS: Final = (_LAST - _FIRST) // _BLOCK


@contextlib.contextmanager
def running(*names: str) -> Iterator[settings.Settings]:
    """These parts of the embedded stack (`platform.stack.parts`), all ended with the block."""
    with tempfile.TemporaryDirectory(prefix="mainspring-workflows-") as folder:
        s = settings.load({"MAINSPRING_STACK_PORT_BASE": str(_free_block())}, directory=Path(folder))
        try:
            stack.up(s, [parts.PARTS[name](s) for name in names])
            yield s
        finally:
            stack.down(s)


def _free_block() -> int:
    for i in range(_BLOCKS):
        base = _FIRST + (os.getpid() + i) % _BLOCKS * _BLOCK
        with contextlib.suppress(errors.PortInUse):
            for port in range(base, base + _LOOKED_AT):
                processes.check_port_free(port, "stack.port_base")
            return base
    raise errors.PortInUse("no free block of ports; end other stacks", port=_FIRST, setting="stack.port_base")


async def connected(s: settings.Settings) -> temporal.Client:
    """A client as ours connect, encryption included; the core's own lines are left out."""
    nothing = runtime.TelemetryFilter(core_level="ERROR", other_level="ERROR")
    quiet = runtime.TelemetryConfig(logging=runtime.LoggingConfig(filter=nothing))
    return await connection.connect_by(s.workflow, within=runtime.Runtime(telemetry=quiet))
