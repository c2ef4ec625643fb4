"""Make an evidence pack: on record that it was asked for, one snapshot, one checkpoint, and on record what it was."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import base, evidence
from mainspring.core.models import bundle, signing, withdrawn_keys
from mainspring.core.protection import showing
from mainspring.platform import access, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import checkpoints, rows, verification
from mainspring.platform.evidence import gathering, pack, verify
from mainspring.platform.policies import kept
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import masking_service

#: Of a bundle, what is not evidence but the model itself, or has values of columns: a fitted plan has those of its vocabularies.
_LEFT_OUT: Final = frozenset({*(n for n in bundle.LEARNED.values() if n), "samples.json", "plan.json"})
_MAX_FILE_BYTES: Final = 4 << 20


async def export(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: evidence.EvidenceCreate
) -> evidence.EvidencePack:
    """Role: approver or admin of the project in all environments. Its own request is the last row that it has.

    Errors: NotFound for the project; InvalidRequest for a time that is too long; Misconfigured where the log is not signed;
    CorruptArtifact if the log contradicts its checkpoints.
    """
    checkpointer = plane.checkpointer
    if checkpointer is None:
        raise errors.Misconfigured(
            "this control API signs no audit log, so it can prove nothing; ask one that does"
        )

    async def existing(connection: AsyncConnection) -> access.Target:
        await project_store.find(connection, project)
        return access.project(project)

    async def work(actor: identity.Actor) -> tuple[evidence.EvidencePack, dict[str, Any]]:
        made = await _made(plane, checkpointer, project, asked, actor)
        answer = evidence.EvidencePack(
            digest=made.digest, files=made.files, content=base64.b64encode(made.content).decode()
        )
        return answer, {"digest": made.digest, "files": made.files, "bytes": len(made.content)}

    return await mutation.around(
        plane,
        credential,
        action="evidence.export",
        resource=f"project/{project}",
        on=existing,
        detail=asked.model_dump(mode="json"),
        work=work,
    )


async def _made(
    plane: control_plane.ControlPlane,
    checkpointer: checkpoints.Checkpointer,
    project: str,
    asked: evidence.EvidenceCreate,
    actor: identity.Actor,
) -> pack.Pack:
    about = gathering.Asked(project, asked.model or project, asked.since, asked.until)
    size = await checkpointer.take()
    async with plane.database.read() as connection:
        log = await gathering.audit_slice(connection, about, size)
        shown = await masking_service.on_record(plane, connection, project)
        runs = [
            {**run, "result": showing.result(run["result"] or {}, shown)}
            for run in await gathering.runs(connection, about)
        ]
        costs = await gathering.costs(connection, about)
        callers = await gathering.callers(connection, about)
        members, requests = await gathering.access(connection, about)
        events = await gathering.lineage(connection, about)
        earlier, said = _plain(log.earlier), await asyncio.to_thread(_plain, log.rows)
        dpias = await gathering.assessments(connection, about, [*earlier, *said])
        erasures = await gathering.erasures(connection, about, said)
    files = {
        "audit/earlier.jsonl": b"".join(rows.to_line(row) for row in log.earlier),
        "audit/rows.jsonl": b"".join(rows.to_line(row) for row in log.rows),
        "audit/proof.json": pack.to_json([p.hex() for p in log.proof]),
        "audit/checkpoints.jsonl": _signed_at(checkpointer.lines(), size),
        "approvals.json": pack.to_json(verify.approvals(said)),
        "decisions.json": pack.to_json(verify.decisions(said)),
        "purposes.json": pack.to_json(verify.purposes([*earlier, *said])),
        "dpias.json": pack.to_json(dpias),
        "erasures.json": pack.to_json(erasures),
        "runs.json": pack.to_json(runs),
        "costs.json": pack.to_json(costs),
        "lineage/events.jsonl": pack.to_lines(events),
        "access/members.json": pack.to_json(members),
        "access/requests.json": pack.to_json(requests),
        "access/callers.json": pack.to_json(callers),
    }
    files |= await asyncio.to_thread(_policies, plane, said)
    files |= _certifiers(plane.key_files.trusted_dir, erasures)
    files |= await asyncio.to_thread(_bundles, plane, about, gathering.bundles_of(runs))
    stated = {
        "project": project,
        "model": about.model,
        "period": {"since": about.since.isoformat(), "until": about.until.isoformat()},
        "made_at": base.utc_now().isoformat(),
        "made_by": actor.name,
        "log": {"rows": log.size, "head": log.head, "merkle_root": log.root.hex()},
    }
    return await asyncio.to_thread(pack.build, stated, files, checkpointer.signer)


def _plain(log: Sequence[sa.Row[Any]]) -> list[dict[str, Any]]:
    return [json.loads(rows.to_bytes(row)) for row in log]


def _policies(plane: control_plane.ControlPlane, said: list[dict[str, Any]]) -> dict[str, bytes]:
    """Each set that decided, as it was kept when it came in force; `file` is empty for one that was not kept here."""
    files: dict[str, bytes] = {}
    told: list[dict[str, Any]] = []
    for one in verify.policy_sets(said):
        found = (
            kept.plain(plane.policies)
            if one["version"] == plane.policies.version
            else kept.find(plane.state_dir, one["version"])
            if plane.state_dir is not None
            else None
        )
        name = "" if found is None else f"{one['version'].removeprefix('sha256:')}.json"
        told.append({**one, "file": name})
        if found is not None:
            files[f"policies/{name}"] = pack.to_json(found)
    return {**files, "policies/sets.json": pack.to_json(told)}


def _certifiers(trusted: Path, erasures: list[dict[str, Any]]) -> dict[str, bytes]:
    """The keys that signed certificates, those that are withdrawn, too."""
    ids = set()
    for one in erasures:
        # One that is none, or of a stranger's key, is in the pack as it was reported, and is not proved.
        with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
            ids.add(str(json.loads(one["report"]["certificate"])["signatures"][0]["keyid"]))
    return _keys(trusted, ids & set(signing.TrustedKeys.load(trusted, even_withdrawn=True).key_ids))


def _signed_at(lines: Sequence[bytes], size: int) -> bytes:
    """The one checkpoint that the pack rests on: it names head and length, and is signed for itself. Of 90 days there are a million."""
    return next((line for line in reversed(lines) if int(json.loads(line)["sequence"]) == size), b"")


def _bundles(
    plane: control_plane.ControlPlane, about: gathering.Asked, digests: Sequence[str]
) -> dict[str, bytes]:
    """Of each bundle of the model, or of its baseline: what says something of it. One that is not here, or is damaged, is said."""
    if plane.bundle_dir is None:
        return {"bundles.json": pack.to_json(dict.fromkeys(digests, "this control API has no bundles"))}
    store, trusted = bundle.BundleStore(plane.bundle_dir), plane.key_files.trusted_dir
    # What is withdrawn or was signed by a key that is has answered once, and is evidence of that.
    trust, withdrawn = signing.TrustedKeys.load(trusted, even_withdrawn=True), withdrawn_keys.marked(trusted)
    files: dict[str, bytes] = {}
    told: dict[str, str] = {}
    for digest in digests:
        try:
            opened = store.open(digest, trust, even_withdrawn=True)
        except errors.MainspringError as error:
            told[digest] = error.message
            continue
        if opened.manifest.name not in (about.model, f"{about.model}-baseline"):
            told[digest] = f"is of model `{opened.manifest.name}`"
            continue
        told[digest] = f"verified, signed by `{opened.signer}`" + (
            ", a key that was withdrawn since" if opened.signer in withdrawn else ""
        )
        files |= _bundle_files(opened, trusted)
    return {**files, "bundles.json": pack.to_json(told)}


def _bundle_files(opened: bundle.Bundle, trusted: Path) -> dict[str, bytes]:
    folder = f"bundles/{opened.digest.removeprefix('sha256:')}/"
    files = {
        folder + name: opened.read(name)
        for name, entry in opened.manifest.files.items()
        if name not in _LEFT_OUT and not name.startswith("steps/") and entry.bytes <= _MAX_FILE_BYTES
    }
    for name in bundle.UNLISTED:
        with contextlib.suppress(FileNotFoundError):  # of a release that wrote no provenance
            files[folder + name] = (opened.path / name).read_bytes()
    return files | _keys(trusted, {opened.signer, opened.origin.signer if opened.origin else opened.signer})


def _keys(trusted: Path, ids: Collection[str]) -> dict[str, bytes]:
    names = [key_id.removeprefix("sha256:") for key_id in ids]
    return {
        f"keys/bundles/{name}.pem": verification.public_pem(
            verification.load_public(trusted / (name + signing.PUBLIC_SUFFIX))
        )
        for name in names
    }
