"""The portal in a real browser, over a real control API: every page, both colour schemes, a phone, and one day's work."""

from __future__ import annotations

import json
import re
from typing import Any

import e2e_portal_world as worlds
import pytest
from e2e_portal_world import ENDPOINT, PROJECT, VIEW, Tab, World, browser, world
from playwright.sync_api import Browser, Locator, Route, expect

from mainspring.core.contracts import control, progress, run_logs

__all__ = ["browser", "world"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

#: What a table has in the place of a number that is not there.
NONE = "\N{EN DASH}"

#: Every page; `{ended}` and its like are ids of the world.
PAGES = (
    "/",
    "/projects/new",
    "/projects/new?template=classification",
    "/approvals",
    "/runs",
    "/runs?project=flight-delay&state=failed",
    "/runs/new?project=flight-delay",
    "/runs/new?project=flight-delay&kind=tune",
    "/runs/new?project=flight-delay&kind=score",
    "/runs/new?project=flight-delay&kind=deploy",
    "/runs/new?project=flight-delay&kind=pipeline",
    "/runs/new?project=flight-delay&kind=retire",
    "/runs/new?project=no-such-project",
    "/runs/{spent}",
    "/runs/{waiting}",
    "/runs/{ended}",
    "/runs/{piped}?step=clean",
    "/runs/{gated}",
    "/runs/run_00000000000000000000000000",
    "/models",
    f"/models/{PROJECT}/{{stable}}",
    "/endpoints",
    f"/endpoints/{ENDPOINT}",
    f"/playground?endpoint={ENDPOINT}",
    "/monitoring",
    "/monitoring/{report}",
    "/features",
    "/features?search=nothing-has-this",
    f"/features/{PROJECT}/{VIEW}",
    "/costs",
    f"/costs?project={PROJECT}",
    f"/access?project={PROJECT}",
    "/audit",
    "/no-such-page",
)


def test_every_page_is_accessible_and_says_a_command_that_there_is(browser: Browser, world: World) -> None:
    tab = Tab(browser, world, color_scheme="light")
    tab.page.goto("/portal/")
    tab.settle()
    found, commands = {"sign in": tab.violations()}, set()
    tab.sign_in("approver")
    for path in PAGES:
        tab.go(path.format(**world.named))
        found[path] = tab.violations()
        here = [one.get_attribute("data-command") for one in tab.page.locator("[data-command]").all()]
        assert here, path
        commands.update(here)
    assert sorted({wrong for one in found.values() for wrong in one}) == []
    assert tab.complaints == []  # nothing that the page's policy refused, either
    tab.context.close()
    for command in sorted(map(str, commands)):
        worlds.check_command(command)
    with pytest.raises(AssertionError):
        worlds.check_command("mainspring run frobnicate x")


def test_every_page_is_accessible_in_the_dark_and_fits_a_phone(browser: Browser, world: World) -> None:
    tab = Tab(browser, world, color_scheme="dark", viewport={"width": 390, "height": 844}, has_touch=True)
    tab.sign_in("approver")
    found = {}
    for path in PAGES:
        tab.go(path.format(**world.named))
        found[path] = tab.violations()
        wide = tab.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, (path, wide)
    assert sorted({wrong for one in found.values() for wrong in one}) == []
    tab.page.get_by_role("button", name="Pages").click()
    tab.page.get_by_role("link", name="Runs").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("Runs")
    assert tab.complaints == []
    tab.context.close()


def test_the_first_paint_is_there_within_a_second(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    tab.sign_in("approver")
    paints = []
    for _ in range(3):
        tab.open("/runs")
        paints.append(
            tab.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        )
    assert sorted(paints)[1] < 1000, paints
    tab.context.close()


def test_who_is_not_signed_in_sees_nothing_and_comes_back_to_the_page(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    page = tab.page
    page.goto(f"/portal/runs/{world.named['ended']}")
    page.get_by_label("Development token").fill("dev-not-a-token")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("bearer token is not known")
    page.get_by_label("Development token").fill(world.tokens.token_of("developer@local"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(world.named["ended"])
    # It is kept in this tab alone: not for a new one, and not beyond it.
    assert page.evaluate("[localStorage.length, document.cookie]") in ([0, ""], [1, ""])
    assert "dev-" not in str(page.evaluate("Object.values(localStorage)"))
    other = tab.context.new_page()
    other.goto("/portal/")
    other.get_by_label("Development token").wait_for()
    # A token that is not taken any more ends the session, says so, and keeps the place.
    page.evaluate("sessionStorage.setItem('mainspring.token', 'dev-withdrawn')")
    page.reload()
    expect(page.get_by_role("status", name="You were signed out")).to_be_visible()
    page.get_by_label("Development token").fill(world.tokens.token_of("developer@local"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(world.named["ended"])
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Development token").wait_for()
    assert page.evaluate("sessionStorage.length") == 0
    tab.context.close()


def test_a_model_is_looked_at_tried_out_and_deployed(browser: Browser, world: World) -> None:
    """Over a real serving process: the card and signature of its bundle, its traffic, an answer and why, and back again."""
    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    page.get_by_role("link", name="Endpoints").click()
    page.get_by_role("link", name=ENDPOINT).click()
    expect(page.get_by_text("environment: prod")).to_be_visible()
    expect(page.get_by_text("canary", exact=False).first).to_contain_text("25 %")
    stats = page.get_by_role("table", name="What serving saw of each bundle")
    expect(stats.get_by_role("row").filter(has_text="stable")).to_contain_text(world.bundles[0][7:19])
    page.get_by_role("link", name=world.bundles[0][7:19]).first.click()
    expect(page.get_by_text("Every file of it was verified just now")).to_be_visible()
    expect(page.get_by_text("Late arrivals, by seed 1")).to_be_visible()
    page.get_by_role("link", name="Score a dataset").click()
    expect(page.get_by_role("combobox", name="bundle digest")).to_have_value(world.bundles[0])

    page.get_by_role("link", name="Playground").click()
    page.get_by_label("distance").fill("2.5")
    page.get_by_role("button", name="Predict", exact=True).click()
    score = page.get_by_test_id("score")
    expect(score).to_have_text(re.compile(r"^[01]\.\d{4}$"))
    first = score.inner_text()
    page.get_by_label("distance").fill("-4")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(score).not_to_have_text(first)
    page.get_by_role("button", name="Explain", exact=True).click()
    why = page.get_by_role("table", name="What each column added")
    expect(why.get_by_role("row").filter(has_text="distance")).to_be_visible()

    tab.go(f"/endpoints/{ENDPOINT}")
    page.get_by_role("button", name="Deploy by canary").click()
    page.get_by_role("button", name="Yes: Deploy by canary").click()
    page.get_by_role("status").get_by_role("link", name=re.compile("run_")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("run_"))
    expect(page.get_by_text("deploy of flight-delay")).to_be_visible()
    assert tab.complaints == []
    tab.context.close()


def test_the_playground_wants_what_serving_does_not_take_as_missing(browser: Browser, world: World) -> None:
    """Of an endpoint that is told to read a whole number and a boolean, too; what is asked without them is serving's own."""
    sent: list[dict[str, Any]] = []
    more = {"dep_hour": "int64", "is_holiday": "bool"}

    def told(route: Route) -> None:
        found = route.fetch().json()
        for bundle in found["bundles"]:
            bundle["input_columns"] |= more
        route.fulfill(json=found)

    def asked(route: Route) -> None:
        body = json.loads(route.request.post_data or "")
        sent.append(body["rows"][0])
        rows = [{name: value for name, value in row.items() if name not in more} for row in body["rows"]]
        route.continue_(post_data=json.dumps({"rows": rows}))

    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    page.route(f"**/api/v1/endpoints/{ENDPOINT}/live", told)
    page.route(re.compile(f"/endpoints/{ENDPOINT}/(predict|explain)$"), asked)
    tab.go(f"/playground?endpoint={ENDPOINT}")
    expect(page.get_by_text("those with a star want one")).to_be_visible()
    hour = page.get_by_role("textbox", name="dep_hour", exact=True)
    holiday = page.get_by_role("combobox", name="is_holiday", exact=True)
    for name in ("Predict", "Explain"):
        hour.fill("")
        holiday.select_option("")
        page.get_by_role("button", name=name, exact=True).click()
        expect(hour).to_be_focused()
        hour.fill("8")
        page.get_by_role("button", name=name, exact=True).click()
        expect(holiday).to_be_focused()
        assert sent == []
        holiday.select_option("false")
        page.get_by_role("button", name=name, exact=True).click()
        answer = page.get_by_test_id("score") if name == "Predict" else page.get_by_text("margin")
        expect(answer.first).to_be_visible()
        assert sent.pop() == {"distance": None, "mean_delay": None, "dep_hour": 8, "is_holiday": False}
    assert tab.violations() == tab.complaints == []
    tab.context.close()


def test_a_stream_that_breaks_is_told_and_asked_in_its_place(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    page = tab.page
    page.clock.install()
    tab.sign_in("approver")
    page.route("**/v1/events**", lambda route: route.abort())
    tab.go(f"/endpoints/{ENDPOINT}")
    expect(page.locator("[data-live=asking]")).to_contain_text("asks again every 4 s")
    stats = page.get_by_role("region", name="Since this traffic is in force")
    before = stats.inner_text()
    worlds.asks(world, 4)
    page.clock.fast_forward(5_000)
    expect(stats).not_to_have_text(before)
    # One who may not: said in words, and nothing to press.
    expect(page.get_by_role("button", name="Deploy by canary")).to_be_disabled()
    expect(page.get_by_text("You are not a developer of").first).to_be_visible()
    page.unroute("**/v1/events**")
    page.clock.fast_forward(30_000)
    expect(page.locator("[data-live=live]")).to_be_visible()
    tab.context.close()


def test_a_run_moves_on_with_its_epochs(browser: Browser, world: World) -> None:
    """As the engine tells it: the page hears of each epoch, and is not loaded anew."""
    with world.client("developer") as developer:
        run_id = developer.create_run(control.RunCreate(project=PROJECT)).run_id
    step = progress.StepProgress(
        step="train",
        done=3,
        of=8,
        unit=progress.EPOCH,
        checkpoint="/checkpoints/3",
        message="500 rows of the next",
    )
    world.launcher.work(run_id, step)
    tab = Tab(browser, world)
    tab.sign_in("developer")
    tab.go(f"/runs/{run_id}")
    told = tab.page.get_by_role("region", name="Progress")
    expect(told).to_contain_text("train: epoch 3 of 8, 500 rows of the next")
    expect(told).to_contain_text("Checkpoint: /checkpoints/3")
    expect(told.get_by_role("progressbar", name="train: epoch 3 of 8")).to_have_attribute(
        "aria-valuenow", "37.5"
    )
    expect(told.get_by_role("progressbar")).to_have_count(1)
    assert tab.violations() == []
    world.launcher.work(run_id, step.model_copy(update={"done": 4}))
    expect(told.get_by_role("progressbar", name="train: epoch 4 of 8")).to_have_attribute(
        "aria-valuenow", "50"
    )
    waits = progress.StepProgress(step="train", message="job `run-0` is pending")
    world.launcher.work(run_id, waits)
    expect(told).to_contain_text("train: job `run-0` is pending")
    expect(told.get_by_role("progressbar")).to_have_count(0)
    world.launcher.work(run_id)
    expect(told).not_to_contain_text("pending")
    with world.client("developer") as developer:
        developer.cancel(run_id)
    assert tab.complaints == []
    tab.context.close()


def test_a_log_is_read_from_its_end(browser: Browser, world: World) -> None:
    """There is no Ray here, and the page says so; then with a log as the API tells of one, and of one that was kept."""
    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    tab.go(f"/runs/{world.named['piped']}")
    logs = page.get_by_role("region", name="Logs")
    expect(logs).to_contain_text("Nothing to see of Ray")

    def answer(route: Route) -> None:
        start = int(re.search(r"start=(-?\d+)", route.request.url)[1])  # type: ignore[index]
        first = 700 if start < 0 else start
        jobs = [run_logs.LogJob(name="run_x-0", step="clean", status="FAILED")]
        lines = tuple(f"line {first + i}" for i in range(500))
        told = run_logs.RunLog(
            run_id="run_x", jobs=tuple(jobs), job="run_x-0", lines=lines, first=first, total=1200
        )
        route.fulfill(json=told.model_dump(mode="json"))

    def kept(route: Route) -> None:
        job = run_logs.LogJob(name="run_x-0", step="clean", status="FAILED", is_kept=True)
        told = run_logs.RunLog(
            run_id="run_x", jobs=(job,), job="run_x-0", lines=("out of memory",), total=1, unavailable="away"
        )
        route.fulfill(json=told.model_dump(mode="json"))

    page.route("**/logs?**", answer)
    logs.get_by_role("button", name="Try again").click()
    expect(logs).to_contain_text("lines 701 to 1,200 of 1,200")
    assert tab.violations() == []
    logs.get_by_role("button", name="Earlier lines").click()
    expect(logs.get_by_label("Lines of the log")).to_contain_text("line 200\n")
    logs.get_by_role("button", name="The last lines").click()
    expect(logs.get_by_label("Lines of the log")).to_contain_text("line 1199")
    page.unroute("**/logs?**")
    page.route("**/logs?**", kept)
    page.reload()
    expect(logs).to_contain_text("Nothing to see of Ray")
    expect(logs).to_contain_text("As it was kept when the job ended")
    expect(logs.get_by_label("Job")).to_contain_text("clean, failed, kept")
    expect(logs.get_by_label("Lines of the log")).to_contain_text("out of memory")
    assert tab.violations() == []
    assert tab.complaints == []
    tab.context.close()


def test_what_was_made_of_what_is_drawn_and_walked(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    tab.go(f"/features/{PROJECT}/{VIEW}")
    drawn = page.get_by_role("group", name="What was made of what")
    expect(drawn.get_by_role("button", name=f"{VIEW} view, this one after lake.flights")).to_be_visible()
    lake = drawn.get_by_role("button", name="lake.flights dataset", exact=True)
    lake.click()
    expect(page.get_by_role("status").filter(has_text="lake.flights")).to_contain_text(
        "nobody told what made"
    )
    page.keyboard.press("ArrowRight")
    expect(drawn.get_by_role("button", name=re.compile(f"^{VIEW}"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text=VIEW)).to_contain_text(f"made by {PROJECT}/join, of 1")
    page.get_by_text("As a list, the nearest first").click()
    expect(page.get_by_role("listitem").filter(has_text="lake.flights")).to_contain_text(
        "by flight-delay/join"
    )
    assert tab.violations() == []
    page.get_by_label("Direction").select_option("downstream")
    expect(page.get_by_text("Lineage knows of nothing in this direction.")).to_be_visible()
    assert tab.complaints == []
    tab.context.close()


def test_a_model_shows_what_it_was_made_of(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    tab.sign_in("developer")
    tab.go(f"/models/{PROJECT}/{world.named['stable']}")
    lineage = tab.page.get_by_role("region", name="Lineage")
    drawn = lineage.get_by_role("group", name="What was made of what")
    expect(drawn.get_by_role("button", name="model model, this one after lake.flights")).to_be_visible()
    assert tab.complaints == []
    tab.context.close()


def test_what_answers_are_worth_is_told_with_its_limits(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    page = tab.page
    tab.sign_in("developer")
    section = page.get_by_role("region", name="What the answers were worth")
    table = section.get_by_role("table", name="KPIs of the answers")
    for path in (f"/monitoring/{world.named['report']}", f"/endpoints/{ENDPOINT}"):
        tab.go(path)
        rows = [one.all_inner_texts() for one in cells_of(table)]
        assert rows == [
            ["minutes-saved", "no limit", "3.05 ± 0.09", NONE, NONE, "80,830", "26,500"],
            ["rebookings", "no outcome", NONE, NONE, "at least 0.01, at most 0.2", NONE, "0"],
            ["warning-loss", "alarm", "0.8214 ± 0.012", "0.611", "at most 0.75", "21,770", "26,500"],
        ], path
        assert tab.violations() == []
    # From the endpoint's page to the report that it is of.
    section.get_by_role("link", name="the newest report").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Report")
    expect(page).to_have_url(re.compile(f"/monitoring/{world.named['report']}$"))
    assert tab.complaints == []
    tab.context.close()


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({"known": 0, "kpis": [], "limits": {}}, "No outcome of this window is known yet"),
        ({"kpis": [], "limits": {}}, "The project does not say what its answers are worth"),
        (None, "Nobody has checked yet what is served here"),
    ],
)
def test_an_endpoint_whose_answers_nobody_has_a_number_for_says_why(
    browser: Browser, world: World, report: dict[str, Any] | None, words: str
) -> None:
    def answer(route: Route) -> None:
        told = route.fetch().json()
        if report is None:
            told = {**told, "items": []}
        elif "report" in told:
            told = {**told, "report": {**told["report"], **report}}
        route.fulfill(json=told)

    tab = Tab(browser, world)
    tab.sign_in("developer")
    tab.page.route("**/api/v1/monitoring/reports**", answer)
    tab.page.route("**/api/v1/monitoring/reports/*", answer)
    tab.go(f"/endpoints/{ENDPOINT}")
    expect(tab.page.get_by_role("region", name="What the answers were worth")).to_contain_text(words)
    assert tab.violations() == [] and tab.complaints == []
    tab.context.close()


def test_a_kpi_of_too_few_outcomes_or_within_its_limit_is_no_alarm(browser: Browser, world: World) -> None:
    def answer(route: Route) -> None:
        told = route.fetch().json()
        few = {"name": "few", "rows": 199, "mean": 9.0, "total": 1791.0, "error": 0.1}
        held = {**few, "name": "held", "rows": 200, "mean": -0.00012345}
        limits = {**told["report"]["limits"], "kpis": {"few": {"high": 1.0}, "held": {"high": 1.0}}}
        told["report"] |= {"kpis": [few, held], "limits": limits, "findings": []}
        route.fulfill(json=told)

    tab = Tab(browser, world)
    tab.sign_in("developer")
    tab.page.route("**/api/v1/monitoring/reports/*", answer)
    tab.go(f"/monitoring/{world.named['report']}")
    rows = cells_of(tab.page.get_by_role("table", name="KPIs of the answers"))
    assert [one.all_inner_texts()[:3] for one in rows] == [
        ["few", "too few outcomes", "9 ± 0.1"],
        ["held", "within", "-0.0001235 ± 0.1"],
    ]
    tab.context.close()


def cells_of(table: Locator) -> list[Locator]:
    """Of each row, but for the one of titles."""
    table.wait_for()
    return [row.get_by_role("cell") for row in table.locator("tbody tr").all()]


def test_a_project_s_budgets_and_what_it_keeps_are_with_its_costs(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    tab.sign_in("developer")
    tab.go(f"/costs?project={PROJECT}")
    budgets = tab.page.get_by_role("table", name="Budgets by environment and period")
    (row,) = cells_of(budgets)
    environment, period, _, _, amount, _, what = row.all_inner_texts()
    assert (environment, period, amount, what) == ("dev", "year", "50.00 USD", "somebody is told")
    kept = tab.page.get_by_role("table", name="Kept by place")
    assert [kept.get_by_role("row").nth(i).inner_text().split() for i in range(2)] == [
        ["tables", "3.00", "GiB"],
        ["reads", "512", "bytes"],
    ]
    expect(tab.page.get_by_text("3.00 GiB in all, measured")).to_be_visible()
    left = tab.page.get_by_role("region", name="Left of this month's budget")
    expect(left).to_contain_text(re.compile(r"1\d\.\d+ USD of 20\.00 USD left"))
    tab.context.close()


def test_an_api_that_goes_away_is_told_in_words(browser: Browser, world: World) -> None:
    tab = Tab(browser, world)
    tab.sign_in("approver")
    tab.page.route("**/api/v1/costs**", lambda route: route.abort())
    tab.page.get_by_role("link", name="Costs").click()
    alert = tab.page.get_by_role("alert").first
    expect(alert).to_contain_text("the control API does not answer")
    expect(alert).to_contain_text("mainspring up")
    tab.page.unroute("**/api/v1/costs**")
    alert.get_by_role("button", name="Try again").click()
    expect(tab.page.get_by_role("region", name="Costs by project")).to_contain_text(PROJECT)
    tab.context.close()
