"""For each operation that changes something, a request that is taken: who sends it, where, and what lies before it.

Nothing can be said of a change that never was committed; so whoever sends generated requests begins from these. `mark` is
fresh each time, and makes what it names new.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platform_bundles
import platform_tenants as tenants
import polars as pl
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core import errors, identity, ids, settings, workspace
from mainspring.core.contracts import base
from mainspring.core.protection import keysets, sealing
from mainspring.core.supply import builders, provenance
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher as run_launcher

PROJECT: Final = "alpha"
PLACE: Final = f"/api/v1/projects/{PROJECT}"
ANY: Final = {"If-Match": "*"}
WORDS: Final = {"reason": "because"}


@dataclass(frozen=True)
class Taken:
    """A request that changes something, by somebody who may."""

    who: str
    body: Any = None
    names: Mapping[str, str] = field(default_factory=dict)
    """In the places of the path."""
    headers: Mapping[str, str] = field(default_factory=dict)


class House:
    """A control API with a project, whose admin is ana."""

    def __init__(self, client: TestClient[Any], launcher: run_launcher.MemoryLauncher, folder: Path) -> None:
        self.client, self.launcher = client, launcher
        self.settings = settings.load({}, directory=folder)
        self._marks = 0
        self.call("root", "POST", "/api/v1/projects", {"name": PROJECT, "owner": "o"})
        self.call("root", "PUT", f"{PLACE}/members/ana", {"roles": {"*": ["admin"]}})
        self.call("ana", "PUT", f"{PLACE}/members/vic", {"roles": {"*": ["viewer"]}})
        self.run("first", endpoint=f"e-{PROJECT}")

    def call(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = {"Authorization": f"Bearer {who}", **headers}
        answer = self.client.request(method, path, json=body, headers=sent)
        assert answer.is_success, (method, path, answer.text)
        return answer.json() if answer.content else None

    def mark(self) -> str:
        self._marks += 1
        return f"m{self._marks}"

    def run(self, cause: str, **fields: Any) -> str:
        body = {"project": PROJECT, "cause": cause, **fields}
        made: str = self.call("ana", "POST", "/api/v1/runs", body)["run_id"]
        return made


def app(folder: Path) -> tuple[Litestar, run_launcher.MemoryLauncher]:
    launcher = run_launcher.MemoryLauncher()
    s = settings.load({}, directory=folder)
    return control_app.create_app(s, issuer=identity.TokenIssuer(tenants.ACTORS), launcher=launcher), launcher


def _member(_: House, mark: str) -> Taken:
    names = {"project": PROJECT, "actor": f"actor-{mark}"}
    return Taken("ana", {"roles": {"dev": ["developer"]}}, names)


def _member_gone(house: House, mark: str) -> Taken:
    made = _member(house, mark)
    house.call("ana", "PUT", f"{PLACE}/members/{made.names['actor']}", made.body)
    return Taken("ana", None, made.names, ANY)


def _access(house: House, _: str) -> Taken:
    """Of one role there is one request at a time."""
    for state in ("open", "active"):
        for one in house.call("root", "GET", f"{PLACE}/access-requests?state={state}")["items"]:
            house.call("root", "POST", f"{PLACE}/access-requests/{one['request_id']}/revoke", WORDS)
    body = {"role": "developer", "environment": "dev", "minutes": 5, "reason": "because"}
    return Taken("ana", body, {"project": PROJECT})


def _asked(house: House, mark: str, how: str = "") -> dict[str, str]:
    made = house.call("ana", "POST", f"{PLACE}/access-requests{how}", _access(house, mark).body)
    return {"project": PROJECT, "request_id": made["request_id"]}


def _access_open(body: Any) -> Callable[[House, str], Taken]:
    def made(house: House, mark: str) -> Taken:
        _access(house, mark)
        return Taken("root", body, _asked(house, mark))

    return made


def _glass(house: House, mark: str) -> Taken:
    _access(house, mark)
    names = _asked(house, mark, ":break-glass")
    house.call("ana", "POST", f"{PLACE}/access-requests/{names['request_id']}/revoke", WORDS)
    return Taken("root", WORDS, names)


def _decided(house: House, mark: str) -> Taken:
    return Taken("root", {"approve": True, "reason": mark}, {"run_id": house.run(mark)})


def _approved(house: House, mark: str) -> Taken:
    made = _decided(house, mark)
    return Taken(made.who, made.body, {"approval_id": f"run:{made.names['run_id']}"})


def _resumed(house: House, mark: str) -> Taken:
    run_id = house.run(mark)
    house.launcher.fail(run_id)
    end = {"stage": "failed", "message": "stopped", "result": {"message": "stopped"}}
    told = {"event_key": run_id, "run_id": run_id, "action": "run.end", "actor": "ana", "detail": end}
    house.call("worker", "POST", f"/api/v1/runs/{run_id}/events", told)
    return Taken("ana", {"max_cost": 1.0}, {"run_id": run_id})


def _told(house: House, mark: str) -> Taken:
    run_id = house.run(mark)
    event = {"event_key": mark, "run_id": run_id, "action": "run.stage", "actor": "x", "detail": {}}
    return Taken("worker", event, {"run_id": run_id})


def _imported(house: House, mark: str) -> Taken:
    build = provenance.Build(builder=builders.IMPORT)
    folder = house.settings.stack.state_dir.parent
    digest = platform_bundles.signed(folder, build, project=PROJECT, card=mark)
    return Taken("ana", {"bundle_digest": digest}, {"project": PROJECT})


def _key_told(_: House, mark: str) -> Taken:
    event = {"event_key": mark, "run_id": "rotate-bundles", "action": "key.end", "actor": "x", "detail": {}}
    return Taken("worker", event, {"change_id": "rotate-bundles"})


def _filled(value: Any, mark: str) -> Any:
    """A body of the tenants' table, about this project and of this mark."""
    names = {"project": PROJECT, "usage": f"usage-{mark}", "entry": f"view.{mark}", "run_id": "run_nowhere"}
    if isinstance(value, dict):
        return {k: _filled(v, mark) for k, v in value.items()}
    if isinstance(value, list):
        return [_filled(v, mark) for v in value]
    return value.format(**names) if isinstance(value, str) else value


