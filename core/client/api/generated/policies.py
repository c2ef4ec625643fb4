"""Made by tools/async_client.py from ../policies.py; change that. Policies, those in force and those that are tried, and what waits for a person's yes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

from mainspring.core.client.api.awaited import AsyncConnection
from mainspring.core.contracts import approvals as approval_contracts
from mainspring.core.contracts import control
from mainspring.core.contracts import decisions as decision_contracts
from mainspring.core.contracts import policies as policy_contracts


class AsyncPolicies(AsyncConnection):
    """Who may do what, and why; and what waits for somebody who may."""

    async def approvals(
        self,
        *,
        project: str = "",
        state: str = "open",
        kind: str = "",
        mine: bool = False,
        before: str = "",
        limit: int = 50,
    ) -> control.Page:
        """`mine`: those that the caller may decide on; of these a page may be short, and its `next` goes on."""
        asked = {"project": project, "state": state, "mine": mine, "before": before, "limit": limit}
        asked |= {"kind": kind} if kind else {}
        return await self._get("/api/v1/approvals", control.Page, **asked)

    async def each_approval(
        self, *, project: str = "", state: str = "open", kind: str = "", mine: bool = False
    ) -> AsyncIterator[approval_contracts.ApprovalView]:
        """All of them, newest first, a page at a time."""
        before = ""
        while True:
            page = await self.approvals(project=project, state=state, kind=kind, mine=mine, before=before)
            for item in page.items:
                yield approval_contracts.ApprovalView.model_validate(item)
            if not (before := page.next):
                return

    async def approval(self, approval_id: str) -> approval_contracts.ApprovalView:
        """By `<kind>:<id>`. Errors: NotFound."""
        return await self._get(f"/api/v1/approvals/{quote(approval_id, safe='')}", approval_contracts.ApprovalView)

    async def decide_approval(
        self, approval_id: str, decision: approval_contracts.ApprovalDecision, *, version: str = ""
    ) -> approval_contracts.ApprovalView:
        """As the kind's own method does. `version`: of what one has looked at. Errors: PreconditionFailed, and the kind's."""
        path = f"/api/v1/approvals/{quote(approval_id, safe='')}/decision"
        return await self._post(path, decision, approval_contracts.ApprovalView, version=version)

    async def policies(self, *, after: str = "", limit: int = 100) -> control.Page:
        return await self._get("/api/v1/policies", control.Page, after=after, limit=limit)

    async def each_policy(self) -> AsyncIterator[policy_contracts.PolicyView]:
        """All that are in force by id, a page at a time. Roles: any of the platform."""
        after = ""
        while True:
            page = await self.policies(after=after)
            for item in page.items:
                yield policy_contracts.PolicyView.model_validate(item)
            if not (after := page.next):
                return

    async def policy(self, policy_id: str) -> policy_contracts.PolicyDetail:
        """With its text, and the table cases that name it. Errors: NotFound."""
        return await self._get(f"/api/v1/policies/{quote(policy_id, safe='')}", policy_contracts.PolicyDetail)

    async def policy_versions(self, *, before: str = "", limit: int = 100) -> control.Page:
        """Which sets were in force and since when, newest first."""
        return await self._get("/api/v1/policies:versions", control.Page, before=before, limit=limit)

    async def read_decisions(
        self,
        *,
        project: str = "",
        actor: str = "",
        action: str = "",
        denied: bool = False,
        before: str = "",
        limit: int = 100,
    ) -> control.Page:
        """What the policies answered about reads, newest first, counted by the hour. As the audit log is read."""
        asked = {"project": project, "actor": actor, "action": action, "denied": denied}
        return await self._get("/api/v1/policies:reads", control.Page, **asked, before=before, limit=limit)

    async def each_read_decision(
        self, *, project: str = "", actor: str = "", action: str = "", denied: bool = False
    ) -> AsyncIterator[decision_contracts.ReadDecision]:
        """All of them, a page at a time."""
        before = ""
        while True:
            page = await self.read_decisions(
                project=project, actor=actor, action=action, denied=denied, before=before
            )
            for item in page.items:
                yield decision_contracts.ReadDecision.model_validate(item)
            if not (before := page.next):
                return

    async def try_policies(self, trial: policy_contracts.PolicyTrial) -> policy_contracts.PolicyTrialResult:
        """Roles approver, admin. What the policies would have decided otherwise."""
        return await self._report("/api/v1/policies:dry-run", trial, policy_contracts.PolicyTrialResult)
