"""All that a run does to the world, counted: what is compared between a run that was hit and one that was not."""

from __future__ import annotations

import collections
import contextlib
import json
import sqlite3
from typing import Any

import httpx
from crash_world import PROJECT, World
from e2e_stack import jobs

from mainspring.core import errors, identity
from mainspring.core.client import serving as serving_client
from mainspring.core.contracts import control, deployment

#: One document; equal documents are equal effects.
Effects = dict[str, Any]


def of(world: World, run: control.RunView, *, endpoint: str, before: int, digest: str) -> Effects:
    """`before`: the version of the endpoint's traffic when the run was started, 0 where it had none; `digest`: the
    bundle that it brings into service."""
    found: Effects = {
        "stage": str(run.stage),
        "audit": _audit(world, run.run_id),
        "audit_intact": bool(world.developer.verify_audit()["ok"]),
        "usage": _usage(world, run.run_id),
        "lineage": _lineage(world, run.run_id),
    }
    if "serving" in world.servers:
        found["traffic"] = _traffic(world, run.run_id, endpoint, before, digest)
    if "mlflow" in world.servers:
        found["registry"] = _registry(world, run.run_id)
    if "ray" in world.servers:
        found["jobs"] = sorted(job["status"] for job in jobs(world.s, run.run_id).values())
    return found


def traffic(world: World, endpoint: str) -> deployment.TrafficTable | None:
    """What serving has in force; None before anything was."""
    token = identity.TokenIssuer.load(world.s.control.tokens_file).token_of("service@local")
    with serving_client.ServingClient(world.s.serving_url, token=token) as serving:
        try:
            return serving.endpoint(endpoint).traffic
        except errors.NotFound:
            return None


def different(found: Effects, wanted: Effects) -> dict[str, Any]:
    """What is otherwise: `{name: [found, wanted]}`."""
    names = sorted(found.keys() | wanted.keys())
    return {n: [found.get(n), wanted.get(n)] for n in names if found.get(n) != wanted.get(n)}


def stored_stage(world: World, run_id: str) -> str:
    """From the database's own file, also while the control API is away."""
    return str(_rows(world, "select stage from runs where run_id = ?", run_id)[0][0])


def _audit(world: World, run_id: str) -> dict[str, int]:
    """Rows of the run by action and outcome."""
    counted: collections.Counter[str] = collections.Counter()
    after = ""
    while True:
        page = world.developer.audit(after=after, limit=500)
        counted.update(
            f"{r['action']}/{r['outcome']}" for r in page.items if r["resource"] == f"run/{run_id}"
        )
        if not (after := page.next):
            return dict(sorted(counted.items()))


def _rows(world: World, query: str, *values: str) -> list[tuple[Any, ...]]:
    path = world.s.stack.state_dir / "control.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(query, values).fetchall()


def _usage(world: World, run_id: str) -> dict[str, int]:
    """Priced records of the run by service."""
    rows = _rows(world, "select service, count(*) from usage where run_id = ? group by service", run_id)
    return {str(service): int(count) for service, count in rows}


def _lineage(world: World, run_id: str) -> dict[str, int]:
    """By job, how many versions of how many datasets the run said that it made: in the store, or on its way there."""
    events = [
        json.loads(e)
        for (e,) in _rows(world, "select event from lineage_events where event_type = 'COMPLETE'")
    ]
    with contextlib.suppress(FileNotFoundError):
        # What follows the last end of a line was torn by a crash.
        events += [json.loads(line) for line in world.s.lineage.spool.read_text().split("\n")[:-1]]
    made: dict[str, set[tuple[str, str]]] = collections.defaultdict(set)
    for event in events:
        if event["eventType"] == "COMPLETE" and run_id in json.dumps(event["run"]):
            for output in event["outputs"]:
                version = output["facets"].get("version", {}).get("datasetVersion", "")
                made[event["job"]["name"]].add((output["name"], version))
    return {job: len(datasets) for job, datasets in sorted(made.items())}


def _traffic(world: World, run_id: str, endpoint: str, before: int, digest: str) -> dict[str, Any]:
    table = traffic(world, endpoint)
    if table is None:
        return {"changes": 0}
    return {
        "changes": table.version - before,
        "canary": table.canary,
        "set_by_this_run": table.set_by.startswith(run_id),
        "stable_is_candidate": table.stable == digest,
    }


def _registry(world: World, run_id: str) -> dict[str, Any]:
    """MLflow's runs and model versions of ours, and which aliases point at them."""
    api = f"{world.s.tracking.uri}/api/2.0/mlflow"
    tag = f"tags.`mainspring.run_id` = '{run_id}'"
    with httpx.Client(trust_env=False, timeout=30) as http:
        experiment = http.get(f"{api}/experiments/get-by-name", params={"experiment_name": PROJECT})
        if experiment.status_code == 404:
            return {"runs": 0, "versions": 0, "aliases": []}
        number = experiment.json()["experiment"]["experiment_id"]
        asked = {"experiment_ids": [number], "filter": tag}
        runs = http.post(f"{api}/runs/search", json=asked).raise_for_status().json().get("runs", [])
        answer = http.get(f"{api}/model-versions/search", params={"filter": tag}).raise_for_status().json()
        versions = answer.get("model_versions", [])
        aliases = [
            alias
            for v in versions
            for alias in http.get(
                f"{api}/model-versions/get", params={"name": v["name"], "version": v["version"]}
            )
            .json()["model_version"]
            .get("aliases", [])
        ]
    statuses = sorted(run["info"]["status"] for run in runs)
    return {"runs": statuses, "versions": len(versions), "aliases": sorted(aliases)}
