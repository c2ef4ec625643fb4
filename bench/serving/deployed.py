"""Serving as it is deployed: signed bundles, stored rows, traffic by versions; and what happens to callers as they change."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
import safetensors.numpy
from numpy.typing import NDArray

from mainspring.bench.serving import contestants, forms, load, machine, servers
from mainspring.core import canonical, identity, settings
from mainspring.core.client import serving as client
from mainspring.core.contracts import deployment
from mainspring.core.features import online, ops, plan, schema
from mainspring.core.models import architecture, bundle, signing

ENDPOINT: Final = "bench"
_PATH: Final = f"/v1/endpoints/{ENDPOINT}:predict"
_FIELDS: Final = tuple(f"f{i}" for i in range(10))
_ENTITIES: Final = 1000
_HIDDEN: Final = (256, 256)
_VIEW: Final = schema.FeatureView(
    name="stats",
    keys=(schema.Column(name="driver", dtype="int64"),),
    fields=tuple(schema.Column(name=name, dtype="float32") for name in _FIELDS),
)
_REQUEST: Final = (schema.Column(name="amount", dtype="float32"),)
INPUTS: Final = (*(f"stats__{name}" for name in _FIELDS), "amount")
#: What is asked: one entity, and a column that the caller sends.
DRIVER: Final = 17
AMOUNT: Final = 0.5
BODY: Final = orjson.dumps({"entities": [{"driver": DRIVER, "amount": AMOUNT}]})


class Home:
    """A folder that a serving process starts in: a key, bundles, stored rows, who may change traffic."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        in_force = settings.load({}, directory=folder)
        self._serving = in_force.serving
        key = signing.ensure_key(folder / "signing.pem")
        self._serving.trusted_keys_dir.mkdir(parents=True)
        key.publish(self._serving.trusted_keys_dir)
        self._key = key
        self._store = bundle.BundleStore(self._serving.bundle_dir)
        issuer = identity.ensure_token_file(in_force.control.tokens_file)
        self.token = issuer.token_of("admin@local")
        self._values = np.random.default_rng(1).normal(size=(_ENTITIES, len(_FIELDS))).astype(np.float32)
        self._store_rows()

    def _store_rows(self) -> None:
        with online.OnlineStore(self._serving.online_store) as store:
            store.register(_VIEW.online)
            now = np.full(_ENTITIES, time.time_ns() // 1000)
            columns = {name: self._values[:, j] for j, name in enumerate(_FIELDS)}
            keys = {"driver": np.arange(_ENTITIES)}
            store.upsert(_VIEW.name, keys, event_us=now, created_us=now, columns=columns)

    def write(self, seed: int, *, project: str = "bench", hidden: Sequence[int] = _HIDDEN) -> str:
        """A bundle of an untrained network; another seed, other answers. Returns its digest."""
        fitted = _fitted()
        layers = _layers(seed, hidden)
        tensors = {f"head.{2 * i}.weight": weights for i, (weights, _) in enumerate(layers)}
        tensors |= {f"head.{2 * i}.bias": bias for i, (_, bias) in enumerate(layers)}
        network = architecture.Architecture(dense_width=len(INPUTS), hidden_sizes=tuple(hidden))
        contents = bundle.BundleContents(
            name=ENDPOINT,
            project=project,
            plan=fitted.to_bytes(),
            model=network.model_dump(mode="json"),
            weights=safetensors.numpy.save(tensors),
            card=f"# Untrained, seed {seed}",
            service=schema.FeatureService(name=ENDPOINT, views=(_VIEW,)),
            request_columns=_REQUEST,
            input_columns=fitted.inputs,
            metrics={},
            data_digest=canonical.digest("bench"),
            training_run_id="bench",
            code_version="0",
        )
        return self._store.write(contents, self._key).digest

    def put_traffic(self, digest: str) -> None:
        """The first table, as a process finds it at its start."""
        self._serving.traffic_dir.mkdir(parents=True, exist_ok=True)
        table = deployment.TrafficTable(endpoint=ENDPOINT, version=1, stable=digest)
        (self._serving.traffic_dir / f"{ENDPOINT}.json").write_text(table.model_dump_json())

    def score(self, seed: int) -> float:
        """What the bundle of that seed must say of the one entity that is asked, by NumPy."""
        x = np.concatenate([self._values[DRIVER], [np.float32(AMOUNT)]])
        for i, (weights, bias) in enumerate(layers := _layers(seed)):
            x = weights @ x + bias
            x = np.maximum(x, 0) if i < len(layers) - 1 else x
        return float(1 / (1 + np.exp(-x[0])))


def _fitted() -> plan.FittedPlan:
    columns = tuple(plan.dense(name, ops.Impute()) for name in INPUTS)
    rows = {name: pl.Series([0.0, 1.0], dtype=pl.Float32) for name in INPUTS}
    return plan.TransformPlan(name=ENDPOINT, columns=columns).fit(pl.DataFrame(rows))


def _layers(
    seed: int, hidden: Sequence[int] = _HIDDEN
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    random = np.random.default_rng(seed)
    widths = (len(INPUTS), *hidden, 1)
    return [
        (
            (random.normal(size=(outputs, inputs)) / np.sqrt(inputs)).astype(np.float32),
            random.normal(size=outputs).astype(np.float32),
        )
        for inputs, outputs in itertools.pairwise(widths)
    ]


@contextlib.contextmanager
def serving(home: Home, *, port: int = 0, cpu: int = -1) -> Iterator[contestants.Server]:
    """A process over `home`, answering. Errors: RuntimeError with its last words."""
    port = port or machine.free_ports(1)[0]
    argv = [sys.executable, "-m", "mainspring.bench.serving.servers", servers.DEPLOYED, str(port)]
    with contestants.process(argv, home.folder) as started:
        server = contestants.Server(servers.DEPLOYED, port, 0, started.pid)
        why = contestants.wait(started, server)
        give_up = time.monotonic() + contestants.START_SECONDS
        while not why:  # it has its port before it has its bundles
            with contextlib.suppress(OSError):
                ask(port)
                break
            if started.poll() is not None or time.monotonic() > give_up:
                why = "took its port and did not answer"
            time.sleep(0.01)
        if why:
            raise RuntimeError(f"`{server.name}` {why}: {(home.folder / 'log').read_text()[-500:]}")
        machine.pin(server.pid, cpu)
        yield server


def ask(port: int) -> dict[str, Any]:
    """One prediction, parsed. Errors: OSError, also where it takes 5 seconds."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}{_PATH}", BODY, {"content-type": "application/json"}
    )
    with forms.OPENER.open(asked, timeout=5) as answer:
        parsed: dict[str, Any] = orjson.loads(answer.read())
    return parsed


def part(digest: str, role: str, score: float) -> bytes:
    """What an answer has between its request's id and its ages."""
    said = {"model_version": digest, "role": role, "predictions": [{"score": score}]}
    return orjson.dumps(said).removeprefix(b"{").removesuffix(b"}]}")


def by_entity(*, seconds: float, rounds: int) -> dict[str, Any]:
    """p50 of one prediction by entity at one connection, and of an echo of the same bytes by the bare server."""
    server_cpu, load_cpu = machine.cores()
    request = forms.http_request(_PATH, BODY, {})
    with contextlib.ExitStack() as opened:
        home = Home(pathlib.Path(opened.enter_context(tempfile.TemporaryDirectory())))
        digest = home.write(0)
        home.put_traffic(digest)
        ours = opened.enter_context(serving(home, cpu=server_cpu))
        echo = opened.enter_context(contestants.running(servers.ECHO, cpu=server_cpu))[servers.ECHO]
        answer = ask(ours.port)
        score = answer["predictions"][0]["score"]
        is_right = abs(score - home.score(0)) < 1e-5 and answer["model_version"] == digest
        ways: dict[str, dict[str, Any]] = {
            "ours": {"port": ours.port, "parts": (part(digest, "stable", score),)},
            "echo": {"port": echo.port, "answers": (BODY,)},
        }
        runs: dict[str, list[load.Seen]] = {name: [] for name in ways}
        for round_number in range(rounds + 1):
            for name, way in ways.items():
                lasts = seconds if round_number else 0.2
                seen = load.run(load.Load(request=request, seconds=lasts, connections=1, cpu=load_cpu, **way))
                if round_number:
                    runs[name].append(seen)
    wrong = sum(seen.wrong + seen.failed for all_seen in runs.values() for seen in all_seen)
    p50 = {name: statistics.median(s.p50_ms for s in all_seen) * 1e3 for name, all_seen in runs.items()}
    return {
        "name": "predict-by-entity",
        "correct": is_right and not wrong,
        "p50_us": round(p50["ours"], 1),
        "echo_p50_us": round(p50["echo"], 1),
        "p99_us": round(statistics.median(s.p99_ms for s in runs["ours"]) * 1e3, 1),
        "answers": sum(s.answers for s in runs["ours"]),
    }


def changes(*, seconds: float) -> list[dict[str, Any]]:
    """What 16 callers see while a bundle is loaded and traffic moves to it, and while the process is killed.

    Each answer must be one of a bundle that was in the traffic: version, role and score together.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Home(pathlib.Path(folder))
        first, second = home.write(0), home.write(1)
        scores = {first: home.score(0), second: home.score(1)}
        home.put_traffic(first)
        port = machine.free_ports(1)[0]
        with (
            serving(home, port=port),
            client.ServingClient(f"http://127.0.0.1:{port}", token=home.token) as us,
        ):
            exact = _exact_scores(us, port, first, second)
            is_right = all(abs(exact[d] - scores[d]) < 1e-5 for d in scores)
            parts = tuple(part(d, role, exact[d]) for d in exact for role in ("stable", "canary"))
            request, right = forms.http_request(_PATH, BODY, {}), {"parts": parts}
            moved = under_load(
                port,
                request,
                right,
                seconds,
                lambda: _move_traffic(us, first, second, seconds),
                key="changes",
            )
        killed = _killed(home, port, request, right, seconds)
    return [
        {"name": "reload-and-shift", **moved, "right": is_right},
        {"name": "kill-9", **killed, "right": is_right},
    ]


def _exact_scores(us: client.ServingClient, port: int, first: str, second: str) -> dict[str, float]:
    """What each says, to the digit; ends with all traffic at `first`, in version 3."""
    found = {first: ask(port)["predictions"][0]["score"]}
    for version, digest in ((2, second), (3, first)):
        us.load_bundle(digest)
        us.set_traffic(deployment.TrafficTable(endpoint=ENDPOINT, version=version, stable=digest))
        found.setdefault(digest, ask(port)["predictions"][0]["score"])
    return found


def _move_traffic(us: client.ServingClient, first: str, second: str, seconds: float) -> int:
    """Loads, canaries, promotes and goes back, over and over; returns how many tables were put in force."""
    version, until = 3, time.monotonic() + seconds * 0.8
    while time.monotonic() < until:
        us.load_bundle(second)
        for table in (
            {"stable": first, "canary": second, "canary_percent": 50},
            {"stable": second},
            {"stable": second, "canary": first, "canary_percent": 10},
            {"stable": first},
        ):
            version += 1
            us.set_traffic(deployment.TrafficTable(endpoint=ENDPOINT, version=version, **table))
            time.sleep(0.05)
    return version - 3


def _killed(home: Home, port: int, request: bytes, right: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The process ends by SIGKILL in the middle and is started anew on its port, as whoever supervises it would."""
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(serving(home, port=port))

        def kill() -> float:
            time.sleep(seconds / 3)
            machine.tell(server.pid, machine.KILL)
            began = time.monotonic()
            opened.enter_context(serving(home, port=port))
            return round(time.monotonic() - began, 3)

        return under_load(port, request, right, seconds, kill, key="seconds_away")


def under_load(
    port: int,
    request: bytes,
    right: dict[str, Any],
    seconds: float,
    work: Callable[[], float],
    *,
    key: str,
) -> dict[str, Any]:
    """What 16 callers see while `work` happens; `right`: as :class:`load.Load` has it. `key` names what `work` returns."""
    asked = load.Load(port, request, seconds, connections=16, **right)
    done: list[float] = []
    with load.started(asked) as process:
        worker = threading.Thread(target=lambda: done.append(work()))
        worker.start()
        seen = load.result(process, asked)
        worker.join()
    if not done:
        raise RuntimeError("what was to happen under load did not; its error is above")
    return {
        key: done[0],
        "answers": seen.answers,
        "wrong": seen.wrong,
        "failed": seen.failed + seen.unanswered,
        "not_200": sum(n for status, n in seen.statuses.items() if status != "200"),
        "p99_ms": seen.p99_ms,
        "first_wrong": seen.first_wrong,
    }
