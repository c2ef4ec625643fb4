"""The one door for configuration: defaults, then `mainspring.toml`, then `MAINSPRING_*` variables.

Read once in each `main` by :func:`load`, checked completely (every problem in one message), then passed down;
no other file reads the environment. Three types keep the steps apart: :class:`Written` (one source, as found),
:class:`Merged` (key -> value and where it came from) and :class:`Settings` (what is in force, no Optionals).

A file key `[serving] port = 7701` and a variable `MAINSPRING_SERVING_PORT=7701` name the same setting. Unknown
keys are refused with the nearest known name. The file is `mainspring.toml` in the working directory, or the one
`MAINSPRING_CONFIG` names.
"""

from __future__ import annotations

import difflib
import os
import tomllib
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mainspring.core import errors
from mainspring.core.contracts.capacity import Capacity

PREFIX: Final = "MAINSPRING_"

#: Variables with our prefix that are not settings by name: read by the C++ dispatcher, by this module, by the local stack.
RESERVED: Final = frozenset(
    {"MAINSPRING_CONFIG", "MAINSPRING_FORCE_TARGET", "MAINSPRING_LOGS", "MAINSPRING_STACK_ID"}
)

Port = Annotated[int, Field(ge=1, le=65535)]
#: Written out: lists of settings name its values.
AnyCapacity = Literal[Capacity.ON_DEMAND, Capacity.SPOT, Capacity.RESERVED]


#: A key of a tag and the values that it may have.
_TAG = r"[a-z][a-z0-9_.-]{0,62}(=[^,|=()]+(\|[^,|=()]+)*)?"


class _Group(BaseModel):
    # Docstrings of fields are for readers of this file: pydantic would parse it for each group, 40 ms of every process.
    model_config = ConfigDict(frozen=True, extra="forbid")


class StackSettings(_Group):
    """The embedded stack of one machine."""

    state_dir: Path = Path(".mainspring")
    """Everything this checkout keeps; removing it forgets all. Relative paths start at the working directory."""
    port_base: Annotated[int, Field(ge=1024, le=64000)] = 7700
    """First of the 200 loopback ports the stack may use; every port below that is not set follows from it."""
    start_timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    """How long a part may take to answer. Ray takes about 10 s on two quiet cores and several times that on busy ones."""


class ControlSettings(_Group):
    """The control API."""

    host: str = "127.0.0.1"
    """Loopback until an identity provider is configured: the embedded issuer's tokens are for one machine."""
    port: Port = 7700
    """Default: `stack.port_base`."""
    url: Annotated[str, Field(pattern=r"^(|https?://[^\s/?#]+)$")] = ""
    """Where clients reach it, as behind a proxy that speaks TLS; default: `http://<host>:<port>`."""
    token_file: str = ""
    """File with the bearer token that the command line shows, read anew for each request; empty: who signed in with `mainspring login`,
    or else the embedded issuer's."""
    database_url: str = ""
    """SQLAlchemy URL of SQLite (`sqlite+aiosqlite:///<file>`) or PostgreSQL (`postgresql+psycopg://<role>@<host>/<name>`);
    default: SQLite (WAL) under the state directory."""
    migration_url: str = ""
    """PostgreSQL: the same database as the role that owns its tables, for `mainspring db upgrade`; empty: the same role."""
    backup_days: Annotated[float, Field(ge=1, le=3_650)] = 30.0
    """How long SQLite's file is kept as it was before an upgrade; then the control API removes the copy: it has what people wrote, too."""
    tokens_file: Path = Path("tokens.json")
    """Development tokens of the embedded issuer, mode 0600; default: under the state directory."""
    policies_dir: Path | None = None
    """An organisation's own Cedar policies (`*.cedar`), in force beside ours; none: ours alone."""
    synthetic_only: Annotated[str, Field(pattern=r"^(|(dev|staging|prod)(,(dev|staging|prod))*)$")] = "dev"
    """Environments, by comma, that read rows of nobody or sealed columns where a column is confidential or restricted; empty: none."""
    export_places: Annotated[str, Field(pattern=r"^(|(/|s3://)[^,]+(,(/|s3://)[^,]+)*)$")] = ""
    """Folders and `s3://bucket/prefix`, by comma, that are the platform's own beside a project's folder of the state directory; `{project}`
    in one is its name. What is written elsewhere is asked of the policies as `data.export`. The root (a slash) alone: every folder of this machine is."""
    access_hours: Annotated[float, Field(gt=0, le=8_760)] = 8.0
    """The longest time for which a role may be asked for: a working day."""
    break_glass_hours: Annotated[float, Field(gt=0, le=24)] = 1.0
    """The longest time for which a role may be taken in an emergency, without anybody's decision."""
    access_decision_hours: Annotated[float, Field(gt=0, le=720)] = 24.0
    """A request that nobody has decided on by then lapses: what it was for is over."""
    service_token_minutes: Annotated[float, Field(ge=0, le=60)] = 15.0
    """How long a token of a service account counts; 0: none is given here."""
    alert_url: Annotated[
        str,
        Field(
            pattern=r"^(|https://.+|http://(127\.0\.0\.1|localhost|\[::1\])([:/].*)?|(openbao:[a-z0-9]|file:/[A-Za-z0-9_.-]|env:[A-Z]).+)$"
        ),
    ] = ""
    """Where alarms are posted as JSON, such as broken glass; https, or http on this machine; where the address is itself a secret, its place
    (`openbao:MOUNT/PATH#FIELD`, `file:/PATH`, `env:NAME`). Empty: they are in the log, the audit log and `mainspring access list` alone."""


