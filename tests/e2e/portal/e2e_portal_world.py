"""A control API on loopback with something of everything, and a browser that is signed in to its pages."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import e2e_portal_serving
import httpx
import pytest
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from mainspring.core import errors, identity, oidc, settings
from mainspring.core.client import control as control_client
from mainspring.core.client import serving as serving_client
from mainspring.core.contracts import (
    access_requests,
    alerts,
    base,
    budgets,
    catalog,
    monitoring,
    pipelines,
    prediction,
    storage,
    training,
)
from mainspring.core.contracts import control as control_contracts
from mainspring.core.lineage import jobs, openlineage_adapter
from mainspring.platform import app as control_app
from mainspring.platform.cli import main
from mainspring.platform.portal import bundle
from mainspring.platform.runs import launcher

ROOT = Path(__file__).resolve().parents[3]
AXE = ROOT / "platform" / "portal" / "web" / "node_modules" / "axe-core" / "axe.min.js"
PROJECT = "flight-delay"
ENDPOINT = e2e_portal_serving.ENDPOINT
VIEW = "view.tail_last"
#: Where scores may be written without being asked about.
EXPORTS = "/data/scores"
#: A machine that is busy is no fault of a page; what is slow has its own test.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


def require_parts() -> None:
    """Skip where a part is missing, and say which command brings it."""
    if not bundle.Bundle.load().is_built or not AXE.exists():
        pytest.skip("the portal is not built; run tools/portal.sh, which needs npm")
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium; run tools/apt.sh")


class Told(launcher.MemoryLauncher):
    """The launcher in memory, whose runs tell of the steps that led to their approval."""

    async def status(self, run_id: str) -> training.RunStatus:
        found = await super().status(run_id)
        if found.stage is training.Stage.FAILED:
            return found.model_copy(update={"error": errors.to_wire(_spent(run_id)), "message": "stopped"})
        if isinstance(self.started.get(run_id), pipelines.PipelineRequest):
            is_over = found.stage is not training.Stage.APPROVAL
            return found.model_copy(
                update={"detail": {"nodes": _nodes(is_approved=is_over)}, "progress": 0.5}
            )
        metrics = training.Metrics(
            rows=59_000,
            base_rate=0.22,
            auc=0.7577,
            average_precision=0.49,
            brier=0.142,
            log_loss=0.44,
            calibration_error=0.011,
        )
        steps = [
            training.StepReport(
                step=training.Stage.INGEST, seconds=4.2, detail={"rows": 336_776}, reused=True
            ),
            training.StepReport(step=training.Stage.TRAIN, seconds=93.0, detail={"epochs": 3}),
            training.StepReport(
                step=training.Stage.EVALUATE, seconds=2.5, detail={"test": metrics.model_dump()}
            ),
            training.StepReport(step=training.Stage.POLICY, seconds=0.1, detail={"gate": "auc above 0.75"}),
        ]
        return found.model_copy(update={"steps": steps, "message": "an approver decides"})


def _spent(run_id: str) -> errors.BudgetExhausted:
    return errors.BudgetExhausted(
        f"run `{run_id}` has cost what it may, and was stopped; resume it with more",
        run_id=run_id,
        scope="run",
        limit=0.1,
        spent=0.16,
        currency="USD",
    )


@dataclass
class World:
    """A running control API."""

    url: str
    tokens: identity.TokenIssuer
    bundles: tuple[str, ...] = ()
    """The stable one, and the canary."""
    named: dict[str, str] = field(default_factory=dict)
    """Ids of what was made, by what it is."""
    serving_url: str = ""
    launcher: Told = field(default_factory=Told)
    """What stands for the workflow engine."""

    def client(self, actor: str) -> control_client.ControlClient:
        return control_client.ControlClient(self.url, self.tokens.token_of(f"{actor}@local"))

    def serving(self) -> serving_client.ServingClient:
        return serving_client.ServingClient(self.serving_url, token=self.tokens.token_of("service@local"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(directory: Path) -> Iterator[World]:
    """The control API in a thread, beside a serving process that answers for two signed bundles at one endpoint."""
    variables = {
        "MAINSPRING_CONTROL_PORT": str(free_port()),
        "MAINSPRING_SERVING_PORT": str(free_port()),
        "MAINSPRING_SERVING_GRPC_PORT": "0",
        "MAINSPRING_SERVING_USAGE_REPORT_SECONDS": "0",
        "MAINSPRING_CONTROL_EXPORT_PLACES": EXPORTS,
    }
    s = settings.load(variables, directory=directory)
    identity.ensure_token_file(s.control.tokens_file)
    with e2e_portal_serving.running(s) as bundles, control(s) as world:
        world.bundles = bundles
        yield world


@contextlib.contextmanager
def control(s: settings.Settings) -> Iterator[World]:
    """The control API alone, as its own `main` puts it together."""
    embedded = identity.ensure_token_file(s.control.tokens_file)
    issuer = oidc.issuer(s.identity, embedded) if s.identity.issuer else embedded
    told = Told()
    app = control_app.create_app(s, issuer=issuer, launcher=told)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=s.control.port, log_level="warning", ws="none")
    )
    thread = threading.Thread(target=server.run, name="control-api")
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "the control API did not start"
            time.sleep(0.02)
        yield World(s.control_url, embedded, serving_url=s.serving_url, launcher=told)
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def fill(world: World) -> None:
    """Through the API, as people and services do it."""
    with world.client("developer") as developer, world.client("service") as service:
        developer.create_project(
            control_contracts.ProjectCreate(name=PROJECT, owner="flights@example.org", monthly_budget=20.0)
        )
        waiting = developer.create_run(
            control_contracts.RunCreate(project=PROJECT, environment="prod", endpoint=ENDPOINT)
        )
        for name, digest in zip(("ended", "newer"), world.bundles, strict=True):
            # One of them was at the endpoint before: there is something to go back to.
            asked = control_contracts.RunCreate(
                project=PROJECT, environment="dev", endpoint=ENDPOINT if name == "newer" else ""
            )
            run = developer.create_run(asked)
            _report_end(service, run.run_id, digest)
            world.named[name] = run.run_id
        _record_use(service, world.named["ended"])
        stored = {storage.StoragePlace.TABLES: 3 << 30, storage.StoragePlace.READS: 512}
        service.record_storage(PROJECT, storage.StorageMeasured(measured_at=base.utc_now(), stored=stored))
        with world.client("admin") as admin:
            admin.put_budget(PROJECT, "dev", "year", budgets.BudgetPut(amount=50.0, is_hard=False))
        world.named["spent"] = _stopped_by_its_budget(world, developer, service)
        asked = access_requests.AccessRequestCreate(
            role="approver", environment="staging", minutes=30, reason="covering for a colleague"
        )
        access = developer.ask_access(PROJECT, asked)
        developer.put_catalog(PROJECT, _entries())
        world.named.update(_pipelines(developer, service))
        job, at = jobs.JobRun(PROJECT, "join", world.named["ended"]), base.utc_now()
        made, read = jobs.Dataset(VIEW, "v1", "view"), jobs.Dataset("lake.flights", "v1", "dataset")
        told = openlineage_adapter.to_json(job, "COMPLETE", at=at, reads=[read], makes=[made])
        _tell(world, "/api/v1/lineage", told)
        trained = jobs.JobRun(PROJECT, "train", world.named["ended"])
        model = jobs.Dataset("model", world.bundles[0], "model")
        told = openlineage_adapter.to_json(trained, "COMPLETE", at=at, reads=[read], makes=[model])
        _tell(world, "/api/v1/lineage", told)
        made = _tell(world, "/api/v1/monitoring/reports", _report(world.bundles[0]).model_dump_json())
    world.named.update(
        waiting=waiting.run_id,
        access=access.request_id,
        stable=world.bundles[0],
        report=made["report_id"],
    )


def _stopped_by_its_budget(
    world: World, developer: control_client.ControlClient, service: control_client.ControlClient
) -> str:
    asked = control_contracts.RunCreate(project=PROJECT, kind="tune", max_cost=0.1, idempotency_key="spent")
    run_id = developer.create_run(asked).run_id
    _use(service, run_id, 0)
    world.launcher.fail(run_id)
    end = {"stage": str(training.Stage.FAILED), "result": {"message": "stopped at its limit"}}
    service.report(
        training.RunEvent(
            event_key=f"{run_id}/end", run_id=run_id, action="run.end", actor="worker", detail=end
        )
    )
    return run_id


#: A pipeline with a branch, a mapped step and an approval.
PIPELINE = pipelines.Pack(
    sources={"nightly.py": "# steps\n"},
    graph=pipelines.PipelineGraph(
        name="nightly",
        parameters={"months": 3},
        nodes=(
            pipelines.Node(name="load", function="nightly:load", gives="Table"),
            pipelines.Node(
                name="clean", function="nightly:clean", inputs={"rows": pipelines.Input(node="load")}
            ),
            pipelines.Node(
                name="weather", function="nightly:weather", inputs={"rows": pipelines.Input(node="load")}
            ),
            pipelines.Node(
                name="approve",
                inputs={"value": pipelines.Input(node="clean")},
                approval=pipelines.Approval(),
            ),
            pipelines.Node(
                name="publish",
                function="nightly:publish",
                inputs={"rows": pipelines.Input(node="approve"), "sky": pipelines.Input(node="weather")},
            ),
        ),
    ),
)


def _nodes(*, is_approved: bool = False, has_failed: bool = False) -> list[dict[str, Any]]:
    """As a pipeline's workflow tells of its nodes: of what was done before, of an approval, and of a failure."""
    State, Report = pipelines.NodeState, pipelines.NodeReport
    publish = State.FAILED if has_failed else State.DONE if is_approved else State.WAITING
    over = has_failed or is_approved
    reports = (
        Report(name="load", state=State.DONE, from_cache=1),
        Report(
            name="clean",
            state=State.DONE,
            seconds=12.4,
            tries=1,
            cpu_seconds=11,
            why_not_cached="its code changed",
        ),
        Report(name="weather", state=State.DONE, seconds=3.1, tries=2, cpu_seconds=2),
        Report(name="approve", state=State.DONE if over else State.APPROVAL),
        Report(name="publish", state=publish, message="ValueError: no rows of May" if has_failed else ""),
    )
    return [one.model_dump(mode="json", exclude_defaults=True) for one in reports]


