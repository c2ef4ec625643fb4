"""`mainspring audit`: the audit log, and the proof that nobody rewrote it."""

from __future__ import annotations

from typing import Any

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

__all__ = ["audit"]


@click.group()
def audit() -> None:
    """The audit log."""


@audit.command("log")
@click.option("--by", default="", help="Of this actor only.")
@click.option("--action", default="", help="Of this action only, such as `run.start`.")
@click.option("--resource", default="", help="Of this resource only, such as `run/run_...`.")
@click.option("--outcome", default="", help="With this outcome only: `done`, `denied`, ...")
@click.option("--newest", is_flag=True, help="Newest first.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="So many rows."
)
@click.option("--after", default="", help="Cursor of the page before.")
@session.AS
@session.JSON
def audit_log(
    by: str,
    action: str,
    resource: str,
    outcome: str,
    newest: bool,
    limit: int,
    after: str,
    actor: str,
    as_json: bool,
) -> None:
    """Who did what, when, and what came of it: oldest first. Filters are exact."""
    rows: list[Any] = []
    with session.client(actor or "developer@local") as client:
        while len(rows) < limit:
            page = client.audit(
                actor=by,
                action=action,
                resource=resource,
                outcome=outcome,
                newest=newest,
                after=after,
                limit=min(500, limit - len(rows)),
            )
            rows += page.items
            if not (after := page.next):
                break
    columns = ("sequence", "at", "actor", "action", "resource", "outcome")
    output.show(rows, as_json=as_json, columns=columns)


# What it was called first.
audit.add_command(audit_log, "list")


@audit.command("export")
@click.option("--out", type=click.Path(dir_okay=False), required=True, help="A file; replaced when complete.")
@click.option("--project", default="", help="Its rows alone, chained among themselves; for its members.")
@session.AS
@session.JSON
def audit_export(out: str, project: str, actor: str, as_json: bool) -> None:
    """The whole log as one file, up to a signed checkpoint, or one project's part of it."""
    from pathlib import Path

    new = Path(f"{out}.new")
    with session.client(actor or "developer@local") as client, new.open("wb") as file:
        for piece in client.export_audit(project):
            file.write(piece)
    new.replace(out)
    output.show({"file": out, "bytes": Path(out).stat().st_size}, as_json=as_json)


@audit.command("archive")
@click.option(
    "--to", "folder", type=click.Path(file_okay=False), required=True, help="A folder that is kept elsewhere."
)
@session.AS
@session.JSON
def audit_archive(folder: str, actor: str, as_json: bool) -> None:
    """Bring a folder up to the log's last signed row, and prove all of it; nothing leaves the log.

    On the machine that has the checkpoints, or may read their bucket.
    """
    from pathlib import Path

    from mainspring.platform.audit import archive

    kept = archive.Archive(Path(folder))
    before = kept.end()
    with session.client(actor or "developer@local") as client:
        found = kept.add(client.export_audit(after=before), lambda: _checkpoints()[0], _publics())
    told = {"rows": found.rows, "added": found.rows - before, "head": found.head}
    output.show({"folder": folder, **told, "pieces": len(kept.pieces())}, as_json=as_json)


@audit.command("prove")
@click.argument("sequence", type=click.IntRange(1))
@click.option(
    "--out", type=click.Path(dir_okay=False), required=True, help="A file of JSON; replaced when complete."
)
@click.option(
    "--consistent-with",
    type=click.Path(exists=True, dir_okay=False),
    help="An older proof, or a file of `audit checkpoints`: that the log only grew since.",
)
@session.AS
@session.JSON
def audit_prove(sequence: int, out: str, consistent_with: str | None, actor: str, as_json: bool) -> None:
    """That one row is in the log, to whoever has the public keys and may see no other; for members of its project.

    The number is that of `audit log`.
    """
    import json
    from pathlib import Path

    from mainspring.core import canonical, durable
    from mainspring.platform.audit import proofs

    since = 0
    if consistent_with:
        since = int(json.loads(proofs.checkpoint_in(Path(consistent_with).read_bytes()))["sequence"])
    with session.client(actor or "developer@local") as client:
        found = client.prove_audit(sequence, since=since)
    durable.replace_file(Path(out), canonical.dumps(found) + b"\n")
    told = {"file": out, "row": sequence, "rows": json.loads(found["checkpoint"])["sequence"]}
    output.show({**told, "since": since}, as_json=as_json)


