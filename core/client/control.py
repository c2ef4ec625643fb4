"""The control API, typed: every answer is a contract, every refusal one of our errors.

    with ControlClient("http://127.0.0.1:8080", token) as client:
        for run in client.each_run(project="flight-delay"):
            print(run.run_id, run.stage)

:class:`AsyncControlClient` has the same methods, awaited, and `async for` where these are iterated over.
"""

from __future__ import annotations

from mainspring.core.client.api import data, monitoring, projects, protection, runs
from mainspring.core.client.api.generated import data as async_data
from mainspring.core.client.api.generated import monitoring as async_monitoring
from mainspring.core.client.api.generated import projects as async_projects
from mainspring.core.client.api.generated import protection as async_protection
from mainspring.core.client.api.generated import runs as async_runs

__all__ = ["AsyncControlClient", "ControlClient"]


class ControlClient(
    projects.Projects, runs.Runs, data.Data, data.Records, monitoring.Monitoring, protection.Protection
):
    """One connection pool. Thread-safe, as httpx.Client is.

    A request without an answer, or that was asked to come later, is sent again (`retries`), a change with the same
    `Idempotency-Key`: it is made once. What has a version is changed as it was looked at: the views have it as `version`.
    Errors of every method: what the API answered, rebuilt from its code; DependencyDown if nothing answers,
    DeadlineExceeded if it takes longer than `timeout_seconds`.
    """


