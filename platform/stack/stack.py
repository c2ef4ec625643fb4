"""Bring the embedded stack up, see how it is, take it down. Everything it knows is in `<state>/stack.json`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from mainspring.core import errors, ids, settings
from mainspring.platform.stack import parts as stack_parts
from mainspring.platform.stack import processes

_POLL_SECONDS: Final = 0.1


class RunningPart(BaseModel):
    """One started part, as it is remembered."""

    model_config = ConfigDict(frozen=True)

    name: str
    pid: int
    url: str
    log: str
    ready_seconds: float


class StackState(BaseModel):
    """What `down` and `status` need to know."""

    model_config = ConfigDict(frozen=True)

    stack_id: str
    parts: tuple[RunningPart, ...] = ()


def up(
    s: settings.Settings,
    wanted: Sequence[stack_parts.Part],
    *,
    progress: Callable[[str], None] = lambda line: None,
) -> StackState:
    """Start the parts in order, each when the one before answers. All of them, or none is left.

    Errors: Conflict if the stack is already up, PortInUse before anything starts, DependencyDown with the end of
    the log if a part ends or does not answer in `stack.start_timeout_seconds`.
    """
    if (known := read(s)) and processes.marked(known.stack_id):
        raise errors.Conflict(
            f"the stack of `{s.stack.state_dir.name}` is already up; use it, or run `mainspring down` first",
            resource="stack",
            name=known.stack_id,
        )
    for part in wanted:
        for port, setting in part.ports.items():
            processes.check_port_free(port, setting)
    state = StackState(stack_id=ids.new_id("stack"))
    # Written before the first start: whatever happens next, `down` finds what was started.
    _write(s, state)
    try:
        for part in wanted:
            running = _start(s, part, state.stack_id)
            state = state.model_copy(update={"parts": (*state.parts, running)})
            _write(s, state)
            progress(f"{part.name} answers after {running.ready_seconds:.1f} s {part.url}".rstrip())
    except BaseException:
        down(s)
        raise
    return state


def _start(s: settings.Settings, part: stack_parts.Part, stack_id: str) -> RunningPart:
    log = s.stack.state_dir / "logs" / f"{part.name}.log"
    environment = settings.child_environment(s, {**part.environment, processes.MARKER: stack_id})
    begun = time.monotonic()
    pid = processes.start(part.argv, environment=environment, log=log)
    while not part.is_ready():
        waited = time.monotonic() - begun
        if not processes.is_alive(pid):
            raise errors.DependencyDown(
                f"`{part.name}` ended while starting: {_tail(log)}; see {log}", name=part.name
            )
        if waited > s.stack.start_timeout_seconds:
            raise errors.DependencyDown(
                f"`{part.name}` did not answer within {waited:.0f} s: {_tail(log)}; see {log}, or raise"
                " `stack.start_timeout_seconds`",
                name=part.name,
            )
        time.sleep(_POLL_SECONDS)
    return RunningPart(
        name=part.name, pid=pid, url=part.url, log=str(log), ready_seconds=round(time.monotonic() - begun, 2)
    )


def down(s: settings.Settings) -> int:
    """End every process of the stack, the last started part first asked. Returns how many there were."""
    state = read(s)
    if state is None:
        return 0
    count = processes.end(state.stack_id, first=[p.pid for p in reversed(state.parts)])
    _path(s).unlink(missing_ok=True)
    return count


def read(s: settings.Settings) -> StackState | None:
    """The remembered stack. Errors: InvalidSettings if the file is damaged."""
    try:
        return StackState.model_validate_json(_path(s).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise errors.InvalidSettings(
            f"`{_path(s).name}` is damaged; end the processes that carry {processes.MARKER} and remove the file",
            problems=(str(error.errors()[0]["msg"]),),
        ) from error


def is_up(state: StackState) -> dict[str, bool]:
    """For each remembered part, whether its process runs."""
    return {part.name: processes.is_alive(part.pid) for part in state.parts}


def _path(s: settings.Settings) -> Path:
    return s.stack.state_dir / "stack.json"


def _write(s: settings.Settings, state: StackState) -> None:
    s.stack.state_dir.mkdir(parents=True, exist_ok=True)
    new = _path(s).with_suffix(".new")
    new.write_text(json.dumps(state.model_dump(mode="json"), indent=1))
    new.rename(_path(s))


def _tail(log: Path) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it wrote nothing"
