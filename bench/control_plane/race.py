"""Starts that come at once to two control APIs over one database, against a budget that is enough for some of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import control
from mainspring.platform import database
from mainspring.platform import plane as control_plane
from mainspring.platform.projects import service as projects
from mainspring.platform.runs import launcher
from mainspring.platform.runs import service as runs

_DEVELOPER = "Bearer dev"
_COST = 1.0


@dataclass(frozen=True)
class Race:
    """What came of it. `launched` is the engine's count: a start that was refused must not be there."""

    started: int
    refused: int
    launched: int
    seconds: float


async def run(folder: Path, *, starts: int, fits: int) -> Race:
    """`starts` at the same time, each for as much as a `fits`-th of the project's budget."""
    issuer = identity.TokenIssuer({"dev": identity.Actor("ana", ("developer",))})
    s, engine = settings.load({}, directory=folder), launcher.MemoryLauncher()
    planes = [
        control_plane.ControlPlane(
            database=database.Database(s.control.database_url),
            issuer=issuer,
            launcher=engine,
            book=s.cost,
            train_workers=2,
        )
        for _ in range(2)
    ]
    for one in planes:
        await one.database.open()

    async def start(number: int) -> bool:
        request = control.RunCreate(project="alpha", max_cost=_COST)
        try:
            await runs.create(planes[number % 2], _DEVELOPER, request)
        except errors.BudgetExceeded:
            return False
        return True

    try:
        wanted = control.ProjectCreate(name="alpha", owner="bench", monthly_budget=fits * _COST)
        await projects.create(planes[0], _DEVELOPER, wanted)
        begun = time.perf_counter()
        answers = await asyncio.gather(*map(start, range(starts)))
        seconds = time.perf_counter() - begun
    finally:
        for one in planes:
            await one.database.close()
    return Race(sum(answers), len(answers) - sum(answers), len(engine.started), seconds)
