"""The portal in a real browser, over a real control API: every page, both colour schemes, a phone, and one day's work."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import e2e_portal_world as worlds
import pytest
from e2e_portal_world import ENDPOINT, PIPELINE, PROJECT, VIEW, Tab, World
from playwright.sync_api import Browser, Locator, Page, Route, expect

from mainspring.core.contracts import control, prediction, progress, run_logs
from mainspring.platform.cli import main
from mainspring.platform.templates import engine

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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    worlds.require_parts()
    with worlds.running(tmp_path_factory.mktemp("portal")) as found:
        worlds.fill(found)
        yield found


@pytest.fixture(scope="module")
def browser(world: World) -> Iterator[Browser]:
    with worlds.browsing() as found:
        yield found


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
        check_command(command)
    with pytest.raises(AssertionError):
        check_command("mainspring run frobnicate x")


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


def check_command(text: str) -> None:
    """The words name a command of ours, its options are its own, and it has as many arguments as it wants."""
    program, *words = shlex.split(text)
    assert program == "mainspring", text
    command: click.Command = main.cli
    context = click.Context(command, info_name=program)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if words[0].endswith(".py"):  # a pipeline's file stands in the place of a command
            _, found, words = command.resolve_command(context, words)
            assert found is not None, text
            command = found
            break
        found = command.get_command(context, words[0])
        assert found is not None and not found.hidden, text
        command, words = found, words[1:]
        context = click.Context(command, parent=context, info_name=command.name)
    if words != ["--help"]:
        try:
            command.make_parser(context).parse_args(list(words))
        except click.UsageError as error:
            raise AssertionError(f"{text}: {error.message}") from error


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
    check_command(str(command))
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


def asks(world: World, rows: int) -> None:
    with world.serving() as client:
        for place in range(rows):
            row: dict[str, prediction.Scalar] = {"distance": float(place), "mean_delay": 1.0}
            client.predict(ENDPOINT, prediction.PredictRequest(rows=[row]))


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
    asks(world, 8)
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
    asks(world, 4)
    page.clock.fast_forward(5_000)
    expect(stats).not_to_have_text(before)
    # One who may not: said in words, and nothing to press.
    expect(page.get_by_role("button", name="Deploy by canary")).to_be_disabled()
    expect(page.get_by_text("You are not a developer of").first).to_be_visible()
    page.unroute("**/v1/events**")
    page.clock.fast_forward(30_000)
    expect(page.locator("[data-live=live]")).to_be_visible()
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
