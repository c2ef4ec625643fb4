"""Two tenants with one of everything each, and a table of requests over the whole route table of the control API."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core import errors, identity, settings, workspace
from mainspring.core.contracts import dpia, pipelines
from mainspring.core.features import folders
from mainspring.core.lineage import jobs, openlineage_adapter
from mainspring.core.monitoring import pages
from mainspring.core.quality import expectations, gate, measures
from mainspring.core.quality.report import QualityReport
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

ACTORS = {
    "root": identity.Actor("root", ("admin",)),
    "worker": identity.Actor("worker", ("service",)),
    "ana": identity.Actor("ana", ()),
    "eva": identity.Actor("eva", ("a-role-of-another-system",)),
    "uno": identity.Actor("uno", ()),
    "vic": identity.Actor("vic", ()),
}
DIGEST = "sha256:" + "a" * 64
TIMES = {name: datetime(2026, 11, 1, 10, tzinfo=UTC).isoformat() for name in ("started_at", "ended_at")}
#: Is in everything that is ana's, and in nothing else.
SECRET = "zebra"


@dataclass
class Names:
    """What a request can name: one tenant's things, or what there is nowhere."""

    project: str
    run_id: str
    actor: str
    batch: str
    entry: str
    scheduled: str
    usage: str
    access: str
    pack: str
    plain_pack: str
    """One that is nobody's: everybody may try to bring it."""
    report: str
    alert: str
    erasure: str = "era_00000000000000000000000000"
    hold: str = "hold_00000000000000000000000000"
    bundle: str = DIGEST
    """Of contents, which may be the same everywhere."""

    def fill(self, value: Any) -> Any:
        """Put the names in the places of a path, a query or a body."""
        if isinstance(value, dict):
            return {k: self.fill(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        return value.format(**vars(self)) if isinstance(value, str) else value

    def unnamed(self, text: str) -> str:
        for one in sorted(vars(self).values(), key=len, reverse=True):
            text = text.replace(one, "?")
        return text


@dataclass(frozen=True)
class Asked:
    """One request. `may_answer`: a list or a sum, which is of what one may see and not refused."""

    method: str
    path: str
    body: Any = None
    query: str = ""
    may_answer: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def _usage() -> dict[str, Any]:
    return {
        "usage_key": "{usage}",
        "run_id": "{run_id}",
        "project": "{project}",
        "service": "ray-train",
        "sku": "cpu_core_hour",
        "consumed_quantity": 2.5,
        "consumed_unit": "core-hours",
        **TIMES,
    }


def _served() -> dict[str, Any]:
    return {
        "usage_key": "s-{usage}",
        "project": "{project}",
        "endpoint": "e-{project}",
        "model_version": DIGEST,
        "caller": "c-{project}",
        "requests": 1,
        "predictions": 1,
        "cpu_microseconds": 1,
        **TIMES,
    }


def _report(bundle: str = DIGEST) -> dict[str, Any]:
    """An endpoint's window with an alarm."""
    alarm = {"kind": "scores", "severity": "alarm", "value": 1, "limit": 0.5, "message": "scores of {entry}"}
    report = {
        "project": "{project}",
        "endpoint": "e-{project}",
        "bundle_digest": bundle,
        "begins": TIMES["started_at"],
        "ends": TIMES["ended_at"],
        "rows": 1000,
        "known": 0,
        "findings": [alarm],
        "kpis": [{"name": "loss", "rows": 900, "mean": 0.25, "total": 225, "error": 0.01}],
    }
    return {"report": report, "made_by": "w-{entry}"}


def _lineage(reads: str, makes: str, job: str) -> dict[str, Any]:
    run, at = jobs.JobRun("beta", "join", "run_1"), datetime(2026, 11, 1, 10, tzinfo=UTC)
    one, other = (jobs.Dataset(name, "v1", "view") for name in "xy")
    told: dict[str, Any] = json.loads(
        openlineage_adapter.to_json(run, "COMPLETE", at=at, reads=[one], makes=[other])
    )
    told["job"]["namespace"] = job
    told["inputs"][0].update(namespace=reads, name="{entry}")
    told["outputs"][0].update(namespace=makes, name="{entry}-made")
    return told


def _pack(mark: str) -> pipelines.Pack:
    node = pipelines.Node(name="load", function="nightly:load", gives="int")
    graph = pipelines.PipelineGraph(name="nightly", nodes=(node,))
    return pipelines.Pack(sources={"nightly.py": f"# {mark}\n"}, graph=graph)


def _sent(pack: pipelines.Pack) -> dict[str, Any]:
    return pack.model_dump(mode="json", exclude_defaults=True)


_PIPELINE = "/api/v1/projects/{project}/pipelines/"
_PLAIN = _pack("of nobody")
_V = ("/api/v1", "/v1")
_MEMBER, SCHEDULE = "/projects/{project}/members/{actor}", "/api/v1/projects/{project}/schedules/skew"
ACCESS = "/api/v1/projects/{project}/access-requests"
WANTED = {"role": "admin", "reason": "because"}
KEYSET = "/api/v1/projects/{project}/keyset"
SEALED = {"dataset": "{entry}", "column": "mail", "values": ["x"], "purpose": "care", "reason": "because"}
DPIA = {
    name: "legitimate-interests"
    if name == "lawful_basis"
    else False
    if field.annotation is bool
    else "words " * 3
    for name, field in dpia.DpiaAnswers.model_fields.items()
    if field.is_required()
}
NOTEBOOK = "notebook_01m8mh3n29kg4kyge1e15v4pm0"
PURPOSES = "/api/v1/projects/{project}/purposes"
PURPOSE = {"purposes": ["care"], "reason": "because"}
SECRETS = "/api/v1/projects/{project}/secrets"
SECRET_REF = {"place": "openbao:kv/warehouse#password", "description": "because"}
ACCOUNTS = "/api/v1/projects/{project}/service-accounts"
ACCOUNT = {"name": "made", "owner": "ana", "description": "because", "roles": {"dev": ["developer"]}}
QUOTA = "/api/v1/projects/{project}/quota"
LIMITS = {"max_endpoints": 100}
BUDGETS = "/api/v1/projects/{project}/budgets"
STORAGE = "/api/v1/projects/{project}/storage"
MEASURED = {"measured_at": TIMES["ended_at"], "stored": {"tables": 1}}
PRIVACY = "/api/v1/projects/{project}/privacy"
ERASURES = "/api/v1/projects/{project}/erasures"
ERASURE = {"entity": "person", "key": "p-1", "ground": "objection", "reason": "because"}
HOLDS = "/api/v1/projects/{project}/holds"
HOLD = {"matter": "12", "reason": "because", "subject": {"entity": "person", "key": "p-2"}}
SPEND = {"epsilon": 0.1, "question": "count", "spend_key": "spend-12345", "reason": "because"}
CLASSIFIED = "/api/v1/projects/{project}/classifications"
FINDING = {"column": "mail", "kind": "email", "classification": "confidential", "confidence": 0.9}
_IF = {"If-Match": "*"}
EVIDENCE = {"since": "2026-11-01T00:00:00Z", "until": "2026-12-01T00:00:00Z"}
#: Questions that are sent by POST: whoever may look may ask them, and nothing of them is on record.
ASKING = ("predict", "explain")
#: One that services alone may ask; nothing of it is on record either.
OF_TOKENS = "service-accounts:introspect"
REQUESTS = (
    Asked("GET", "/api/v1/me", may_answer=True),
    Asked("GET", "/api/v1/projects", may_answer=True),
    Asked("GET", "/api/v1/projects/{project}"),
    Asked("PATCH", "/api/v1/projects/{project}", {"owner": "thief"}, headers=_IF),
    *(Asked("GET", v + "/projects/{project}/members") for v in _V),
    *(Asked("GET", v + _MEMBER) for v in _V),
    *(Asked("PUT", v + _MEMBER, {"roles": {"*": ["admin"]}}, headers=_IF) for v in _V),
    *(Asked("DELETE", v + _MEMBER, headers=_IF) for v in _V),
    *(Asked("POST", v + "/policies:dry-run", {"policies": {}}) for v in _V),
    Asked("GET", "/api/v1/approvals", may_answer=True),
    Asked("GET", "/api/v1/approvals", query="state=decided", may_answer=True),
    # Of one's own, too, the answer says what the caller may do.
    Asked("GET", "/api/v1/approvals", query="project={project}", may_answer=True),
    Asked("GET", "/api/v1/approvals/run:{run_id}"),
    Asked("POST", "/api/v1/approvals/run:{run_id}/decision", {"approve": True}),
    Asked("GET", ACCESS),
    Asked("GET", ACCESS, query="unreviewed=true"),
    Asked("POST", ACCESS, WANTED),
    Asked("POST", ACCESS + ":break-glass", WANTED),
    Asked("GET", ACCESS + "/{access}"),
    Asked("POST", ACCESS + "/{access}/decision", {"approve": True}),
    Asked("POST", ACCESS + "/{access}/revoke", {"reason": "because"}),
    Asked("POST", ACCESS + "/{access}/review", {"reason": "because"}),
    Asked(
        "POST",
        ACCESS + "/{access}/expire",
        {"project": "{project}", "request_id": "{access}", "state": "open", "due_at": TIMES["ended_at"]},
    ),
    Asked("POST", "/api/v1/projects/{project}/retentions", {"event_key": "kept-1"}),
    Asked("GET", "/api/v1/keys"),
    Asked("POST", "/api/v1/key-changes", {"reason": "because"}),
    Asked("GET", "/api/v1/key-changes/rotate-{project}"),
    Asked(
        "POST",
        "/api/v1/key-changes/rotate-{project}/events",
        {"run_id": "rotate-{project}", "event_key": "k", "action": "key.end", "actor": "x", "detail": {}},
    ),
    Asked("GET", "/api/v1/runs", may_answer=True),
    Asked("GET", "/api/v1/runs", query="project={project}", may_answer=True),
    Asked("GET", "/api/v1/runs", query="open=true", may_answer=True),
    Asked("POST", "/api/v1/runs", {"project": "{project}"}),
    Asked("POST", "/api/v1/runs", {"project": "{project}", "environment": "moon"}),
    Asked("GET", "/api/v1/runs/{run_id}"),
    Asked("GET", "/api/v1/runs/{run_id}/logs"),
    Asked("POST", "/api/v1/runs/{run_id}/decision", {"approve": True}),
    Asked("POST", "/api/v1/runs/{run_id}/cancel"),
    Asked("POST", "/api/v1/runs/{run_id}/resume", {}),
    Asked("GET", "/api/v1/runs/{run_id}/canary"),
    Asked("POST", "/api/v1/runs/{run_id}/canary", {"order": "pause", "reason": "because"}),
    Asked(
        "POST",
        "/api/v1/runs/{run_id}/events",
        {"run_id": "{run_id}", "event_key": "k-{run_id}", "action": "run.end", "actor": "x", "detail": {}},
    ),
    Asked("GET", "/api/v1/endpoints", may_answer=True),
    Asked("GET", "/api/v1/endpoints", query="project={project}"),
    Asked("GET", "/api/v1/endpoints/e-{project}"),
    *(Asked("GET", v + "/events", query="after=0&until_idle=true", may_answer=True) for v in _V),
    Asked("GET", "/v1/events", query="after=0&until_idle=true&project={project}"),
    Asked("GET", "/v1/events", query="after=0&until_idle=true&run={run_id}"),
    Asked("GET", "/v1/events", query="after=0&until_idle=true&endpoint=e-{project}"),
    Asked("GET", "/api/v1/endpoints/e-{project}/live"),
    Asked("GET", "/api/v1/endpoints/e-{project}/history"),
    Asked("DELETE", "/api/v1/endpoints/e-{project}"),
    *(Asked("POST", f"/api/v1/endpoints/e-{{project}}/{verb}", {"rows": [{"x": 1.0}]}) for verb in ASKING),
    Asked("GET", "/api/v1/models", may_answer=True),
    Asked("GET", "/api/v1/models", query="project={project}"),
    Asked("GET", "/api/v1/models/{project}/{bundle}"),
    Asked("POST", "/api/v1/projects/{project}/models", {"bundle_digest": "{bundle}"}),
    Asked("GET", "/api/v1/idle-endpoints", may_answer=True),
    Asked("GET", "/api/v1/idle-endpoints", query="project={project}"),
    Asked("POST", "/api/v1/endpoints/e-{project}/idle-events", {"event_key": "k", "kind": "notice"}),
    Asked("GET", "/api/v1/audit", query="limit=500", may_answer=True),
    Asked("GET", "/api/v1/audit", query="newest=true&resource=run/{run_id}", may_answer=True),
    Asked("GET", "/api/v1/audit/1/proof"),
    Asked("GET", "/api/v1/audit:verify"),
    Asked("GET", "/api/v1/audit:export"),
    Asked("POST", "/api/v1/projects/{project}/evidence", EVIDENCE),
    Asked("POST", "/api/v1/usage", _usage()),
    *(
        Asked("GET", "/api/v1/costs", query=f"group_by={key}", may_answer=True)
        for key in ("project", "run", "service", "environment", "sku", "capacity", "tag:team")
    ),
    Asked("GET", "/api/v1/costs", query="project={project}"),
    Asked("GET", "/api/v1/costs:untagged", may_answer=True),
    Asked("GET", "/api/v1/costs:untagged", query="project={project}"),
    Asked("GET", "/api/v1/costs:chargeback", query="month=2026-11"),
    Asked("GET", "/api/v1/costs:showback", query="month=2026-11", may_answer=True),
    Asked("GET", "/api/v1/costs:showback", query="month=2026-11&project={project}"),
    Asked("GET", "/api/v1/costs:units", may_answer=True),
    Asked("GET", "/api/v1/costs:units", query="project={project}"),
    Asked("GET", "/api/v1/costs:oversize", may_answer=True),
    Asked("GET", "/api/v1/costs:oversize", query="project={project}"),
    Asked("GET", "/api/v1/costs:forecast", may_answer=True),
    Asked("GET", "/api/v1/costs:forecast", query="project={project}"),
    Asked("GET", "/api/v1/costs:standing", query="run={run_id}&project={project}", may_answer=True),
    Asked("GET", "/api/v1/costs:records", may_answer=True),
    Asked("GET", "/api/v1/costs:records", query="project={project}"),
    Asked("POST", "/api/v1/serving-usage", {"records": [_served()]}),
    *(
        Asked("GET", "/api/v1/serving-usage", query=f"group_by={key}", may_answer=True)
        for key in ("project", "endpoint", "model_version", "caller")
    ),
    Asked("GET", "/api/v1/serving-usage", query="project={project}"),
    Asked("POST", f"/api/v1/{OF_TOKENS}", {"token": "msat_guess"}),
    # A job of one's own that writes into another's graph, that says it read from it, and one that is another's.
    *(
        Asked("POST", v + "/lineage", _lineage(*where))
        for v, where in itertools.product(
            _V,
            (
                ("beta", "{project}", "beta"),
                ("{project}", "beta", "beta"),
                ("beta", "beta", "{project}"),
            ),
        )
    ),
    *(
        Asked("GET", v + "/lineage/{project}/{entry}:" + way)
        for v in _V
        for way in ("upstream", "downstream")
    ),
    Asked("GET", "/api/v1/lineage:walk", query="direction=upstream&namespace={project}&name={entry}"),
    Asked(
        "GET",
        "/api/v1/lineage:rows",
        query="project={project}&model_version=v1&as_of=2026-11-01T10:00:00Z&entity=a:b",
    ),
    *(Asked("PUT", v + "/catalog/{project}", {"entries": []}) for v in _V),
    *(Asked("GET", v + "/catalog/{project}") for v in _V),
    *(Asked("GET", v + "/catalog", may_answer=True) for v in _V),
    *(Asked("GET", v + "/catalog", query="project={project}", may_answer=True) for v in _V),
    *(Asked("GET", v + "/catalog/{project}/{entry}") for v in _V),
    Asked("GET", KEYSET),
    Asked("POST", KEYSET + ":change", {"change": "rotate"}),
    Asked("GET", "/api/v1/projects/{project}/masking", query="purpose=care"),
    Asked("POST", "/api/v1/projects/{project}/sealed:open", SEALED),
    Asked(
        "POST",
        "/api/v1/projects/{project}/notebooks:change",
        {"notebook_id": NOTEBOOK, "change": "start", "cores": 1, "hours": 0.01},
    ),
    Asked("POST", "/api/v1/projects/{project}/notebooks:end", {"notebook_id": NOTEBOOK, "reason": "{entry}"}),
    Asked(
        "POST",
        "/api/v1/projects/{project}/reservations:renew",
        {"work_id": NOTEBOOK, "environment": "dev", "ahead": {"cpu_core_hour": 0.001}},
    ),
    Asked("POST", "/api/v1/projects/{project}/reservations:end", {"work_id": NOTEBOOK}),
    Asked(
        "POST",
        "/api/v1/projects/{project}/data-reads",
        {"environment": "prod", "datasets": [{"name": "lake.{entry}", "columns": ["a"]}]},
    ),
    Asked(
        "POST",
        "/api/v1/projects/{project}/data-exports",
        {"environment": "prod", "exit": "table", "destination": "s3://partner/{entry}"},
    ),
    Asked("GET", PURPOSES),
    Asked("GET", PURPOSES + "/{entry}"),
    Asked("PUT", PURPOSES + "/{entry}", PURPOSE, headers=_IF),
    Asked("GET", SECRETS),
    Asked("GET", SECRETS + "/warehouse"),
    Asked("PUT", SECRETS + "/warehouse", SECRET_REF, headers=_IF),
    Asked("POST", SECRETS + "/warehouse/use", {"run_id": "{run_id}", "step": "load"}),
    Asked("DELETE", SECRETS + "/warehouse", headers=_IF),
    Asked("GET", ACCOUNTS),
    Asked("POST", ACCOUNTS, ACCOUNT),
    Asked("GET", ACCOUNTS + "/warehouse"),
    Asked("PATCH", ACCOUNTS + "/warehouse", {"description": "otherwise"}, headers=_IF),
    Asked("POST", ACCOUNTS + "/warehouse/rotate", headers=_IF),
    Asked("DELETE", ACCOUNTS + "/warehouse", headers=_IF),
    Asked("GET", QUOTA),
    Asked("GET", BUDGETS),
    Asked("GET", BUDGETS + "/dev/week"),
    Asked("PUT", BUDGETS + "/dev/week", {"amount": 7.0}, headers=_IF),
    Asked("DELETE", BUDGETS + "/dev/week", headers=_IF),
    Asked("GET", STORAGE),
    Asked("POST", STORAGE, MEASURED),
    Asked("PUT", QUOTA, LIMITS, headers=_IF),
    Asked("GET", PRIVACY),
    Asked("PUT", PRIVACY + "/{entry}", {"epsilon": 2.0, "reason": "because"}),
    Asked("POST", PRIVACY + "/{entry}/spends", SPEND),
    Asked("GET", ERASURES),
    Asked("POST", ERASURES, ERASURE),
    Asked("GET", ERASURES + "/{erasure}"),
    Asked("POST", ERASURES + "/{erasure}/decision", {"approve": True}),
    Asked("POST", ERASURES + "/{erasure}/report", {"state": "rejected"}),
    Asked("GET", HOLDS),
    Asked("POST", HOLDS, HOLD),
    Asked("GET", HOLDS, query="in_force=true"),
    Asked("GET", HOLDS + "/{hold}"),
    Asked("POST", HOLDS + "/{hold}/lift", {"reason": "because"}),
    Asked("POST", HOLDS + "/{hold}/decide", {"approve": True}),
    Asked("GET", "/api/v1/projects/{project}/dpia"),
    Asked("POST", "/api/v1/projects/{project}/dpia", DPIA),
    Asked(
        "POST",
        "/api/v1/projects/{project}/dpia:decide",
        {"digest": DIGEST, "sign": True, "reason": "because"},
    ),
    Asked("GET", CLASSIFIED),
    Asked("GET", CLASSIFIED, query="entry={entry}&state=open"),
    Asked("POST", CLASSIFIED, {"entry": "{entry}", "findings": [FINDING]}),
    Asked("POST", CLASSIFIED + ":decide", {"entry": "{entry}", "column": "mail", "confirm": True}),
    Asked("GET", "/api/v1/quarantine/{project}"),
    Asked("GET", "/api/v1/quarantine/{project}/{batch}"),
    Asked("POST", "/api/v1/quarantine/{project}/{batch}/release", {"reason": "because"}),
    Asked("PUT", _PIPELINE + "{plain_pack}", _sent(_PLAIN)),
    Asked("GET", _PIPELINE + "{pack}"),
    *(Asked("POST", v + "/monitoring/reports", _report("sha256:" + "b" * 64)) for v in _V),
    *(Asked("GET", v + "/monitoring/reports", may_answer=True) for v in _V),
    *(Asked("GET", v + "/monitoring/reports", query="project={project}") for v in _V),
    *(Asked("GET", v + "/monitoring/reports/{report}") for v in _V),
    *(Asked("GET", v + "/monitoring/reports/{report}/page") for v in _V),
    *(Asked("GET", v + "/alerts", may_answer=True) for v in _V),
    *(Asked("GET", v + "/alerts", query="project={project}") for v in _V),
    *(Asked("GET", v + "/alerts/{alert}") for v in _V),
    *(Asked("POST", v + "/alerts/{alert}/acknowledge", {"reason": "because"}) for v in _V),
    *(Asked("POST", v + "/alerts/{alert}/resolve", {"reason": "because"}) for v in _V),
    *(Asked("GET", v + "/projects/{project}/alert-rules") for v in _V),
    *(Asked("PUT", v + "/projects/{project}/alert-rules", {}) for v in _V),
    Asked("PUT", SCHEDULE, {"every_minutes": 5}, headers=_IF),
    Asked("GET", SCHEDULE),
    Asked("GET", "/api/v1/projects/{project}/schedules"),
    Asked("DELETE", SCHEDULE, headers=_IF),
    Asked("POST", SCHEDULE + "/runs"),
    Asked("GET", "/api/v1/metrics", may_answer=True),
    Asked("GET", SCHEDULE + "/runs/{scheduled}"),
)
#: Name nothing that anybody has: what they make is the caller's, and templates are of the release.
NAMELESS = {
    "POST /api/v1/projects",
    "GET /api/v1/environments",
    # Of the platform: no tenant gets an answer (`test_platform_policy_list.py`).
    "GET /api/v1/policies",
    "GET /api/v1/policies/{}",
    "GET /api/v1/policies:versions",
    # Grows with each look: who sees what of it is in `test_platform_read_decisions.py`.
    "GET /api/v1/policies:reads",
    "GET /api/v1/templates",
    "GET /api/v1/templates/{}",
    "POST /api/v1/templates/{}/plan",
    # By an account's own secret, and nobody's token.
    "POST /api/v1/service-accounts:token",
}
OPEN = ("/healthz", "/readyz", "/metrics", "/schema", "/portal")


def is_whole(asked: Asked) -> bool:
    """Of the platform as a whole, or of rows that nobody has here: no tenant gets an answer."""
    return any(word in asked.path for word in ("audit", "rows", "/key", ":chargeback"))


NOWHERE = Names(
    "nowhere",
    "run_00000000000000000000000000",
    "nobody-there",
    "batch-nowhere",
    "view.nowhere",
    "schedule-nowhere",
    "usage-nowhere",
    "access-nowhere",
    "sha256:" + "0" * 64,
    _PLAIN.digest,
    "report_00000000000000000000000000",
    "alert_00000000000000000000000000",
)


def publish(target: Path, ids: list[int]) -> None:
    """A batch that is held if an id is in it twice."""
    suite = expectations.Suite(dataset="things", expectations=(expectations.Unique(columns=("id",)),))

    def write(new: Path) -> Mapping[str, Any]:
        pl.DataFrame({"id": ids}).write_parquet(new / "rows.parquet")
        return {}

    def checks(new: Path, _: Mapping[str, Any], __: Mapping[str, QualityReport]) -> list[QualityReport]:
        return [measures.evaluate(suite, pl.scan_parquet(new / "rows.parquet"))]

    made: folders.Folder = gate.publish(target, kind="lake", inputs={"ids": ids}, write=write, checks=checks)
    assert made.path.exists()


class World:
    """ana's project with one of everything, beside eva's, which has its own."""

    def __init__(self, client: TestClient[Any], state: Path) -> None:
        self.client = client
        self.theirs = self.fill("ana", f"alpha-{SECRET}", state)
        self.own = self.fill("eva", "beta", state)
        self.call(
            "root", "PUT", f"/api/v1/projects/{self.theirs.project}/members/vic", {"roles": {"*": ["viewer"]}}
        )

    def call(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.client.request(
            method, path, json=body, headers={"Authorization": f"Bearer {who}", **headers}
        )
        assert answer.is_success, (method, path, answer.text)
        return answer.json() if answer.content else None

    def ask(self, who: str, asked: Asked, names: Names) -> tuple[int, str]:
        path = names.fill(asked.path) + (f"?{names.fill(asked.query)}" if asked.query else "")
        answer = self.client.request(
            asked.method,
            path,
            json=names.fill(asked.body),
            headers={"Authorization": f"Bearer {who}", **asked.headers},
        )
        return answer.status_code, answer.text

    def fill(self, owner: str, project: str, state: Path) -> Names:
        mark = SECRET if SECRET in project else "plain"
        self.call("root", "POST", "/api/v1/projects", {"name": project, "owner": mark, "description": mark})
        place = f"/api/v1/projects/{project}"
        self.call("root", "PUT", f"{place}/members/{owner}", {"roles": {"*": ["admin"]}})
        self.call(owner, "PUT", f"{place}/members/member-{mark}", {"roles": {"dev": ["developer"]}})
        run = self.call(
            owner, "POST", "/api/v1/runs", {"project": project, "cause": mark, "endpoint": f"e-{project}"}
        )
        trained = self.call(owner, "POST", "/api/v1/runs", {"project": project, "cause": mark})["run_id"]
        made = {"stage": "done", "result": {"bundle_digest": DIGEST, "model_name": mark}}
        ended = {"run_id": trained, "event_key": trained, "action": "run.end", "actor": "x", "detail": made}
        self.call("worker", "POST", f"/api/v1/runs/{trained}/events", ended)
        self.call(owner, "PUT", f"{place}/schedules/skew", {"every_minutes": 60})
        scheduled = self.call(owner, "POST", f"{place}/schedules/skew/runs")["run_id"]
        asked = {"role": "developer", "reason": mark}
        access = self.call(owner, "POST", f"{place}/access-requests", asked)
        lake = workspace.Workspace(state, project, 0.5).lake
        publish(lake, [1, 2])
        with pytest.raises(errors.DataInvalid) as held:
            publish(lake, [7, 7, 7] if mark == SECRET else [8, 8])
        batch = held.value.quarantined
        pack = _pack(mark)
        self.call(owner, "PUT", f"{place}/pipelines/{pack.digest}", _sent(pack))
        names = Names(
            project,
            run["run_id"],
            f"member-{mark}",
            batch,
            f"view.{mark}",
            scheduled,
            f"usage-{mark}",
            access["request_id"],
            pack.digest,
            _PLAIN.digest,
            "",
            "",
        )
        wanted = {**ERASURE, "reason": f"asked by {mark}"}
        names.erasure = self.call(owner, "POST", f"{place}/erasures", wanted)["erasure_id"]
        held = {**HOLD, "reason": f"held by {mark}"}
        names.hold = self.call(owner, "POST", f"{place}/holds", held)["hold_id"]
        rules = {"rules": [{"name": f"rule-{mark}"}]}
        self.call(owner, "PUT", f"{place}/alert-rules", rules)
        page = pages.leave(state / "monitoring/reports", f"<html>of {mark}</html>")
        told = {**names.fill(_report()), "html_digest": page}
        found = self.call("worker", "POST", "/api/v1/monitoring/reports", told)
        names.report, (names.alert,) = found["report_id"], found["alerts"]
        entry = {"kind": "view", "name": names.entry, "owner": mark, "description": mark}
        self.call(owner, "PUT", f"/api/v1/catalog/{project}", {"entries": [entry]})
        ref = {"place": f"openbao:kv/{mark}#password", "description": mark}
        self.call(owner, "PUT", f"{place}/secrets/warehouse", ref)
        account = {**ACCOUNT, "name": "warehouse", "owner": owner, "description": mark}
        self.call(owner, "POST", f"{place}/service-accounts", account)
        said = {"purposes": [f"study-{mark}"], "reason": mark}
        self.call(owner, "PUT", f"{place}/purposes/{names.entry}", said)
        self.call("root", "PUT", f"{place}/quota", {"max_endpoints": 200})
        self.call("worker", "POST", f"{place}/storage", MEASURED)
        self.call("root", "PUT", f"{place}/budgets/dev/week", {"amount": 200.0})
        self.call(owner, "PUT", f"{place}/privacy/{names.entry}", {"epsilon": 1.0, "reason": mark})
        found = {"entry": names.entry, "findings": [{**FINDING, "reasons": [mark]}]}
        self.call(owner, "POST", f"{place}/classifications", found)
        self.call(owner, "POST", "/api/v1/lineage", names.fill(_lineage(project, project, project)))
        # A service tells of what crosses projects: from each into one that both could reach by.
        crossing = names.fill(_lineage(project, "shared", "shared"))
        crossing["outputs"][0]["name"] = "common"
        self.call("worker", "POST", "/api/v1/lineage", crossing)
        self.call("worker", "POST", "/api/v1/usage", names.fill(_usage()))
        self.call("worker", "POST", "/api/v1/serving-usage", {"records": [names.fill(_served())]})
        return names


@pytest.fixture
def app(tmp_path: Path) -> Litestar:
    s = settings.load({}, directory=tmp_path)
    engine = launcher.MemoryLauncher()
    made = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=engine)
    made.state["engine"] = engine
    return made


@pytest.fixture
def world(app: Litestar, tmp_path: Path) -> Iterator[World]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield World(client, settings.load({}, directory=tmp_path).stack.state_dir)
