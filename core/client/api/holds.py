"""Legal holds: what must be kept, and the two persons who lift one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from mainspring.core.client.api.waiting import Connection
from mainspring.core.contracts import control
from mainspring.core.contracts import holds as hold_contracts


class Holds(Connection):
    """Holds on what was written in a time, and on subjects."""

    def holds(
        self, project: str, *, in_force: bool = False, before: str = "", limit: int = 100
    ) -> control.Page:
        """Newest first, lifted ones too unless `in_force`; items are `hold_contracts.HoldView`."""
        return self._get(_holds(project), control.Page, in_force=in_force, before=before, limit=limit)

    def each_hold(self, project: str, *, in_force: bool = False) -> Iterator[hold_contracts.HoldView]:
        """All of them, newest first, a page at a time."""
        before = ""
        while True:
            page = self.holds(project, in_force=in_force, before=before)
            for item in page.items:
                yield hold_contracts.HoldView.model_validate(item)
            if not (before := page.next):
                return

    def hold(self, project: str, hold_id: str) -> hold_contracts.HoldView:
        """Errors: NotFound."""
        return self._get(_holds(project, hold_id), hold_contracts.HoldView)

    def place_hold(self, project: str, asked: hold_contracts.HoldCreate) -> hold_contracts.HoldView:
        """Roles: approver, admin. The same again is the same hold. Errors: DependencyDown: it is in force, place it again."""
        return self._post(_holds(project), asked, hold_contracts.HoldView)

    def lift_hold(
        self, project: str, hold_id: str, *, reason: str, version: str = ""
    ) -> hold_contracts.HoldView:
        """Ask that it be lifted: it is in force until somebody else approves. Roles: approver, admin.

        `version` is that of the hold one has looked at; empty: as it is. Errors: Conflict; PreconditionFailed.
        """
        asked = hold_contracts.HoldLift(reason=reason)
        return self._post(f"{_holds(project, hold_id)}/lift", asked, hold_contracts.HoldView, version=version)

    def decide_hold(
        self, project: str, hold_id: str, *, approve: bool, reason: str = "", version: str = ""
    ) -> hold_contracts.HoldView:
        """Roles: approver, admin, and not who asked to lift it. Errors: PolicyDenied; Conflict if nobody asks; PreconditionFailed."""
        decision = hold_contracts.HoldDecision(approve=approve, reason=reason)
        return self._post(
            f"{_holds(project, hold_id)}/decide", decision, hold_contracts.HoldView, version=version
        )


def _holds(project: str, hold_id: str = "") -> str:
    below = f"/{quote(hold_id, safe='')}" if hold_id else ""
    return f"/api/v1/projects/{quote(project)}/holds{below}"