def _pipelines(
    developer: control_client.ControlClient, service: control_client.ControlClient
) -> dict[str, str]:
    """One that failed, and one that waits."""
    developer.put_pipeline(PROJECT, PIPELINE)
    asked = control_contracts.RunCreate(
        project=PROJECT, kind="pipeline", pipeline=pipelines.PipelineOptions(pack=PIPELINE.digest)
    )
    failed, waits = developer.create_run(asked), developer.create_run(asked)
    end = {
        "stage": str(training.Stage.FAILED),
        "result": {"nodes": _nodes(has_failed=True), "message": "publish failed"},
    }
    service.report(
        training.RunEvent(
            event_key=f"{failed.run_id}/end",
            run_id=failed.run_id,
            action="run.end",
            actor="worker",
            detail=end,
        )
    )
    return {"piped": failed.run_id, "gated": waits.run_id}


def _tell(world: World, path: str, body: str | bytes) -> Any:
    """As a process of the platform reports it."""
    headers = {
        "Authorization": f"Bearer {world.tokens.token_of('service@local')}",
        "Content-Type": "application/json",
    }
    answer = httpx.post(f"{world.url}{path}", content=body, headers=headers, trust_env=False)
    assert answer.status_code == 201, answer.text
    return answer.json()


def _report(digest: str) -> alerts.ReportRecord:
    """What was found of December: more flights were late than the model said."""
    ends = base.utc_now()
    whole = monitoring.SliceFound(
        rows=27_000, known=26_500, mean_score=0.22, score_psi=0.03, known_mean_score=0.218,
        base_rate=0.326, gap_error=0.01, auc=0.74, brier=0.19,
    )  # fmt: skip
    column = monitoring.ColumnFound(
        name="temperature",
        kind="numerical",
        rows=27_000,
        psi=3.4,
        missing=0.01,
        mean=38.2,
        mean_reference=61.0,
    )
    finding = monitoring.Finding(
        kind="calibration",
        severity="alarm",
        value=0.108,
        limit=0.1,
        message="0.326 were late, 0.218 were predicted",
    )
    # One that is beyond its limit, one that nobody set a limit for, and one that no answer had a number of.
    loss = monitoring.KpiFound(
        name="warning-loss", rows=26_500, mean=0.8214, total=21_767.1, error=0.012, mean_reference=0.611
    )
    minutes = monitoring.KpiFound(name="minutes-saved", rows=26_500, mean=3.05, total=80_825, error=0.09)
    limits = monitoring.Limits(
        kpis={
            "warning-loss": monitoring.KpiLimit(high=0.75),
            "rebookings": monitoring.KpiLimit(low=0.01, high=0.2),
        }
    )
    worse = monitoring.Finding(
        kind="kpi",
        severity="alarm",
        subject="warning-loss",
        value=0.8214,
        limit=0.75,
        message="`warning-loss`: 0.8214 an answer, at most 0.75 is asked for",
    )
    report = monitoring.MonitorReport(
        project=PROJECT, endpoint=ENDPOINT, environment="prod", bundle_digest=digest,
        begins=ends - timedelta(days=7), ends=ends, rows=27_000, known=26_500, reference_rows=59_000,
        reference_base_rate=0.22, reference_auc=0.7577, reference_brier=0.142, whole=whole,
        columns=(column,), findings=(finding, worse), kpis=(loss, minutes), limits=limits,
    )  # fmt: skip
    return alerts.ReportRecord(report=report, made_by="check")