def _used(house: House, mark: str) -> Taken:
    return Taken("worker", {**_filled(tenants._usage(), mark), "run_id": house.run(mark)})


def _catalog(_: House, mark: str) -> Taken:
    entry = {"kind": "view", "name": "view.one", "owner": "o", "description": mark}
    return Taken("ana", {"entries": [entry]}, {"project": PROJECT}, ANY)


def _found(_: House, mark: str) -> Taken:
    body = {"entry": f"view.{mark}", "findings": [tenants.FINDING]}
    return Taken("ana", body, {"project": PROJECT})


def _found_decided(house: House, mark: str) -> Taken:
    house.call("ana", "POST", f"{PLACE}/classifications", _found(house, mark).body)
    body = {"entry": f"view.{mark}", "column": "mail", "confirm": True, "reason": mark}
    return Taken("ana", body, {"project": PROJECT})


def _sealed(house: House, mark: str) -> Taken:
    cipher = keysets.keyset(house.settings.protection, PROJECT).cipher()
    value = cipher.seal(pl.Series([mark]), sealing.Field("lake.intake", "mail", "joinable"))[0]
    body = {
        **_filled(tenants.SEALED, mark),
        "dataset": "lake.intake",
        "values": [value],
        "purpose": "prediction",
    }
    return Taken("ana", body, {"project": PROJECT})


def _assessed(_: House, mark: str) -> Taken:
    return Taken("ana", {**tenants.DPIA, "purpose": f"to see how {mark} comes along"}, {"project": PROJECT})


def _assessment_decided(house: House, mark: str) -> Taken:
    digest = house.call("ana", "POST", f"{PLACE}/dpia", _assessed(house, mark).body)["digest"]
    return Taken("root", {"digest": digest, "sign": True, "reason": mark + " is well"}, {"project": PROJECT})


def _private(_: House, mark: str) -> Taken:
    return Taken("ana", {"epsilon": 2.0, "reason": "because"}, {"project": PROJECT, "dataset": f"set.{mark}"})


def _data_read(_: House, mark: str) -> Taken:
    tables = [{"name": f"lake.{mark}", "columns": ["a"]}]
    return Taken("ana", {"environment": "prod", "datasets": tables}, {"project": PROJECT})


def _data_left(_: House, mark: str) -> Taken:
    asked = {
        "environment": "prod",
        "exit": "table",
        "destination": f"s3://partner/{mark}",
        "purpose": "a study",
    }
    return Taken("ana", asked, {"project": PROJECT})


def _notebook(_: House, __: str) -> Taken:
    asked = {"notebook_id": ids.new_id("notebook"), "change": "start", "cores": 1, "hours": 0.001}
    return Taken("ana", asked, {"project": PROJECT})


def _notebook_ended(_: House, mark: str) -> Taken:
    told = {"notebook_id": ids.new_id("notebook"), "reason": mark}
    return Taken("worker", told, {"project": PROJECT})


