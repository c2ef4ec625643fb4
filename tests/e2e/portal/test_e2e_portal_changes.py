"""What people change in the portal, in a real browser over a real control API: starts, decisions, steering."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import e2e_portal_world as worlds
import pytest
from e2e_portal_world import ENDPOINT, PIPELINE, PROJECT, Tab, World, browser, world
from playwright.sync_api import Browser, Page, Route, expect

from mainspring.core.contracts import control, training
from mainspring.platform.templates import engine

__all__ = ["browser", "world"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_a_run_is_started_decided_on_and_on_record(browser: Browser, world: World) -> None:
    """A day's work: somebody starts a run; who may not decide is told so; an approver finds it and approves."""
    with world.client("developer") as developer:
        run = developer.create_run(control.RunCreate(project=PROJECT, environment="staging", cause="weekly"))
    asking = Tab(browser, world)
    asking.sign_in("developer")
    asking.open(f"/runs/{run.run_id}")
    expect(asking.page.get_by_text("environment: staging")).to_be_visible()
    expect(asking.page.get_by_role("button", name="Approve")).to_be_disabled()
    expect(asking.page.get_by_text(f"You are not an approver of {PROJECT}")).to_be_visible()

    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("approver")
    page.get_by_role("link", name="Approvals").click()
    card = page.locator(f"[data-run={run.run_id}]")
    expect(card).to_contain_text("weekly")
    expect(card).to_contain_text("0.7577")  # the evidence stands beside the button
    expect(card.get_by_role("button", name="Reject")).to_be_disabled()  # not without a note
    page.keyboard.press("j")
    page.keyboard.press("k")
    card.get_by_role("link", name=re.compile(PROJECT)).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(run.run_id)
    page.get_by_label("Note").fill("metrics are fine")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("done", exact=True).first).to_be_visible()
    expect(page.get_by_role("table", name="What is on record of this run")).to_contain_text("run.decide")
    # The other tab learns of it by itself.
    expect(asking.page.get_by_text("done", exact=True).first).to_be_visible()
    page.get_by_role("link", name="Audit").click()
    page.get_by_role("button", name="Verify the log").click()
    expect(page.get_by_role("status").filter(has_text="intact")).to_contain_text("The log is intact")
    page.get_by_label("To which").fill(f"run/{run.run_id}")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(r"resource=run"))
    rows = page.get_by_role("table", name="Audit rows").locator("tbody tr")
    expect(rows.first).to_contain_text("approver@local")
    assert asking.complaints == tab.complaints == []
    for one in (asking, tab):
        one.context.close()


