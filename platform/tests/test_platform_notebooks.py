"""Notebook workspaces: who may have one and how large, when it ends, and what it cost; whole ones with JupyterLab are `soak`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import platform_notebooks as world
import pytest

from mainspring.core import errors, settings
from mainspring.core.contracts import control, notebooks
from mainspring.platform.notebooks import environment, keeper, metering, workspaces

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
ASKED = workspaces.Asked(project="alpha", actor="developer@local", cores=1, memory_gib=2, hours=2)
ID = "notebook_01m8mh3n29kg4kyge1e15v4pm0"


def workspace(**otherwise: object) -> workspaces.Workspace:
    given = {
        "notebook_id": ID, "asked": ASKED, "port": 1, "started_at": AT, "ends_at": AT + timedelta(hours=2), "idle_minutes": 30,
    }  # fmt: skip
    return workspaces.Workspace.model_validate({**given, **otherwise})


@pytest.fixture(scope="module")
def s(tmp_path_factory: pytest.TempPathFactory) -> Iterator[settings.Settings]:
    """Of a control API with a project that has money, and one that has next to none."""
    with world.served(tmp_path_factory.mktemp("home"), max_cores=2, max_hours=12, per_project=1) as s:
        with world.client(s, "admin") as admin:
            admin.create_project(control.ProjectCreate(name="alpha", owner="team", monthly_budget=100.0))
            admin.create_project(control.ProjectCreate(name="poor", owner="team", monthly_budget=0.05))
        yield s


@pytest.fixture
def kept(s: settings.Settings) -> Iterator[Path]:
    """The folder of a workspace whose keeper is gone."""
    folder = workspaces.folder_of(s, ID)
    for name in ("work", "env", "runtime"):
        (folder / name).mkdir(parents=True)
    (folder / "work" / "mine.ipynb").write_text("{}")
    workspaces.write(s, workspace())
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("minutes", "active", "why"),
    [
        (1, 0, ""),
        (29, None, ""),
        (31, None, ""),  # JupyterLab does not say: nobody is sent away for that
        (29.9, 0, ""),
        (30, 0, "nobody did anything for 30 minutes"),
        (90, 61, ""),
        (91, 60, "nobody did anything for 30 minutes"),
        (15, -60, ""),  # what was before it was started does not count
        (120, 119, "its time is over"),
        (500, None, "its time is over"),
    ],
)
def test_when_it_ends(minutes: float, active: float | None, why: str) -> None:
    active_at = None if active is None else AT + timedelta(minutes=active)
    assert keeper.reason(workspace(), AT + timedelta(minutes=minutes), active_at) == why


def test_who_was_active_last() -> None:
    now = AT + timedelta(hours=1)
    status = {"started": "2026-11-29T12:00:00Z", "last_activity": "2026-11-29T12:05:00.5Z"}
    idle = {"execution_state": "idle", "last_activity": "2026-11-29T12:07:00Z"}
    assert keeper.latest(status, [], now) == AT + timedelta(minutes=5, seconds=0.5)
    assert keeper.latest(status, [idle], now) == AT + timedelta(minutes=7)
    assert (
        keeper.latest(status, [idle, {"execution_state": "busy"}], now) == now
    )  # it computes: somebody waits for it
    assert keeper.latest({"started": status["started"]}, [], now) == AT


def test_which_process_goes_for_memory() -> None:
    assert keeper.too_large({1: 50, 2: 30, 3: 20}, server=1, most=100) is None
    assert keeper.too_large({1: 50, 2: 31, 3: 20}, server=1, most=100) == 2
    assert (
        keeper.too_large({1: 500}, server=1, most=100) is None
    )  # without JupyterLab there is nothing to keep
    assert keeper.too_large({}, server=1, most=100) is None


@pytest.mark.parametrize(
    ("otherwise", "error", "words"),
    [
        ({"project": "nowhere"}, errors.NotFound, "nowhere"),
        ({"cores": 3}, errors.InvalidRequest, "`cores` would be 3.*at most 2.*`notebooks.max_cores`"),
        ({"memory_gib": 8.5}, errors.InvalidRequest, "`notebooks.max_memory_gib`"),
        ({"hours": 12.5}, errors.InvalidRequest, "`notebooks.max_hours`"),
        ({"hours": 0.0}, errors.InvalidRequest, "more than 0"),
        (
            {"project": "poor"},
            errors.BudgetExceeded,
            r"may cost 0.10 USD, and 0.05 of its budget are free; ask for fewer hours",
        ),
    ],
)
def test_what_is_beyond_the_quota_or_the_budget_leaves_nothing(
    s: settings.Settings, otherwise: dict[str, object], error: type[errors.MainspringError], words: str
) -> None:
    with world.client(s, "developer") as client, pytest.raises(error, match=words):
        workspaces.start(s, client, ASKED.model_copy(update=otherwise))
    assert not list(s.notebooks.dir.glob("notebook_*")) and not (s.notebooks.dir / "packages").exists()


def on_record(s: settings.Settings, notebook_id: str = "") -> list[tuple[str, str, str]]:
    with world.client(s, "admin") as admin:
        rows, after = [], ""
        while True:
            page = admin.audit(limit=200, after=after)
            rows += page.items
            if not (after := page.next):
                break
    return [
        (row["action"], row["actor"], row["outcome"])
        for row in rows
        if row["resource"].startswith(f"notebook/alpha/{notebook_id}")
    ]


def test_who_may_not_develop_gets_none_and_that_is_on_record(s: settings.Settings) -> None:
    with (
        world.client(s, "approver") as client,
        pytest.raises(errors.PermissionDenied, match="needs role `developer` or `admin`"),
    ):
        workspaces.start(s, client, ASKED)
    assert on_record(s)[-1] == ("notebook.start", "approver@local", "denied")
    assert not list(s.notebooks.dir.glob("notebook_*"))


def test_one_that_does_not_come_up_was_asked_for_and_is_stopped_on_record(
    s: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> Path:
        raise errors.MissingTool("no index", tool="pip")

    monkeypatch.setattr(environment, "installed", nothing)
    with world.client(s, "developer") as client, pytest.raises(errors.MissingTool):
        workspaces.start(s, client, ASKED)
    assert on_record(s)[-2:] == [
        ("notebook.start", "developer@local", "done"),
        ("notebook.stop", "developer@local", "done"),
    ]


def test_the_budget_holds_whoever_asks_the_api_itself(s: settings.Settings) -> None:
    asked = notebooks.NotebookChange(notebook_id=ID, change="start", cores=1, memory_gib=2, hours=2)
    with world.client(s, "developer") as client:
        with pytest.raises(errors.BudgetExceeded):
            client.change_notebook("poor", asked)
        client.change_notebook("poor", asked.model_copy(update={"change": "stop"}))
        with pytest.raises(errors.PermissionDenied):
            client.end_notebook("alpha", notebooks.NotebookEnd(notebook_id=ID, reason="mine"))
        with pytest.raises(errors.InvalidRequest):
            client.change_notebook("alpha", asked.model_construct(notebook_id="../x", change="start"))


def test_its_end_is_told_once_by_its_keeper(s: settings.Settings, kept: Path) -> None:
    done = workspaces.finish(s, workspaces.find(s, ID), "its time is over")
    away = s.model_copy(update={"control": s.control.model_copy(update={"port": 9})})
    keeper._record_end(away, done)  # nobody is there: that is in its log
    assert ("notebook.end", "service@local", "done") not in on_record(s, ID)
    for _ in range(2):
        keeper._record_end(s, done)
    assert on_record(s, ID).count(("notebook.end", "service@local", "done")) == 1


def test_who_may_not_develop_stops_none_of_others(s: settings.Settings, kept: Path) -> None:
    with world.client(s, "approver") as client, pytest.raises(errors.PermissionDenied):
        workspaces.stop(s, client, ID)
    assert not workspaces.find(s, ID).ended
    with world.client(s, "developer") as client:
        assert workspaces.stop(s, client, ID).ended == workspaces.stop(s, client, ID).ended == "stopped"
    assert [row for row in on_record(s, ID) if row[0] == "notebook.stop"] == [
        ("notebook.stop", "approver@local", "denied"),
        ("notebook.stop", "developer@local", "done"),
    ]


def test_what_it_costs_is_charged_once_whatever_is_down(s: settings.Settings, tmp_path: Path) -> None:
    half = AT + timedelta(minutes=30)
    who = f"{ID}:{ASKED.actor}"
    for since, until in ((AT, AT), (AT, half), (half, AT + timedelta(hours=2))):
        metering.note(tmp_path, who, "alpha", 1, 2.0, since, until)
    away = s.model_copy(update={"control": s.control.model_copy(update={"port": 9})})
    with world.client(away, "service") as nobody:
        assert metering.settle(tmp_path, nobody) == 6
    with world.client(s, "service") as client, world.client(s, "approver") as approver:
        assert metering.settle(tmp_path, client) == metering.settle(tmp_path, client) == 0
        metering.note(tmp_path, who, "alpha", 1, 2.0, AT, half)  # as after a crash before it was received
        assert metering.settle(tmp_path, client) == 0
        spent = client.costs(group_by="project").groups["alpha"]
        assert spent == pytest.approx(metering.cost(s.cost, 1, 2.0, 2.0)) == pytest.approx(0.1)
        rows = [row for row in approver.audit(limit=200).items if row["action"] == "usage.record"]
    assert len(rows) == 6
    assert all(row["resource"].startswith(f"usage/{ID}:developer@local:2026-11-29") for row in rows)


def test_what_the_control_api_does_not_take_is_kept_aside(s: settings.Settings, tmp_path: Path) -> None:
    metering.note(tmp_path, f"{ID}:{ASKED.actor}", "gone", 1, 2.0, AT, AT + timedelta(hours=1))
    with world.client(s, "service") as client:
        assert metering.settle(tmp_path, client) == 0
    kept = (tmp_path / "usage.refused.jsonl").read_text().splitlines()
    assert len(kept) == 2 and all('"project":"gone"' in line for line in kept)


def test_one_whose_keeper_was_killed_is_ended_and_its_work_stays(s: settings.Settings, kept: Path) -> None:
    (found,) = workspaces.known(s)
    assert found.ended == "its keeper was killed" and found.ended_at is not None
    assert sorted(path.name for path in kept.iterdir()) == ["work", "workspace.json"]
    assert (kept / "work" / "mine.ipynb").exists()
    assert workspaces.end(s, ID) == found  # twice is once
    with world.client(s, "developer") as client:
        with pytest.raises(errors.Conflict, match="has ended: its keeper was killed.*`work` folder"):
            workspaces.extend(s, client, ID, 1.0)


def test_it_is_extended_within_the_quota_and_the_budget(s: settings.Settings, kept: Path) -> None:
    with world.client(s, "developer") as client:
        assert workspaces.extend(s, client, ID, 3.0).ends_at == AT + timedelta(hours=5)
        with pytest.raises(errors.InvalidRequest, match="`hours` would be 13"):
            workspaces.extend(s, client, ID, 8.0)
        workspaces.write(s, workspace(asked=ASKED.model_copy(update={"project": "poor"})))
        with pytest.raises(errors.BudgetExceeded):
            workspaces.extend(s, client, ID, 3.0)
    assert workspaces.find(s, ID).ends_at == AT + timedelta(hours=2)


def test_what_is_no_workspace_is_named(s: settings.Settings, kept: Path) -> None:
    with pytest.raises(errors.InvalidRequest, match="no `notebook` id"):
        workspaces.find(s, "../x")
    with pytest.raises(errors.NotFound, match="mainspring notebook list"):
        workspaces.find(s, ID[:-1] + "1")
    (kept / "workspace.json").write_text("{")
    with pytest.raises(errors.CorruptArtifact, match="keep its `work` folder"):
        workspaces.find(s, ID)