class IdentitySettings(_Group):
    """The OpenID provider whose bearer tokens the control API and serving take."""

    issuer: str = ""
    """Its `iss`, from which its keys are found by discovery; https, or http on this machine. Empty: there is none."""
    audience: str = ""
    """Whom tokens must be for (`aud`); required beside an issuer."""
    algorithms: str = "RS256,ES256"
    """Signatures that are taken, by comma; asymmetric ones only."""
    name_claim: str = "sub"
    """The claim that names the actor on record. Choose one that nobody can give himself."""
    roles_claim: str = "roles"
    """The claim that has roles, a list or words; dots lead into objects: `realm_access.roles`."""
    roles_prefix: str = ""
    """What stands before our roles there, as in `mainspring:developer`."""
    groups_claim: str = "groups"
    """The claim that has the groups that `group_roles` names; dots lead into objects."""
    group_roles: Annotated[
        str,
        Field(
            pattern=r"^(|[^;]+=(viewer|developer|approver|admin)(;[^;]+=(viewer|developer|approver|admin))*)$"
        ),
    ] = ""
    """`GROUP=ROLE` by semicolon: who is in the group at the provider has that role, beside those of `roles_claim`. A group may have
    commas and `=` in its name, as a directory's have: `CN=ML,OU=Teams=developer`. Empty: groups say nothing."""
    account_claim: str = ""
    """The claim that names a service account, as `azp` or `client_id` do where its client is called `service-account:<project>:<name>`; such
    a client may have the client credentials grant alone. Empty: the provider has none of them."""
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    """How far the provider's clock may be from ours."""
    keys_cache_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """After so long its keys are fetched again: the time in which a withdrawn one is still taken."""
    embedded: bool = True
    """Are the embedded issuer's tokens taken as well; workers and serving of this machine have those."""
    portal_client_id: str = ""
    """The public client (no secret, PKCE) by which people sign in to the web pages; its redirect is `<control API>/portal/callback`.
    Empty: nobody signs in there by the provider."""
    portal_scopes: str = "openid profile"
    """What the pages ask the provider for, beside a token for `audience`."""
    cli_client_id: str = ""
    """The public client (no secret, PKCE, native) by which people sign in with `mainspring login`; its redirect is
    `http://127.0.0.1/callback` with any port. Empty: nobody signs in there by the provider."""
    cli_scopes: str = "openid profile offline_access"
    """What the command line asks the provider for; without `offline_access` a sign-in lasts as long as its first token."""

    def roles_of_groups(self) -> tuple[tuple[str, str], ...]:
        """`group_roles`, each group with its role."""
        entries = (entry.rpartition("=") for entry in self.group_roles.split(";") if entry)
        return tuple((group.strip(), role) for group, _, role in entries)