def test_a_run_is_started_by_a_form_of_what_the_api_asks(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    tab.open(f"/runs?project={PROJECT}")
    page.get_by_role("link", name="New run").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("New run")
    expect(page.get_by_role("combobox", name="Project")).to_have_value(PROJECT)
    expect(page.get_by_role("region", name="What pays for it")).to_contain_text("of 20.00 USD")
    page.get_by_role("combobox", name="What to do").select_option("score")
    expect(page).to_have_url(re.compile(f"project={PROJECT}&kind=score$"))
    # Models are chosen from, and the first one is: what is shown is what is sent.
    expect(page.get_by_role("combobox", name="bundle digest")).to_have_value(re.compile("^sha256:"))
    page.get_by_role("textbox", name="input", exact=True).fill("/")
    page.get_by_role("textbox", name="output", exact=True).fill("/elsewhere/scores")
    page.get_by_role("textbox", name="max cost", exact=True).fill("500")
    start = page.get_by_role("button", name="Start the run")
    start.click()
    # The API's own words, at the answer that they are of, and in the place of the form where they are of none.
    expect(page.get_by_role("textbox", name="input", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("at least 2 characters")).to_be_visible()
    page.get_by_role("textbox", name="input", exact=True).fill("/data/december's rows")
    start.click()
    expect(page.get_by_role("alert")).to_contain_text("rule `data.export.classified` denies it")
    page.get_by_role("textbox", name="output", exact=True).fill(worlds.EXPORTS)
    start.click()
    expect(page.get_by_role("alert")).to_contain_text("the month's budget 20.0 is less than")
    page.get_by_role("textbox", name="max cost", exact=True).fill("2")
    expect(page.get_by_role("region", name="What pays for it")).to_contain_text("2.00 USD are kept free")
    command = page.locator("[data-command^='mainspring batch score']").get_attribute("data-command")
    worlds.check_command(str(command))
    assert shlex.split(str(command))[6:8] == ["--input", "/data/december's rows"]

    # An answer that is lost on its way: the same request again is the same run.
    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/api/v1/runs", lose, times=1)
    start.click()
    expect(page.get_by_role("alert")).to_contain_text("the control API does not answer")
    with world.client("developer") as developer:
        before = [run.run_id for run in developer.each_run(project=PROJECT) if run.kind == "score"]
    start.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(before[0])
    with world.client("developer") as developer:
        assert [run.run_id for run in developer.each_run(project=PROJECT) if run.kind == "score"] == before
    with world.client("approver") as approver:
        row = next(one for one in approver.each_audit_row() if one.resource == f"run/{before[0]}")
    assert row.detail["score"]["input"] == "/data/december's rows" and row.detail["max_cost"] == 2
    assert row.detail["idempotency_key"].startswith("portal-")
    assert tab.complaints == []
    tab.context.close()
    other = Tab(browser, world)
    other.sign_in("approver")
    other.go(f"/runs/new?project={PROJECT}&kind=train")
    expect(other.page.get_by_role("button", name="Start the run")).to_be_disabled()
    expect(other.page.get_by_text(f"one is developer or admin of {PROJECT}")).to_be_visible()
    # What takes a model out of use is an approver's, and asked twice.
    other.page.get_by_role("combobox", name="What to do").select_option("retire")
    other.page.get_by_role("textbox", name="reason", exact=True).fill("it was learned from the wrong year")
    other.page.get_by_role("button", name="Start the run").click()
    expect(other.page.get_by_role("button", name="Yes: Start the run")).to_be_focused()
    assert other.violations() == []
    other.page.keyboard.press("Escape")
    expect(other.page.get_by_role("button", name="Start the run")).to_be_focused()
    assert other.complaints == []
    other.context.close()


def test_a_run_that_its_budget_stopped_goes_on(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    tab.go(f"/runs/{world.named['spent']}")
    again = page.get_by_role("region", name="Go on with it")
    expect(again).to_contain_text("what it may cost is spent, and has cost 0.16")
    again.get_by_role("button", name="Resume", exact=True).click()
    limit = again.get_by_label("May cost in all, in USD")
    expect(again.get_by_text("give it a higher `max_cost`")).to_be_visible()
    expect(limit).to_have_attribute("aria-invalid", "true")
    limit.fill("50")
    again.get_by_role("button", name="Resume", exact=True).click()
    expect(again.get_by_role("alert")).to_contain_text("the month's budget 20.0 is less than")
    limit.fill("1.5")
    again.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_text("waits for approval").first).to_be_visible()
    expect(again).to_have_count(0)
    # Nothing else is to be gone on with: it has not failed, or it is no kind of run that is.
    tab.go(f"/runs/{world.named['ended']}")
    expect(page.get_by_role("button", name="Resume", exact=True)).to_have_count(0)
    assert tab.complaints == []
    tab.context.close()


def test_a_project_is_made_of_a_template_as_it_was_shown(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    page.get_by_role("link", name="New project").click()
    page.get_by_role("radio", name=re.compile("^batch:")).check()
    expect(page).to_have_url(re.compile(r"template=batch$"))
    page.get_by_role("textbox", name="name", exact=True).fill("Late Flights")
    page.get_by_role("textbox", name="owner", exact=True).fill("Eva O'Hara")
    show = page.get_by_role("button", name="Show what would be made")
    show.click()
    # The API's own words, at the answer that they are of.
    expect(page.get_by_text("project name `Late Flights` is not allowed")).to_be_visible()
    expect(page.get_by_role("textbox", name="name", exact=True)).to_have_attribute("aria-invalid", "true")
    page.get_by_role("textbox", name="name", exact=True).fill("late-arrivals")
    show.click()
    expect(page.get_by_text("Nothing is made yet.")).to_be_visible()
    page.get_by_text("mainspring.yaml", exact=True).click()
    expect(page.get_by_label("mainspring.yaml", exact=True)).to_contain_text("late-arrivals")
    assert tab.violations() == []
    page.get_by_role("button", name="Create the project").click()
    expect(page.get_by_role("status").filter(has_text="is on record")).to_contain_text("owned by Eva O'Hara")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download the files").click()
    assert downloading.value.suggested_filename == "late-arrivals.zip"
    planned = engine.plan(engine.find("batch"), {"name": "late-arrivals", "owner": "Eva O'Hara"})
    assert Path(downloading.value.path()).read_bytes() == engine.archive(planned)
    with world.client("developer") as client:
        assert client.project("late-arrivals").owner == "Eva O'Hara"
    # Another answer takes away what was shown, and a name that is taken is told in words.
    page.get_by_role("textbox", name="description", exact=True).fill("again")
    expect(
        page.get_by_text("What would be made", exact=False).and_(page.get_by_role("heading"))
    ).to_have_count(0)
    show.click()
    page.get_by_role("button", name="Create the project").click()
    expect(page.get_by_role("alert")).to_contain_text("late-arrivals")
    assert tab.complaints == []
    tab.context.close()


def test_access_is_asked_for_and_given(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    tab.open(f"/access?project={PROJECT}")
    page.get_by_label("Role", exact=True).select_option("viewer")
    page.get_by_label("Why").fill("to look at the numbers of May")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Somebody else decides")
    tab.context.close()
    other = Tab(browser, world)
    other.sign_in("approver")
    other.open(f"/access?project={PROJECT}")
    other.page.get_by_role("button", name="Approve viewer for developer@local").click()
    row = other.page.get_by_role("row").filter(has_text="numbers of May")
    expect(row).to_contain_text("active")
    other.context.close()


def order(page: Page, label: str, reason: str) -> None:
    """Of the canary that is shown: with a reason, and asked twice."""
    expect(page.get_by_role("button", name=label)).to_be_disabled()  # not without a reason
    page.get_by_label("Why it is steered").fill(reason)
    page.get_by_role("button", name=label).click()
    page.get_by_role("button", name=f"Yes: {label}").click()


def test_an_endpoint_is_steered_while_its_page_hears_of_it(browser: Browser, world: World) -> None:
    """The shares of a canary by the slider, each change asked twice, traffic as it moves, and a canary that is stopped."""
    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    tab.go(f"/endpoints/{ENDPOINT}")
    expect(page.locator("[data-live=live]")).to_be_visible()
    stats = page.get_by_role("table", name="What serving saw of each bundle")
    # Nothing is asked for it: what moves is told.
    polled: list[str] = []
    page.on("request", lambda asked: polled.append(asked.url) if asked.url.endswith("/live") else None)
    before = stats.inner_text()
    worlds.asks(world, 8)
    expect(stats).not_to_have_text(before)
    assert polled == []

    slider = page.get_by_role("slider", name="First share of traffic")
    slider.press("End")
    expect(page.get_by_text("25, 50 % of traffic, then all; it goes back")).to_be_visible()
    page.get_by_role("button", name="Deploy by canary").click()
    expect(page.get_by_role("button", name="Yes: Deploy by canary")).to_be_focused()
    assert tab.violations() == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Deploy by canary")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    started = page.get_by_role("status").filter(has_text="Started as").get_by_role("link")
    run_id = started.inner_text()
    with world.client("approver") as approver:
        rows = [one for one in approver.each_audit_row() if one.resource == f"run/{run_id}"]
    assert rows[0].detail["canary_percents"] == [25, 50]

    world.launcher.judge(run_id, 25)
    with world.serving() as client:
        table = client.endpoint(ENDPOINT).traffic
        client.set_traffic(table.model_copy(update={"version": table.version + 1, "set_by": run_id}))
    # The page hears of it, and of whose canary it is.
    traffic = page.get_by_role("region", name="Traffic", exact=True)
    order(page, "Pause", "callers complain")
    expect(traffic).to_contain_text("paused")
    assert tab.violations() == []
    order(page, "Resume", "it was their fault")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    # Past a gate goes an approver, and not of their own run.
    expect(page.get_by_role("button", name="Promote to 50 %")).to_be_disabled()
    expect(page.get_by_text("You asked for this run yourself")).to_be_visible()
    order(page, "Abort", "after all")
    expect(traffic).to_contain_text("rolled back")
    assert [(order, asked.reason) for _, order, asked in world.launcher.orders] == [
        ("pause", "callers complain"),
        ("resume", "it was their fault"),
        ("abort", "after all"),
    ]

    back = page.get_by_role("button", name="Roll back")
    expect(back).to_be_disabled()  # not without a reason
    page.get_by_label("Why it goes back").fill("scores drift")
    back.click()
    page.get_by_role("button", name="Yes: Roll back").click()
    expect(page.get_by_role("status").filter(has_text="Going back, as")).to_be_visible()
    with world.client("developer") as developer:
        run = next(developer.each_run(project=PROJECT))
    assert (run.cause, run.bundle_digest, run.endpoint) == ("scores drift", world.bundles[1], ENDPOINT)
    assert tab.complaints == []
    tab.context.close()


def test_a_pipeline_is_walked_decided_on_and_gone_on_from(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    tab.go(f"/runs/{world.named['piped']}")
    step = page.get_by_role("button", name=re.compile("^publish failed after approve and weather"))
    # What failed is shown before anybody asks for it.
    expect(step).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("region", name="Step publish")).to_contain_text("no rows of May")
    # By the arrows along the edges: to the approval, to what it approves, down to what runs beside it, and back to the first.
    step.focus()
    for key, name in (
        ("ArrowLeft", "approve"),
        ("ArrowLeft", "clean"),
        ("ArrowDown", "weather"),
        ("ArrowLeft", "load"),
    ):
        page.keyboard.press(key)
        expect(page.get_by_role("button", name=re.compile(f"^{name} done"))).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("step=clean"))
    expect(page.get_by_role("region", name="Step clean")).to_contain_text(
        "not from the cache: its code changed"
    )
    page.get_by_role("button", name="Do clean and what follows again").click()
    link = page.get_by_role("status").filter(has_text="Started as").get_by_role("link")
    run_id = link.inner_text()
    with world.client("approver") as approver:
        rows = [one for one in approver.each_audit_row() if one.resource == f"run/{run_id}"]
    wanted = {"pack": PIPELINE.digest, "resume_of": world.named["piped"], "again_from": ["clean"]}
    assert wanted.items() <= rows[0].detail["pipeline"].items()
    assert tab.complaints == []
    tab.context.close()
    other = Tab(browser, world)
    other.sign_in("approver")
    other.go(f"/runs/{run_id}")
    expect(other.page.locator("[data-live=live]")).to_be_visible()
    gate = other.page.get_by_role("region", name="Step approve")
    gate.get_by_role("button", name="Approve").click()
    # The page hears that the run went on.
    expect(other.page.get_by_role("button", name=re.compile("^publish done"))).to_be_visible()
    assert other.complaints == []
    other.context.close()


def test_an_alert_is_seen_to(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    page.get_by_role("link", name=f"{ENDPOINT}: calibration").click()
    alert = page.get_by_role("article", name=f"calibration at {ENDPOINT}")
    expect(alert).to_contain_text("0.326 were late")
    expect(alert.get_by_role("button", name="I see to it")).to_be_disabled()  # not without a word
    alert.get_by_label("What is done about calibration").fill("a training is under way")
    alert.get_by_role("button", name="I see to it").click()
    expect(alert).to_have_count(0)
    worse = page.get_by_role("article", name=f"kpi at {ENDPOINT}")
    worse.get_by_label("What is done about kpi").fill("the desk warns earlier")
    worse.get_by_role("button", name="It is over").click()
    expect(page.get_by_text("No alert is open.")).to_be_visible()
    page.get_by_label("Alerts", exact=True).select_option("acknowledged")
    expect(alert).to_contain_text("developer@local: a training is under way")
    alert.get_by_role("link", name="the last one").click()
    rows = page.get_by_role("table", name="Predicted and happened by slice").get_by_role("row")
    expect(rows.filter(has_text="all answers")).to_contain_text("0.3260")
    assert tab.complaints == []
    tab.context.close()


def test_what_waits_for_a_yes_is_in_one_list(browser: Browser, world: World) -> None:
    """Of whatever kind; who may not decide is told why, and who may decides there."""
    tab = Tab(browser, world)
    tab.sign_in("developer")
    tab.open("/approvals")
    asked = tab.page.get_by_role("article", name=f"access of {PROJECT}").filter(has_text="approver")
    expect(asked.get_by_role("button", name="Approve", exact=True)).to_be_disabled()
    command = str(asked.locator("[data-command]").get_attribute("data-command"))
    assert command.startswith("mainspring access ")
    worlds.check_command(command)
    assert tab.complaints == []
    tab.context.close()
    other = Tab(browser, world)
    other.sign_in("admin")
    other.open("/approvals")
    card = other.page.get_by_role("article", name=f"access of {PROJECT}").filter(has_text="approver")
    expect(card.get_by_role("button", name="Reject")).to_be_disabled()
    card.get_by_label("Note").fill("ask again in May")
    card.get_by_role("button", name="Reject").click()
    expect(card).to_have_count(0)
    assert other.violations() == [] and other.complaints == []
    with world.client("admin") as client:
        assert client.access_request(PROJECT, world.named["access"]).state == "rejected"
    other.context.close()


def test_an_endpoint_tells_what_it_served_and_what_is_coming(browser: Browser, world: World) -> None:
    first, second = world.bundles
    with world.client("developer") as developer, world.client("service") as service:
        run = developer.create_run(
            control.RunCreate(project=PROJECT, kind="deploy", endpoint=ENDPOINT, bundle_digest=second)
        )
        for version, table in (
            (1, {"stable": first, "canary": second, "canary_percent": 5}),
            (2, {"stable": second}),
        ):
            detail = {"endpoint": ENDPOINT, "version": version, **table}
            service.report(
                training.RunEvent(
                    event_key=f"{run.run_id}/{version}",
                    run_id=run.run_id,
                    action="endpoint.traffic.set",
                    actor="w",
                    detail=detail,
                )
            )
    tab = Tab(browser, world)
    tab.sign_in("developer")
    tab.open(f"/endpoints/{ENDPOINT}")
    rows = (
        tab.page.get_by_role("table", name="Changes of the traffic")
        .get_by_role("row")
        .filter(has_text=run.run_id)
    )
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text(second[7:19])
    expect(rows.last).to_contain_text(f"{second[7:19]}: 5 %")
    coming = tab.page.get_by_role("region", name="On the way", exact=True)
    expect(coming).to_contain_text(world.named["waiting"])
    assert tab.violations() == [] and tab.complaints == []
    tab.context.close()