def _kept(_: House, __: str) -> Taken:
    asked = {"work_id": ids.new_id("notebook"), "environment": "dev", "ahead": {"cpu_core_hour": 0.001}}
    return Taken("worker", asked, {"project": PROJECT})


def _kept_no_more(house: House, mark: str) -> Taken:
    kept = _kept(house, mark).body
    house.call("worker", "POST", f"/api/v1/projects/{PROJECT}/reservations:renew", kept)
    return Taken("worker", {"work_id": kept["work_id"]}, {"project": PROJECT})


def _limited(_: House, mark: str) -> Taken:
    """A limit of its own for each mark, far above what is there."""
    limit = 500_000 + int.from_bytes(hashlib.sha256(mark.encode()).digest()[:2])
    return Taken("root", {"max_endpoints": limit}, {"project": PROJECT}, ANY)


_BUDGET = {"project": PROJECT, "environment": "dev", "period": "year"}


def _budgeted(_: House, mark: str) -> Taken:
    amount = 500_000 + int.from_bytes(hashlib.sha256(mark.encode()).digest()[:2])
    return Taken("root", {"amount": amount}, _BUDGET, ANY)


def _budget_gone(house: House, mark: str) -> Taken:
    made = _budgeted(house, mark)
    house.call("root", "PUT", f"{PLACE}/budgets/dev/year", made.body, **made.headers)
    return Taken("root", None, _BUDGET, ANY)


def _measured(_: House, __: str) -> Taken:
    """Younger than any before."""
    stored = {"measured_at": base.utc_now().isoformat(), "stored": {"tables": 1}}
    return Taken("worker", stored, {"project": PROJECT})


def _for_purposes(house: House, mark: str) -> Taken:
    # Of a view that no plan reads: runs of the project are for whatever they were.
    said = {"owner": "o", "description": "because"}
    entries = [{"kind": "view", "name": "view.bound", **said}, {"kind": "plan", "name": "plan", **said}]
    house.call("ana", "PUT", f"/api/v1/catalog/{PROJECT}", {"entries": entries})
    word = f"care-{hashlib.sha256(mark.encode()).hexdigest()[:8]}"
    asked = {"purposes": [word], "reason": "because"}
    return Taken("ana", asked, {"project": PROJECT, "entry": "view.bound"}, ANY)


def _secret(_: House, mark: str) -> Taken:
    return Taken(
        "ana", {**tenants.SECRET_REF, "description": mark}, {"project": PROJECT, "name": f"secret-{mark}"}
    )


def _secret_gone(house: House, mark: str) -> Taken:
    made = _secret(house, mark)
    house.call("ana", "PUT", f"{PLACE}/secrets/{made.names['name']}", made.body)
    return Taken("ana", None, made.names, ANY)


def _secret_used(house: House, mark: str) -> Taken:
    made = _secret(house, mark)
    house.call("ana", "PUT", f"{PLACE}/secrets/{made.names['name']}", made.body)
    return Taken("worker", {"run_id": house.run(mark), "step": "load"}, made.names)


def _account(_: House, mark: str) -> Taken:
    return Taken("ana", {**tenants.ACCOUNT, "name": f"ci-{mark}"}, {"project": PROJECT})


def _account_made(house: House, mark: str) -> Any:
    return house.call("ana", "POST", f"{PLACE}/service-accounts", _account(house, mark).body)


def _of_account(body: Any) -> Callable[[House, str], Taken]:
    def made(house: House, mark: str) -> Taken:
        name = _account_made(house, mark)["account"]["name"]
        return Taken("ana", body, {"project": PROJECT, "name": name}, ANY)

    return made


def _account_token(house: House, mark: str) -> Taken:
    made = _account_made(house, mark)
    return Taken("ana", {"client_id": made["client_id"], "client_secret": made["client_secret"]})


def _spent(house: House, mark: str) -> Taken:
    made = _private(house, mark)
    house.call("ana", "PUT", f"{PLACE}/privacy/{made.names['dataset']}", made.body)
    return Taken("ana", {**tenants.SPEND, "spend_key": f"spend-{mark:0>8}"}, made.names)


def _erased(_: House, mark: str) -> Taken:
    return Taken("ana", {**tenants.ERASURE, "key": mark}, {"project": PROJECT})


def _erasure(house: House, mark: str) -> dict[str, str]:
    made = house.call("ana", "POST", f"{PLACE}/erasures", _erased(house, mark).body)
    return {"project": PROJECT, "erasure_id": made["erasure_id"]}


