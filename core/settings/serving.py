"""What answers: serving, and the readers of streams that feed it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mainspring.core.contracts.capacity import Capacity
from mainspring.core.settings.group import AnyCapacity, Group, Port


class ServingSettings(Group):
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


class StreamSettings(Group):
    """Streams of events."""

    bootstrap_servers: str = ""
    """The Kafka brokers, `host:port,...`; empty: none, and features come by the push call alone."""
    state_dir: Path = Path("streams")
    """A folder for each stream that is read: its state and the offsets it is of; default: under the state directory."""
    snapshot_seconds: Annotated[float, Field(gt=0)] = 10.0
    """How often a reader writes its state. After a crash so much of a topic is read again: topics must keep more."""
