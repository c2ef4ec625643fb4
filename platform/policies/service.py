"""Show which policies are in force, what each says, and which sets were in force before."""

from __future__ import annotations

import asyncio
import difflib
from typing import Final

from mainspring.core import canonical, errors
from mainspring.core.contracts import control, policies
from mainspring.platform import plane as control_plane
from mainspring.platform import reads
from mainspring.platform.audit import store as audit_store
from mainspring.platform.policies import cases, engine, history, sources

#: Close names that a wrong one is answered with.
_CLOSE: Final = 3


async def read(
    plane: control_plane.ControlPlane, credential: str, *, after: str, limit: int
) -> tuple[control.Page, str]:
    """A page of those in force by id, and the version of their set. Errors: Denied kinds."""
    async with reads.reading(plane, credential, action="policy.read") as reader:
        reader.require_platform()
    in_force = plane.policies
    found = sorted((p for p in in_force.policies if p.id > after), key=lambda policy: policy.id)
    items = [_view(in_force, policy).model_dump(mode="json") for policy in found[:limit]]
    return control.Page(items=items, next=found[limit - 1].id if len(found) > limit else ""), in_force.version


async def show(
    plane: control_plane.ControlPlane, credential: str, policy_id: str
) -> tuple[policies.PolicyDetail, str]:
    """One with its text and the cases that name it. Errors: NotFound."""
    async with reads.reading(plane, credential, action="policy.read") as reader:
        reader.require_platform()
    in_force = plane.policies
    policy = next((p for p in in_force.policies if p.id == policy_id), None)
    if policy is None:
        close = tuple(difflib.get_close_matches(policy_id, [p.id for p in in_force.policies], n=_CLOSE))
        hint = f"did you mean `{close[0]}`" if close else "see `mainspring policy list`"
        raise errors.NotFound(
            f"no policy `{policy_id}` is in force; {hint}",
            resource="policy",
            name=policy_id,
            did_you_mean=close,
        )
    named = await asyncio.to_thread(_cases, plane, policy)
    shown = _view(in_force, policy).model_dump()
    return policies.PolicyDetail(**shown, text=policy.text, cases=named), in_force.version


async def versions(
    plane: control_plane.ControlPlane, credential: str, *, before: str, limit: int
) -> control.Page:
    """A page of the sets that were in force, newest first. Errors: InvalidRequest for a cursor that is none."""
    position = audit_store.position(before, "before") if before else None
    async with reads.reading(plane, credential, action="policy.read") as reader:
        reader.require_platform()
        found = await history.page(
            reader.connection, plane.policies.version, before=position, limit=limit + 1
        )
    items = [one.model_dump(mode="json") for one in found[:limit]]
    return control.Page(items=items, next=str(found[limit - 1].sequence) if len(found) > limit else "")


def _view(in_force: engine.PolicyEngine, policy: engine.Policy) -> policies.PolicyView:
    body = dict(policy.body)
    annotations = dict(body.pop("annotations", {}))
    return policies.PolicyView(
        id=policy.id,
        effect="permit" if policy.is_permit else "forbid",
        advice=policy.advice,
        annotations=annotations,
        file=policy.file,
        is_ours=policy.is_ours,
        digest=canonical.digest(body),
        version=in_force.version,
    )


def _cases(plane: control_plane.ControlPlane, policy: engine.Policy) -> tuple[policies.PolicyCase, ...]:
    """Of the tables beside the policies; a table that cannot be read is for `mainspring policy check` to tell."""
    folder = sources.FOLDER if policy.is_ours else plane.control.policies_dir
    table = folder / cases.FILE if folder is not None else None
    if table is None or not table.exists():
        return ()
    try:
        found = cases.load(table)
    except errors.InvalidSettings:
        return ()
    return tuple(
        policies.PolicyCase(name=case.name, allowed=case.allowed)
        for case in found
        if policy.id in case.policies
    )
