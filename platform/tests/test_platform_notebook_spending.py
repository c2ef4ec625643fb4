"""A workspace and its budget: kept an hour ahead, told before the money is gone, ended with its files, and paid to the last second."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import platform_notebooks as world
import pytest

from mainspring.core import ids, settings
from mainspring.core.contracts import base, control, notebooks
from mainspring.platform.notebooks import keeper, metering, spending, workspaces

HOUR = timedelta(hours=1)
#: Of one core and two GiB.
PER_HOUR = 0.05


@pytest.fixture(scope="module")
def s(tmp_path_factory: pytest.TempPathFactory) -> Iterator[settings.Settings]:
    with world.served(tmp_path_factory.mktemp("home"), max_hours=12) as s:
        yield s


@dataclass
class Kept:
    """A workspace of a project of its own, whose keeper's clock is ours."""

    s: settings.Settings
    project: str
    one: workspaces.Workspace
    money: spending.Spending = field(init=False)
    now: datetime = field(init=False)
    metered: datetime = field(init=False)
    why: str = ""

    def __post_init__(self) -> None:
        self.now = self.metered = self.one.started_at
        self.money = spending.Spending(self.s, self.one, lambda: self.now.timestamp())

    @property
    def folder(self) -> Path:
        return workspaces.folder_of(self.s, self.one.notebook_id)

    @property
    def hours(self) -> float:
        return (self.now - self.one.started_at) / HOUR

    def work(self, hours: float, step: timedelta = timedelta(minutes=1)) -> None:
        """As its keeper does, until it is to end."""
        until = self.now + hours * HOUR
        while not self.why and self.now < until:
            self.now += step
            self.why = self.money.look(self.one, self.metered, self.now)
            if self.now - self.metered >= timedelta(minutes=10) or self.why:
                self.meter()

    def meter(self) -> None:
        asked = self.one.asked
        who = f"{self.one.notebook_id}:{asked.actor}"
        metering.note(self.folder, who, asked.project, asked.cores, asked.memory_gib, self.metered, self.now)
        self.metered = self.now
        with world.client(self.s, "service") as client:
            metering.settle(self.folder, client)

    def standing(self) -> tuple[float, float]:
        with world.client(self.s, "admin") as admin:
            view = admin.project(self.project)
        return view.spent_this_month, view.reserved


def begun(s: settings.Settings, project: str, budget: float | None, hours: float = 1.0) -> Kept:
    asked = workspaces.Asked(project=project, actor="developer@local", cores=1, memory_gib=2.0, hours=hours)
    notebook_id = ids.new_id("notebook")
    with world.client(s, "admin") as admin, world.client(s, "developer") as developer:
        admin.create_project(control.ProjectCreate(name=project, owner="team", monthly_budget=budget))
        change = notebooks.NotebookChange(
            notebook_id=notebook_id, change="start", cores=1, memory_gib=2.0, hours=hours
        )
        developer.change_notebook(project, change)
    at = base.utc_now()
    made = workspaces.Workspace(
        notebook_id=notebook_id,
        asked=asked,
        port=1,
        started_at=at,
        ends_at=at + timedelta(hours=12),
        idle_minutes=30,
    )
    (workspaces.folder_of(s, notebook_id) / "work").mkdir(parents=True)
    workspaces.write(s, made)
    return Kept(s, project, made)


def test_an_hour_is_kept_ahead_for_as_long_as_there_is_money(s: settings.Settings) -> None:
    kept = begun(s, "rich", 100.0)
    assert kept.standing() == (0.0, PER_HOUR)
    kept.work(3.0, timedelta(minutes=5))
    spent, reserved = kept.standing()
    assert kept.why == "" and spent == pytest.approx(3 * PER_HOUR)
    assert 0.75 * PER_HOUR < reserved <= PER_HOUR
    assert not (kept.folder / "notice").exists() and not list((kept.folder / "work").iterdir())


