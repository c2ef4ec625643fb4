"""`mainspring stream`: a day of real departures from a broker, through the command, into a serving process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import confluent_kafka
import httpx
import numpy as np
import polars as pl
import pytest
from confluent_kafka import admin

from mainspring.bench import kafka_server
from mainspring.bench.serving import machine
from mainspring.core import identity
from mainspring.core.client.serving import ServingClient
from mainspring.core.contracts.features import FeatureRead
from mainspring.core.features import lake, online, windows
from mainspring.core.features.streams.definition import StreamDefinition
from mainspring.core.reference.flight_delay import source, streams, views
from mainspring.platform.demo import streamed

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(180)]

DAY = datetime(2013, 2, 8, 5, tzinfo=UTC)
TOPIC = streams.DEPARTURES.topic


@pytest.fixture(scope="module")
def tables() -> source.Tables:
    """The day's flights."""
    whole = source.read(source.find()[0])
    inside = pl.col("scheduled_departure").is_between(DAY, DAY + timedelta(days=1), closed="left")
    return replace(whole, flights=whole.flights.filter(inside))


class Site:
    """A folder with a token file, a port for serving, and the environment of both processes."""

    def __init__(self, folder: Path, *read: StreamDefinition) -> None:
        self.folder = folder
        self.port, self.metrics_port = machine.free_ports(2)
        state = folder / ".mainspring"
        self.lake = state / "projects" / "flight-delay" / "lake"
        identity.ensure_token_file(state / "tokens.json")
        with online.OnlineStore(state / "online") as store:  # what a bundle that reads them registers
            for view in (view for stream in read or (streams.DEPARTURES,) for view in stream.views):
                store.register(view.schema())
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
        self.environment = kept | {
            "MAINSPRING_SERVING_PORT": str(self.port), "MAINSPRING_SERVING_GRPC_PORT": "0",
            "MAINSPRING_STREAMS_SNAPSHOT_SECONDS": "0.5",
        }  # fmt: skip

    @contextlib.contextmanager
    def serving(self) -> Iterator[ServingClient]:
        process = self._start("-m", "mainspring.serving")
        try:
            with ServingClient(f"http://127.0.0.1:{self.port}") as client:
                until = time.monotonic() + 60
                while not client.healthy():
                    assert process.poll() is None and time.monotonic() < until
                    time.sleep(0.05)
                yield client
        finally:
            process.terminate()
            process.communicate(timeout=30)

    def command(self, *arguments: str, broker: str = "") -> subprocess.Popen[str]:
        return self._start("-m", "mainspring.platform.cli.main", "stream", *arguments, broker=broker)

    def _start(self, *arguments: str, broker: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=self.environment | ({"MAINSPRING_STREAMS_BOOTSTRAP_SERVERS": broker} if broker else {}),
        )  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@contextlib.contextmanager
def broker() -> Iterator[str]:
    (port,) = machine.free_ports(1)
    with kafka_server.started(port=port) as address:
        client = admin.AdminClient({"bootstrap.servers": address})
        topics = [admin.NewTopic(TOPIC, 3, 1), admin.NewTopic(f"{TOPIC}.dead-letters", 1, 1)]
        for done in client.create_topics(topics).values():
            done.result(20)
        yield address


def send(address: str, facts: pl.DataFrame) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": address})
    for value, origin in zip(streams.encoded(facts), facts["origin"], strict=True):
        producer.produce(TOPIC, value=value, partition=("EWR", "JFK", "LGA").index(origin))
    assert producer.flush(20) == 0


def assert_is_the_batch(client: ServingClient, tables: source.Tables) -> None:
    """The newest row of every key, each asked for as of its own time."""
    computed = views.compute(tables)
    for view in streams.DEPARTURES.views:
        rows = computed[view.name].sort(windows.EVENT).unique(view.keys, keep="last")
        names = [a.name for a in view.aggregates]
        for at, some in rows.group_by(windows.EVENT):
            got = client.read_features(
                FeatureRead(
                    features=[f"{view.name}:{n}" for n in names],
                    entities={key: some[key].to_list() for key in view.keys},
                    as_of=at[0],
                )
            )
            for name in names:
                want = some[name].to_list()
                assert [None if v is None else np.float32(v) for v in got[name]] == want, (
                    view.name,
                    at,
                    name,
                )


def assert_history_is_the_batch(folder: Path, tables: source.Tables) -> None:
    """Every row of hops that were closed, at the same bits."""
    computed = views.compute(tables)
    for view in streams.DEPARTURES.views:
        at = [windows.EVENT, *view.keys]
        rows = lake.Parquet(f"{folder / view.name}/").scan().collect()
        # A partition that was heard of last may have changed rows that were given.
        rows = rows.unique(at, keep="last", maintain_order=True).sort(at)
        want = computed[view.name].filter(pl.col(windows.EVENT) <= rows[windows.EVENT].max()).sort(at)
        assert rows.height > 100 and rows.equals(want.select(rows.columns).cast(dict(rows.schema)))  # type: ignore[arg-type]


