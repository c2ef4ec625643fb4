"""Say what data may be used for, list that, and hold what is to be done with them against it."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import base, catalog, control, purposes
from mainspring.core.lineage import jobs
from mainspring.core.protection import purposes as bounds
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.lineage import telling
from mainspring.platform.policies import questions
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import dpia_store
from mainspring.platform.protection import purposes_store as store

#: What data tell of: of other entries what they are made of says it.
_KINDS: Final = ("dataset", "view")
_NAMED: Final = 3
#: The rule that holds what is to be done with data against what they may be used for.
BOUND: Final = "purpose.bound"
#: The one that holds a run against the impact assessment.
ASSESSED: Final = "purpose.assessed"
#: Runs that take something out of use.
_ENDS: Final = (control.RunKind.RETIRE, control.RunKind.RELEASE)


async def put(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    entry: str,
    wanted: purposes.PurposesPut,
    *,
    if_match: str = "",
) -> purposes.PurposesView:
    """A person's word on what an entry may be used for, by the version that was looked at where somebody has said one. Roles:
    approver, admin. The same again changes nothing. Errors: NotFound for the project, or an entry that the catalog does not have;
    PreconditionFailed, PreconditionRequired.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[purposes.PurposesView]:
        await project_store.find(connection, project)
        before = await _found(connection, project, entry)
        is_new = before.decided is None or set(before.decided) != set(wanted.purposes)
        if is_new:
            held = versions.check if before.decided is None else versions.require
            held(if_match, before.version, resource="purposes", name=entry)
            await store.put(connection, project, entry, wanted, by.name)
        after = await _found(connection, project, entry)
        detail = {
            "entry": entry,
            "purposes": list(after.decided or ()),
            "was": None if before.decided is None else list(before.decided),
            "in_force": list(after.purposes or ()),
            "words": wanted.reason,
        }
        said = jobs.Dataset(entry, "", "", labels={"": {"purposes": ",".join(after.decided or ())}})
        told = telling.Told(project, [said])
        return mutation.Change(after, f"purposes/{project}/{entry}", detail, is_new=is_new, lineage=told)

    return await mutation.mutate(
        plane,
        credential,
        action="purpose.decide",
        resource=f"purposes/{project}/{entry}",
        on=access.project(project),
        do=do,
    )


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, *, after: str, limit: int
) -> control.Page:
    """A page of a project's datasets and views by name, with what each may be used for. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="purpose.read") as reader:
        await reader.project(project)
        found = await _views(reader.connection, project)
    shown = [view for name, view in sorted(found.items()) if name > after][: limit + 1]
    items = [view.model_dump(mode="json") for view in shown[:limit]]
    return control.Page(items=items, next=shown[limit - 1].entry if len(shown) > limit else "")


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, entry: str
) -> purposes.PurposesView:
    """Errors: NotFound for the project or the entry."""
    async with reads.reading(plane, credential, action="purpose.read") as reader:
        await reader.project(project)
        return await _found(reader.connection, project, entry)


async def stated(connection: AsyncConnection, project: str, said: str) -> str:
    """What it is for: as it was said, else the one purpose that the project's assessment in force was signed for, if it is one."""
    if said:
        return said
    signed = await assessed(connection, project)
    return signed[0] if len(signed) == 1 else ""


async def assessed(connection: AsyncConnection, project: str) -> tuple[str, ...]:
    """Purposes of the signed assessment in force; none: there is none, or it names none."""
    row = await dpia_store.in_force(connection, project, base.utc_now())
    return () if row is None else tuple(row.answers.get("purposes", ()))


def of_request(request: Mapping[str, Any]) -> str:
    """What a run said, as it is stored; a scoring says it of its output, too."""
    said: str = request.get("purpose") or ""
    return said or bounds.word((request.get("score") or {}).get("purpose", ""))


async def of_run(connection: AsyncConnection, request: control.RunCreate) -> dict[str, str | bool]:
    """What the policies are told about the start of a run: what it is for, and whether data and assessment are for that.

    A pipeline reads what its own steps open: of its data nobody knows yet.
    """
    if request.kind in _ENDS:
        return {}
    bound, purpose, signed = await _of_run(connection, request)
    facts: dict[str, str | bool] = {**asked(bound, purpose)}
    if purpose:
        facts["purpose"] = purpose[: questions.MAX_CHARACTERS]
    if signed:
        facts["is_assessed"] = purpose in signed
    return facts


