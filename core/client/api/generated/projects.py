"""Made by tools/async_client.py from ../projects.py; change that. Projects, their members and workspaces, and access for a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

from mainspring.core import errors
from mainspring.core.client.api import wire
from mainspring.core.client.api.awaited import AsyncConnection
from mainspring.core.contracts import access_requests as access_contracts
from mainspring.core.contracts import budgets as budget_contracts
from mainspring.core.contracts import control
from mainspring.core.contracts import environments as environment_contracts
from mainspring.core.contracts import members as member_contracts
from mainspring.core.contracts import notebooks as notebook_contracts
from mainspring.core.contracts import quotas as quota_contracts
from mainspring.core.contracts import secrets as secret_contracts
from mainspring.core.contracts import service_accounts as account_contracts
from mainspring.core.contracts import templates as template_contracts


class AsyncProjects(AsyncConnection):
    """Who there is, and what each may do."""

    async def me(self) -> control.SessionView:
        """Whose token this is, and which roles he has, by project and environment."""
        return await self._get("/api/v1/me", control.SessionView)

    async def environments(self) -> environment_contracts.EnvironmentList:
        """What each lets through, as the policies in force answer."""
        return await self._get("/api/v1/environments", environment_contracts.EnvironmentList)

    async def create_project(self, request: control.ProjectCreate) -> control.ProjectView:
        """Errors: Conflict if the name is taken."""
        return await self._post("/api/v1/projects", request, control.ProjectView)

    async def change_notebook(
        self, project: str, asked: notebook_contracts.NotebookChange
    ) -> notebook_contracts.NotebookRecorded:
        """Roles developer, admin. Before it is done. Errors: BudgetExceeded for what it may cost at most."""
        path = f"/api/v1/projects/{quote(project)}/notebooks:change"
        return await self._post(path, asked, notebook_contracts.NotebookRecorded)

    async def end_notebook(
        self, project: str, ended: notebook_contracts.NotebookEnd
    ) -> notebook_contracts.NotebookRecorded:
        """Role service. The same again changes nothing."""
        path = f"/api/v1/projects/{quote(project)}/notebooks:end"
        return await self._post(path, ended, notebook_contracts.NotebookRecorded)

    async def project(self, name: str) -> control.ProjectView:
        return await self._get(f"/api/v1/projects/{quote(name)}", control.ProjectView)

    async def update_project(self, name: str, patch: control.ProjectPatch, *, version: str) -> control.ProjectView:
        """Role admin. `version` is that of the project one has looked at. Errors: PreconditionFailed."""
        body = patch.model_dump(mode="json", exclude_unset=True)
        asked = wire.Asked(
            "PATCH", f"/api/v1/projects/{quote(name)}", body, headers=wire.if_match(version), is_keyed=True
        )
        return wire.read(self._url, control.ProjectView, await self._send(asked))

    async def change_project(
        self, name: str, change: Callable[[control.ProjectView], control.ProjectPatch]
    ) -> control.ProjectView:
        """As :meth:`update_project`, of the project as it is: where somebody is quicker, `change` is asked again of what he made.

        Errors: PreconditionFailed after ten such races.
        """
        for last in range(wire.RACES):
            found = await self.project(name)
            try:
                return await self.update_project(name, change(found), version=found.version)
            except errors.PreconditionFailed:
                if last == wire.RACES - 1:
                    raise
        raise errors.InvariantViolated("a race has an end", where="client.change_project")

    async def projects(self, *, after: str = "", limit: int = 100) -> control.Page:
        return await self._get("/api/v1/projects", control.Page, after=after, limit=limit)

    async def each_project(self) -> AsyncIterator[control.ProjectView]:
        """All of them by name, a page at a time."""
        after = ""
        while True:
            page = await self.projects(after=after)
            for item in page.items:
                yield control.ProjectView.model_validate(item)
            if not (after := page.next):
                return

    async def templates(self, *, after: str = "", limit: int = 100) -> control.Page:
        """Of projects, by name; there are few."""
        return await self._get("/api/v1/templates", control.Page, after=after, limit=limit)

    async def template(self, name: str) -> template_contracts.TemplateView:
        """With the JSON Schema of what it asks. Errors: NotFound with close names."""
        return await self._get(f"/api/v1/templates/{quote(name, safe='')}", template_contracts.TemplateView)

    async def plan_project(
        self, template: str, asked: template_contracts.ProjectAsked
    ) -> template_contracts.ProjectPlan:
        """What the template would make of these answers, as text and as a zip file; nothing is made.

        Errors: InvalidRequest naming the first answer that is wrong.
        """
        path = f"/api/v1/templates/{quote(template, safe='')}/plan"
        return await self._report(path, asked, template_contracts.ProjectPlan)

    async def members(self, project: str, *, after: str = "", limit: int = 100) -> control.Page:
        return await self._get(f"/api/v1/projects/{quote(project)}/members", control.Page, after=after, limit=limit)

    async def each_member(self, project: str) -> AsyncIterator[member_contracts.MemberView]:
        """All of them by name, a page at a time."""
        after = ""
        while True:
            page = await self.members(project, after=after)
            for item in page.items:
                yield member_contracts.MemberView.model_validate(item)
            if not (after := page.next):
                return

    async def member(self, project: str, actor: str) -> member_contracts.MemberView:
        return await self._get(_member(project, actor), member_contracts.MemberView)

    async def put_member(
        self, project: str, actor: str, wanted: member_contracts.MemberPut, *, version: str = ""
    ) -> member_contracts.MemberView:
        """Role admin. Exactly these roles. `version` is that of the member one has looked at; empty: a new one.

        Errors: PreconditionFailed if somebody changed it since, PreconditionRequired if there is one.
        """
        body = wanted.model_dump(mode="json")
        return await self._put(_member(project, actor), body, member_contracts.MemberView, version=version)

    async def change_member(
        self,
        project: str,
        actor: str,
        change: Callable[[member_contracts.MemberView], member_contracts.MemberPut],
    ) -> member_contracts.MemberView:
        """As :meth:`put_member`, of the member as it is: where somebody is quicker, `change` is asked again of what he made.

        Errors: NotFound for who is no member; PreconditionFailed after ten such races.
        """
        for last in range(wire.RACES):
            found = await self.member(project, actor)
            try:
                return await self.put_member(project, actor, change(found), version=found.version)
            except errors.PreconditionFailed:
                if last == wire.RACES - 1:
                    raise
        raise errors.InvariantViolated("a race has an end", where="client.change_member")

    async def remove_member(self, project: str, actor: str, *, version: str) -> None:
        """Role admin. Errors: PreconditionFailed if somebody changed it since."""
        headers = wire.if_match(version)
        await self._send(wire.Asked("DELETE", _member(project, actor), headers=headers, is_keyed=True))

    async def quota(self, project: str) -> quota_contracts.QuotaView:
        """What it may have at once, and what it has. Errors: NotFound."""
        return await self._get(_quota(project), quota_contracts.QuotaView)

    async def put_quota(
        self, project: str, wanted: quota_contracts.QuotaPut, *, version: str = ""
    ) -> quota_contracts.QuotaView:
        """Role admin of the platform. `version` is that of the limits one has looked at; empty: the first that are set.

        Errors: PreconditionFailed if somebody changed them since, PreconditionRequired if some are set.
        """
        body = wanted.model_dump(mode="json")
        return await self._put(_quota(project), body, quota_contracts.QuotaView, version=version)

    async def budgets(self, project: str, *, after: str = "", limit: int = 100) -> control.Page:
        """By environment and period; items are `budgets.BudgetView`."""
        return await self._get(f"/api/v1/projects/{quote(project)}/budgets", control.Page, after=after, limit=limit)

    async def budget(self, project: str, environment: str, period: str) -> budget_contracts.BudgetView:
        """Errors: NotFound."""
        return await self._get(_budget(project, environment, period), budget_contracts.BudgetView)

    async def put_budget(
        self,
        project: str,
        environment: str,
        period: str,
        wanted: budget_contracts.BudgetPut,
        *,
        version: str = "",
    ) -> budget_contracts.BudgetView:
        """Role admin. `environment`: `all` for all of them together. `version` is that of the budget one has looked at; empty: a first one.

        Errors: PreconditionFailed if somebody changed it since, PreconditionRequired if there is one.
        """
        path, body = _budget(project, environment, period), wanted.model_dump(mode="json")
        return await self._put(path, body, budget_contracts.BudgetView, version=version)

    async def remove_budget(self, project: str, environment: str, period: str, *, version: str) -> None:
        """Role admin. Errors: NotFound; PreconditionFailed if somebody changed it since."""
        headers = wire.if_match(version)
        await self._send(
            wire.Asked("DELETE", _budget(project, environment, period), headers=headers, is_keyed=True)
        )

    async def renew_reservation(
        self, project: str, wanted: budget_contracts.ReservationRenewal
    ) -> budget_contracts.Reservation:
        """Role service. Before work that is no run begins, and while it works. Errors: BudgetExceeded; what was kept stays then."""
        path = f"/api/v1/projects/{quote(project)}/reservations:renew"
        return await self._post(path, wanted, budget_contracts.Reservation)

    async def end_reservation(
        self, project: str, ended: budget_contracts.ReservationEnd
    ) -> budget_contracts.Reservation:
        """Role service. The same again changes nothing."""
        path = f"/api/v1/projects/{quote(project)}/reservations:end"
        return await self._post(path, ended, budget_contracts.Reservation)

    async def secrets(self, project: str, *, after: str = "", limit: int = 100) -> control.Page:
        """Where they lie, by name; items are `secrets.SecretView`."""
        return await self._get(f"/api/v1/projects/{quote(project)}/secrets", control.Page, after=after, limit=limit)

    async def secret(self, project: str, name: str) -> secret_contracts.SecretView:
        """Errors: NotFound."""
        return await self._get(_secret(project, name), secret_contracts.SecretView)

    async def put_secret(
        self, project: str, name: str, wanted: secret_contracts.SecretPut, *, version: str = ""
    ) -> secret_contracts.SecretView:
        """Role admin. `version` is that of the reference one has looked at; empty: a new one.

        Errors: PreconditionFailed if somebody changed it since, PreconditionRequired if there is one.
        """
        body = wanted.model_dump(mode="json")
        return await self._put(_secret(project, name), body, secret_contracts.SecretView, version=version)

    async def use_secret(
        self, project: str, name: str, asked: secret_contracts.SecretUse
    ) -> secret_contracts.SecretUsed:
        """Role service. Where a step of a run may read it; on record. Errors: NotFound, PermissionDenied, PolicyDenied."""
        return await self._post(f"{_secret(project, name)}/use", asked, secret_contracts.SecretUsed)

    async def remove_secret(self, project: str, name: str, *, version: str) -> None:
        """Role admin. What it is about stays where it is. Errors: PreconditionFailed if somebody changed it since."""
        headers = wire.if_match(version)
        await self._send(wire.Asked("DELETE", _secret(project, name), headers=headers, is_keyed=True))

    async def service_accounts(self, project: str, *, after: str = "", limit: int = 100) -> control.Page:
        """By name; items are `service_accounts.ServiceAccountView`."""
        return await self._get(_account(project), control.Page, after=after, limit=limit)

    async def service_account(self, project: str, name: str) -> account_contracts.ServiceAccountView:
        """Errors: NotFound."""
        return await self._get(_account(project, name), account_contracts.ServiceAccountView)

    async def create_service_account(
        self, project: str, wanted: account_contracts.ServiceAccountCreate
    ) -> account_contracts.ServiceAccountIssued:
        """Role admin. The answer has its secret, which is told this once. Errors: Conflict for a name that is taken."""
        return await self._post(_account(project), wanted, account_contracts.ServiceAccountIssued)

    async def update_service_account(
        self, project: str, name: str, patch: account_contracts.ServiceAccountPatch, *, version: str
    ) -> account_contracts.ServiceAccountView:
        """Role admin. `version` is that of the account one has looked at. Errors: PreconditionFailed."""
        body, headers = patch.model_dump(mode="json", exclude_unset=True), wire.if_match(version)
        asked = wire.Asked("PATCH", _account(project, name), body, headers=headers, is_keyed=True)
        return wire.read(self._url, account_contracts.ServiceAccountView, await self._send(asked))

    async def rotate_service_account(
        self, project: str, name: str, *, version: str
    ) -> account_contracts.ServiceAccountIssued:
        """Role admin. A new secret, told this once; the old one and every token count no more. Errors: PreconditionFailed."""
        path = _account(project, name) + "/rotate"
        return await self._post(path, None, account_contracts.ServiceAccountIssued, version=version)

    async def delete_service_account(self, project: str, name: str, *, version: str) -> None:
        """Role admin. With its roles and tokens. Errors: PreconditionFailed if somebody changed it since."""
        headers = wire.if_match(version)
        await self._send(wire.Asked("DELETE", _account(project, name), headers=headers, is_keyed=True))

    async def service_token(self, asked: account_contracts.ServiceTokenAsk) -> account_contracts.ServiceToken:
        """Of whoever has the secret, whatever token this client has; an empty one will do.

        Errors: Unauthenticated; PermissionDenied for more than the account has; RateLimited.
        """
        return await self._report("/api/v1/service-accounts:token", asked, account_contracts.ServiceToken)

    async def introspect_service_token(
        self, asked: account_contracts.ServiceTokenQuestion
    ) -> account_contracts.ServiceTokenState:
        """Does a token that somebody showed count, and what may he. Role service. Errors: PermissionDenied."""
        return await self._report("/api/v1/service-accounts:introspect", asked, account_contracts.ServiceTokenState)

    async def ask_access(
        self, project: str, asked: access_contracts.AccessRequestCreate
    ) -> access_contracts.AccessRequestView:
        """Any role in the project. Somebody else decides."""
        return await self._post(_access(project), asked, access_contracts.AccessRequestView)

    async def break_glass(
        self, project: str, asked: access_contracts.AccessRequestCreate
    ) -> access_contracts.AccessRequestView:
        """Roles developer, approver, admin. At once, alarmed, and reviewed later."""
        return await self._post(f"{_access(project)}:break-glass", asked, access_contracts.AccessRequestView)

    async def access_request(self, project: str, request_id: str) -> access_contracts.AccessRequestView:
        return await self._get(_access(project, request_id), access_contracts.AccessRequestView)

    async def access_requests(
        self, project: str, *, state: str = "", unreviewed: bool = False, before: str = "", limit: int = 100
    ) -> control.Page:
        """Newest first. `unreviewed`: broken glass without a review alone."""
        asked = {"state": state} if state else {}
        return await self._get(
            _access(project), control.Page, unreviewed=unreviewed, before=before, limit=limit, **asked
        )

    async def each_access_request(
        self, project: str, *, state: str = "", unreviewed: bool = False
    ) -> AsyncIterator[access_contracts.AccessRequestView]:
        """All of them, newest first, a page at a time."""
        before = ""
        while True:
            page = await self.access_requests(project, state=state, unreviewed=unreviewed, before=before)
            for item in page.items:
                yield access_contracts.AccessRequestView.model_validate(item)
            if not (before := page.next):
                return

    async def decide_access(
        self, project: str, request_id: str, *, approve: bool, reason: str = "", version: str = ""
    ) -> access_contracts.AccessRequestView:
        """Role admin; approver for `viewer` and `developer`. Errors: Conflict if it is not open any more.

        `version` is that of the request one has looked at; empty: as it is. Errors: PreconditionFailed.
        """
        decision = access_contracts.AccessDecision(approve=approve, reason=reason)
        path = _access(project, request_id) + "/decision"
        return await self._post(path, decision, access_contracts.AccessRequestView, version=version)

    async def revoke_access(
        self, project: str, request_id: str, *, reason: str, version: str = ""
    ) -> access_contracts.AccessRequestView:
        """Roles admin, approver, or whoever asked. Errors: Conflict if it has ended; PreconditionFailed."""
        path, why = _access(project, request_id) + "/revoke", access_contracts.AccessReason(reason=reason)
        return await self._post(path, why, access_contracts.AccessRequestView, version=version)

    async def review_access(
        self, project: str, request_id: str, *, finding: str, version: str = ""
    ) -> access_contracts.AccessRequestView:
        """Roles admin, approver; not whoever broke the glass. Errors: Conflict while it holds, or after a review."""
        path, why = _access(project, request_id) + "/review", access_contracts.AccessReason(reason=finding)
        return await self._post(path, why, access_contracts.AccessRequestView, version=version)

    async def expire_access(self, due: access_contracts.ExpireRequest) -> access_contracts.AccessRequestView:
        """Role service. Notes the end of what is due; what is not stays as it is."""
        path = _access(due.project, due.request_id) + "/expire"
        return await self._report(path, due, access_contracts.AccessRequestView)


def _budget(project: str, environment: str, period: str) -> str:
    return f"/api/v1/projects/{quote(project)}/budgets/{quote(environment)}/{quote(period)}"


def _quota(project: str) -> str:
    return f"/api/v1/projects/{quote(project)}/quota"


def _secret(project: str, name: str) -> str:
    return f"/api/v1/projects/{quote(project)}/secrets/{quote(name, safe='')}"


def _account(project: str, name: str = "") -> str:
    path = f"/api/v1/projects/{quote(project)}/service-accounts"
    return f"{path}/{quote(name, safe='')}" if name else path


def _member(project: str, actor: str) -> str:
    return f"/api/v1/projects/{quote(project)}/members/{quote(actor, safe='')}"


def _access(project: str, request_id: str = "") -> str:
    below = f"/{quote(request_id, safe='')}" if request_id else ""
    return f"/api/v1/projects/{quote(project)}/access-requests{below}"