@audit.command("verify")
@click.option(
    "--export", "export_file", type=click.Path(exists=True, dir_okay=False), help="Stand-alone: a log."
)
@click.option(
    "--archive",
    type=click.Path(exists=True, file_okay=False),
    help="Stand-alone: a folder of `audit archive`.",
)
@click.option(
    "--proof", type=click.Path(exists=True, dir_okay=False), help="Stand-alone: a row, by `audit prove`."
)
@click.option(
    "--consistent-with",
    type=click.Path(exists=True, dir_okay=False),
    help="With --proof: an older proof, or a file of checkpoints, whose log only grew since.",
)
@click.option("--checkpoints", type=click.Path(exists=True, dir_okay=False), help="Its signed checkpoints.")
@click.option("--public-key", type=click.Path(exists=True, dir_okay=False), help="Whose signature counts.")
@click.option(
    "--project", default="", help="The export is this project's part; --checkpoints may be left out."
)
@click.option("--allow-unsigned", is_flag=True, help="Accept rows after the last checkpoint.")
@click.option(
    "--jobs", default=1, show_default=True, help="Processes that read a share each of a whole log's export."
)
@click.option(
    "--tree",
    is_flag=True,
    help="The signed roots of the tree as well, which proofs of single rows are against; twice the time.",
)
@session.AS
@session.JSON
def audit_verify(
    export_file: str | None,
    archive: str | None,
    proof: str | None,
    consistent_with: str | None,
    checkpoints: str | None,
    public_key: str | None,
    project: str,
    allow_unsigned: bool,
    jobs: int,
    tree: bool,
    actor: str,
    as_json: bool,
) -> None:
    """Recompute the hash chain and hold it against the signed checkpoints; with --export, --archive or --proof, without any server.

    An archive has the checkpoints that sign it. With --checkpoints of elsewhere it is also the log that those sign.
    """
    if proof:
        if not public_key or export_file or archive or project:
            raise click.UsageError(
                "--proof needs --public-key, and none of --export, --archive and --project"
            )
        found = _verify_proof(proof, consistent_with, checkpoints, public_key)
    elif consistent_with:
        raise click.UsageError("--consistent-with is for --proof")
    elif archive:
        if not public_key or export_file or project:
            raise click.UsageError("--archive needs --public-key, and neither --export nor --project")
        found = _verify_archive(archive, checkpoints, public_key, tree)
    elif export_file:
        if not public_key or not (checkpoints or project):
            raise click.UsageError("--export needs --public-key, and --checkpoints or --project")
        found = _verify_export(export_file, checkpoints, public_key, project, allow_unsigned, jobs, tree)
    else:
        with session.client(actor or "developer@local") as client:
            found = client.verify_audit()
    output.show(found, as_json=as_json)
    if not found["ok"]:
        raise errors.CorruptArtifact(f"the audit log is not intact: {found['problem']}", artifact="audit")


def _verify_export(
    export: str,
    checkpoints: str | None,
    public_key: str,
    project: str,
    allow_unsigned: bool,
    jobs: int,
    tree: bool,
) -> dict[str, Any]:
    import dataclasses
    from pathlib import Path

    from mainspring.platform.audit import project_chains, shares, verification

    lines = _lines(checkpoints)
    keys = verification.load_publics(Path(public_key))
    if project:
        with Path(export).open("rb") as file:
            finding = project_chains.verify(file, project, keys, lines)
    else:
        finding = shares.verify(
            Path(export), lines or [], keys, jobs=jobs, allow_unsigned=allow_unsigned, tree=tree
        )
    return {"ok": finding.ok, **dataclasses.asdict(finding)}


def _verify_archive(folder: str, checkpoints: str | None, public_key: str, tree: bool) -> dict[str, Any]:
    import dataclasses
    from pathlib import Path

    from mainspring.platform.audit import archive, verification

    keys = verification.load_publics(Path(public_key))
    finding = archive.Archive(Path(folder)).verify(keys, _lines(checkpoints), tree=tree)
    return {"ok": finding.ok, **dataclasses.asdict(finding)}


