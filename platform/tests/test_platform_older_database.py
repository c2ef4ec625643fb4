"""A database that the version of 2026-11-24 (commit 1b95b6e) made opens without loss.

Dumped by `sqlite3.Connection.iterdump` from that commit's own control API: a project, a run, an event, one usage, a denial.
"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from mainspring.core import identity, settings
from mainspring.core.contracts import control
from mainspring.platform import database, plane
from mainspring.platform.audit import checkpoints, service
from mainspring.platform.costs import service as costs
from mainspring.platform.runs import launcher
from mainspring.platform.runs import service as runs

DUMP = r"""
BEGIN TRANSACTION;
CREATE TABLE audit (
	sequence INTEGER NOT NULL,
	event_id VARCHAR NOT NULL,
	event_key VARCHAR,
	at VARCHAR NOT NULL,
	actor VARCHAR NOT NULL,
	action VARCHAR NOT NULL,
	resource VARCHAR NOT NULL,
	outcome VARCHAR NOT NULL,
	detail VARCHAR NOT NULL,
	previous_hash VARCHAR NOT NULL,
	hash VARCHAR NOT NULL,
	PRIMARY KEY (sequence),
	UNIQUE (event_id),
	UNIQUE (event_key),
	UNIQUE (previous_hash)
);
INSERT INTO "audit" VALUES(1,'evt_01m8738cvp83zz91cr0amtdvxm',NULL,'2026-11-24T15:37:11.798695+00:00','developer@local','project.create','project/alpha','done','{"description":"","monthly_budget":null,"name":"alpha","owner":"team"}','sha256:0000000000000000000000000000000000000000000000000000000000000000','sha256:f370ad50458c198ea5306c0acc045fdbc38ed7e0dca0327a775a0bb81e8b0acf');
INSERT INTO "audit" VALUES(2,'evt_01m8738cwce1hk5n8r42kewcsr',NULL,'2026-11-24T15:37:11.820237+00:00','developer@local','run.start','run/run_01m8738cw9x3ffnm2dg4yjdx46','done','{"auto_approve_by":"","bundle_digest":null,"endpoint":"","environment":"dev","epochs":null,"idempotency_key":"k","kind":"train","project":"alpha","sample_fraction":1.0}','sha256:f370ad50458c198ea5306c0acc045fdbc38ed7e0dca0327a775a0bb81e8b0acf','sha256:99689bd7a0eeb737a518952118d91a68253b2aa3b7611e667d10dcfacda2c746');
INSERT INTO "audit" VALUES(3,'evt_01m8738cwpr1yjswzdwmxapwez','e','2026-11-24T15:37:11.830479+00:00','w','model.register','run/run_01m8738cw9x3ffnm2dg4yjdx46','done','{"reported_by":"service@local","stage":"register","ä":1.5}','sha256:99689bd7a0eeb737a518952118d91a68253b2aa3b7611e667d10dcfacda2c746','sha256:a688a585362f1d9a64c5989d026e12ba77f9f8b7a1e5feeadd1558717c41d9d0');
INSERT INTO "audit" VALUES(4,'evt_01m8738cx1ja6qh6tp983a56ea',NULL,'2026-11-24T15:37:11.841065+00:00','service@local','usage.record','usage/u','done','{"billed_cost":2.5,"billing_currency":"USD","charge_period_end":"2026-11-24T01:00:00Z","charge_period_start":"2026-11-24T00:00:00Z","consumed_quantity":1.0,"consumed_unit":"gpu-hours","environment":"dev","list_unit_price":2.5,"project":"alpha","run_id":"run_01m8738cw9x3ffnm2dg4yjdx46","service_name":"ray-train","sku_id":"gpu_hour","usage_key":"u"}','sha256:a688a585362f1d9a64c5989d026e12ba77f9f8b7a1e5feeadd1558717c41d9d0','sha256:c4554b7321d023e1d5d46517b3a6e0e169bfcf722f5be8a707196c88211d2130');
INSERT INTO "audit" VALUES(5,'evt_01m8738cxd19q9bfb7w3hnkw1t',NULL,'2026-11-24T15:37:11.854001+00:00','approver@local','project.create','project/beta','denied','{"code":"permission_denied","details":{"action":"developer","actor":"approver@local"},"kind":"denied","message":"`approver@local` has roles `approver`, this needs one of `developer`; ask an admin of the project","retryable":false}','sha256:c4554b7321d023e1d5d46517b3a6e0e169bfcf722f5be8a707196c88211d2130','sha256:d58fff7298b8337a3be3b54a4eddfd993813c7f88666000ba4e2903e647e21c8');
CREATE TABLE projects (
	name VARCHAR NOT NULL,
	owner VARCHAR NOT NULL,
	description VARCHAR NOT NULL,
	monthly_budget_nanos BIGINT,
	created_at VARCHAR NOT NULL,
	created_by VARCHAR NOT NULL,
	PRIMARY KEY (name)
);
INSERT INTO "projects" VALUES('alpha','team','',NULL,'2026-11-24T15:37:11.796177+00:00','developer@local');
CREATE TABLE runs (
	run_id VARCHAR NOT NULL,
	project VARCHAR NOT NULL,
	kind VARCHAR NOT NULL,
	environment VARCHAR NOT NULL,
	stage VARCHAR NOT NULL,
	requested_by VARCHAR NOT NULL,
	created_at VARCHAR NOT NULL,
	ended_at VARCHAR,
	request JSON NOT NULL,
	result JSON NOT NULL,
	idempotency_key VARCHAR,
	PRIMARY KEY (run_id),
	UNIQUE (requested_by, idempotency_key),
	FOREIGN KEY(project) REFERENCES projects (name)
);
INSERT INTO "runs" VALUES('run_01m8738cw9x3ffnm2dg4yjdx46','alpha','train','dev','register','developer@local','2026-11-24T15:37:11.817938+00:00',NULL,'{"project": "alpha", "kind": "train", "environment": "dev", "sample_fraction": 1.0, "epochs": null, "auto_approve_by": "", "endpoint": "", "bundle_digest": null, "idempotency_key": "k"}','{}','k');
CREATE TABLE usage (
	usage_key VARCHAR NOT NULL,
	project VARCHAR NOT NULL,
	run_id VARCHAR NOT NULL,
	service VARCHAR NOT NULL,
	started_at VARCHAR NOT NULL,
	cost_nanos BIGINT NOT NULL,
	currency VARCHAR NOT NULL,
	record JSON NOT NULL,
	"view" JSON NOT NULL,
	PRIMARY KEY (usage_key),
	FOREIGN KEY(project) REFERENCES projects (name)
);
INSERT INTO "usage" VALUES('u','alpha','run_01m8738cw9x3ffnm2dg4yjdx46','ray-train','2026-11-24T00:00:00+00:00',2500000000,'USD','{"usage_key": "u", "run_id": "run_01m8738cw9x3ffnm2dg4yjdx46", "project": "alpha", "environment": "dev", "service": "ray-train", "sku": "gpu_hour", "consumed_quantity": 1.0, "consumed_unit": "gpu-hours", "started_at": "2026-11-24T00:00:00Z", "ended_at": "2026-11-24T01:00:00Z"}','{"usage_key": "u", "run_id": "run_01m8738cw9x3ffnm2dg4yjdx46", "project": "alpha", "environment": "dev", "service_name": "ray-train", "sku_id": "gpu_hour", "consumed_quantity": 1.0, "consumed_unit": "gpu-hours", "list_unit_price": 2.5, "billed_cost": 2.5, "billing_currency": "USD", "charge_period_start": "2026-11-24T00:00:00Z", "charge_period_end": "2026-11-24T01:00:00Z"}');
CREATE INDEX ix_audit_resource ON audit (resource);
CREATE INDEX ix_runs_project ON runs (project);
CREATE INDEX ix_usage_run_id ON usage (run_id);
CREATE INDEX ix_usage_project ON usage (project);
CREATE INDEX ix_usage_started_at ON usage (started_at);
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;
COMMIT;
"""


def test_an_older_database_keeps_every_row_and_its_chain_and_goes_on(tmp_path: Path) -> None:
    s = settings.load({}, directory=tmp_path)
    s.stack.state_dir.mkdir()
    with sqlite3.connect(s.stack.state_dir / "control.db") as old:
        old.executescript(DUMP)
        tables = ("projects", "runs", "audit", "usage")
        before = {name: old.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    old.close()
    assert {name: len(rows) for name, rows in before.items()} == {
        "projects": 1,
        "runs": 1,
        "audit": 5,
        "usage": 1,
    }
    issuer = identity.TokenIssuer({"d": identity.Actor("developer@local", ("developer",))})

    async def story() -> None:
        db = database.Database(s.control.database_url)
        kept = checkpoints.embedded(db, s.stack.state_dir)
        one = plane.ControlPlane(db, issuer, launcher.MemoryLauncher(), s.cost, 2, kept)
        await db.open()
        try:
            assert (await service.verify(one, "Bearer d")).rows == await kept.take() == 5
            assert (await costs.summarise(one, "Bearer d", group_by="project", project="")).total == 2.5
            by_rate = await costs.summarise(one, "Bearer d", group_by="capacity", project="")
            assert by_rate.groups == {"on-demand": 2.5}, "it knew one price"
            # Its run has left `pending`, so the same key finds it and starts nothing.
            again = await runs.create(
                one, "Bearer d", control.RunCreate(project="alpha", idempotency_key="k")
            )
            assert again.stage == "register" and again.cost == 2.5
            await runs.create(one, "Bearer d", control.RunCreate(project="alpha", idempotency_key="new"))
            assert await kept.take() == 7 and (await service.verify(one, "Bearer d")).ok
        finally:
            await db.close()

    asyncio.run(story())
    with sqlite3.connect(s.stack.state_dir / "control.db") as now:
        for name in ("projects", "audit", "usage", "runs"):
            order = " ORDER BY created_at LIMIT 1" if name == "runs" else ""
            found = now.execute(f"SELECT * FROM {name}{order}").fetchall()
            assert len(found) >= len(before[name])
            for was, row in zip(before[name], found, strict=False):
                # Columns that came later are at its end, and empty, but for the one that the database makes of what the row has.
                later = {None, "dev"} if name == "usage" else {None}
                assert row[: len(was)] == was and set(row[len(was) :]) <= later
    now.close()


def test_runs_of_an_older_database_say_whose_an_endpoint_is(tmp_path: Path) -> None:
    s = settings.load({}, directory=tmp_path)
    s.stack.state_dir.mkdir()
    with sqlite3.connect(s.stack.state_dir / "control.db") as old:
        old.executescript(DUMP)
        old.execute("UPDATE runs SET request = json_set(request, '$.endpoint', 'delay')")
    old.close()

    async def upgrade() -> None:
        db = database.Database(s.control.database_url)
        await db.open()
        await db.close()

    asyncio.run(upgrade())
    with sqlite3.connect(s.stack.state_dir / "control.db") as now:
        (claim,) = now.execute("SELECT name, project, environment, claimed_by FROM endpoints").fetchall()
    now.close()
    assert claim == ("delay", "alpha", "dev", "developer@local")
