"""Made by tools/async_client.py from ../protection.py; change that. What tells of persons in a project's data: found, decided, masked and opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

from mainspring.core.client.api.awaited import AsyncConnection
from mainspring.core.contracts import (
    control,
    data_exports,
    data_reads,
    dpia,
    keysets,
    privacy,
    protection,
    training,
)
from mainspring.core.contracts import erasure as erasure_contracts
from mainspring.core.contracts import keys as key_contracts
from mainspring.core.contracts import masking as mask_contracts
from mainspring.core.contracts import purposes as purpose_contracts


class AsyncProtection(AsyncConnection):
    """Classification, keys, masking, sealed values and impact assessments."""

    async def classifications(
        self, project: str, *, entry: str = "", state: str = "", after: str = "", limit: int = 100
    ) -> control.Page:
        """By entry and column. `state`: `open`, `confirmed` or `rejected`; empty: all."""
        asked = {"state": state} if state else {}
        return await self._get(_classified(project), control.Page, entry=entry, after=after, limit=limit, **asked)

    async def find_classifications(self, project: str, found: protection.Findings) -> protection.FindingsReceipt:
        """Roles service, developer, admin. The same again changes nothing."""
        return await self._post(_classified(project), found, protection.FindingsReceipt)

    async def decide_classification(
        self, project: str, decision: protection.ClassificationDecision
    ) -> protection.ClassificationView:
        """Roles approver, admin. Errors: NotFound for a column that nobody knows of."""
        return await self._post(f"{_classified(project)}:decide", decision, protection.ClassificationView)

    async def keyset(self, project: str) -> keysets.KeysetView:
        """Never a key: ids, and what they are wrapped by."""
        return await self._get(_keyset(project), keysets.KeysetView)

    async def change_keyset(self, project: str, asked: keysets.KeysetChange) -> keysets.KeysetView:
        """Role admin."""
        return await self._post(f"{_keyset(project)}:change", asked, keysets.KeysetView)

    async def masking(
        self, project: str, *, purposes: Sequence[str] = (), environment: str = ""
    ) -> mask_contracts.MaskingSection:
        """What serving of `environment` is to show of the project's views, as the policies say. Empty: one where values are seen."""
        path, asked = f"/api/v1/projects/{quote(project)}/masking", {"purpose": list(purposes)}
        where = {"environment": environment} if environment else {}
        return await self._get(path, mask_contracts.MaskingSection, **asked, **where)

    async def purposes(self, project: str, *, after: str = "", limit: int = 100) -> control.Page:
        """What datasets and views may be used for, by name; items are `purpose_contracts.PurposesView`."""
        return await self._get(_purposes(project), control.Page, after=after, limit=limit)

    async def purposes_of(self, project: str, entry: str) -> purpose_contracts.PurposesView:
        """Of one dataset or view. Errors: NotFound."""
        return await self._get(_purposes(project, entry), purpose_contracts.PurposesView)

    async def put_purposes(
        self, project: str, entry: str, wanted: purpose_contracts.PurposesPut, *, version: str
    ) -> purpose_contracts.PurposesView:
        """Roles approver, admin. `version` is that of what one has looked at. Errors: NotFound; PreconditionFailed."""
        body = wanted.model_dump(mode="json")
        return await self._put(_purposes(project, entry), body, purpose_contracts.PurposesView, version=version)

    async def read_data(self, project: str, read: data_reads.DataRead) -> data_reads.DataReadView:
        """Roles service, developer, admin. On record. Errors: PolicyDenied where the environment does not read it as it is."""
        return await self._post(f"/api/v1/projects/{quote(project)}/data-reads", read, data_reads.DataReadView)

    async def export_data(self, project: str, wanted: data_exports.DataExport) -> data_exports.DataExportView:
        """Roles developer, approver, admin, service. On record. Errors: PolicyDenied where it may not leave for there."""
        return await self._post(
            f"/api/v1/projects/{quote(project)}/data-exports", wanted, data_exports.DataExportView
        )

    async def open_sealed(self, project: str, asked: mask_contracts.OpenRequest) -> mask_contracts.Opened:
        """Roles approver, admin, as policies say. On record with its purpose and reason."""
        return await self._post(f"/api/v1/projects/{quote(project)}/sealed:open", asked, mask_contracts.Opened)

    async def keys(self, *, after: str = "", limit: int = 200) -> control.Page:
        """Roles: any of the platform. Public halves and ids, nothing that is secret; items are `keys.KeyView`."""
        return await self._get("/api/v1/keys", control.Page, after=after, limit=limit)

    async def change_keys(self, wanted: key_contracts.KeyChange) -> training.RunStatus:
        """Role: admin of the platform. Errors: Conflict while a rotation of that kind is under way."""
        return await self._post("/api/v1/key-changes", wanted, training.RunStatus)

    async def key_change(self, change_id: str) -> training.RunStatus:
        """Where it is; `detail` is a `keys.KeyResult` as far as it is known."""
        return await self._get(f"/api/v1/key-changes/{quote(change_id)}", training.RunStatus)

    async def report_key_change(self, event: training.RunEvent) -> control.AuditView:
        """Role service. Idempotent by `event_key`; `run_id` is the change's."""
        path = f"/api/v1/key-changes/{quote(event.run_id, safe='')}/events"
        return await self._report(path, event, control.AuditView)

    async def privacy_budgets(self, project: str, *, after: str = "", limit: int = 100) -> control.Page:
        """By dataset, with what is left."""
        return await self._get(_privacy(project), control.Page, after=after, limit=limit)

    async def each_privacy_budget(self, project: str) -> AsyncIterator[privacy.PrivacyBudgetView]:
        """All of them by dataset, a page at a time."""
        after = ""
        while True:
            page = await self.privacy_budgets(project, after=after)
            for item in page.items:
                yield privacy.PrivacyBudgetView.model_validate(item)
            if not (after := page.next):
                return

    async def put_privacy_budget(
        self, project: str, dataset: str, wanted: privacy.PrivacyBudgetPut, *, version: str = ""
    ) -> privacy.PrivacyBudgetView:
        """Role admin. `version` is that of the budget one has looked at; empty: a new one.

        Errors: Conflict for less than was spent; PreconditionFailed if somebody changed it since, PreconditionRequired if there is one.
        """
        body = wanted.model_dump(mode="json")
        return await self._put(_privacy(project, dataset), body, privacy.PrivacyBudgetView, version=version)

    async def spend_privacy(self, project: str, dataset: str, asked: privacy.PrivacySpend) -> privacy.PrivacySpent:
        """Roles developer, approver, admin. Errors: BudgetExceeded, and then nothing is charged."""
        return await self._post(f"{_privacy(project, dataset)}/spends", asked, privacy.PrivacySpent)

    async def dpias(self, project: str, *, before: str = "", limit: int = 20) -> control.Page:
        """Impact assessments, newest first."""
        return await self._get(_dpia(project), control.Page, before=before, limit=limit)

    async def submit_dpia(self, project: str, answers: dpia.DpiaAnswers) -> dpia.DpiaView:
        """Roles developer, admin."""
        return await self._post(_dpia(project), answers, dpia.DpiaView)

    async def decide_dpia(self, project: str, decision: dpia.DpiaDecision) -> dpia.DpiaView:
        """Roles approver, admin; somebody else than who handed it in. Errors: Conflict if it is not open."""
        return await self._post(f"{_dpia(project)}:decide", decision, dpia.DpiaView)

    async def erasures(self, project: str, *, before: str = "", limit: int = 100) -> control.Page:
        """Newest first, without certificates."""
        return await self._get(_erasures(project), control.Page, before=before, limit=limit)

    async def erasure(self, project: str, erasure_id: str) -> erasure_contracts.ErasureView:
        """With its certificate, once it is done. Errors: NotFound."""
        return await self._get(f"{_erasures(project)}/{quote(erasure_id)}", erasure_contracts.ErasureView)

    async def request_erasure(
        self, project: str, asked: erasure_contracts.ErasureCreate
    ) -> erasure_contracts.ErasureView:
        """Roles: developer, approver, admin. Errors: PolicyDenied by a legal hold; Conflict; DependencyDown: ask again."""
        return await self._post(_erasures(project), asked, erasure_contracts.ErasureView)

    async def decide_erasure(
        self, project: str, erasure_id: str, decision: erasure_contracts.ErasureDecision
    ) -> erasure_contracts.ErasureView:
        """Roles: approver, admin, and not who asked. Errors: PolicyDenied; Conflict if it is not open."""
        return await self._post(
            f"{_erasures(project)}/{quote(erasure_id)}/decision", decision, erasure_contracts.ErasureView
        )

    async def report_erasure(
        self, project: str, erasure_id: str, told: erasure_contracts.ErasureReport
    ) -> erasure_contracts.ErasureView:
        """Role service. How it ended; the same again changes nothing. Errors: Conflict if it has ended otherwise."""
        return await self._report(
            f"{_erasures(project)}/{quote(erasure_id)}/report", told, erasure_contracts.ErasureView
        )


def _classified(project: str) -> str:
    return f"/api/v1/projects/{quote(project)}/classifications"


def _keyset(project: str) -> str:
    return f"/api/v1/projects/{quote(project)}/keyset"


def _purposes(project: str, entry: str = "") -> str:
    below = f"/{quote(entry, safe='')}" if entry else ""
    return f"/api/v1/projects/{quote(project)}/purposes{below}"


def _dpia(project: str) -> str:
    return f"/api/v1/projects/{quote(project)}/dpia"


def _privacy(project: str, dataset: str = "") -> str:
    below = f"/{quote(dataset, safe='')}" if dataset else ""
    return f"/api/v1/projects/{quote(project)}/privacy{below}"


def _erasures(project: str) -> str:
    return f"/api/v1/projects/{quote(project)}/erasures"