def _erasure_decided(house: House, mark: str) -> Taken:
    return Taken("root", {"approve": True, "reason": mark}, _erasure(house, mark))


def _erasure_told(house: House, mark: str) -> Taken:
    return Taken("worker", {"state": "failed", "message": mark}, _erasure(house, mark))


def _held(_: House, mark: str) -> Taken:
    return Taken(
        "ana", {**tenants.HOLD, "subject": {"entity": "passenger", "key": mark}}, {"project": PROJECT}
    )


def _let_go(house: House, mark: str) -> Taken:
    made = house.call("ana", "POST", f"{PLACE}/holds", _held(house, mark).body)
    return Taken("root", {"reason": "it is over"}, {"project": PROJECT, "hold_id": made["hold_id"]})


def _let_go_decided(house: House, mark: str) -> Taken:
    asked = _let_go(house, mark)
    house.call("ana", "POST", f"{PLACE}/holds/{asked.names['hold_id']}/lift", asked.body)
    return Taken("root", {"approve": True, "reason": mark}, asked.names)


def _released(house: House, mark: str) -> Taken:
    lake = workspace.Workspace(house.settings.stack.state_dir, PROJECT, 0.5).lake
    with pytest.raises(errors.DataInvalid) as held:
        tenants.publish(lake, [int(mark[1:])] * 2)
    return Taken("root", WORDS, {"project": PROJECT, "name": str(held.value.quarantined)})


_SKEW: Final = {"project": PROJECT, "process": "skew"}


def _scheduled(house: House, mark: str) -> Taken:
    _schedule(house)
    return Taken("ana", {"every_minutes": 60 + int(mark[1:])}, _SKEW, ANY)


def _schedule(house: House) -> None:
    who = {"Authorization": "Bearer ana"}
    if house.client.get(f"{PLACE}/schedules/skew", headers=who).status_code == 404:
        house.call("ana", "PUT", f"{PLACE}/schedules/skew", {"every_minutes": 60})


def _unscheduled(house: House, _: str) -> Taken:
    _schedule(house)
    return Taken("ana", None, _SKEW, ANY)


def _prompted(house: House, _: str) -> Taken:
    _schedule(house)
    return Taken("ana", None, _SKEW)


def _packed(_: House, mark: str) -> Taken:
    pack = tenants._pack(mark)
    return Taken("ana", tenants._sent(pack), {"project": PROJECT, "digest": pack.digest})


def _rotated(house: House, mark: str) -> Taken:
    house.launcher.key_changes.clear()  # the one before has ended
    return Taken("root", {"reason": f"the month of {mark}"})


def _report(_: House, mark: str) -> Taken:
    body = _filled(tenants._report(), mark)
    body["report"]["findings"][0]["column"] = mark
    return Taken("worker", body)


def _alert(house: House, mark: str) -> Taken:
    made = house.call("worker", "POST", "/api/v1/monitoring/reports", _report(house, mark).body)
    return Taken("ana", WORDS, {"alert_id": made["alerts"][0]})


def _rules(_: House, mark: str) -> Taken:
    return Taken("ana", {"rules": [{"name": f"rule-{mark}"}]}, {"project": PROJECT}, ANY)


def _idle(_: House, mark: str) -> Taken:
    return Taken("worker", {"event_key": mark, "kind": "notice"}, {"name": f"e-{PROJECT}"})


