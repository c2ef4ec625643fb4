"""What works: the local stack, workflows, Ray, and what trainings leave behind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mainspring.core.contracts.capacity import Capacity
from mainspring.core.settings.group import AnyCapacity, Group


class StackSettings(Group):
    """The embedded stack of one machine."""

    state_dir: Path = Path(".mainspring")
    """Everything this checkout keeps; removing it forgets all. Relative paths start at the working directory."""
    port_base: Annotated[int, Field(ge=1024, le=64000)] = 7700
    """First of the 200 loopback ports the stack may use; every port below that is not set follows from it."""
    start_timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    """How long a part may take to answer. Ray takes about 10 s on two quiet cores and several times that on busy ones."""


class WorkflowSettings(Group):
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


class RaySettings(Group):
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


class TrackingSettings(Group):
    """MLflow."""

    uri: str = ""
    """Tracking and registry URI; default: the embedded server on `stack.port_base` + 4."""


class ModelSettings(Group):
    """Model bundles where they are made."""

    signing_key: Path = Path("keys/signing.key")
    """Private Ed25519 key of this producer, mode 0600, made on first use; default: under the state directory."""
    supply_rules: Path = Path("supply/rules.toml")
    """Which packages and licences may be behind a deployed bundle (`core/supply/gates.py`); default: under the state directory."""
    advisories_dir: Path = Path("supply/advisories")
    """Known vulnerabilities, files in OSV's format; default: under the state directory."""


class NativeSettings(Group):
    """The compiled kernels."""

    force_target: str = ""
    """`generic`, `avx2` or `avx512`; empty: the best this CPU has. C++ reads it as MAINSPRING_FORCE_TARGET."""