class ServingSettings(_Group):
    """The data plane."""

    host: str = "127.0.0.1"
    """Loopback by default, as for the control API."""
    port: Port = 7701
    """Default: `stack.port_base` + 1."""
    grpc_port: Annotated[int, Field(ge=0, le=65535)] = 7706
    """The v2 protocol over gRPC; 0: off. Default: `stack.port_base` + 6."""
    online_store: Path = Path("online")
    """The online feature rows; default: under the state directory."""
    environment: Annotated[str, Field(pattern=r"^(|dev|staging|prod)$")] = ""
    """The environment that it is of: what service accounts may here is what their roles there say. Empty: of none, and only roles that an
    account has in every environment count."""
    bundle_dir: Path = Path("bundles")
    """Where bundles are loaded from; default: under the state directory."""
    trusted_keys_dir: Path = Path("keys/trusted")
    """Public keys whose signatures are accepted; default: under the state directory."""
    expectations_dir: Path = Path("expectations")
    """What pushed rows must be: `<view>.json` each, read at the start; default: under the state directory."""
    pushes_dir: Path = Path("pushes")
    """Pushes that were refused, and what the last accepted ones looked like; default: under the state directory."""
    record_reads: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the online store's reads that are kept for the skew check; they hold keys and features as they are."""
    reads_dir: Path = Path("reads")
    """Where they are kept; default: under the state directory."""
    reads_max_bytes: Annotated[int, Field(ge=1 << 20)] = 256 << 20
    """The oldest recorded reads go beyond it."""
    log_predictions: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the answered predictions that are logged with keys, features and scores, for drift, labels and audit."""
    predictions_dir: Path = Path("predictions")
    """Where they are logged; default: under the state directory."""
    predictions_max_bytes: Annotated[int, Field(ge=1 << 20)] = 1 << 30
    """The oldest logged predictions go beyond it."""
    token_key: Path = Path("keys/tokens.key")
    """Key of the tokens that stand for personal columns in logs, mode 0600, made on first use; default: under the state directory."""
    trace_endpoint: str = ""
    """Where its spans go; default: `telemetry.trace_endpoint`."""
    trace_headers: str = ""
    """Default: `telemetry.trace_headers`."""
    trace_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Of its requests; default: `telemetry.trace_share`."""
    extraction_min_rows: Annotated[int, Field(ge=0)] = 0
    """Rows from which on a caller of an endpoint is looked at, in a window, for signs of copying the model; 0: nobody is."""
    extraction_window_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """Length of the window; a suspicion lasts so long after its last sign."""
    extraction_rows_per_second: Annotated[float, Field(ge=0)] = 0.0
    """What a suspected caller may still ask of the endpoint; 0: suspicions are told and nothing is throttled."""
    usage_report_seconds: Annotated[float, Field(ge=0)] = 60.0
    """How often the control API is told what endpoints used, by bundle, caller and project; 0: never."""
    capacity: AnyCapacity = Capacity.ON_DEMAND
    """What the nodes are that this process runs on: by whose rate of `[cost]` its CPU time is billed."""
    usage_spool: Path = Path("usage/spool.jsonl")
    """What it has not received yet; default: under the state directory."""
    shadow_tolerance: Annotated[float, Field(ge=0)] = 1e-3
    """Score differences between a shadow and the stable bundle above it are counted apart."""
    traffic_dir: Path = Path("traffic")
    """The traffic tables in force, one JSON document per endpoint; default: under the state directory."""
    max_rows_per_request: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Rows in one request; more is refused before anything is looked up."""
    max_explain_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Rows in one request for explanations, which costs what hundreds of predictions do: 256 rows of a network with two
    layers of 256 take 6 s of two cores."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 << 20
    """Bytes in one body; more is refused before parsing."""
    max_held_body_bytes: Annotated[int, Field(ge=1024)] = 256 << 20
    """Bytes of large bodies being received, waiting or at work; beyond it callers are told to come back."""
    body_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    """A body of which nothing came for so long is given up: slow senders must not hold connections and memory."""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes on the one port. The first has the online store and answers changes and gRPC; the others answer predictions and
    reads over the same rows. For models that Python runs: the native front has threads of its own."""
    ray_address: str = "local"
    """With `--ray`: the Ray to join, as `ray.init` takes it; `local`: one of this process's own."""
    ray_min_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Replicas that are there at rest."""
    ray_max_replicas: Annotated[int, Field(ge=1, le=1000)] = 4
    """Replicas at most, all on the host of the process that writes."""
    ray_target_requests: Annotated[float, Field(gt=0)] = 8.0
    """Requests at work in a replica that autoscaling aims at."""
    workers: Annotated[int, Field(ge=1, le=256)] = 8
    """Threads that run predictions: they wait for the online store, and the kernels let go of the interpreter."""
    max_waiting: Annotated[int, Field(ge=0)] = 256
    """Requests that may wait for a thread; more are shed with 503 and Retry-After."""
    fast_path: bool = True
    """Infer requests of the v2 protocol are answered before FastAPI sees them; off: by FastAPI, same answers."""
    builds_routes_ahead: bool = False
    """FastAPI's routes are built once the process is ready, not by the first request that needs one, which waits 0.3 s for it;
    on: every process pays some 10 MB and 0.3 s of a core."""
    front: Literal["auto", "on", "off"] = "auto"
    """The native front takes the port and answers native models and reads of features without Python; auto: where there
    is such a model or a view when the process starts."""
    grpc_front: Literal["auto", "off"] = "off"
    """auto: where there is a native front it takes the gRPC port, too, and answers ModelInfer of native models without Python."""
    front_threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads of the native front, each on its own socket. A small network or read takes one some 8 us a request."""
    max_connections: Annotated[int, Field(ge=1)] = 4096
    """Open at once at the native front; more are told to come back."""
    tls_certificate: str = ""
    """PEM file of the certificate and its chain for HTTP and gRPC; empty: no TLS, which is for loopback or behind a proxy."""
    tls_key: str = ""
    """PEM file of its key. Both may be replaced while serving runs."""
    tls_client_ca: str = ""
    """PEM file of those who sign clients' certificates; set: no client without one is let in (mTLS)."""
    require_token: bool = False
    """Whoever predicts or reads shows an API key or a token. Off: who shows none is `anonymous`; changes need one always."""
    access_dir: Path = Path("access")
    """API keys (hashes of them) and limits in force, `keys.json` and `limits.json`; default: under the state directory."""
    api_key_days: Annotated[float, Field(ge=0)] = 0.0
    """How old an API key may get: those issued from then on expire by themselves; 0: as old as whoever issues them says."""
    log_requests: bool = False
    """A log line for each request; off: for those that are our own mistake (500) only."""
    tensor_models: str = ""
    """Models of bundles without their plan, over v2 beside the endpoints: `name=sha256:...`, with commas between."""
    bundle_source: Annotated[
        str, Field(pattern=r"^(|s3://[a-z0-9][a-z0-9.-]{2,62}/([A-Za-z0-9_./-]*/)?)$")
    ] = ""
    """`s3://BUCKET/FOLDER/` from which bundles of `tensor_models` that are not in `bundle_dir` are brought there, verified; credentials,
    endpoint and region from `AWS_*`. Empty: from nowhere."""
    bundle_memory_bytes: Annotated[int, Field(ge=0)] = 0
    """Bundles beyond it make room for those that were asked last, and are loaded again when asked; 0: all of them stay."""
    response_cache_bytes: Annotated[int, Field(ge=0)] = 0
    """Scores of endpoints that are kept by bundle and inputs, those used longest ago going first; 0: all are computed."""
    pinned_endpoints: str = ""
    """Endpoints whose bundles always stay, by name with commas between."""
    runtime: Literal["auto", "native", "torch"] = "auto"
    """What runs the networks of bundles: the native kernel, or torch. auto: native, torch for those that it does not take."""
    torch_threads: Annotated[int, Field(ge=1)] = 1
    """Intra-op threads: on a busy two-core machine torch's barrier with 2 threads was 50 times slower than 1."""
    onnx_threads: Annotated[int, Field(ge=1)] = 1
    """Threads of each ONNX model, for one request; requests are answered side by side in `workers`."""
    warm_up_seconds: Annotated[float, Field(ge=0, le=60)] = 0.1
    """How long a bundle that brings samples is measured when it is loaded, on other numbers of threads and in the dtypes it
    allows; batches then go to what is fastest for their rows. 0: not at all, and all run as `runtime` and `*_threads` say."""