async def refused(
    connection: AsyncConnection, request: control.RunCreate, denial: errors.PolicyDenied
) -> errors.PolicyDenied:
    """The denial of a run's start, with what its purpose should have been where that was what was wrong."""
    bound, purpose, signed = await _of_run(connection, request)
    if denial.rule_id == ASSESSED:
        said = f"`{purpose[:80]}` was said" if purpose else "none was said"
        words = f"{denial.message} (signed for `{'`, `'.join(signed)}`; {said})"
        return dataclasses.replace(denial, message=words)
    if request.score is not None and bound is not None and bounds.word(purpose) in bound.purposes:
        purpose = request.score.purpose  # of what it writes: another than its own
    return told(denial, bound, purpose)


async def _of_run(
    connection: AsyncConnection, request: control.RunCreate
) -> tuple[bounds.Bound | None, str, tuple[str, ...]]:
    is_own_code = request.kind is control.RunKind.PIPELINE
    bound = None if is_own_code else await store.of_run(connection, request.project)
    said = of_request(request.model_dump(mode="json", include={"purpose", "score"}))
    signed = await assessed(connection, request.project)
    return bound, said or (signed[0] if len(signed) == 1 else ""), signed


def asked(bound: bounds.Bound | None, purpose: str) -> dict[str, str | bool]:
    """What the policies are told of it; nothing where nobody said what the data may be used for."""
    if bound is None:
        return {}
    return {"is_for_purpose": bounds.word(purpose) in bound.purposes}


def told(denial: errors.PolicyDenied, bound: bounds.Bound | None, purpose: str) -> errors.PolicyDenied:
    """The denial with what the data may be used for, where that is what was wrong."""
    if bound is None or denial.rule_id != BOUND:
        return denial
    more = f" and {len(bound.by) - _NAMED} more" if len(bound.by) > _NAMED else ""
    names = ", ".join(f"`{name}`" for name in bound.by[:_NAMED])
    for_what = f"`{'`, `'.join(sorted(bound.purposes))}`" if bound.purposes else "nothing together"
    said = f"`{purpose[:80]}` was said" if purpose else "none was said"
    return dataclasses.replace(denial, message=f"{denial.message} ({names}{more}: for {for_what}; {said})")


async def _views(connection: AsyncConnection, project: str) -> dict[str, purposes.PurposesView]:
    entries = await store.entries(connection, project)
    rows = await store.decided(connection, project)
    known = bounds.bounds(entries, {name: row.purposes for name, row in rows.items()})
    shown = {entry.name: entry for entry in entries if entry.kind in _KINDS}
    return {
        name: _view(project, name, shown.get(name), rows.get(name), known.get(name))
        for name in shown.keys() | rows.keys()
    }


def _view(
    project: str,
    name: str,
    entry: catalog.CatalogEntry | None,
    row: sa.Row[Any] | None,
    bound: bounds.Bound | None,
) -> purposes.PurposesView:
    said = {} if row is None else {k: row._mapping[k] for k in ("decided_by", "decided_at", "reason")}
    return purposes.PurposesView(
        project=project,
        entry=name,
        purposes=None if bound is None else tuple(sorted(bound.purposes)),
        bound_by=() if bound is None else bound.by,
        declared=None if entry is None else bounds.of_tags(entry.tags),
        decided=None if row is None else tuple(row.purposes),
        version=store.version(project, name, row),
        **said,
    )


async def _found(connection: AsyncConnection, project: str, entry: str) -> purposes.PurposesView:
    known = await _views(connection, project)
    if entry in known:
        return known[entry]
    close = tuple(difflib.get_close_matches(entry, known, n=3))
    hint = f"did you mean `{close[0]}`" if close else f"see `mainspring purpose list {project}`"
    raise errors.NotFound(
        f"project `{project}` has no dataset or view `{entry[: questions.MAX_CHARACTERS]}`; {hint}",
        resource="catalog entry",
        name=entry[: questions.MAX_CHARACTERS],
        did_you_mean=close,
    )
