"""Control APIs without HTTP over one database, as several processes of one installation are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import control
from mainspring.platform import database, plane
from mainspring.platform.projects import service as projects
from mainspring.platform.runs import launcher
from mainspring.platform.runs import service as runs

DEVELOPER, WORKER, ADMIN = "Bearer dev", "Bearer work", "Bearer root"
ISSUER = identity.TokenIssuer(
    {
        "dev": identity.Actor("ana", ("developer",)),
        "work": identity.Actor("worker", ("service",)),
        "root": identity.Actor("root", ("admin",)),
    }
)


@asynccontextmanager
async def opened(
    directory: Path,
    *,
    engine: launcher.MemoryLauncher | None = None,
    env: Mapping[str, str] | None = None,
    budget: float | None = None,
    count: int = 2,
    names: Sequence[str] = ("alpha",),
) -> AsyncIterator[list[plane.ControlPlane]]:
    """As many control APIs, one engine, and the projects."""
    s = settings.load(env or {}, directory=directory)
    engine = engine or launcher.MemoryLauncher()
    planes = [
        plane.ControlPlane(
            database=database.Database(s.control.database_url),
            issuer=ISSUER,
            launcher=engine,
            book=s.cost,
            train_workers=2,
            control=s.control,
            quotas=s.quotas,
        )
        for _ in range(count)
    ]
    for one in planes:
        await one.database.open()
    try:
        for name in names:
            await projects.create(
                planes[0], DEVELOPER, control.ProjectCreate(name=name, owner="team", monthly_budget=budget)
            )
        yield planes
    finally:
        for one in planes:
            await one.database.close()


async def start(one: plane.ControlPlane, **fields: Any) -> str:
    """The id of a run of project `alpha`, or the code of the refusal."""
    try:
        return (await runs.create(one, DEVELOPER, control.RunCreate(project="alpha", **fields))).run_id
    except errors.BudgetExceeded as refusal:
        assert refusal.limit_usd < refusal.needed_usd and "kept free" in refusal.message
        return refusal.code