class StreamSettings(_Group):
    """Streams of events."""

    bootstrap_servers: str = ""
    """The Kafka brokers, `host:port,...`; empty: none, and features come by the push call alone."""
    state_dir: Path = Path("streams")
    """A folder for each stream that is read: its state and the offsets it is of; default: under the state directory."""
    snapshot_seconds: Annotated[float, Field(gt=0)] = 10.0
    """How often a reader writes its state. After a crash so much of a topic is read again: topics must keep more."""


class WorkflowSettings(_Group):
    """Temporal."""

    address: str = ""
    """host:port of the frontend; default: 127.0.0.1 and `stack.port_base` + 2."""
    namespace: str = "default"
    """Temporal namespace of all workflows."""
    task_queue: str = "mainspring"
    """The one task queue of the embedded worker."""
    deployment_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")] = "mainspring"
    """What Temporal calls the workers of `build_id`, all versions of them together."""
    build_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{0,100}$")] = ""
    """Which version a worker is, as a worker deployment of Temporal's: it gets tasks once that version is current or ramped up to
    (`docs/workflows.md`). Empty: none, and whoever polls the task queue gets its tasks, which needs nobody to switch anything."""
    encrypt_payloads: bool = True
    """Temporal keeps what workflows are told and answer encrypted. Off: as it is, for a look with Temporal's own tools."""
    payload_keys: Path = Path("keys/payload.keys")
    """`<id> <64 hex digits>` a line, mode 0600: the first key encrypts, all decrypt. Client, control API and workers have
    the same; made on first use. Default: under the state directory."""
    claims: Annotated[str, Field(pattern=r"^(|/.*|s3://[a-z0-9][a-z0-9.-]{2,62}/([A-Za-z0-9_./-]*/)?)$")] = ""
    """Where payloads above 512 KiB are kept, encrypted as they are, with a reference in Temporal's history: a folder that client,
    control API and workers share, or `s3://BUCKET/FOLDER/`, whose credentials, endpoint and region are those of `AWS_*`. One for
    each namespace. Default: `claims` under the state directory."""
    claim_days: Annotated[float, Field(ge=0)] = 90.0
    """Such a payload of a folder goes when nobody read it for so long and all runs that Temporal still has are younger; 0: it stays.
    Objects of a bucket go by a lifecycle rule of the bucket, longer than any run and its retention."""
    score_roots: str = ""
    """Places, separated by commas (`/data/,s3://bucket/scores/`), below which batch scoring may read and write, as a guard
    against who may start runs and should not see every file of the worker's; empty: wherever the worker itself may."""
    budget_patience_seconds: Annotated[float, Field(ge=0)] = 600.0
    """Work that has a budget goes on for so long while the control API does not say what is left of it; then it is stopped. A
    restart of the control API takes seconds, and ten minutes of two cores cost less than a cent."""


