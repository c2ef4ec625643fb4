"""`mainspring stream run`: one stream of a project, from Kafka into the serving process, until it is stopped."""

from __future__ import annotations

import contextlib
import difflib
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from mainspring.core import errors, projects, secrets, settings
from mainspring.core.client import control, serving
from mainspring.core.contracts import data_exports, data_reads
from mainspring.core.erasure.erased import ErasedList
from mainspring.core.features.streams import consumer, kafka, metering, metrics, sinks
from mainspring.core.features.streams import history as histories
from mainspring.core.features.streams.definition import StreamDefinition
from mainspring.platform.cli import leaving, session, spending

#: Nobody waits for the control API but a reader that ends.
_TOLD_SECONDS: Final = 5.0


def streams_of(project: str) -> Mapping[str, StreamDefinition]:
    """A project's streams by name. Errors: NotFound without the project; empty if it has none."""
    found = projects.load_project(project)
    return found.streams() if isinstance(found, projects.Streaming) else {}


def listed(project: str) -> list[dict[str, Any]]:
    """A row a stream."""
    return [
        {"name": s.name, "topic": s.topic, "views": len(s.views), "hop": str(s.hop), "lateness": str(s.allowed_lateness)}
        for s in streams_of(project).values()
    ]  # fmt: skip


def read_client_config(path: Path | None, keeper: settings.SecretSettings) -> dict[str, str]:
    """Settings of librdkafka, `name=value` lines; `#` begins a comment. Secrets belong there, not on a command line.

    A value that is a place (`sasl.password=openbao:kv/kafka#password`) stands for what lies there when the reader starts.
    Errors: InvalidSettings; those of the resolver, which name the place.
    """
    if path is None:
        return {}
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise errors.InvalidSettings(
                f"line {number} of `{path}` is no `name=value`; correct it", problems=(f"line {number}",)
            )
        found[name.strip()] = value.strip()
    resolver = secrets.Resolver(keeper)
    return {n: resolver.read(v).reveal() if secrets.is_place(v) else v for n, v in found.items()}


def run(
    s: settings.Settings,
    project: str,
    stream_name: str,
    *,
    partitions: Iterable[int] | None,
    client_config: Path | None,
    actor: str,
    until_idle: bool,
    resend: bool,
    history: Path | None = None,
    environment: str = "prod",
    purpose: str = "",
    metrics_port: int | None,
    status_seconds: float,
) -> dict[str, Any]:
    """Read until SIGTERM or Ctrl-C, or until nothing waits; how the stream stands then.

    `history`: rows of closed hops go below `<history>/<project>.<stream>`, an absolute path. Outside of the project's own places that
    is asked of the policies first, by `environment` and `purpose`. What was taken in is charged to the project in `environment`, whose
    budget is asked first, and while it reads.

    Errors: BudgetExceeded before anything is read, BudgetExhausted with the state written; NotFound, InvalidSettings without a broker, PortInUse, and those of the consumer.
    """
    stream = _named(project, stream_name)
    if not s.streams.bootstrap_servers:
        raise errors.InvalidSettings(
            "no broker is set; write `bootstrap_servers` under [streams], or MAINSPRING_STREAMS_BOOTSTRAP_SERVERS",
            problems=("streams.bootstrap_servers",),
        )
    if history is not None:
        _require(project, stream, history, environment, purpose, actor)
    token = session.shown(s, actor).token
    share = None if partitions is None else sorted(set(partitions))
    name = f"{project}.{stream.name}" + ("" if share is None else "." + "-".join(map(str, share)))
    known = ErasedList.of(s.protection)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(serving.ServingClient(s.serving_url, token=token))
        topic = kafka.KafkaTopic(
            stream.topic,
            bootstrap_servers=s.streams.bootstrap_servers,
            group=f"mainspring.{name}",
            partitions=share,
            config=read_client_config(client_config, s.secrets),
        )
        stack.callback(topic.close)
        reader = stack.enter_context(
            consumer.StreamConsumer(
                stream,
                topic,
                sinks.ServingSink(client, max_rows=s.serving.max_rows_per_request),
                folder=s.streams.state_dir / name,
                history=None if history is None else _history(history, project, stream, share),
                options=consumer.ConsumerOptions(snapshot_seconds=s.streams.snapshot_seconds),
                on_status=_Told(status_seconds),
                erased=lambda: known.of_project(project),
            )
        )
        if metrics_port is not None:
            stack.callback(_metrics(metrics_port, reader))
        api = stack.enter_context(
            control.ControlClient(s.control_url, token, timeout_seconds=_TOLD_SECONDS, retries=0)
        )
        assert reader.meter is not None, "it has a folder"
        owner = metering.Owner(project, stream.name, environment)
        money = spending.Spending(reader, owner, api, patience_seconds=s.workflow.budget_patience_seconds)
        money.begin()
        teller = metering.Teller(reader.meter, owner, api.record_usage, look=money.look)
        stack.callback(teller.close)
        with _stopped_by_signals(reader):
            status = reader.run(until_idle=until_idle, resend=resend)
            teller.close()
        money.end()
        return asdict(replace(status, untold=reader.meter.untold))


def _require(
    project: str, stream: StreamDefinition, folder: Path, environment: str, purpose: str, actor: str
) -> None:
    """Errors: those of the control API where the rows of the stream's views may not lie there."""
    tables = [
        data_reads.ReadDataset(
            name=f"view.{view.name}", columns=[*view.keys, *(a.name for a in view.aggregates)]
        )
        for view in stream.views
    ]
    wanted = data_exports.DataExport(
        environment=environment,
        exit="history",
        destination=str(folder),
        datasets=tables,
        purpose=purpose,
    )
    leaving.require(project, wanted, actor)


def _history(
    folder: Path, project: str, stream: StreamDefinition, share: list[int] | None
) -> histories.History:
    reader = "" if share is None else "-".join(map(str, share))
    return histories.History(folder / f"{project}.{stream.name}", stream, reader=reader)


class _Told:
    """A line on stderr now and then, and at once for another problem."""

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds
        self._due = 0.0
        self._problem = ""

    def __call__(self, status: consumer.StreamStatus) -> None:
        now = time.monotonic()
        if now < self._due and status.problem == self._problem:
            return
        self._due, self._problem = now + self._every_seconds, status.problem
        c = status.counts
        click.echo(
            f"{status.stream}: lag {status.lag:,}, {status.records_per_second:,.0f}/s, {c.accepted:,} events,"
            f" {c.duplicate:,} duplicate, {c.late:,} late, {c.dead:,} dead, {status.rows:,} rows"
            + (f"; waiting: {status.problem}" if status.problem else ""),
            err=True,
        )


@contextlib.contextmanager
def _stopped_by_signals(reader: consumer.StreamConsumer) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        reader.stop()

    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _metrics(port: int, reader: consumer.StreamConsumer) -> Any:
    try:
        return metrics.serve(port, lambda: [reader.status])
    except OSError as error:
        raise errors.PortInUse(
            f"port {port} cannot be had for metrics: {error}; give another --metrics-port", port=port
        ) from error


def _named(project: str, stream: str) -> StreamDefinition:
    found = streams_of(project)
    if stream not in found:
        close = tuple(difflib.get_close_matches(stream, found, n=3))
        hint = f"did you mean `{close[0]}`" if close else f"it has {sorted(found)}"
        raise errors.NotFound(
            f"project `{project}` has no stream `{stream}`; {hint}",
            resource="stream",
            name=stream,
            did_you_mean=close,
        )
    return found[stream]
