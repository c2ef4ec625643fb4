"""An evidence pack over a log of many rows of one project, each with what the policies were asked: made, and verified alone."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mainspring.core import identity, settings
from mainspring.core.contracts import control
from mainspring.core.contracts import evidence as contracts
from mainspring.platform import database
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import checkpoints, store
from mainspring.platform.evidence import service, verify
from mainspring.platform.policies import engine, questions
from mainspring.platform.projects import service as projects
from mainspring.platform.runs import launcher

_PROJECT: Final = "alpha"
_ADMIN: Final = "Bearer root"
_BATCH: Final = 1000
#: Of ten rows so many are the project's: the others must be proved around.
_OURS: Final = 9


@dataclass(frozen=True)
class Pack:
    """`rows`: of the project, in the pack. Seconds: from the request to the answer, and of a process that verifies what was written."""

    rows: int
    log_rows: int
    mebibytes: float
    made_seconds: float
    verified_seconds: float


async def run(folder: Path, *, total: int) -> Pack:
    """A log of `total` rows, and the pack of its project. What the verifier proved is held against what was loaded."""
    s = settings.load({}, directory=folder)
    db = database.Database(s.control.database_url)
    plane = control_plane.ControlPlane(
        database=db,
        issuer=identity.TokenIssuer({"root": identity.Actor("root", ("admin",))}),
        launcher=launcher.MemoryLauncher(),
        book=s.cost,
        train_workers=2,
        checkpointer=checkpoints.embedded(db, s.stack.state_dir, s.audit),
        state_dir=s.stack.state_dir,
    )
    await db.open()
    try:
        await projects.create(plane, _ADMIN, control.ProjectCreate(name=_PROJECT, owner="bench"))
        ours = await _load(db, plane.policies, total)
        whole = contracts.EvidenceCreate(
            since=datetime(2020, 1, 1, tzinfo=UTC), until=datetime(2100, 1, 1, tzinfo=UTC)
        )
        begun = time.perf_counter()
        answer = await service.export(plane, _ADMIN, _PROJECT, whole)
        made = time.perf_counter() - begun
    finally:
        await db.close()
    content = base64.b64decode(answer.content)
    (folder / "pack.zip").write_bytes(content)
    seconds, found = _verified(folder / "pack.zip", s.stack.state_dir / "audit" / "public.pem")
    # The project's beginning and the request for the pack are rows, too.
    assert (found["audit_rows"], found["policy_sets"]) == (ours + 2, 1), found
    return Pack(found["audit_rows"], total + 2, len(content) / 2**20, made, seconds)


async def _load(db: database.Database, policies: engine.PolicyEngine, total: int) -> int:
    ours = 0
    for first in range(0, total, _BATCH):
        facts = [_fact(policies, number) for number in range(first, min(first + _BATCH, total))]
        ours += sum(f"/{_PROJECT}/" in fact.resource for fact in facts)
        async with db.write() as connection:
            await store.append(connection, facts)
    return ours


def _fact(policies: engine.PolicyEngine, number: int) -> store.Fact:
    """As a change of a schedule is on record: with the question that the policies were asked, and their answer."""
    project = _PROJECT if number % 10 < _OURS else f"other-{number % 7}"
    who = questions.Principal(f"person{number % 50}@example.org", frozenset({"developer"}))
    question = questions.Question(who, "schedule.put", questions.project(project), {"process": "train"})
    decision = policies.decide(question)
    assert decision.allowed
    asked: dict[str, Any] = {
        "allowed": True,
        "policies": list(decision.policies),
        "asked": question.to_record(),
    }
    detail = {
        "cron": "0 3 * * *",
        "authorisation": {"policies": policies.version, "decisions": [asked]},
    }
    return store.Fact(who.name, "schedule.put", f"schedule/{project}/nightly-{number}", "done", detail)


def _verified(pack: Path, key: Path) -> tuple[float, dict[str, Any]]:
    """By the script itself, in a process of its own, whose start counts."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(Path(verify.__file__)), str(pack), "--key", str(key)],
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - begun, dict(json.loads(done.stdout))