def _verify_proof(
    proof: str, consistent_with: str | None, checkpoints: str | None, public_key: str
) -> dict[str, Any]:
    import dataclasses
    from pathlib import Path

    from mainspring.platform.audit import proofs, verification

    keys = verification.load_publics(Path(public_key))
    older = proofs.checkpoint_in(Path(consistent_with).read_bytes()) if consistent_with else None
    read = proofs.read(Path(proof).read_bytes())
    found = proofs.verify(read, keys, older=older, checkpoints=_lines(checkpoints))
    return {"ok": True, **dataclasses.asdict(found)}


def _lines(checkpoints: str | None) -> list[bytes] | None:
    from pathlib import Path

    return Path(checkpoints).read_bytes().splitlines(keepends=True) if checkpoints else None


@audit.command("restored")
@click.option("--by", required=True, help="Who put it back, for the record.")
@click.option("--reason", required=True, help="Why, and from which copy.")
@session.JSON
def audit_restored(by: str, reason: str, as_json: bool) -> None:
    """Go on with a log that was put back from a copy; without the control API, by whoever has database and signing key.

    Checkpoints of the rows that are gone count no more, and everybody who verifies the log is told which, when, by whom and why.
    """
    import asyncio
    import dataclasses

    from mainspring.core import settings
    from mainspring.platform import database
    from mainspring.platform.audit import checkpoints, verification

    if not (by.strip() and reason.strip()):
        raise errors.InvalidRequest(
            "`--by` and `--reason` are for the record; say who and why", field="reason"
        )

    async def go_on() -> verification.Restored:
        s = settings.load()
        db = database.Database(s.control.database_url)
        await db.open()
        try:
            return await checkpoints.embedded(db, s.stack.state_dir, s.audit).go_on(
                by.strip(), reason.strip()
            )
        finally:
            await db.close()

    output.show(dataclasses.asdict(asyncio.run(go_on())), as_json=as_json)


@audit.command("public-key")
@click.option(
    "--out", type=click.Path(dir_okay=False), required=True, help="A file of PEM, newest key first."
)
@session.JSON
def audit_public_key(out: str, as_json: bool) -> None:
    """The public halves of all keys that sign checkpoints, from the key file or from OpenBao; without the control API."""
    from pathlib import Path

    from mainspring.platform.audit import verification

    publics = _publics()
    Path(out).write_bytes(verification.public_pems(publics))
    ids = [verification.key_id(key) for key in reversed(publics)]
    output.show({"file": out, "keys": ids}, as_json=as_json)


def _publics() -> Any:
    """Of all keys that sign, oldest first."""
    from mainspring.core import settings
    from mainspring.platform.audit import signers, verification

    s = settings.load()
    if s.audit.signer == "file":
        return verification.load_publics(s.stack.state_dir / "audit" / "public.pem")
    return signers.chosen(s.audit, s.stack.state_dir / "keys" / "audit.key", ()).publics


@audit.command("checkpoints")
@click.option("--out", type=click.Path(dir_okay=False), required=True, help="A file; replaced when complete.")
@session.JSON
def audit_checkpoints(out: str, as_json: bool) -> None:
    """The signed checkpoints, from the bucket where there is one; without the control API."""
    from pathlib import Path

    lines, place = _checkpoints()
    new = Path(f"{out}.new")
    new.write_bytes(b"".join(lines))
    new.replace(out)
    output.show({"file": out, "from": place, "checkpoints": len(lines)}, as_json=as_json)


def _checkpoints() -> tuple[list[bytes], str]:
    """All of them, and where they are from."""
    from mainspring.core import settings
    from mainspring.platform.audit import checkpoint_files, checkpoints

    s = settings.load()
    place = checkpoints.kept(s.stack.state_dir / "audit" / "checkpoints.jsonl", s.audit)
    if isinstance(place, checkpoint_files.CheckpointBucket):
        return list(place.download()), s.audit.checkpoints_url
    return list(place.lines()), "file"