def _report_end(service: control_client.ControlClient, run_id: str, digest: str) -> None:
    result = {
        "model_name": PROJECT,
        "model_version": run_id[-4:],
        "bundle_digest": digest,
        "metrics": {"test": _metrics(0.7577), "test/logistic_regression": _metrics(0.7533)},
    }
    service.report(
        training.RunEvent(
            event_key=f"{run_id}/end",
            run_id=run_id,
            action="run.end",
            actor="worker",
            detail={"stage": str(training.Stage.DONE), "result": result},
        )
    )


def _metrics(auc: float) -> dict[str, Any]:
    found = training.Metrics(
        rows=59_000,
        base_rate=0.22,
        auc=auc,
        average_precision=0.49,
        brier=0.142,
        log_loss=0.44,
        calibration_error=0.011,
    )
    return found.model_dump()


def _record_use(service: control_client.ControlClient, run_id: str) -> None:
    for day in range(3):
        _use(service, run_id, day)


def _use(service: control_client.ControlClient, run_id: str, day: int) -> None:
    at = base.utc_now() - timedelta(days=day)
    service.record_usage(
        training.UsageRecord(
            usage_key=f"{run_id}/{day}",
            run_id=run_id,
            project=PROJECT,
            service="ray-train",
            sku="cpu_core_hour",
            consumed_quantity=4.0 + day,
            consumed_unit="core-hours",
            started_at=at - timedelta(hours=1),
            ended_at=at,
        )
    )