class AsyncControlClient(
    async_projects.AsyncProjects,
    async_runs.AsyncRuns,
    async_data.AsyncData,
    async_data.AsyncRecords,
    async_monitoring.AsyncMonitoring,
    async_protection.AsyncProtection,
):
    """As :class:`ControlClient`, for the tasks of one event loop: `async with`, and every method awaited."""
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def create_project(self, request: control.ProjectCreate) -> control.ProjectView:
        return self._post("/api/v1/projects", request, control.ProjectView)

    def project(self, name: str) -> control.ProjectView:
        return self._get(f"/api/v1/projects/{name}", control.ProjectView)

    def update_project(self, name: str, patch: control.ProjectPatch, *, version: str) -> control.ProjectView:
        """Role admin. `version` is that of the project one has looked at. Errors: PreconditionFailed."""
        body = patch.model_dump(mode="json", exclude_unset=True)
        headers = {"If-Match": f'"{version}"'}
        answer = self._send("PATCH", f"/api/v1/projects/{quote(name)}", body, {}, headers)
        return self._read(control.ProjectView, answer)

    def projects(self, *, after: str = "", limit: int = 100) -> control.Page:
        return self._get("/api/v1/projects", control.Page, after=after, limit=limit)

    def members(self, project: str, *, after: str = "", limit: int = 100) -> control.Page:
        return self._get(f"/api/v1/projects/{quote(project)}/members", control.Page, after=after, limit=limit)

    def member(self, project: str, actor: str) -> member_contracts.MemberView:
        return self._get(_member(project, actor), member_contracts.MemberView)

    def put_member(
        self, project: str, actor: str, wanted: member_contracts.MemberPut, *, version: str = ""
    ) -> member_contracts.MemberView:
        """Role admin. Exactly these roles. `version` is that of the member one has looked at; empty: a new one."""
        headers = {"If-Match": f'"{version}"'} if version else {}
        answer = self._send("PUT", _member(project, actor), wanted.model_dump(mode="json"), {}, headers)
        return self._read(member_contracts.MemberView, answer)

    def remove_member(self, project: str, actor: str, *, version: str) -> None:
        """Role admin. Errors: PreconditionFailed if somebody changed it since."""
        self._send("DELETE", _member(project, actor), None, {}, {"If-Match": f'"{version}"'})

    def ask_access(
        self, project: str, asked: access_contracts.AccessRequestCreate
    ) -> access_contracts.AccessRequestView:
        """Any role in the project. Somebody else decides."""
        return self._post(_access(project), asked, access_contracts.AccessRequestView)

    def break_glass(
        self, project: str, asked: access_contracts.AccessRequestCreate
    ) -> access_contracts.AccessRequestView:
        """Roles developer, approver, admin. At once, alarmed, and reviewed later."""
        return self._post(f"{_access(project)}:break-glass", asked, access_contracts.AccessRequestView)

    def access_request(self, project: str, request_id: str) -> access_contracts.AccessRequestView:
        return self._get(_access(project, request_id), access_contracts.AccessRequestView)

    def access_requests(
        self, project: str, *, state: str = "", unreviewed: bool = False, before: str = "", limit: int = 100
    ) -> control.Page:
        """Newest first. `unreviewed`: broken glass without a review alone."""
        asked = {"state": state} if state else {}
        return self._get(
            _access(project), control.Page, unreviewed=unreviewed, before=before, limit=limit, **asked
        )

    def decide_access(
        self, project: str, request_id: str, *, approve: bool, reason: str = ""
    ) -> access_contracts.AccessRequestView:
        """Role admin; approver for `viewer` and `developer`. Errors: Conflict if it is not open any more."""
        decision = access_contracts.AccessDecision(approve=approve, reason=reason)
        path = _access(project, request_id) + "/decision"
        return self._post(path, decision, access_contracts.AccessRequestView)

    def revoke_access(
        self, project: str, request_id: str, *, reason: str
    ) -> access_contracts.AccessRequestView:
        """Roles admin, approver, or whoever asked. Errors: Conflict if it has ended."""
        path = _access(project, request_id) + "/revoke"
        return self._post(
            path, access_contracts.AccessReason(reason=reason), access_contracts.AccessRequestView
        )

    def review_access(
        self, project: str, request_id: str, *, finding: str
    ) -> access_contracts.AccessRequestView:
        """Roles admin, approver; not whoever broke the glass. Errors: Conflict while it holds, or after a review."""
        path = _access(project, request_id) + "/review"
        return self._post(
            path, access_contracts.AccessReason(reason=finding), access_contracts.AccessRequestView
        )

    def keys(self, *, after: str = "", limit: int = 200) -> control.Page:
        """Roles: any of the platform. Public halves and ids, nothing that is secret; items are `keys.KeyView`."""
        return self._get("/api/v1/keys", control.Page, after=after, limit=limit)

    def change_keys(self, wanted: key_contracts.KeyChange) -> training.RunStatus:
        """Role: admin of the platform. Errors: Conflict while a rotation of that kind is under way."""
        return self._post("/api/v1/key-changes", wanted, training.RunStatus)

    def key_change(self, change_id: str) -> training.RunStatus:
        """Where it is; `detail` is a `keys.KeyResult` as far as it is known."""
        return self._get(f"/api/v1/key-changes/{quote(change_id)}", training.RunStatus)

    def idle_endpoints(self, *, project: str = "", after: str = "", limit: int = 100) -> control.Page:
        """By name; items are `idling.IdleEndpoint`."""
        return self._get("/api/v1/idle-endpoints", control.Page, project=project, after=after, limit=limit)

    def try_policies(self, trial: policy_contracts.PolicyTrial) -> policy_contracts.PolicyTrialResult:
        """Roles approver, admin. What the policies would have decided otherwise."""
        return self._post("/api/v1/policies:dry-run", trial, policy_contracts.PolicyTrialResult)

    def put_pipeline(
        self, project: str, pack: pipelines.Pack, *, environment: str = "dev"
    ) -> pipelines.PackReceipt:
        """Role developer. Keep a built pipeline; the same again changes nothing."""
        body = pack.model_dump(mode="json", exclude_defaults=True)
        path = f"/api/v1/projects/{quote(project)}/pipelines/{pack.digest}"
        return self._read(pipelines.PackReceipt, self._send("PUT", path, body, {"environment": environment}))

    def pipeline(self, project: str, digest: str) -> pipelines.Pack:
        return self._get(f"/api/v1/projects/{quote(project)}/pipelines/{quote(digest)}", pipelines.Pack)

    def create_run(self, request: control.RunCreate) -> control.RunView:
        return self._post("/api/v1/runs", request, control.RunView)

    def run(self, run_id: str) -> control.RunView:
        return self._get(f"/api/v1/runs/{run_id}", control.RunView)

    def runs(self, *, project: str = "", before: str = "", limit: int = 50) -> control.Page:
        return self._get("/api/v1/runs", control.Page, project=project, before=before, limit=limit)

    def decide(self, run_id: str, *, approve: bool, reason: str = "", step: str = "") -> control.RunView:
        """`step`: which approval of a pipeline is meant, where several wait."""
        decision = control.DecisionCreate(approve=approve, reason=reason, step=step)
        return self._post(f"/api/v1/runs/{run_id}/decision", decision, control.RunView)

    def cancel(self, run_id: str) -> control.RunView:
        return self._post(f"/api/v1/runs/{run_id}/cancel", None, control.RunView)

    def report(self, event: training.RunEvent) -> control.AuditView:
        """Role service. Idempotent by `event_key`."""
        return self._post(f"/api/v1/runs/{event.run_id}/events", event, control.AuditView)

    def record_usage(self, record: training.UsageRecord) -> control.CostView:
        """Role service. Idempotent by `usage_key`."""
        return self._post("/api/v1/usage", record, control.CostView)

    def record_serving_usage(self, records: Sequence[metering.ServingUsage]) -> metering.ServingUsageReceipt:
        """Role service. All of them or none; idempotent by each record's `usage_key`."""
        batch = metering.ServingUsageBatch(records=list(records))
        return self._post("/api/v1/serving-usage", batch, metering.ServingUsageReceipt)

    def serving_usage(
        self, *, group_by: str = "model_version", project: str = ""
    ) -> metering.ServingUsageSummary:
        answer = metering.ServingUsageSummary
        return self._get("/api/v1/serving-usage", answer, group_by=group_by, project=project)

    def put_catalog(self, project: str, entries: Sequence[catalog.CatalogEntry]) -> catalog.CatalogReceipt:
        """Roles service, developer. The whole catalog of a project; the same again changes nothing."""
        body = catalog.CatalogPut(entries=list(entries)).model_dump(mode="json")
        return self._read(
            catalog.CatalogReceipt, self._send("PUT", f"/api/v1/catalog/{quote(project)}", body, {})
        )

    def search_catalog(self, *, after: str = "", limit: int = 100, **wanted: Any) -> control.Page:
        """`wanted`: `search`, `project`, `kind`, `classification`, `owner`, `pii`."""
        return self._get("/api/v1/catalog", control.Page, after=after, limit=limit, **wanted)

    def catalog_entry(self, project: str, name: str) -> catalog.CatalogView:
        return self._get(f"/api/v1/catalog/{quote(project)}/{quote(name)}", catalog.CatalogView)

    def quarantine(self, project: str, *, after: str = "", limit: int = 100) -> control.Page:
        return self._get(f"/api/v1/quarantine/{quote(project)}", control.Page, after=after, limit=limit)

    def held_batch(self, project: str, name: str) -> quality.HeldBatch:
        return self._get(f"/api/v1/quarantine/{quote(project)}/{quote(name)}", quality.HeldBatch)

    def release_batch(self, project: str, name: str, *, reason: str) -> quality.HeldBatch:
        """Role approver."""
        path = f"/api/v1/quarantine/{quote(project)}/{quote(name)}/release"
        return self._post(path, quality.ReleaseCreate(reason=reason), quality.HeldBatch)

    def put_schedule(
        self, project: str, process: schedules.Process, wanted: schedules.ScheduleCreate
    ) -> schedules.ScheduleView:
        """Role developer. The same again changes nothing."""
        body = wanted.model_dump(mode="json")
        return self._read(schedules.ScheduleView, self._send("PUT", _schedule(project, process), body, {}))

    def schedule(self, project: str, process: schedules.Process) -> schedules.ScheduleView:
        return self._get(_schedule(project, process), schedules.ScheduleView)

    def remove_schedule(self, project: str, process: schedules.Process) -> None:
        """Role developer. What runs goes on."""
        self._send("DELETE", _schedule(project, process), None, {})

    def run_schedule(self, project: str, process: schedules.Process) -> schedules.ScheduledOutcome:
        """Role developer. Starts it beside its times; :meth:`scheduled_run` says what became of it."""
        return self._post(_schedule(project, process) + "/runs", None, schedules.ScheduledOutcome)

    def scheduled_run(
        self, project: str, process: schedules.Process, run_id: str
    ) -> schedules.ScheduledOutcome:
        path = f"{_schedule(project, process)}/runs/{quote(run_id)}"
        return self._get(path, schedules.ScheduledOutcome)

    def record_lineage(self, event: Mapping[str, Any]) -> lineage.LineageReceipt:
        """One OpenLineage run event, kept and on record. Roles service, developer, admin of every project that it tells of."""
        return self._read(lineage.LineageReceipt, self._send("POST", "/api/v1/lineage", dict(event), {}))

    def walk_lineage(
        self,
        direction: lineage.Direction,
        namespace: str,
        name: str,
        *,
        version: str = "",
        column: str = "",
        kind: str = "",
    ) -> lineage.LineageGraph:
        asked = {"direction": direction, "namespace": namespace, "name": name}
        return self._get(
            "/api/v1/lineage:walk", lineage.LineageGraph, **asked, version=version, column=column, kind=kind
        )

    def prediction_rows(
        self, project: str, model_version: str, *, as_of: datetime, entity: Mapping[str, Any]
    ) -> lineage.PredictionRows:
        """The row of each view that a prediction for `entity` at `as_of` came from."""
        asked = {"project": project, "model_version": model_version, "as_of": as_of.isoformat()}
        keys = [f"{key}:{value}" for key, value in entity.items()]
        return self._get("/api/v1/lineage:rows", lineage.PredictionRows, **asked, entity=keys)

    def audit(self, *, after: str = "", limit: int = 100) -> control.Page:
        return self._get("/api/v1/audit", control.Page, after=after, limit=limit)

    def export_audit(self) -> Iterator[bytes]:
        """The audit log in pieces of whole lines, as `mainspring audit verify --export` reads it."""
        try:
            with self._http.stream("GET", "/api/v1/audit:export", timeout=None) as answer:
                if not answer.is_success:
                    answer.read()
                    raise errors.from_wire(answer.json())
                yield from answer.iter_raw()
        except httpx.HTTPError as error:
            raise errors.DependencyDown(
                f"the export from `{self._url}` broke off: {error}; ask for it again", name="control"
            ) from error

    def export_evidence(self, project: str, asked: evidence.EvidenceCreate) -> evidence.EvidencePack:
        """Roles approver, admin. A signed zip file in base64; a long time takes its while."""
        return self._post(f"/api/v1/projects/{quote(project)}/evidence", asked, evidence.EvidencePack)

    def verify_audit(self) -> dict[str, Any]:
        """`ok`, `rows`, `head`, and where the chain breaks, if it does."""
        answer: dict[str, Any] = self._send("GET", "/api/v1/audit:verify", None, {})
        return answer

    def costs(
        self, *, group_by: str = "project", project: str = "", since: str = "", until: str = ""
    ) -> control.CostSummary:
        """Of use that began in [`since`, `until`), times as RFC 3339; empty: without a limit."""
        period = _period(since, until)
        return self._get("/api/v1/costs", control.CostSummary, group_by=group_by, project=project, **period)

    def cost_records(
        self, *, project: str = "", since: str = "", until: str = ""
    ) -> Iterator[control.CostView]:
        """Priced records one by one, by usage key; the period as in :meth:`costs`."""
        asked, after = {"project": project, **_period(since, until)}, ""
        while True:
            page = self._get("/api/v1/costs:records", control.Page, **asked, after=after)
            yield from (control.CostView.model_validate(item) for item in page.items)
            if not (after := page.next):
                return

    def is_ready(self) -> bool:
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def _get(self, path: str, answer: type[M], **params: Any) -> M:
        return self._read(answer, self._send("GET", path, None, params))

    def _post(self, path: str, body: BaseModel | None, answer: type[M]) -> M:
        json = None if body is None else body.model_dump(mode="json")
        return self._read(answer, self._send("POST", path, json, {}))

    def _read(self, answer: type[M], body: Any) -> M:
        try:
            return answer.model_validate(body)
        except ValidationError as error:
            raise errors.Broken(
                f"`{self._url}` answered what is no `{answer.__name__}`; is it a control API of this version?"
            ) from error

    def _send(
        self,
        method: str,
        path: str,
        json: Any,
        params: dict[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        try:
            answer = self._http.request(method, path, json=json, params=params, headers=headers)
        except httpx.TimeoutException as error:
            raise errors.DeadlineExceeded(
                f"the control API at `{self._url}` did not answer in time; see `mainspring status`",
                stage="control",
            ) from error
        except httpx.HTTPError as error:
            raise errors.DependencyDown(
                f"no control API at `{self._url}`: {error}; start it with `mainspring up`", name="control"
            ) from error
        try:
            body = answer.json()
        except ValueError:
            body = {}
        if answer.is_success:
            return body
        if isinstance(body, dict) and "code" in body:
            raise errors.from_wire(body)
        raise errors.Broken(
            f"`{self._url}` answered {answer.status_code} without a reason of ours; see its log"
        )


def _member(project: str, actor: str) -> str:
    return f"/api/v1/projects/{quote(project)}/members/{quote(actor, safe='')}"


def _period(since: str, until: str) -> dict[str, str]:
    return {name: at for name, at in (("since", since), ("until", until)) if at}


def _access(project: str, request_id: str = "") -> str:
    below = f"/{quote(request_id, safe='')}" if request_id else ""
    return f"/api/v1/projects/{quote(project)}/access-requests{below}"


def _schedule(project: str, process: schedules.Process) -> str:
    return f"/api/v1/projects/{quote(project)}/schedules/{process}"
