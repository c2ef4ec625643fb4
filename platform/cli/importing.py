"""What `mainspring model import` does, in the order in which it may fail: nothing is signed before somebody may, and says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mainspring.core import errors, settings
from mainspring.core.contracts import base, control
from mainspring.core.lineage import jobs, openlineage_adapter
from mainspring.core.models import bundle, signing
from mainspring.core.supply import gates, imported, importing, scanning
from mainspring.platform.cli import session

__all__ = ["event", "run", "version"]


def run(folder: str, project: str, name: str, *, dry_run: bool, register: bool, actor: str) -> dict[str, Any]:
    """Errors: those of `importing.read`; Denied kinds of the control API before anything is written; those of the registry after."""
    s = settings.load()
    found = importing.read(Path(folder), project, name, gates.Rules.load(s.models.supply_rules))
    told: dict[str, Any] = {
        "model": name,
        "project": project,
        "kind": found.said.kind,
        "folder": found.digest,
        "licence": found.said.licence,
        "source": found.said.source,
        "written": not dry_run,
    }
    if dry_run:
        return told
    job = jobs.JobRun(project, "model.import", found.run_id)
    reads = jobs.Dataset("import", found.digest, "import")
    with session.client(actor) as client:
        # The policies are asked by it, and it is on record that somebody begins.
        client.record_lineage(event(job, "START", reads))
        key = signing.ensure_key(s.models.signing_key)
        key.publish(s.serving.trusted_keys_dir)
        store = bundle.BundleStore(s.serving.bundle_dir)
        written = found.write(store, key, by=actor, at=base.utc_now(), version=version())
        client.record_lineage(event(job, "COMPLETE", reads, jobs.Dataset("model", written.digest, "model")))
        listed = client.import_model(project, control.ModelImport(bundle_digest=written.digest))
        told |= {
            "bundle": written.digest,
            "run": listed.run_id,
            "scanners": [f"{one.scanner} {one.version}" for one in scanning.scanners()],
            "rules": list(imported.RULES),
        }
        if register:
            told["version"] = _register(s, found, written.digest, actor)
            client.import_model(
                project, control.ModelImport(bundle_digest=written.digest, version=told["version"])
            )
    return told


def event(job: jobs.JobRun, kind: openlineage_adapter.EventType, *data: jobs.Dataset) -> dict[str, Any]:
    """What the control API takes on record: the first of `data` is read, the others are made."""
    told: dict[str, Any] = json.loads(
        openlineage_adapter.to_json(job, kind, at=base.utc_now(), reads=data[:1], makes=data[1:])
    )
    return told


def _register(s: settings.Settings, found: importing.Import, digest: str, actor: str) -> str:
    from mainspring.core.models import mlflow_adapter

    try:
        tracking = mlflow_adapter.Tracking(s.tracking.uri)
        run_id = tracking.ensure_run(found.project, found.run_id, tags={"imported_by": actor})
        # What the control API's list says of it, for who reads MLflow's.
        tags = {
            "imported_by": actor,
            "source": found.said.source,
            "licence": found.said.licence,
            "folder": found.digest,
        }
        return tracking.register(found.name, digest, mlflow_run_id=run_id, tags=tags).version
    except errors.DependencyDown as error:
        raise errors.DependencyDown(
            f"bundle `{digest}` is signed and stored, and the registry did not take it: {error.message}; import the same folder"
            " again, or with `--no-register`",
            name=error.name,
        ) from error


def version() -> str:
    """Of this installation."""
    import importlib.metadata

    try:
        return importlib.metadata.version("mainspring")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # run from a source tree