def _entries() -> list[catalog.CatalogEntry]:
    columns = (
        catalog.CatalogColumn(name="tailnum", dtype="string", is_key=True, missing=2512, distinct=4043),
        catalog.CatalogColumn(name="pilot", dtype="string", is_pii=True, classification="confidential"),
        catalog.CatalogColumn(name="delay", dtype="float64", missing=0, low=-86.0, mean=6.9, high=1272.0),
    )
    view = catalog.CatalogEntry(
        kind="view",
        name=VIEW,
        version="v1",
        owner="flights@example.org",
        description="the last arrival of each aircraft",
        classification="internal",
        columns=columns,
        reads=("lake.flights",),
        ttl_seconds=86_400,
        rows=4043,
        newest_event_at=base.utc_now(),
    )
    lake = catalog.CatalogEntry(
        kind="dataset",
        name="lake.flights",
        version="v1",
        owner="flights@example.org",
        description="every departure of 2013",
        rows=336_776,
    )
    return [view, lake]


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """Debian's Chromium. Its own sandbox wants namespaces that a test's root has given up."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """One tab, and everything that its console complained of."""

    def __init__(self, browser: Browser, world: World, **options: Any) -> None:
        self.world = world
        self.complaints: list[str] = []
        self.context = browser.new_context(base_url=world.url, reduced_motion="reduce", **options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        # What an answer of 4xx or 5xx prints is the API's, and the page tells of it in words.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def sign_in(self, actor: str) -> None:
        self.page.goto("/portal/")
        self.page.get_by_label("Development token").fill(self.world.tokens.token_of(f"{actor}@local"))
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", level=1, name=f"Hello, {actor}").wait_for()

    def open(self, path: str) -> None:
        """A page, once nothing of it waits any more."""
        self.page.goto(f"/portal{path}")
        self.settle()

    def go(self, path: str) -> None:
        """As by a link: the page is not loaded anew."""
        self.page.evaluate("path => history.pushState(null, '', path)", f"/portal{path}")
        here = path.partition("?")[0]
        self.page.locator(f'main[data-path="{here}"]').wait_for()
        self.settle()

    def settle(self) -> None:
        self.page.locator("h1").first.wait_for()
        expect(self.page.locator("[role=status][aria-label=Loading]")).to_have_count(0)

    def violations(self) -> list[str]:
        """What axe-core finds, all of its rules."""
        # Not as a script of the page: its own policy would refuse it, as it should.
        if self.page.evaluate("typeof axe") == "undefined":
            self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
            for one in found["violations"]
            for node in one["nodes"]
        ]


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


def asks(world: World, rows: int) -> None:
    with world.serving() as client:
        for place in range(rows):
            row: dict[str, prediction.Scalar] = {"distance": float(place), "mean_delay": 1.0}
            client.predict(ENDPOINT, prediction.PredictRequest(rows=[row]))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    require_parts()
    with running(tmp_path_factory.mktemp("portal")) as found:
        fill(found)
        yield found


@pytest.fixture(scope="module")
def browser(world: World) -> Iterator[Browser]:
    with browsing() as found:
        yield found