def test_before_the_money_is_gone_it_is_told_and_ends_and_its_files_stay(s: settings.Settings) -> None:
    kept = begun(s, "poor", 2 * PER_HOUR)
    mine = kept.folder / "work" / "mine.ipynb"
    mine.write_text("{}")
    while not spending.notice_of(kept.folder) and kept.hours < 3:
        step = timedelta(minutes=5) if kept.hours < 1.6 else timedelta(seconds=30)
        kept.work(step / HOUR, step)
        spent, reserved = kept.standing()
        assert spent + reserved <= 2 * PER_HOUR + 1e-9
    told = kept.hours
    assert kept.why == "" and 1.65 < told < 2.0
    assert spending.notice_of(kept.folder).endswith("UTC: its budget is spent")
    text = (kept.folder / "work" / spending.NOTICE).read_text()
    assert "Save what is open" in text and "budget" in text
    kept.work(1.0, timedelta(seconds=20))
    assert kept.why.startswith("its budget is spent: ") and len(kept.why) < 500
    assert kept.hours - told == pytest.approx(s.notebooks.budget_grace_seconds / 3600, abs=0.01)
    spent, _ = kept.standing()
    assert spent == pytest.approx(kept.hours * PER_HOUR) and spent <= 2 * PER_HOUR  # to the last second
    assert mine.exists()


def test_money_in_time_takes_the_notice_back(s: settings.Settings) -> None:
    kept = begun(s, "saved", 100.0)
    with world.client(s, "admin") as admin:
        for budget in (PER_HOUR / 1000, 100.0):
            view = admin.project("saved")
            patch = control.ProjectPatch(monthly_budget=budget)
            admin.update_project("saved", patch, version=view.version)
            kept.work(0.02, timedelta(seconds=6))
            assert bool(spending.notice_of(kept.folder)) is (budget < 1) and kept.why == ""
            assert (kept.folder / "work" / spending.NOTICE).exists() is (budget < 1)


def test_without_a_limit_nothing_ends_it_and_nothing_is_renewed(s: settings.Settings) -> None:
    kept = begun(s, "free", None)
    kept.work(5.0, timedelta(minutes=10))
    assert kept.why == ""
    with world.client(s, "admin") as admin:
        rows = admin.audit(limit=200, resource=f"reservation/free/{kept.one.notebook_id}").items
    assert rows == []


def test_while_the_control_api_is_away_it_goes_on_with_what_is_kept_for_it(s: settings.Settings) -> None:
    kept = begun(s, "alone", 100.0)
    away = s.model_copy(update={"control": s.control.model_copy(update={"port": 9})})
    kept.money = spending.Spending(away, kept.one, lambda: kept.now.timestamp())
    kept.s = away
    kept.work(5.0, timedelta(minutes=2))
    assert "mainspring status" in kept.why and 0.9 < kept.hours <= 1.04
    waiting = metering.waiting(kept.folder)
    assert waiting["cpu_core_hour"] == pytest.approx(kept.hours)  # it is charged when it is back


def test_its_keeper_ends_it_pays_and_lets_go_of_what_was_kept(
    s: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a process that waits in JupyterLab's place."""
    kept = begun(s, "kept", 100.0)
    with world.client(s, "admin") as admin:
        view = admin.project("kept")
        admin.update_project("kept", control.ProjectPatch(monthly_budget=1e-9), version=view.version)
    started: list[subprocess.Popen[bytes]] = []

    def waits(*_: object) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "60"]))
        return started[0]

    (kept.folder / "token").write_text("x")
    monkeypatch.chdir(s.stack.state_dir.parent)
    monkeypatch.setenv("MAINSPRING_NOTEBOOKS_BUDGET_GRACE_SECONDS", "1.5")
    monkeypatch.setattr(keeper, "_started", waits)
    monkeypatch.setattr(keeper.os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(keeper.signal, "signal", lambda *_: None)
    assert keeper.main([kept.one.notebook_id, "packages"]) == 0
    assert started[0].returncode is not None
    done = workspaces.find(s, kept.one.notebook_id)
    assert done.ended.startswith("its budget is spent: the monthly budget of `kept` has ")
    assert done.ended_at is not None and (done.ended_at - done.started_at).total_seconds() >= 1.5
    assert (kept.folder / "work" / spending.NOTICE).exists() and metering.waiting(kept.folder) == {}
    spent, reserved = kept.standing()
    assert reserved == 0.0
    seconds = spent / PER_HOUR * 3600
    assert seconds == pytest.approx((done.ended_at - done.started_at).total_seconds(), abs=1.0)
    with world.client(s, "admin") as admin:
        rows = admin.audit(limit=200, resource=f"notebook/kept/{kept.one.notebook_id}").items
    assert [row["action"] for row in rows] == ["notebook.start", "notebook.end"]