class RaySettings(_Group):
    """Ray."""

    dashboard_url: str = ""
    """The Jobs REST API; default: 127.0.0.1 and `stack.port_base` + 5."""
    token_file: Path = Path("ray/auth_token")
    """Ray's cluster token, mode 0600; default: under the state directory."""
    train_workers: Annotated[int, Field(ge=1)] = 2
    """Data-parallel workers of one training."""
    train_min_workers: Annotated[int, Field(ge=1)] | None = None
    """Elastic trainings: the fewest workers that one begins and goes on with, where there is not room for `train_workers`; none: they wait."""
    train_device: Literal["cpu", "gpu"] = "cpu"
    """`gpu`: each worker of a training has one, and gradients travel by NCCL. Set where the worker runs."""
    checkpoints: Annotated[str, Field(pattern=r"^(|s3://[^/?]+.*)$")] = ""
    """`s3://bucket/prefix` for checkpoints of trainings, so that they outlive the node; empty: with the run's files. The two newest of
    a run are kept; a lifecycle rule of the bucket removes those of runs that are over. Credentials are those of Ray's nodes (`AWS_*`)."""
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = 1000
    """A checkpoint after so many steps within an epoch, and after each epoch: what a lost spot node costs at most; none: after epochs."""
    job_timeout_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """A training that takes longer is stopped."""
    capacity: AnyCapacity = Capacity.ON_DEMAND
    """What the nodes are that jobs of this worker run on: by whose rate of `[cost]` they are billed. A job keeps what it began with."""


class TrackingSettings(_Group):
    """MLflow."""

    uri: str = ""
    """Tracking and registry URI; default: the embedded server on `stack.port_base` + 4."""


class ModelSettings(_Group):
    """Model bundles where they are made."""

    signing_key: Path = Path("keys/signing.key")
    """Private Ed25519 key of this producer, mode 0600, made on first use; default: under the state directory."""
    supply_rules: Path = Path("supply/rules.toml")
    """Which packages and licences may be behind a deployed bundle (`core/supply/gates.py`); default: under the state directory."""
    advisories_dir: Path = Path("supply/advisories")
    """Known vulnerabilities, files in OSV's format; default: under the state directory."""


class ProtectionSettings(_Group):
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


class SecretSettings(_Group):
    """Where secrets are read that others keep: what a project refers to, and what a setting says in the place of a secret."""

    openbao_url: Annotated[
        str, Field(pattern=r"^(|https://.+|http://(127\.0\.0\.1|localhost|\[::1\])([:/].*)?)$")
    ] = ""
    """Where OpenBao is; https, or http on this machine. Empty: `openbao:` is not read."""
    openbao_token_file: Path = Path("keys/secrets-openbao.token")
    """Its token, read anew for every call, so that an agent may renew it; default: under the state directory."""
    files_dir: Annotated[str, Field(pattern=r"^/.*$")] = "/run/secrets"
    """`file:` is read below this folder alone, where an orchestrator mounts secrets."""
    project_places: Annotated[
        str,
        Field(pattern=r"^(|(openbao:|file:/)[^,{}]*\{project\}/(,(openbao:|file:/)[^,{}]*\{project\}/)*)$"),
    ] = "openbao:secret/{project}/,file:/run/secrets/{project}/"
    """What a project's references may lead to, by comma; `{project}` is its name. A project never reads another's, nor variables of the
    process. Empty: nothing."""
    cache_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """A secret is read again after so long: the time in which one that was rotated is still used."""