def test_a_day_of_departures_is_in_serving_as_the_batch_has_it(site: Site, tables: source.Tables) -> None:
    facts = streams.departures(tables.flights)
    half = facts.height // 2
    with broker() as address, site.serving() as client:
        send(address, facts[:half])
        reader = site.command(
            "run", "flight-delay", "departures", "--status-seconds", "0.2", "--json",
            "--metrics-port", str(site.metrics_port), "--history", str(site.lake), broker=address,
        )  # fmt: skip
        try:
            wait_for_metric(site, reader, "mainspring_stream_events_accepted_total", half)
            send(address, facts[half:])
            wait_for_metric(site, reader, "mainspring_stream_events_accepted_total", facts.height)
        finally:
            reader.send_signal(signal.SIGTERM)
            out, err = reader.communicate(timeout=30)
        assert reader.returncode == 0, err
        status = json.loads(out)["data"]
        assert (status["counts"]["accepted"], status["lag"], status["problem"]) == (facts.height, 0, "")
        assert status["snapshots"] >= 1 and "departures: lag " in err
        # There is no control API: what is to be charged waits, and it is said once.
        assert status["untold"] == facts.height and err.count("usage of stream `departures` waits") == 1
        assert_is_the_batch(client, tables)

        assert_history_is_the_batch(site.lake / "flight-delay.departures", tables)

        # Another start has nothing to do, and can give all rows once more.
        again = site.command(
            "run", "flight-delay", "departures", "--until-idle", "--resend", "--json",
            "--history", str(site.lake), broker=address,
        )  # fmt: skip
        out, err = again.communicate(timeout=60)
        assert again.returncode == 0, err
        assert json.loads(out)["data"]["counts"] == status["counts"]
        assert_is_the_batch(client, tables)
        assert_history_is_the_batch(site.lake / "flight-delay.departures", tables)


def wait_for_metric(site: Site, reader: subprocess.Popen[str], name: str, value: int) -> None:
    until, text = time.monotonic() + 60, ""
    while f'{name}{{stream="departures"}} {float(value)}' not in text:
        assert time.monotonic() < until, text
        assert reader.poll() is None, reader.communicate()
        with contextlib.suppress(httpx.HTTPError):
            text = httpx.get(f"http://127.0.0.1:{site.metrics_port}/metrics", trust_env=False).text
        time.sleep(0.05)


def test_what_is_missing_is_said_in_one_line(site: Site) -> None:
    def refused(*arguments: str, broker: str = "") -> tuple[int, str]:
        done = site.command(*arguments, broker=broker)
        out, err = done.communicate(timeout=60)
        assert out == "" and len(err.strip().splitlines()) == 1, err
        return done.returncode, err

    code, line = refused("run", "flight-delay", "departure", broker="127.0.0.1:9")
    assert code == 1 and "did you mean `departures`" in line
    code, line = refused("run", "flight-delay", "departures")
    assert code == 78 and "no broker is set" in line
    code, line = refused("run", "flight-delai", "departures")
    assert code == 1 and "did you mean `flight-delay`" in line
    bad = site.folder / "client.properties"
    bad.write_text("# of the broker\nsecurity.protocol=ssl\nno value\n")
    code, line = refused(
        "run", "flight-delay", "departures", "--client-config", str(bad), broker="127.0.0.1:9"
    )
    assert code == 78 and "line 3" in line
    bad.write_text("no.such.setting=1\n")
    code, line = refused(
        "run", "flight-delay", "departures", "--client-config", str(bad), broker="127.0.0.1:9"
    )
    assert code == 78 and "no.such.setting" in line


def test_a_view_that_serving_does_not_have_ends_the_reader(site: Site, tables: source.Tables) -> None:
    with broker() as address:
        arrivals = streams.ARRIVALS.topic
        client = admin.AdminClient({"bootstrap.servers": address})
        topics = [admin.NewTopic(arrivals, 1, 1), admin.NewTopic(f"{arrivals}.dead-letters", 1, 1)]
        for done in client.create_topics(topics).values():
            done.result(20)
        producer = confluent_kafka.Producer({"bootstrap.servers": address})
        for value in streams.encoded(streams.arrivals(tables.flights)[:5]):
            producer.produce(arrivals, value=value)
        assert producer.flush(20) == 0
        with site.serving():
            reader = site.command("run", "flight-delay", "arrivals", broker=address)
            _, err = reader.communicate(timeout=60)
    assert reader.returncode == 1 and "has no view" in err.strip().splitlines()[-1]


def test_the_demo_streams_a_day_and_finds_the_batch_in_serving(tmp_path: Path, tables: source.Tables) -> None:
    """The day's last 24 hours, after what came before them. A value that serving has otherwise is counted."""
    facts = {"departures": streams.departures(tables.flights), "arrivals": streams.arrivals(tables.flights)}
    site = Site(tmp_path, streams.DEPARTURES, streams.ARRIVALS)
    token = identity.TokenIssuer.load(tmp_path / ".mainspring" / "tokens.json").token_of("service@local")
    with site.serving(), ServingClient(f"http://127.0.0.1:{site.port}", token=token) as client:
        done = streamed.last_day(streams.STREAMS, facts, client)
        assert 500 < done.events <= sum(f.height for f in facts.values()) and done.rows > done.events
        assert done.compared > 1000 and done.different == 0
        late = {"departures": "dep_late", "arrivals": "arr_late"}
        changed = {name: f.with_columns(pl.lit(True).alias(late[name])) for name, f in facts.items()}
        with (
            pytest.MonkeyPatch.context() as patch
        ):  # serving has the events of before, the batch those of `changed`
            patch.setattr(streamed, "_encoded", lambda frame: [])
            assert streamed.last_day(streams.STREAMS, changed, client).different > 100


def test_the_streams_of_a_project_are_listed(site: Site) -> None:
    done = site.command("list", "flight-delay", "--json")
    out, _ = done.communicate(timeout=60)
    found = {row["name"]: row for row in json.loads(out)["data"]}
    assert found["departures"]["topic"] == TOPIC and found["arrivals"]["views"] == 7
