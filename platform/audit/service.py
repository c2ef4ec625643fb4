"""Read the audit log, and prove that nobody rewrote it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import BaseModel, ConfigDict

from mainspring.core import errors
from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform import reads
from mainspring.platform.audit import growing, project_chains, proofs, rows, signers, store, verification

_PAGE_ROWS = 1000
#: Numbers of rows fit into 64 bits.
_LAST = 2**63 - 1


class Verification(BaseModel):
    """`head` is the last good hash; `unsigned_rows` follow the last checkpoint and get one within seconds. `roots`: of so many
    checkpoints the tree's root was made again.

    `restored`: how often the database was put back from a copy, and what was signed of it and is gone.
    """

    model_config = ConfigDict(frozen=True)

    ok: bool
    rows: int
    head: str
    first_bad_sequence: int | None = None
    problem: str = ""
    checkpoints: int = 0
    unsigned_rows: int = 0
    restored: tuple[verification.Restored, ...] = ()
    roots: int = 0


async def read(
    plane: control_plane.ControlPlane,
    credential: str,
    wanted: store.Wanted = store.EVERYTHING,
    *,
    newest: bool = False,
    after: str,
    limit: int,
) -> control.Page:
    """A page of what is `wanted` of the log, oldest first or `newest` first; `after` is the cursor of the page before.

    Whoever may not read every project's gets the rows of those that it may, with the numbers that they have.
    """
    plane.issuer.authenticate(credential)
    begin = store.position(after, "after") if after else 0
    async with reads.reading(plane, credential, action="audit.read") as reader:
        projects = await reader.projects()
        found = await store.page(
            reader.connection, after=begin, limit=limit + 1, projects=projects, wanted=wanted, newest=newest
        )
    items = [store.view(row).model_dump(mode="json") for row in found[:limit]]
    return control.Page(items=items, next=str(found[limit - 1].sequence) if len(found) > limit else "")


async def verify(plane: control_plane.ControlPlane, credential: str) -> Verification:
    """Recompute every hash and link from the first row on, in one snapshot, and hold them against the checkpoints.

    Of the whole log or not at all. Errors: PermissionDenied.
    """
    async with reads.reading(plane, credential, action="audit.verify") as reader:
        reader.require_platform()
    head, count = rows.GENESIS, 0
    try:
        signed = await plane.checkpointer.signed() if plane.checkpointer else verification.Signed({}, {})
    except errors.CorruptArtifact as bad:
        return Verification(ok=False, rows=0, head=head, problem=bad.message)
    heads, last = signed.heads, max(signed.heads, default=0)
    roots = verification.Roots(signed.roots)

    def found(problem: str = "", bad: int | None = None) -> Verification:
        return Verification(
            ok=not problem,
            rows=count,
            head=head,
            first_bad_sequence=bad,
            problem=problem,
            checkpoints=len(heads),
            unsigned_rows=max(0, count - last),
            restored=signed.restored,
            roots=roots.count,
        )

    ends: dict[str, tuple[int, str]] = {}
    async with plane.database.read() as connection:
        while page := await store.page(connection, after=count, limit=_PAGE_ROWS):
            for row in page:
                end = ends.get(row.project, (0, rows.GENESIS))
                if problem := store.problem(row, count + 1, head) or store.problem_in_project(row, *end):
                    return found(problem, row.sequence)
                head, count = row.hash, count + 1
                if row.project is not None:
                    ends[row.project] = row.project_sequence, row.hash
                if heads.get(count, head) != head:
                    return found(verification.another(count, heads), count)
                if roots.add(head.removeprefix("sha256:").encode()):
                    return found(verification.another_root(count), count)
    if count < last:
        return found(verification.missing(count, heads), count + 1)
    return found()


async def prove(
    plane: control_plane.ControlPlane, credential: str, sequence: int, *, since: int = 0
) -> proofs.Proof:
    """That a row which the caller may read is in the log, up to a checkpoint that is taken first; with `since` that the log only grew since
    it had that many rows.

    Reads the row and three times 1024 hashes at most. Errors: NotFound for a row that is not there or not the caller's to know of;
    InvalidRequest for `since`; Misconfigured where the log is not signed; CorruptArtifact; Conflict where no checkpoint signs a tree yet.
    """
    async with reads.reading(plane, credential, action="audit.read") as reader:
        projects, after = await reader.projects(), min(max(sequence - 1, 0), _LAST)
        found = await store.page(reader.connection, after=after, limit=1, projects=projects)
    if not found or found[0].sequence != sequence:
        raise errors.NotFound(
            f"there is no row {sequence} that you may read; `mainspring audit log` lists those",
            resource="audit",
            name=str(sequence),
        )
    if plane.checkpointer is None:
        raise errors.Misconfigured("this control API signs no audit log; ask one that does")
    await plane.checkpointer.take()
    line, tree = await plane.checkpointer.latest()
    size = tree.end
    if since > size:
        raise errors.InvalidRequest(
            f"the log has {size} signed rows, not {since}; give an older checkpoint of this log",
            field="since",
        )
    tiles = {(n - 1) // growing.TILE for n in (sequence, since) if n} | {size // growing.TILE}
    async with plane.database.read() as connection:
        leaves = {
            tile: await store.leaves(
                connection, after=tile * growing.TILE, until=min(size, (tile + 1) * growing.TILE)
            )
            for tile in tiles
        }
    root = growing.roots_in(tree.tiles, leaves)
    path = growing.path(sequence - 1, size, root)
    problem = store.problem(found[0], sequence, found[0].previous_hash)
    if problem or not proofs.is_included(store.leaf(found[0].hash), sequence - 1, size, path, tree.root()):
        raise errors.CorruptArtifact(
            f"the audit log is not intact: {problem or f'row {sequence} is not the one that was signed'}; see `mainspring audit verify`",
            artifact="audit",
        )
    return proofs.Proof(
        row=rows.to_line(found[0]).decode().rstrip("\n"),
        path=tuple(node.hex() for node in path),
        checkpoint=line.decode(),
        since=since,
        consistency=tuple(node.hex() for node in growing.consistency(since, size, root)) if since else (),
    )


async def export(
    plane: control_plane.ControlPlane, credential: str, project: str = "", *, after: int = 0
) -> AsyncIterator[bytes]:
    """The log as lines of `rows.to_line` after row `after`, up to a checkpoint that is taken first; with `project` its rows alone.

    Rows of a project from before projects had chains are in the whole log only. The last line of a project's rows is a
    statement of where they end (`project_chains.py`): the whole log is verified for it, and what does not verify gets none.
    Errors: Denied kinds; NotFound for the project; InvalidRequest for `after` of a project, whose rows prove nothing without the first;
    Misconfigured where the log is not signed; CorruptArtifact if the log
    contradicts its checkpoints, before the first line.
    """
    if project and after:
        raise errors.InvalidRequest(
            "a project's part is exported from its first row on; leave out `after`", field="after"
        )
    if project:
        async with reads.reading(plane, credential, action="audit.read") as reader:
            await reader.project(project)
    else:
        async with reads.reading(plane, credential, action="audit.export") as reader:
            reader.require_platform()
    checkpointer = plane.checkpointer
    if project and checkpointer is None:
        raise errors.Misconfigured("this control API signs no audit log; ask one that does")
    until = await checkpointer.take() if checkpointer else None

    async def whole() -> AsyncIterator[bytes]:
        last = after
        async with plane.database.read() as connection:
            while page := await store.page(connection, after=last, limit=_PAGE_ROWS):
                shown = [row for row in page if until is None or row.sequence <= until]
                yield b"".join(map(rows.to_line, shown))
                last = page[-1].sequence

    async def of_project(signer: signers.Signer, until: int) -> AsyncIterator[bytes]:
        head, count, ends = rows.GENESIS, 0, (0, rows.GENESIS)
        async with plane.database.read() as connection:
            while count < until and (page := await store.page(connection, after=count, limit=_PAGE_ROWS)):
                for row in page[: until - count]:
                    problem = store.problem(row, count + 1, head) or (
                        store.problem_in_project(row, *ends) if row.project == project else ""
                    )
                    if problem:
                        raise errors.CorruptArtifact(
                            f"the audit log is not intact: {problem}", artifact="audit"
                        )
                    head, count = row.hash, row.sequence
                    if row.project == project:
                        ends = row.project_sequence, row.hash
                        yield rows.to_line(row)
        said = project_chains.Statement(project, *ends, log_sequence=count, log_head=head)
        yield await asyncio.to_thread(project_chains.signed, said, signer)

    if project and checkpointer is not None and until is not None:
        return of_project(checkpointer.signer, until)
    return whole()