#: By operation as `shape` has it.
TAKEN: Final[Mapping[str, Callable[[House, str], Taken]]] = {
    "POST /projects": lambda _, mark: Taken("root", {"name": f"made-{mark}", "owner": "o"}),
    "PATCH /projects/{}": lambda _, mark: Taken("ana", {"owner": mark}, {"name": PROJECT}, ANY),
    "PUT /projects/{}/members/{}": _member,
    "DELETE /projects/{}/members/{}": _member_gone,
    "POST /projects/{}/access-requests": _access,
    "POST /projects/{}/access-requests:break-glass": _access,
    "POST /projects/{}/access-requests/{}/decision": _access_open({"approve": True}),
    "POST /projects/{}/access-requests/{}/revoke": _access_open(WORDS),
    "POST /projects/{}/access-requests/{}/review": _glass,
    "POST /policies:dry-run": lambda _, __: Taken("root", {"policies": {}}),
    "POST /approvals/{}/decision": _approved,
    "POST /runs": lambda _, mark: Taken("ana", {"project": PROJECT, "cause": mark}),
    "POST /runs/{}/decision": _decided,
    "POST /runs/{}/cancel": lambda house, mark: Taken("ana", None, {"run_id": house.run(mark)}),
    "POST /runs/{}/resume": _resumed,
    "POST /runs/{}/events": _told,
    "POST /usage": _used,
    "POST /serving-usage": lambda _, mark: Taken("worker", {"records": [_filled(tenants._served(), mark)]}),
    "POST /projects/{}/storage": _measured,
    "POST /lineage": lambda _, mark: Taken(
        "worker", _filled(tenants._lineage(PROJECT, PROJECT, PROJECT), mark)
    ),
    "PUT /catalog/{}": _catalog,
    "POST /projects/{}/classifications": _found,
    "POST /projects/{}/classifications:decide": _found_decided,
    "POST /projects/{}/keyset:change": lambda _, __: Taken("ana", {"change": "rotate"}, {"project": PROJECT}),
    "POST /projects/{}/sealed:open": _sealed,
    "POST /projects/{}/dpia": _assessed,
    "POST /projects/{}/dpia:decide": _assessment_decided,
    "POST /projects/{}/data-reads": _data_read,
    "POST /projects/{}/data-exports": _data_left,
    "POST /projects/{}/notebooks:change": _notebook,
    "POST /projects/{}/notebooks:end": _notebook_ended,
    "POST /projects/{}/reservations:renew": _kept,
    "POST /projects/{}/reservations:end": _kept_no_more,
    "PUT /projects/{}/quota": _limited,
    "PUT /projects/{}/budgets/{}/{}": _budgeted,
    "DELETE /projects/{}/budgets/{}/{}": _budget_gone,
    "PUT /projects/{}/purposes/{}": _for_purposes,
    "PUT /projects/{}/secrets/{}": _secret,
    "DELETE /projects/{}/secrets/{}": _secret_gone,
    "POST /projects/{}/secrets/{}/use": _secret_used,
    "POST /projects/{}/service-accounts": _account,
    "PATCH /projects/{}/service-accounts/{}": _of_account({"description": "otherwise"}),
    "POST /projects/{}/service-accounts/{}/rotate": _of_account(None),
    "DELETE /projects/{}/service-accounts/{}": _of_account(None),
    "POST /service-accounts:token": _account_token,
    "PUT /projects/{}/privacy/{}": _private,
    "POST /projects/{}/privacy/{}/spends": _spent,
    "POST /projects/{}/erasures": _erased,
    "POST /projects/{}/erasures/{}/decision": _erasure_decided,
    "POST /projects/{}/erasures/{}/report": _erasure_told,
    "POST /projects/{}/holds": _held,
    "POST /projects/{}/holds/{}/lift": _let_go,
    "POST /projects/{}/holds/{}/decide": _let_go_decided,
    "POST /quarantine/{}/{}/release": _released,
    "PUT /projects/{}/schedules/{}": _scheduled,
    "DELETE /projects/{}/schedules/{}": _unscheduled,
    "POST /projects/{}/schedules/{}/runs": _prompted,
    "PUT /projects/{}/pipelines/{}": _packed,
    "POST /key-changes": _rotated,
    "POST /key-changes/{}/events": _key_told,
    "POST /projects/{}/models": _imported,
    "POST /projects/{}/evidence": lambda _, __: Taken("ana", tenants.EVIDENCE, {"project": PROJECT}),
    "POST /monitoring/reports": _report,
    "POST /alerts/{}/acknowledge": _alert,
    "POST /alerts/{}/resolve": _alert,
    "PUT /projects/{}/alert-rules": _rules,
    "POST /endpoints/{}/idle-events": _idle,
    "POST /projects/{}/retentions": lambda _, mark: Taken("worker", {"event_key": mark}, {"name": PROJECT}),
}

#: What commits nothing here, and why.
UNCOMMITTED: Final[Mapping[str, str]] = {
    "POST /runs/{}/canary": "steers what a deployment judges, and nothing is deployed here",
    "DELETE /endpoints/{}": "asks serving who answers there first, and it is away here",
    "POST /endpoints/{}/predict": "a question, sent by POST because it is long",
    "POST /endpoints/{}/explain": "a question, too",
    "POST /templates/{}/plan": "a question, too",
    "POST /service-accounts:introspect": "a question, sent by POST because it has a secret",
    "POST /projects/{}/access-requests/{}/expire": "changes what is due by the clock, and here no clock moves",
}


def shape(operation: str) -> str:
    """`POST /api/v1/runs/{run_id}` and its alias as `POST /runs/{}`."""
    return re.sub(r"^(\w+) (/api)?/v1/", r"\1 /", re.sub(r"\{[^}]*\}", "{}", operation))