class AuditSettings(_Group):
    """What proves the audit log: whose key signs its checkpoints, and where they are kept."""

    signer: Literal["file", "openbao"] = "file"
    """Who signs: a key file of this machine (`keys/audit.key` under the state directory), or OpenBao's transit engine."""
    openbao_url: Annotated[
        str, Field(pattern=r"^(|https://.+|http://(127\.0\.0\.1|localhost|\[::1\])([:/].*)?)$")
    ] = ""
    """Where OpenBao is; https, or http on this machine."""
    openbao_token_file: Path = Path("keys/audit-openbao.token")
    """Its token, read anew for every call, so that an agent may renew it; default: under the state directory."""
    openbao_mount: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_/-]*$")] = "transit"
    """Where its transit engine is mounted."""
    openbao_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "mainspring-audit"
    """A key of type `ed25519`, which OpenBao does not give away."""
    checkpoints_url: Annotated[
        str, Field(pattern=r"^(|s3://[a-z0-9][a-z0-9.-]{2,62}/([A-Za-z0-9_./-]*/)?)$")
    ] = ""
    """`s3://BUCKET/FOLDER/` where each checkpoint is an object that is never written twice; credentials, endpoint and region from
    `AWS_*`. Empty: the file `audit/checkpoints.jsonl` under the state directory alone."""
    object_lock: Literal["off", "governance", "compliance"] = "off"
    """How the bucket must hold on to what it is given (its default retention). `compliance`: nobody can delete or shorten it."""
    interval_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    """What is done and undone between two checkpoints is not shown: the window."""
    late_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Rows that wait longer for a checkpoint make `/readyz` say `degraded`, and an export refuses. Appends go on."""


class LineageSettings(_Group):
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


class MonitorSettings(_Group):
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


class TelemetrySettings(_Group):
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


class CostSettings(_Group):
    """Price book of metered quantities, in `currency`.

    What nodes differ in has a rate for each capacity: `cpu_core_hour`, `memory_gib_hour` and `gpu_hour` are of nodes on demand, and
    none of the others follows from them. Defaults are public orders of magnitude: spot nodes, whose price a market makes, cost a
    third of those on demand, and nodes reserved for a year six tenths.
    """

    currency: str = "USD"
    """ISO 4217 code of every price here."""
    cpu_core_hour: Annotated[float, Field(ge=0)] = 0.04
    """One core for one hour; about the on-demand rate of a general-purpose cloud core."""
    memory_gib_hour: Annotated[float, Field(ge=0)] = 0.005
    """One GiB of memory for one hour."""
    gpu_hour: Annotated[float, Field(ge=0)] = 2.5
    """One data-centre GPU for one hour."""
    spot_cpu_core_hour: Annotated[float, Field(ge=0)] = 0.013
    """One core of a spot node for one hour."""
    spot_memory_gib_hour: Annotated[float, Field(ge=0)] = 0.0017
    """One GiB of memory of a spot node for one hour."""
    spot_gpu_hour: Annotated[float, Field(ge=0)] = 0.85
    """One data-centre GPU of a spot node for one hour."""
    reserved_cpu_core_hour: Annotated[float, Field(ge=0)] = 0.024
    """One core of a node reserved for a year for one hour."""
    reserved_memory_gib_hour: Annotated[float, Field(ge=0)] = 0.003
    """One GiB of memory of a node reserved for a year for one hour."""
    reserved_gpu_hour: Annotated[float, Field(ge=0)] = 1.5
    """One data-centre GPU of a node reserved for a year for one hour."""
    storage_gib_month: Annotated[float, Field(ge=0)] = 0.023
    """One GiB kept for a month; about the on-demand rate of an object store. A month has 730 hours."""
    thousand_predictions: Annotated[float, Field(ge=0)] = 0.001
    """A thousand predicted rows."""
    million_events: Annotated[float, Field(ge=0)] = 0.08
    """A million events that a reader of streams took in; about the on-demand rate of a managed stream for a kilobyte each."""
    required_tags: Annotated[str, Field(pattern=rf"^(|{_TAG}(,{_TAG})*)$")] = ""
    """Tags that each project must have, by comma, such as `team,cost-centre=a1|b2`: after `=` the values that there are; empty: none.
    A project is not made without them."""
    enforce_tags: Literal["refuse", "tell"] = "refuse"
    """What comes of a project that was there before a tag was required: it starts no run and is not changed without its tags, or its
    runs say what it lacks."""
    close_days: Annotated[float, Field(ge=0, le=60)] = 3.0
    """A month is closed so long after its end: usage of it that is put on record later is billed in the next one, as a correction."""
    shared_projects: Annotated[str, Field(pattern=r"^(|[a-z0-9-]+(,[a-z0-9-]+)*)$")] = ""
    """Projects whose costs are of all others, by comma: a chargeback shares them among its receivers; empty: none."""
    storage_minutes: Annotated[float, Field(gt=0, le=1440)] = 60.0
    """Between two measurements of what projects keep: each worker makes them, and what is kept meanwhile is charged as it began."""
    run_reservation: Annotated[float, Field(ge=0)] = 0.1
    """Kept free in the project's budget for a run that says no `max_cost`; two cores for the hour that it may train cost 0.08."""
    reservation_hours: Annotated[float, Field(gt=0)] = 24.0
    """What is kept free for a run whose end nobody reports is let go of after so long."""


class QuotaSettings(_Group):
    """What a project may have at once, where `mainspring quota set` has not said otherwise."""

    max_open_runs: Annotated[int, Field(ge=0)] | None = None
    """Runs that have not ended; none: no limit."""
    max_workers: Annotated[int, Field(ge=0)] | None = None
    """Cores of one run: the workers of a training, study or batch scoring, or of a pipeline's largest step; none: no limit."""
    max_endpoints: Annotated[int, Field(ge=0)] | None = None
    """Names of endpoints; none: no limit."""
    max_storage_mib: Annotated[int, Field(ge=0)] | None = None
    """MiB on disks, as measured last: who has them begins nothing that makes files; none: no limit."""


class NotebookSettings(_Group):
    """Notebook workspaces of one machine."""

    dir: Path = Path("notebooks")
    """A folder for each, and JupyterLab's packages; default: under the state directory."""
    max_cores: Annotated[int, Field(ge=1, le=1024)] = 2
    """The most cores that one may have."""
    max_memory_gib: Annotated[float, Field(gt=0)] = 8.0
    """The most memory that one may have, of all its processes together."""
    max_hours: Annotated[float, Field(gt=0, le=720)] = 12.0
    """The longest that one may run, however often it is extended."""
    idle_minutes: Annotated[float, Field(gt=0, le=10_080)] = 30.0
    """One ends when nobody has done anything there for so long."""
    per_project: Annotated[int, Field(ge=1, le=1000)] = 2
    """How many a project may have at work at once."""
    budget_grace_seconds: Annotated[float, Field(ge=0, le=3600)] = 180.0
    """From the notice that its budget is spent to its end, within what is kept free for it; JupyterLab saves every two minutes."""


