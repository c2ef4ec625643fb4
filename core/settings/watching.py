"""What is seen of data and models in use, and whom it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mainspring.core.settings.group import Group, Port


class ProtectionSettings(Group):
    """Keys of sealed columns."""

    keyring: Literal["file", "openbao"] = "file"
    """Who holds the keys that encrypt data keys: a file of this machine, or OpenBao's transit engine."""
    keyring_file: Path = Path("keys/keyring.keys")
    """`<id> <64 hex digits>` a line, mode 0600: the first key wraps, all unwrap; made on first use. Default: under the state directory."""
    keysets_dir: Path = Path("keys/keysets")
    """Data keys, wrapped, a file for each project; default: under the state directory."""
    openbao_url: Annotated[
        str, Field(pattern=r"^(|https://.+|http://(127\.0\.0\.1|localhost|\[::1\])([:/].*)?)$")
    ] = ""
    """Where OpenBao is; https, or http on this machine."""
    openbao_token_file: Path = Path("keys/openbao.token")
    """Its token, read anew for every call, so that an agent may renew it; default: under the state directory."""
    openbao_mount: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_/-]*$")] = "transit"
    """Where its transit engine is mounted."""
    openbao_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "mainspring"
    """A key of type `aes256-gcm96` with `derived=true`."""
    subjects_key: Path = Path("keys/subjects.key")
    """Hashes the keys of erased subjects, mode 0600, made on first use; whoever takes rows in has the same. Default: under the state directory."""
    erased_dir: Path = Path("erased")
    """Who was erased, by hash: the rows of these are not taken in again; default: under the state directory."""
    erasure_places: Annotated[
        str, Field(pattern=r"^(|[a-z0-9-]+=(/|s3://)[^,]+(,[a-z0-9-]+=(/|s3://)[^,]+)*)$")
    ] = ""
    """Where else rows of a project's subjects are, `PROJECT=PLACE` by comma: a folder or file by its absolute path, or `s3://bucket/key`
    as batch scoring has it. An erasure looks there as well, and must be allowed to write there."""

    def erasure_places_of(self, project: str) -> tuple[str, ...]:
        """Those of one project."""
        declared = (entry.partition("=") for entry in self.erasure_places.split(",") if entry)
        return tuple(place for name, _, place in declared if name == project)


class LineageSettings(Group):
    """Where jobs tell what they read and made."""

    transport: Literal["http", "file", "off"] = "http"
    """`http`: to a lineage store; `file`: lines of JSON in `file`; `off`: nowhere."""
    url: str = ""
    """The lineage store, ours or one that OpenLineage's HTTP transport posts to; empty: the control API."""
    token_file: str = ""
    """File with the bearer token for `url`; empty: none is sent. The control API's own token goes nowhere else."""
    file: Path = Path("lineage/events.jsonl")
    """Default: under the state directory."""
    spool: Path = Path("lineage/spool.jsonl")
    """What could not be sent yet; default: under the state directory."""
    spool_max_bytes: Annotated[int, Field(ge=1024)] = 64 << 20
    """Beyond it events are lost, and the log says so: some 30,000 of them."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 2.0
    """How long a job waits for the store, once; then its events go to the spool for 30 s."""


class MonitorSettings(Group):
    """Checks of served models, and how people are told of what they find."""

    windows_dir: Path = Path("monitoring/windows")
    """Hourly sums of the prediction log; default: under the state directory."""
    reports_dir: Path = Path("monitoring/reports")
    """Full reports by their digest; default: under the state directory."""
    webhook_key: Path = Path("keys/alerts.key")
    """Signs what webhooks are sent, mode 0600, made on first use; default: under the state directory."""
    allow_private_webhooks: bool = False
    """Are alerts posted to addresses of private networks and of this machine, and by plain http."""
    delivery_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """How long a receiver may take to answer."""
    delivery_attempts: Annotated[int, Field(ge=1, le=50)] = 12
    """After so many an alert is told to that receiver no more: waits double from 5 s, and 12 are some 6 hours."""
    smtp_host: str = ""
    """The mail server; empty: nobody is told by e-mail."""
    smtp_port: Port = 587
    """Its port."""
    smtp_starttls: bool = True
    """Off: mail goes as it is, which is for a server of this machine."""
    smtp_tls: bool = False
    """TLS from the first byte on (port 465), in the place of STARTTLS."""
    smtp_ca_file: str = ""
    """PEM file of the authorities that the server's certificate may be of; empty: the system's."""
    smtp_user: str = ""
    """Whom to log in as; empty: nobody."""
    smtp_password_file: str = ""
    """File with the password."""
    smtp_password: Annotated[
        str, Field(pattern=r"^(|(openbao:[a-z0-9]|file:/[A-Za-z0-9_.-]|env:[A-Z]).+)$")
    ] = ""
    """Where the password lies instead (`openbao:MOUNT/PATH#FIELD`, `file:/PATH`, `env:NAME`), never the password: read as `[secrets]` says, so
    that one that was rotated is taken without a restart."""
    smtp_from: str = "mainspring@localhost"
    """Whom mail is from."""


class TelemetrySettings(Group):
    """What all processes tell of themselves: traces, logs, the worker's metrics."""

    trace_endpoint: str = ""
    """Where spans go, OTLP's JSON over HTTP: `http://host:4318/v1/traces`; empty: nowhere, and trace ids are for logs only.
    Default: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or `OTEL_EXPORTER_OTLP_ENDPOINT` with `/v1/traces`."""
    trace_headers: str = ""
    """What the receiver wants beside them: `name=value,name=value`. Default: `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, or
    `OTEL_EXPORTER_OTLP_HEADERS`."""
    trace_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the requests, and of the runs by the clock, that are traced where nobody has decided it in `traceparent`."""
    logs: Literal["json", "text"] = "json"
    """Lines of Elastic's Common Schema, or for eyes. `MAINSPRING_LOGS` is this one, too."""
    worker_metrics: Annotated[str, Field(pattern=r"^(|[^\s:]+:\d{1,5})$")] = ""
    """host:port where a worker shows Prometheus what Temporal's SDK counts (`/metrics`); empty: nowhere."""
