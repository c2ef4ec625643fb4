"""Read the audit log, and prove that nobody rewrote it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from mainspring.core import errors
from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store

_VERIFY_ROWS = 1000


class Verification(BaseModel):
    """`head` is the last good hash: kept elsewhere, it also shows that nobody cut rows off the end."""

    model_config = ConfigDict(frozen=True)

    ok: bool
    rows: int
    head: str
    first_bad_sequence: int | None = None
    problem: str = ""


async def read(plane: control_plane.ControlPlane, credential: str, *, after: str, limit: int) -> control.Page:
    """A page of the log, oldest first; `after` is the cursor of the page before."""
    plane.issuer.authenticate(credential)
    if after and not after.isdigit():
        raise errors.InvalidRequest(
            f"cursor `{after}` is not one of ours; send the `next` of a page", field="after"
        )
    async with plane.database.read() as connection:
        rows = await store.page(connection, after=int(after or 0), limit=limit + 1)
    items = [store.view(row).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=str(rows[limit - 1].sequence) if len(rows) > limit else "")


async def verify(plane: control_plane.ControlPlane, credential: str) -> Verification:
    """Recompute every hash and every link from the first row on, in one snapshot."""
    plane.issuer.authenticate(credential)
    head, count = store.GENESIS, 0
    async with plane.database.read() as connection:
        while rows := await store.page(connection, after=count, limit=_VERIFY_ROWS):
            for row in rows:
                problem = _problem(row, count + 1, head)
                if problem:
                    return Verification(
                        ok=False, rows=count, head=head, first_bad_sequence=row.sequence, problem=problem
                    )
                head, count = row.hash, count + 1
    return Verification(ok=True, rows=count, head=head)


def _problem(row: sa.Row[Any], expected_sequence: int, head: str) -> str:
    if row.sequence != expected_sequence:
        return f"row {expected_sequence} is missing"
    if row.previous_hash != head:
        return f"row {row.sequence} does not follow row {row.sequence - 1}"
    try:
        is_intact = store.recompute(row) == row.hash
    except ValueError:  # the detail is no JSON any more
        is_intact = False
    return "" if is_intact else f"row {row.sequence} was changed"