class NativeSettings(_Group):
    """The compiled kernels."""

    force_target: str = ""
    """`generic`, `avx2` or `avx512`; empty: the best this CPU has. C++ reads it as MAINSPRING_FORCE_TARGET."""


class Settings(_Group):
    """What is in force: complete, absolute paths, no Optionals."""

    stack: StackSettings
    control: ControlSettings
    identity: IdentitySettings
    serving: ServingSettings
    streams: StreamSettings
    workflow: WorkflowSettings
    ray: RaySettings
    tracking: TrackingSettings
    models: ModelSettings
    protection: ProtectionSettings
    secrets: SecretSettings
    audit: AuditSettings
    lineage: LineageSettings
    monitor: MonitorSettings
    telemetry: TelemetrySettings
    cost: CostSettings
    quotas: QuotaSettings
    notebooks: NotebookSettings
    native: NativeSettings

    @property
    def control_url(self) -> str:
        return self.control.url or f"http://{self.control.host}:{self.control.port}"

    @property
    def serving_url(self) -> str:
        scheme = "https" if self.serving.tls_certificate else "http"
        return f"{scheme}://{self.serving.host}:{self.serving.port}"


_GROUPS: Final[Mapping[str, type[_Group]]] = {
    "stack": StackSettings,
    "control": ControlSettings,
    "identity": IdentitySettings,
    "serving": ServingSettings,
    "streams": StreamSettings,
    "workflow": WorkflowSettings,
    "ray": RaySettings,
    "tracking": TrackingSettings,
    "models": ModelSettings,
    "protection": ProtectionSettings,
    "secrets": SecretSettings,
    "audit": AuditSettings,
    "lineage": LineageSettings,
    "monitor": MonitorSettings,
    "telemetry": TelemetrySettings,
    "cost": CostSettings,
    "quotas": QuotaSettings,
    "notebooks": NotebookSettings,
    "native": NativeSettings,
}
KEYS: Final = tuple(f"{group}.{name}" for group, model in _GROUPS.items() for name in model.model_fields)

#: Paths that live under the state directory when they are not written anywhere.
_UNDER_STATE: Final = tuple(
    f"{group}.{name}"
    for group, model in _GROUPS.items()
    for name, field in model.model_fields.items()
    if field.annotation is Path and group != "stack"
)


@dataclass(frozen=True)
class Written:
    """One source as it was found: `origin` for messages, `values` by dotted key."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Merged:
    """Later sources win; each key keeps the origin of its value."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]


def load(environ: Mapping[str, str] | None = None, *, directory: Path | None = None) -> Settings:
    """Read every source once and return what is in force.

    Errors: InvalidSettings with one line for each problem of any source.
    Threads: no shared state.
    """
    env = os.environ if environ is None else environ
    root = (directory or Path.cwd()).resolve()
    problems: list[str] = []
    written = [_read_opentelemetry(env), _read_file(env, root, problems), _read_environment(env, problems)]
    settings = _put_in_force(_merge(written), root, problems)
    if settings is None:
        raise errors.InvalidSettings(
            "settings are not usable: " + "; ".join(problems), problems=tuple(problems)
        )
    return settings


def to_environment(settings: Settings) -> dict[str, str]:
    """The settings as variables, so that a child process loads exactly what its parent has in force."""
    values = {
        f"{PREFIX}{group.upper()}_{name.upper()}": getattr(getattr(settings, group), name)
        for group, model in _GROUPS.items()
        for name in model.model_fields
    }
    # What is not set has no words for it: a child that is told nothing has nothing, too.
    return {name: str(value) for name, value in values.items() if value is not None and str(value) != ""}


