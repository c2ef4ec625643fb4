"""Whether replaying the stored histories finds the changes that would break runs under way: mutants of every workflow.

For each mutant two witnesses are asked about each stored history of its workflow: `commands.py`, whether the commands are
other ones, and Temporal's replayer, which is what `tests/replay` trusts. A mutant *breaks* if the first says so of any
history, and is *caught* if a replay of any fails. One that no run could come past (`stillborn`) and one that leaves the
commands of all histories as they are (`harmless`) are no part of the share; the harmless ones must replay.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import json
import random
import sys
import types
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import temporalio.workflow
from temporalio import runtime
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from mainspring.bench.workflows import commands, mutants
from mainspring.workflows import options

__all__ = ["Source", "Verdict", "judge", "row", "sources", "summary", "verdicts"]

_ROOM: Final = Path(options.__file__).resolve().parent
HISTORIES: Final = _ROOM.parent / "tests" / "replay" / "histories"

#: Of a sample, so that it is the same one each time.
SEED: Final = 20261129


@dataclass(frozen=True)
class Source:
    """A workflow's class, its file, and what is stored of its runs."""

    cls: type
    path: Path
    histories: tuple[WorkflowHistory, ...]

    @property
    def name(self) -> str:
        return self.cls.__name__


@dataclass(frozen=True)
class Verdict:
    """`kind`: `breaking`, `harmless`, `unreached` (harmless, on a line that no history runs) or `stillborn`."""

    workflow: str
    mutant: str
    kind: str
    is_caught: bool
    why: str
    """What the first witness saw."""
    replay: str
    """What the replayer said; empty where every history replays."""


def sources(folder: Path = HISTORIES) -> list[Source]:
    """Every workflow of ours with its stored histories; those without any are in it, too."""
    stored: dict[str, list[WorkflowHistory]] = {}
    for path in sorted(folder.glob("*.json")):
        text = path.read_text()
        first = json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]
        stored.setdefault(first["workflowType"]["name"], []).append(
            WorkflowHistory.from_json(path.stem, text)
        )
    found = []
    for file in sorted(_ROOM.glob("*/workflow.py")):
        module = importlib.import_module(f"mainspring.workflows.{file.parent.name}.workflow")
        for cls in _workflows(module):
            name = temporalio.workflow._Definition.must_from_class(cls).name
            found.append(Source(cls, file, tuple(stored.get(name or "", ()))))
    return found


def _workflows(module: types.ModuleType) -> list[type]:
    return [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__ and temporalio.workflow._Definition.from_class(cls) is not None
    ]


async def judge(source: Source, mutant: mutants.Mutant) -> Verdict:
    """Ask both witnesses."""
    try:
        cls = _class_of(source, mutant)
    except Exception as error:  # noqa: BLE001 - the changed module does what it likes
        return Verdict(source.name, str(mutant), "stillborn", True, repr(error), repr(error))
    answers: list[commands.Answer] = []
    for history in source.histories:
        answers.append(await asyncio.to_thread(commands.compare, cls, history))
        if answers[-1].outcome is commands.Outcome.OTHER:
            break  # it breaks, whatever it does to the others
    outcomes = {answer.outcome for answer in answers}
    why = next((a.why for a in answers if a.outcome is commands.Outcome.OTHER), "")
    if commands.Outcome.OTHER in outcomes:
        kind = "breaking"
    elif commands.Outcome.STILLBORN in outcomes:
        kind, why = "stillborn", next(a.why for a in answers if a.why)
    else:
        reached = await asyncio.to_thread(_lines, source)
        kind = "harmless" if mutant.line in reached else "unreached"
    if any(a.why == commands.ENDLESS for a in answers):  # it would hold the replayer's thread for ever
        return Verdict(source.name, str(mutant), "stillborn", True, why, commands.ENDLESS)
    replay = await _replay(cls, source.histories)
    return Verdict(source.name, str(mutant), kind, bool(replay), why, replay)


def _class_of(source: Source, mutant: mutants.Mutant) -> type:
    module = types.ModuleType(f"mutant_of_{source.path.parent.name}")
    sys.modules[module.__name__] = module  # annotations are looked up there
    exec(compile(mutant.tree(), str(source.path), "exec"), vars(module))
    cls: type = getattr(module, source.name)
    return cls


_LINES: dict[str, frozenset[int]] = {}


def _lines(source: Source) -> frozenset[int]:
    """What the unchanged workflow runs of its file in all its histories."""
    if source.name not in _LINES:
        answers = [commands.compare(source.cls, history) for history in source.histories]
        _LINES[source.name] = frozenset().union(*(a.lines for a in answers))
    return _LINES[source.name]


@functools.cache
def _quiet() -> runtime.Runtime:
    """Its warnings are what is looked for here, a line for each mutant."""
    nothing = runtime.TelemetryFilter(core_level="ERROR", other_level="ERROR")
    return runtime.Runtime(telemetry=runtime.TelemetryConfig(logging=runtime.LoggingConfig(filter=nothing)))


async def _replay(cls: type, histories: Sequence[WorkflowHistory]) -> str:
    replayer = Replayer(
        workflows=[cls],
        # The sandbox imports a workflow by its module's name; a mutant is in no file.
        workflow_runner=UnsandboxedWorkflowRunner(),
        data_converter=pydantic_data_converter,
        runtime=_quiet(),
    )
    for history in histories:
        try:
            await replayer.replay_workflow(history)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - any failure is the guard's
            return f"{history.workflow_id}: {type(error).__name__}: {error}"
    return ""


async def verdicts(found: Sequence[Source], *, sample: int | None = None) -> list[Verdict]:
    """Of all mutants, or of `sample` of them that a fixed seed draws."""
    pairs = [(source, mutant) for source in found for mutant in mutants.mutants(source.path.read_text())]
    if sample is not None:
        pairs = random.Random(SEED).sample(pairs, min(sample, len(pairs)))
    return [await judge(source, mutant) for source, mutant in pairs]


def row(*, sample: int | None = None) -> dict[str, Any]:
    """The share of breaking mutants that a replay finds, and all that is not caught, by name."""
    if not HISTORIES.is_dir():
        return {"name": "replay guard", "absent": "stored histories are only in a checkout"}
    return summary(asyncio.run(verdicts(sources(), sample=sample)), is_sample=sample is not None)


def summary(found: Sequence[Verdict], *, is_sample: bool) -> dict[str, Any]:
    """The row of these verdicts."""
    breaking = [v for v in found if v.kind == "breaking"]
    caught = [v for v in breaking if v.is_caught]
    alarms = [v for v in found if v.kind in ("harmless", "unreached") and v.is_caught]
    return {
        "name": "replay guard",
        "correct": not alarms,
        "is_sample": is_sample,
        "mutants": len(found),
        "by_kind": dict(sorted(Counter(v.kind for v in found).items())),
        "by_workflow": dict(sorted(Counter(v.workflow for v in breaking).items())),
        "breaking": len(breaking),
        "caught": len(caught),
        "missed": [f"{v.workflow}: {v.mutant}: {v.why}" for v in breaking if not v.is_caught],
        "false_alarms": [f"{v.workflow}: {v.mutant}: {v.replay}" for v in alarms],
    }
