"""Bring the embedded stack up, see how it is, take it down. Everything it knows is in `<state>/stack.json`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from mainspring.core import errors, ids, logs, settings
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
    """Start every part as soon as those it needs answer. All of them, or none is left.

    Errors: Conflict if the stack is already up, PortInUse before anything starts or is made, DependencyDown with the end of
    the log if a part ends or does not answer in `stack.start_timeout_seconds`.
    """
    check_startable(s, wanted)
    for part in wanted:
        part.prepare()
    state = StackState(stack_id=ids.new_id("stack"))
    # Written before the first start: whatever happens next, `down` finds what was started.
    _write(s, state)
    waiting = list(wanted)
    starting: list[_Starting] = []
    try:
        while waiting or starting:
            absent = {part.name for part in waiting} | {part.part.name for part in starting}
            for part in [p for p in waiting if not absent.intersection(p.needs)]:
                starting.append(_start(s, part, state.stack_id))
                waiting.remove(part)
            for one in list(starting):
                running = _look(s, one)
                if isinstance(running, str):
                    progress(f"{one.part.name} ended while starting, and is started again: {running}")
                    starting[starting.index(one)] = _start_again(s, one, state.stack_id)
                    continue
                if running is None:
                    continue
                starting.remove(one)
                state = state.model_copy(update={"parts": (*state.parts, running)})
                _write(s, state)
                progress(f"{running.name} answers after {running.ready_seconds:.1f} s {running.url}".rstrip())
            time.sleep(_POLL_SECONDS)
    except BaseException:
        down(s)
        raise
    return state


def check_startable(s: settings.Settings, wanted: Sequence[stack_parts.Part]) -> None:
    """Look, and make nothing. Errors: Conflict if the stack is already up, PortInUse."""
    refuse_if_up(s)
    for part in wanted:
        for port, setting in part.ports.items():
            processes.await_port_free(port, setting)


def refuse_if_up(s: settings.Settings) -> None:
    """Errors: Conflict if a process of the remembered stack still runs."""
    if (known := read(s)) and processes.marked(known.stack_id):
        raise errors.Conflict(
            f"the stack of `{s.stack.state_dir.name}` is already up; use it, or run `mainspring down` first",
            resource="stack",
            name=known.stack_id,
        )


@dataclass(frozen=True)
class _Starting:
    """A part whose process runs and which does not answer yet."""

    part: stack_parts.Part
    pid: int
    log: Path
    begun: float
    starts: int = 1
    """How often it was started by now."""


def _start(s: settings.Settings, part: stack_parts.Part, stack_id: str, *, starts: int = 1) -> _Starting:
    log = s.stack.state_dir / "logs" / f"{part.name}.log"
    environment = settings.child_environment(s, {**part.environment, processes.MARKER: stack_id})
    begun = time.monotonic()
    pid = processes.start(part.argv, environment=environment, log=log)
    return _Starting(part, pid, log, begun, starts)


def _start_again(s: settings.Settings, one: _Starting, stack_id: str) -> _Starting:
    """Errors: PortInUse where what it has left keeps a port."""
    for port, setting in one.part.ports.items():
        processes.await_port_free(port, setting, is_ending=True)
    return _start(s, one.part, stack_id, starts=one.starts + 1)


def _look(s: settings.Settings, one: _Starting) -> RunningPart | str | None:
    """The part if it answers, None if it may still, its last words if it may be started again.

    Errors: DependencyDown if it will not.
    """
    name, log, waited = one.part.name, one.log, time.monotonic() - one.begun
    if _is_settled(s, one, waited):
        return RunningPart(
            name=name, pid=one.pid, url=one.part.url, log=str(log), ready_seconds=round(waited, 2)
        )
    if not processes.is_alive(one.pid):
        if one.starts < one.part.starts:
            return _tail(log)
        raise errors.DependencyDown(f"`{name}` ended while starting: {_tail(log)}; see {log}", name=name)
    if waited > s.stack.start_timeout_seconds:
        raise errors.DependencyDown(
            f"`{name}` did not answer within {waited:.0f} s: {_tail(log)}; see {log}, or raise"
            " `stack.start_timeout_seconds`",
            name=name,
        )
    return None


def _is_settled(s: settings.Settings, one: _Starting, waited: float) -> bool:
    """Whether it answers, and has what others expect of it; one that listens may not take orders yet."""
    if not one.part.is_ready():
        return False
    try:
        one.part.settle()
    except errors.Unavailable:
        if waited > s.stack.start_timeout_seconds:
            raise
        return False
    return True


def down(s: settings.Settings) -> int:
    """End every process of the stack, the last started part first asked. Returns how many there were."""
    state = read(s)
    if state is None:
        return 0
    # Ray's head drains for 30 s for the sake of other nodes, of which this one has none.
    patient = [part.pid for part in reversed(state.parts) if part.name != "ray"]
    count = processes.end(state.stack_id, first=patient)
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
    return logs.message_of(lines[-1])[:300] if lines else "it wrote nothing"
