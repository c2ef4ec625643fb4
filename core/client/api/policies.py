"""Policies: those in force, which sets were, and those that are tried."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from mainspring.core.client.api.waiting import Connection
from mainspring.core.contracts import control
from mainspring.core.contracts import policies as policy_contracts


class Policies(Connection):
    """Who may do what, and why."""

    def policies(self, *, after: str = "", limit: int = 100) -> control.Page:
        return self._get("/api/v1/policies", control.Page, after=after, limit=limit)

    def each_policy(self) -> Iterator[policy_contracts.PolicyView]:
        """All that are in force by id, a page at a time. Roles: any of the platform."""
        after = ""
        while True:
            page = self.policies(after=after)
            for item in page.items:
                yield policy_contracts.PolicyView.model_validate(item)
            if not (after := page.next):
                return

    def policy(self, policy_id: str) -> policy_contracts.PolicyDetail:
        """With its text, and the table cases that name it. Errors: NotFound."""
        return self._get(f"/api/v1/policies/{quote(policy_id, safe='')}", policy_contracts.PolicyDetail)

    def policy_versions(self, *, before: str = "", limit: int = 100) -> control.Page:
        """Which sets were in force and since when, newest first."""
        return self._get("/api/v1/policies:versions", control.Page, before=before, limit=limit)

    def try_policies(self, trial: policy_contracts.PolicyTrial) -> policy_contracts.PolicyTrialResult:
        """Roles approver, admin. What the policies would have decided otherwise."""
        return self._report("/api/v1/policies:dry-run", trial, policy_contracts.PolicyTrialResult)
