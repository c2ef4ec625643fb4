"""A reader of a stream and its project's budget: asked before, stopped with its state written, gone on with, and paid once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import platform_notebooks as world
import pytest

from mainspring.core import errors, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, training
from mainspring.core.features import online, windows
from mainspring.core.features.streams import consumer, metering, sinks, topic
from mainspring.core.features.streams.definition import Field, StreamDefinition, WindowedView
from mainspring.platform.cli import spending

STREAM = StreamDefinition(
    name="payments",
    topic="payments.v1",
    fields=(Field("id", "string", is_required=True), Field("at_us", "int64"), Field("card", "int64")),
    event_time="at_us",
    event_id="id",
    hop=timedelta(minutes=1),
    allowed_lateness=timedelta(minutes=10),
    views=(WindowedView("card_1h", ("card",), timedelta(hours=1), (windows.Aggregate("payments", "rows"),)),),
)
NOON = 1_700_000_000_000_000
PER_MILLION = 0.08


@pytest.fixture(scope="module")
def s(tmp_path_factory: pytest.TempPathFactory) -> Iterator[settings.Settings]:
    with world.served(tmp_path_factory.mktemp("home")) as s:
        yield s


def made(s: settings.Settings, project: str, budget: float) -> metering.Owner:
    with world.client(s, "admin") as admin:
        admin.create_project(control.ProjectCreate(name=project, owner="team", monthly_budget=budget))
    return metering.Owner(project, STREAM.name, "prod")


def raised(s: settings.Settings, project: str, budget: float) -> None:
    with world.client(s, "admin") as admin:
        patch = control.ProjectPatch(monthly_budget=budget)
        admin.update_project(project, patch, version=admin.project(project).version)


def events(source: topic.MemoryTopic, first: int, n: int) -> None:
    lines = [{"id": str(i), "at_us": NOON + i, "card": i % 7} for i in range(first, first + n)]
    source.produce([json.dumps(line).encode() for line in lines], timestamp_us=NOON)


def read(
    folder: Path, source: topic.Topic, owner: metering.Owner, api: control_client.ControlClient, *, patience: float = 600.0, until_idle: bool = False,
) -> int:  # fmt: skip
    """As the command does; events taken in. Errors: BudgetExceeded, BudgetExhausted."""
    sink = sinks.StoreSink(online.OnlineStore())
    with consumer.StreamConsumer(STREAM, source, sink, folder=folder) as reader:
        assert reader.meter is not None
        money = spending.Spending(reader, owner, api, patience_seconds=patience, ask_seconds=0.1)
        money.begin()
        teller = metering.Teller(reader.meter, owner, api.record_usage, look=money.look, look_seconds=0.05)
        try:
            status = reader.run(until_idle=until_idle)
        finally:
            teller.close()
        money.end()
        return status.counts.accepted


def charged(s: settings.Settings, project: str) -> float:
    """Events on record."""
    with world.client(s, "approver") as approver:
        found = list(approver.cost_records(project=project))
    millions: float = sum(one.consumed_quantity for one in found if one.service_name == "streams")
    return millions * 1_000_000


def test_what_cannot_be_paid_reads_nothing(s: settings.Settings, tmp_path: Path) -> None:
    source, owner = topic.MemoryTopic(), made(s, "poor", PER_MILLION / 100)
    events(source, 0, 100)
    with world.client(s, "service") as api, pytest.raises(errors.BudgetExceeded, match="raise it"):
        read(tmp_path, source, owner, api, until_idle=True)
    raised(s, "poor", 10.0)
    with world.client(s, "service") as api:
        assert read(tmp_path, source, owner, api, until_idle=True) == 100  # none of them was taken in before
        with world.client(s, "admin") as admin:
            view = admin.project("poor")
    assert charged(s, "poor") == pytest.approx(100) and view.reserved == 0.0


def test_a_budget_that_others_spend_stops_it_and_it_goes_on_where_it_was(
    s: settings.Settings, tmp_path: Path
) -> None:
    source, owner = topic.MemoryTopic(), made(s, "alpha", 1.0)
    events(source, 0, 500)
    found: list[errors.MainspringError] = []

    def reading() -> None:
        with world.client(s, "service") as api:
            try:
                read(tmp_path, source, owner, api)
            except errors.MainspringError as error:
                found.append(error)

    thread = threading.Thread(target=reading)
    thread.start()
    with world.client(s, "admin") as admin, world.client(s, "service") as service:
        until = time.monotonic() + 30
        while admin.project("alpha").reserved == 0.0 and time.monotonic() < until:
            time.sleep(0.05)
        assert thread.is_alive() and admin.project("alpha").reserved > 0.0
        service.record_usage(training_of_others())
    thread.join(30)
    (error,) = found
    assert isinstance(error, errors.BudgetExhausted) and error.scope == "project" and error.limit == 1.0
    assert error.message.endswith(
        "its state is written, and the same command goes on from there, nothing is lost or twice"
    )
    assert charged(s, "alpha") == pytest.approx(500)
    with world.client(s, "admin") as admin:
        assert admin.project("alpha").reserved == 0.0
    events(source, 500, 300)
    with world.client(s, "service") as api, pytest.raises(errors.BudgetExceeded):
        read(tmp_path, source, owner, api, until_idle=True)
    raised(s, "alpha", 10.0)
    with world.client(s, "service") as api:
        read(tmp_path, source, owner, api, until_idle=True)
    assert charged(s, "alpha") == pytest.approx(800)


def test_a_reader_that_reaches_nobody_reads_for_its_patience(s: settings.Settings, tmp_path: Path) -> None:
    away = s.model_copy(update={"control": s.control.model_copy(update={"port": 9})})
    source = topic.MemoryTopic()
    events(source, 0, 50)
    owner = metering.Owner("alone", STREAM.name, "prod")
    with world.client(away, "service") as nobody, pytest.raises(errors.BudgetExhausted) as stopped:
        read(tmp_path, source, owner, nobody, patience=0.5)
    assert stopped.value.scope == "unknown" and "mainspring status" in stopped.value.message
    made(s, "alone", 10.0)
    with world.client(s, "service") as api:
        assert read(tmp_path, source, owner, api, until_idle=True) == 50
    assert charged(s, "alone") == pytest.approx(50)  # told when somebody heard it


def training_of_others() -> training.UsageRecord:
    at = datetime.now(UTC)
    return training.UsageRecord(
        usage_key="run_of_others", run_id="run_of_others", project="alpha", environment="dev", service="ray-train", sku="gpu_hour",
        consumed_quantity=0.4, consumed_unit="gpu-hours", started_at=at, ended_at=at,
    )  # fmt: skip