def child_environment(settings: Settings, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process of the same machine: ours without our settings, those in force, `extra`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    return {**inherited, **to_environment(settings), **extra}


def foreign_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that runs somebody's own code: ours without our settings and Ray's token, `extra`."""
    return {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, "RAY_"))} | dict(extra)


def inherited_trace(environ: Mapping[str, str] | None = None) -> str:
    """The `traceparent` that whoever started this process put into its environment; empty: none."""
    return (os.environ if environ is None else environ).get("TRACEPARENT", "")


def variable(name: str) -> str | None:
    """A variable that a setting says to hold a secret (`env:NAME`); None where there is none."""
    return os.environ.get(name)


def _read_opentelemetry(env: Mapping[str, str]) -> Written:
    """OpenTelemetry's own variables, before ours. One that wants gRPC is for other programs: we speak HTTP."""
    protocol = env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    origin = "OTEL_EXPORTER_OTLP_*"
    if protocol == "grpc" or env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Written(origin, {})
    base = env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
    endpoint = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (f"{base}/v1/traces" if base else "")
    if not endpoint:
        return Written(origin, {})
    headers = env.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or env.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    said = {"telemetry.trace_endpoint": endpoint, "telemetry.trace_headers": urllib.parse.unquote(headers)}
    return Written(origin, said)


def _read_file(env: Mapping[str, str], root: Path, problems: list[str]) -> Written:
    named = env.get("MAINSPRING_CONFIG", "")
    path = root / named if named else root / "mainspring.toml"
    if not path.exists():
        if named:
            problems.append(
                f"MAINSPRING_CONFIG names `{named}`, which does not exist; create it or unset the variable"
            )
        return Written(str(path), {})
    try:
        document = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        problems.append(f"`{path.name}` cannot be read: {error}; correct the file")
        return Written(path.name, {})
    values: dict[str, Any] = {}
    for group, content in document.items():
        if not isinstance(content, dict):
            problems.append(
                f"`{group}` in `{path.name}` is not a table; write [{_nearest(group, tuple(_GROUPS))}]"
            )
            continue
        for name, value in content.items():
            _accept(f"{group}.{name}", value, path.name, values, problems)
    return Written(path.name, values)


def _read_environment(env: Mapping[str, str], problems: list[str]) -> Written:
    names = {f"{PREFIX}{key.replace('.', '_').upper()}": key for key in KEYS}
    values: dict[str, Any] = {}
    for variable in sorted(v for v in env if v.startswith(PREFIX) and v not in RESERVED):
        if variable in names:
            values[names[variable]] = env[variable]
        else:
            problems.append(
                f"unknown setting `{variable}`; did you mean `{_nearest(variable, tuple(names))}`?"
            )
    if target := env.get("MAINSPRING_FORCE_TARGET", ""):
        values["native.force_target"] = target
    if form := env.get("MAINSPRING_LOGS", ""):
        values["telemetry.logs"] = form
    return Written("environment", values)


def _accept(key: str, value: Any, origin: str, values: dict[str, Any], problems: list[str]) -> None:
    if key in KEYS:
        values[key] = value
    else:
        problems.append(f"unknown setting `{key}` in `{origin}`; did you mean `{_nearest(key, KEYS)}`?")


def _nearest(name: str, known: tuple[str, ...]) -> str:
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]


def _merge(written: list[Written]) -> Merged:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in written:
        values.update(source.values)
        origins.update(dict.fromkeys(source.values, source.origin))
    return Merged(values, origins)


def _put_in_force(merged: Merged, root: Path, problems: list[str]) -> Settings | None:
    groups: dict[str, _Group] = {}
    for group, model in _GROUPS.items():
        given = {k.split(".", 1)[1]: v for k, v in merged.values.items() if k.startswith(group + ".")}
        try:
            groups[group] = model.model_validate(given)
        except ValidationError as error:
            for e in error.errors():
                key = f"{group}.{'.'.join(str(p) for p in e['loc'])}"
                problems.append(
                    f"`{key}` from `{merged.origins.get(key, 'default')}`: {e['msg'].lower()}, got `{e['input']}`"
                )
    if problems:
        return None
    derived = _derive(groups, merged, root)
    return Settings.model_validate(
        {name: group.model_copy(update=derived.get(name, {})) for name, group in groups.items()}
    )


def _derive(groups: Mapping[str, _Group], merged: Merged, root: Path) -> dict[str, dict[str, Any]]:
    """What follows from the state directory and the port base where nothing was written."""
    stack = groups["stack"]
    assert isinstance(stack, StackSettings)
    state = (root / stack.state_dir).resolve()
    base = stack.port_base
    unset: dict[str, Any] = {
        "control.port": base,
        "control.database_url": f"sqlite+aiosqlite:///{state / 'control.db'}",
        "serving.port": base + 1,
        "serving.grpc_port": base + 6,
        "workflow.address": f"127.0.0.1:{base + 2}",
        "workflow.claims": str(state / "claims"),
        "tracking.uri": f"http://127.0.0.1:{base + 4}",
        "ray.dashboard_url": f"http://127.0.0.1:{base + 5}",
    }
    derived: dict[str, dict[str, Any]] = {"stack": {"state_dir": state}}
    for key in _UNDER_STATE:
        group, name = key.split(".")
        path = getattr(groups[group], name)
        anchor = root if key in merged.values else state
        derived.setdefault(group, {})[name] = (anchor / path).resolve()
    told = groups["telemetry"]
    assert isinstance(told, TelemetrySettings)
    unset |= {"serving.trace_endpoint": told.trace_endpoint, "serving.trace_share": told.trace_share}
    if "serving.trace_endpoint" not in merged.values:
        # They may have a credential, which is for that endpoint and for no other.
        unset["serving.trace_headers"] = told.trace_headers
    control = groups["control"]
    assert isinstance(control, ControlSettings)
    if control.policies_dir is not None:
        derived["control"]["policies_dir"] = (root / control.policies_dir).resolve()
    for key, value in unset.items():
        group, name = key.split(".")
        if key not in merged.values:
            derived.setdefault(group, {})[name] = value
    return derived
