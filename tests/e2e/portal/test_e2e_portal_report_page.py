"""Evidently's page of a report in the portal: drawn where it is asked for, and shut in whatever is in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import e2e_portal_world as worlds
import numpy as np
import polars as pl
import pytest
from e2e_portal_world import Tab, World
from playwright.sync_api import Browser, expect

from mainspring.core import identity, settings
from mainspring.core.contracts import alerts, monitoring
from mainspring.core.contracts import control as control_contracts
from mainspring.core.monitoring import evidently_adapter, pages

pytestmark = pytest.mark.e2e

#: Asks what a script that somebody smuggled in would ask for, and writes what it came to.
HOSTILE = """<!DOCTYPE html><html><head></head><body><p id="told"></p><script>
const said = [self.origin];
for (const [name, get] of [['parent', () => parent.document.title], ['storage', () => localStorage.length]])
  try { said.push(name + ' seen: ' + get()); } catch { said.push(name + ' shut'); }
fetch('/api/v1/me').then(() => said.push('api seen'), () => said.push('api shut'))
  .then(() => { document.getElementById('told').textContent = said.join(', '); });
</script></body></html>"""


def rows(seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    scores = rng.beta(2, 4, 600)
    return pl.DataFrame(
        {"distance": rng.normal(size=600), "score": scores, "late": (rng.random(600) < scores).astype(int)}
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    worlds.require_parts()
    s = settings.load(
        {"MAINSPRING_CONTROL_PORT": str(worlds.free_port())}, directory=tmp_path_factory.mktemp("portal")
    )
    identity.ensure_token_file(s.control.tokens_file)
    drawn = evidently_adapter.full_report(rows(0), rows(1), label="late")
    begins = datetime(2026, 11, 1, tzinfo=UTC)
    with worlds.control(s) as made, made.client("developer") as developer, made.client("service") as service:
        developer.create_project(control_contracts.ProjectCreate(name="flights", owner="team"))
        for day, (name, page) in enumerate({"drawn": drawn, "hostile": HOSTILE, "none": ""}.items()):
            report = monitoring.MonitorReport(
                project="flights", endpoint="flights", bundle_digest="sha256:" + "a" * 64,
                begins=begins, ends=begins + timedelta(days=1 + day), rows=600, known=600,
            )  # fmt: skip
            digest = pages.leave(s.monitor.reports_dir, page) if page else ""
            recorded = service.record_report(alerts.ReportRecord(report=report, html_digest=digest))
            made.named[name] = recorded.report_id
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with worlds.browsing() as found:
        yield found


@pytest.fixture
def tab(browser: Browser, world: World) -> Iterator[Tab]:
    tab = Tab(browser, world)
    tab.sign_in("developer")
    yield tab
    tab.context.close()


def test_the_page_is_drawn_where_it_is_asked_for(tab: Tab) -> None:
    tab.go(f"/monitoring/{tab.world.named['drawn']}")
    tab.page.get_by_role("button", name="Show its page").click()
    shown = tab.page.frame_locator('iframe[title="Evidently\'s page"]')
    expect(
        shown.get_by_text("Target drift and performance: the 600 of the sample's 600 answers")
    ).to_be_visible()
    expect(shown.get_by_text("Dataset Drift", exact=True)).to_be_visible()
    assert tab.complaints == []
    assert tab.violations() == []


def test_what_is_in_it_sees_neither_the_session_nor_the_api(tab: Tab) -> None:
    tab.go(f"/monitoring/{tab.world.named['hostile']}")
    tab.page.get_by_role("button", name="Show its page").click()
    told = tab.page.frame_locator('iframe[title="Evidently\'s page"]').locator("#told")
    expect(told).to_have_text("null, parent shut, storage shut, api shut")


def test_where_there_is_none_it_is_said(tab: Tab, world: World) -> None:
    tab.go(f"/monitoring/{world.named['none']}")
    expect(tab.page.get_by_role("region", name="Evidently")).to_contain_text("The check left no page")
    tab.page.route(
        "**/page",
        lambda route: route.fulfill(status=404, json={"code": "not_found", "detail": "not kept here"}),
    )
    tab.go(f"/monitoring/{world.named['drawn']}")
    tab.page.get_by_role("button", name="Show its page").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("not kept here")
    assert tab.violations() == []
