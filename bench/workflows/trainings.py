"""`TrainModel` beside the same training by hand: same rows, same plan, the job's very code, the same Ray head, turn by turn.

| | by hand (`by_hand.py`) | `TrainModel` |
|---|---|---|
| starts as | a process of Python, its imports included | a request to the control API; the shipped worker is up, and imports late what its first run needs |
| ingest, validate, features, join, leak check, plan | the project's own methods, in a fresh folder | the same in activities, in a fresh folder |
| train | `ray_jobs/train.py` in the script's process, as a driver of the Ray head: two gloo workers | the same as a job of Ray's: its process is started, and looked at once a second |
| evaluate, gates | the same measures | the same measures |
| bundle | one, signed | two, signed, with declared inputs and recorded samples |
| besides | nothing | encrypted messages, heartbeats, audit, usage, lineage, catalog, MLflow's registration, policy, approval |

Start-up is what Ray's Jobs API costs: the step `train` without the job's own seconds, which begin after the imports of its process.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mainspring.bench.workflows import pieces, servers
from mainspring.core import canonical, identity, settings, workspace
from mainspring.core.client import control as control_client
from mainspring.core.client.workflows import ENDED
from mainspring.core.contracts import control, training
from mainspring.platform.stack import parts
from mainspring.workflows.ray_jobs import train_messages

__all__ = ["FRACTION", "merged", "piece", "row"]

#: Of the project's rows: with more, what does not grow with them weighs less.
FRACTION: Final = 0.2

_ROW: Final = "a training"
#: Not imported: it brings Ray and torch along.
_SCRIPT: Final = "mainspring.bench.workflows.by_hand"
_PROJECT: Final = "flight-delay"
_DEVELOPER: Final = "developer@local"
_LOOK_SECONDS: Final = 0.02
_GIVE_UP_SECONDS: Final = 280.0


def row(*, rounds: int, fraction: float) -> dict[str, Any]:
    """One sitting."""
    return merged([piece(rounds=rounds, fraction=fraction)])


def piece(*, rounds: int, fraction: float) -> dict[str, Any]:
    """`rounds` of both over this share of the project's rows; who begins is drawn by lot."""
    seen: list[dict[str, Any]] = []
    with servers.running("temporal", "mlflow", "ray", "control", "worker") as s:
        issuer = identity.ensure_token_file(s.control.tokens_file)
        with control_client.ControlClient(s.control_url, issuer.token_of(_DEVELOPER)) as developer:
            developer.create_project(control.ProjectCreate(name=_PROJECT, owner="bench"))
            for _ in range(rounds):
                one: dict[str, Any] = {}
                for who in random.sample(("by_hand", "train_model"), 2):
                    one[who] = _by_hand(s, fraction) if who == "by_hand" else _train(s, developer, fraction)
                seen.append(one)
    return pieces.stamped({"row": _ROW, "fraction": fraction, "rounds": seen})


def merged(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians over all rounds of all pieces; each ratio is of one round's pair. Errors: ValueError for unequal fractions."""
    (fraction,) = {p["fraction"] for p in measured}
    pairs = [(one["train_model"], one["by_hand"]) for p in measured for one in p["rounds"]]
    ratios = [(ours["wall"] - ours["start_up"]) / hand["wall"] for ours, hand in pairs]
    return {
        "name": _ROW,
        "correct": all(_is_same(ours, hand) for ours, hand in pairs),
        "fraction": fraction,
        "rounds": len(pairs),
        "seconds": statistics.median(ours["wall"] for ours, _ in pairs),
        "start_up_seconds": statistics.median(ours["start_up"] for ours, _ in pairs),
        "by_hand_seconds": statistics.median(hand["wall"] for _, hand in pairs),
        "by_hand_start_up_seconds": statistics.median(hand["start_up"] for _, hand in pairs),
        "ratio": statistics.median(ratios),
        "ratios": sorted(ratios),
        "whole_ratio": statistics.median(ours["wall"] / hand["wall"] for ours, hand in pairs),
        "steps": {
            who: {step: statistics.median(pair[at]["steps"][step] for pair in pairs) for step in pairs[0][at]["steps"]}
            for at, who in enumerate(("train_model", "by_hand"))
        },
        "auc": pairs[0][0]["auc"],
        "pieces": pieces.told(measured, "rounds"),
    }  # fmt: skip


def _is_same(ours: Mapping[str, Any], hand: Mapping[str, Any]) -> bool:
    """Both learned the same weights from the same rows, bit for bit."""
    return all(ours[what] == hand[what] for what in ("rows", "weights"))


def _by_hand(s: settings.Settings, fraction: float) -> dict[str, Any]:
    """Errors: RuntimeError with the end of what the script said on stderr; TimeoutExpired."""
    address = f"127.0.0.1:{s.stack.port_base + parts.RAY_GCS}"
    with tempfile.TemporaryDirectory(prefix="mainspring-by-hand-") as folder:
        command = [sys.executable, "-m", _SCRIPT, folder, "--ray", address, "--fraction", str(fraction)]
        began = time.perf_counter()
        done = subprocess.run(
            command,
            env=settings.child_environment(s, parts.ray_environment(s)),
            capture_output=True,
            text=True,
            timeout=_GIVE_UP_SECONDS,
        )
        wall = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"the script ended with {done.returncode}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    steps = found["seconds"]
    return {
        "wall": wall,
        "start_up": wall - sum(steps.values()),
        "steps": steps,
        **{what: found[what] for what in ("rows", "weights", "auc")},
    }


def _train(s: settings.Settings, developer: control_client.ControlClient, fraction: float) -> dict[str, Any]:
    """Errors: TimeoutError; RuntimeError where the run ends in another way than well."""
    shutil.rmtree(s.stack.state_dir / "projects", ignore_errors=True)
    asked = control.RunCreate(project=_PROJECT, sample_fraction=fraction, auto_approve_by=_DEVELOPER)
    began = time.perf_counter()
    run_id = developer.create_run(asked).run_id
    while (run := developer.run(run_id)).stage not in ENDED:
        if time.perf_counter() - began > _GIVE_UP_SECONDS:
            raise TimeoutError(f"training `{run_id}` is at `{run.stage}` after {_GIVE_UP_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)
    wall = time.perf_counter() - began
    if run.stage is not training.Stage.DONE:
        raise RuntimeError(f"training `{run_id}` ended as `{run.stage}`: {run.result.get('message')}")
    result = training.TrainResult.model_validate(run.result)
    steps = {str(step.step): step for step in result.steps}
    space = workspace.Workspace(s.stack.state_dir, _PROJECT, fraction)
    return {
        "wall": wall,
        "start_up": steps["train"].seconds - steps["train"].detail["job_seconds"],
        "steps": {name: step.seconds for name, step in steps.items()},
        "rows": result.data_digest,
        "weights": _weights(space.run(run_id)),
        "auc": result.metrics["test"].auc,
    }


def _weights(folder: Path) -> str:
    (answer,) = folder.glob("train-output-*.json")
    return canonical.digest_bytes(train_messages.read_output(answer).weights_path.read_bytes())
