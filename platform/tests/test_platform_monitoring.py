"""Reports and alerts on a real database: one alert for each finding, met again and again, seen to, told, and on record."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import platform_api
import platform_smtp
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import errors, identity, secrets, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import alerts, base
from mainspring.core.monitoring import metric_rules
from mainspring.platform import app as control_app
from mainspring.platform import database, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.monitoring import mail, rule_files, store, telling, webhooks
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
on_both = pytest.mark.usefixtures("database_url")

T0 = datetime(2026, 11, 8, tzinfo=UTC)
KEY = b"k" * 32
ACTORS = {
    n: identity.Actor(f"{n}@local", (n,)) for n in ("service", "developer", "approver", "viewer", "admin")
}


def finding(kind: str = "scores", *, severity: str = "alarm", subject: str = "") -> dict[str, Any]:
    return {
        "kind": kind, "severity": severity, "subject": subject, "value": 0.4, "limit": 0.25,
        "message": f"{kind} of {subject or 'all'} moved",
    }  # fmt: skip


class World:
    """A project with an endpoint that is watched, day by day."""

    def __init__(self, client: TestClient[Any], s: settings.Settings) -> None:
        self.client, self.settings = client, s
        self.call("admin", "POST", "/api/v1/projects", 201, {"name": "flights", "owner": "team"})

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None, **params: Any) -> Any:
        headers = {"Authorization": f"Bearer {role}"}
        answer = self.client.request(method, path, json=body, params=params, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None

    def check(
        self, day: int, *findings: dict[str, Any], expect: int = 201, role: str = "service", **report: Any
    ) -> Any:
        ends = T0 + timedelta(days=day)
        body = {
            "project": "flights", "endpoint": "flights", "bundle_digest": "sha256:" + "a" * 64,
            "begins": (ends - timedelta(days=7)).isoformat(), "ends": ends.isoformat(),
            "rows": 1000, "known": 900, "findings": list(findings),
        }  # fmt: skip
        return self.call(role, "POST", "/v1/monitoring/reports", expect, {"report": body | report})

    def rules(self, **rules: Any) -> Any:
        """Put after those that are in force."""
        where = "/v1/projects/flights/alert-rules"
        tag = f'"{self.call("developer", "GET", where, 200)["version"]}"'
        headers = {"Authorization": "Bearer developer", "If-Match": tag}
        answer = self.client.put(where, json=rules, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def alert(self, alert_id: str) -> Any:
        return self.call("viewer", "GET", f"/v1/alerts/{alert_id}", 200)

    def plane(self, **monitor: Any) -> control_plane.ControlPlane:
        """Another process of the same control plane, for what its task does."""
        return control_plane.ControlPlane(
            database=database.Database(self.settings.control.database_url),
            issuer=identity.TokenIssuer(ACTORS),
            launcher=launcher.MemoryLauncher(),
            book=self.settings.cost,
            train_workers=1,
            monitor=self.settings.monitor.model_copy(update=monitor),
            secrets=secrets.Resolver(
                settings.SecretSettings(
                    files_dir=str(self.folder),
                    project_places=f"file:{self.folder}/{{project}}/",
                    cache_seconds=0,
                )
            ),
        )

    @property
    def folder(self) -> Path:
        return self.settings.stack.state_dir.parent / "mounted"

    def tell(self, *, at: datetime | None = None, **monitor: Any) -> int:
        async def main() -> int:
            plane = self.plane(**monitor)
            try:
                return await telling.tell(plane, now=at or base.utc_now())
            finally:
                await plane.database.close()

        return asyncio.run(main())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    # The task of the app would tell at its own times.
    monkeypatch.setattr(telling, "LOOK_SECONDS", 3600.0)
    s = settings.load({}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        yield World(client, s)


@on_both
def test_a_finding_is_one_alert_until_it_was_clear_for_long(
    world: World,
) -> None:
    (alert_id,) = world.check(0, finding())["alerts"]
    assert world.check(1, finding())["alerts"] == [alert_id]
    assert world.check(14)["alerts"] == [] and world.alert(alert_id)["state"] == "open"
    world.check(15)
    found = world.alert(alert_id)
    assert (found["state"], found["resolved_by"], found["times"]) == ("resolved", "service@local", 2)
    assert [event["kind"] for event in found["history"]] == ["opened", "seen", "resolved"]
    (later,) = world.check(16, finding())["alerts"]
    assert later != alert_id


def test_what_somebody_resolved_and_is_found_again_is_open_again(world: World) -> None:
    (alert_id,) = world.check(0, finding())["alerts"]
    world.call("developer", "POST", f"/v1/alerts/{alert_id}/resolve", 200, {"reason": "mended"})
    assert world.check(3, finding())["alerts"] == [alert_id]
    found = world.alert(alert_id)
    assert (found["state"], found["times"], found["resolved_at"]) == ("open", 2, None)
    assert found["history"][-1]["kind"] == "reopened"


def test_more_than_predicted_and_less_are_two_alerts(world: World) -> None:
    gap = finding("calibration")
    (above,) = world.check(0, gap)["alerts"]
    (below,) = world.check(1, gap | {"value": -0.4})["alerts"]
    assert above != below


def test_the_same_report_again_changes_nothing(world: World) -> None:
    first = world.check(0, finding())
    before = world.call("viewer", "GET", "/api/v1/audit", 200)["items"]
    assert world.check(0, finding()) == first
    assert world.call("viewer", "GET", "/api/v1/audit", 200)["items"] == before


def test_a_report_of_an_older_window_changes_no_alert(world: World) -> None:
    (alert_id,) = world.check(5, finding())["alerts"]
    before = world.alert(alert_id)
    assert world.check(1)["alerts"] == [] == world.check(2)["alerts"] == world.check(3, finding())["alerts"]
    assert world.alert(alert_id) == before


def test_what_was_not_judged_clears_nothing(world: World) -> None:
    (scores, gap) = world.check(0, finding(), finding("calibration"))["alerts"]
    world.check(20, rows=10, known=0)
    assert world.alert(scores)["state"] == "open"
    world.check(21, known=0)
    assert world.alert(scores)["state"] == "resolved" and world.alert(gap)["state"] == "open"


def test_notices_are_alerts_only_where_a_rule_says_so_and_muted_findings_never(world: World) -> None:
    moved = finding("inputs", severity="notice", subject="temp")
    assert world.check(0, moved)["alerts"] == []
    world.rules(rules=[
        {"name": "loud", "kinds": ["inputs"], "severity": "notice", "runbook": "https://example.org/inputs"},
        {"name": "quiet", "kinds": ["scores"], "mute": True},
    ])  # fmt: skip
    (alert_id,) = world.check(1, moved, finding())["alerts"]
    found = world.alert(alert_id)
    assert (found["kind"], found["subject"], found["rule"]) == ("inputs", "temp", "loud")
    assert found["runbook"] == "https://example.org/inputs"


RETRAIN = {"name": "drift", "kinds": ["scores", "calibration"], "retrain": True}


def test_an_alert_asks_for_a_retraining_once_and_its_rule_has_an_author(world: World) -> None:
    world.rules(rules=[RETRAIN, {"name": "rest"}])
    first = world.check(0, finding(), finding("quality", subject="x"))
    opened = first["alerts"][0]
    assert len(first["alerts"]) == 2 and world.alert(opened)["kind"] == "scores"
    assert first["retrain"] == {"alerts": [opened], "asked_by": "developer@local"}
    # The receipt may be lost on its way: the same report has the same answer, whatever the rules say by then.
    world.rules(rules=[{"name": "rest"}])
    again = world.check(0, finding(), finding("quality", subject="x"))
    assert (
        again
        == first
        == world.call("viewer", "GET", f"/v1/monitoring/reports/{first['report_id']}", 200)
        | {"report": again["report"]}
    )
    world.rules(rules=[RETRAIN, {"name": "rest"}])
    assert world.check(1, finding())["retrain"] is None  # the same alert, met again
    world.call("developer", "POST", f"/v1/alerts/{opened}/resolve", 200, {"reason": "over"})
    assert world.check(2, finding())["retrain"] is None and world.alert(opened)["state"] == "open"
    other = world.check(3, finding(), finding("calibration"))
    assert len(other["retrain"]["alerts"]) == 1 and opened not in other["retrain"]["alerts"]
    listed = world.call("viewer", "GET", "/v1/monitoring/reports", 200)["items"]
    assert all(one["retrain"] is None for one in listed)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kinds": []}, "has `retrain` for every kind"),
        ({"kinds": ["scores", "quality"]}, "has `retrain` for `quality`, which no new model mends"),
        ({"mute": True}, "is `mute`, and opens no alert to `retrain` for"),
    ],
)
def test_a_rule_retrains_for_what_a_model_may_mend(world: World, change: Any, words: str) -> None:
    where = "/v1/projects/flights/alert-rules"
    refused = world.call("developer", "PUT", where, 400, {"rules": [RETRAIN | change]})
    assert words in str(refused)
    assert world.call("developer", "GET", where, 200)["version"] == 0


def test_people_see_to_alerts_and_say_why(world: World) -> None:
    (alert_id,) = world.check(0, finding())["alerts"]
    path, why = f"/v1/alerts/{alert_id}", {"reason": "a storm"}
    assert world.call("viewer", "POST", f"{path}/acknowledge", 403, why)["code"] == "permission_denied"
    world.call("service", "POST", f"{path}/resolve", 403, why)
    assert world.call("developer", "POST", f"{path}/acknowledge", 200, why)["state"] == "acknowledged"
    world.call("developer", "POST", f"{path}/acknowledge", 200, why)
    world.check(1, finding())
    assert world.alert(alert_id)["state"] == "acknowledged"
    found = world.call("approver", "POST", f"{path}/resolve", 200, {"reason": "it is over"})
    assert (found["state"], found["resolved_by"], found["reason"]) == (
        "resolved",
        "approver@local",
        "it is over",
    )
    told = world.call("developer", "POST", f"{path}/acknowledge", 409, why)
    assert "was resolved" in told["detail"]
    world.call("developer", "POST", f"{path}/resolve", 400, {"reason": ""})
    world.call("developer", "POST", "/v1/alerts/alert_nowhere/resolve", 404, why)


def test_only_a_service_reports_and_only_of_its_projects_endpoints(world: World) -> None:
    world.check(0, expect=403, role="developer")
    world.check(0, expect=404, project="nowhere")
    world.call("admin", "POST", "/api/v1/projects", 201, {"name": "other", "owner": "team"})
    world.call("developer", "POST", "/api/v1/runs", 201, {"project": "other", "endpoint": "flights"})
    assert world.check(0, expect=409)["code"] == "conflict"


@on_both
def test_lists_are_paged_and_without_contents(world: World) -> None:
    ids = [world.check(day, finding(subject=str(day)))["report_id"] for day in range(3)]
    page = world.call("viewer", "GET", "/v1/monitoring/reports", 200, project="flights", limit=2)
    assert [r["report_id"] for r in page["items"]] == ids[:0:-1] and "report" not in page["items"][0]
    rest = world.call("viewer", "GET", "/v1/monitoring/reports", 200, before=page["next"])
    assert [r["report_id"] for r in rest["items"]] == ids[:1] and rest["next"] == ""
    assert world.call("viewer", "GET", f"/v1/monitoring/reports/{ids[0]}", 200)["report"]["rows"] == 1000
    assert world.call("viewer", "GET", "/v1/monitoring/reports", 200, endpoint="none")["items"] == []
    open_ones = world.call("viewer", "GET", "/v1/alerts", 200, state="open", project="flights")["items"]
    assert {a["subject"] for a in open_ones} >= {"2"} and "history" not in open_ones[0]


def test_rules_have_versions_and_bad_ones_are_refused_whole(world: World) -> None:
    where = "/v1/projects/flights/alert-rules"
    assert world.call("viewer", "GET", where, 200)["version"] == 0
    assert world.rules(rules=[{"name": "one"}])["version"] == 1
    assert world.rules(rules=[{"name": "one"}])["version"] == 1
    blind = world.call("developer", "PUT", where, 428, {"rules": [{"name": "two"}]})
    assert blind["details"]["current"] == "1"
    assert world.rules(rules=[{"name": "two"}])["version"] == 2
    for bad, words in (
        ({"rules": [{"name": "a", "receivers": ["nobody"]}]}, "no receiver here"),
        ({"rules": [{"name": "a"}, {"name": "a"}]}, "there twice"),
        ({"receivers": [{"name": "a"}]}, "neither `webhook` nor `email`"),
        ({"rulez": []}, "rulez"),
        ({"limits": {"min_rows": 1}}, "min_rows"),
    ):
        assert words in json.dumps(world.call("developer", "PUT", where, 400, bad))
    world.call("approver", "PUT", where, 403, {})
    assert world.call("viewer", "GET", where, 200)["version"] == 2


class Receiver:
    """A webhook on loopback that answers as it is told to."""

    def __init__(self, *statuses: int) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        statuses_left = list(statuses)
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((dict(self.headers), body))
                self.send_response(statuses_left.pop(0) if statuses_left else 200)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    receiver = Receiver(*statuses)
    try:
        yield receiver
    finally:
        receiver.close()


@on_both
def test_receivers_are_told_once_signed_and_it_is_on_record(world: World) -> None:
    with receiving() as hook:
        world.rules(
            rules=[{"name": "all", "receivers": ["ops"]}], receivers=[{"name": "ops", "webhook": hook.url}]
        )
        (alert_id,) = world.check(0, finding())["alerts"]
        world.check(1, finding())
        assert world.tell(allow_private_webhooks=True) == 1 and world.tell(allow_private_webhooks=True) == 0
        world.check(16)
        assert world.tell(allow_private_webhooks=True) == 1
    (first, second) = (json.loads(body) for _, body in hook.got)
    assert (first["kind"], second["kind"]) == ("alert.opened", "alert.resolved")
    assert first["alert"]["alert_id"] == alert_id
    headers, body = hook.got[0]
    key, now = webhooks.load_key(world.settings.monitor.webhook_key), int(base.utc_now().timestamp())
    assert headers["Idempotency-Key"] == first["delivery_id"]
    assert webhooks.verify(key, body, headers[webhooks.SIGNATURE], now=now)
    assert not webhooks.verify(key, body + b" ", headers[webhooks.SIGNATURE], now=now)
    assert not webhooks.verify(KEY, body, headers[webhooks.SIGNATURE], now=now)
    assert not webhooks.verify(key, body, headers[webhooks.SIGNATURE], now=now + 3600)
    assert [e["kind"] for e in world.alert(alert_id)["history"]].count("delivered") == 2
    told = [
        e
        for e in world.call("viewer", "GET", "/api/v1/audit", 200, limit=500)["items"]
        if e["action"] == "alert.deliver"
    ]
    assert [e["outcome"] for e in told] == ["done", "done"] and told[0]["actor"] == "receiver:ops"


def test_an_address_that_is_a_secret_is_read_when_somebody_is_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    place = world.folder / "flights" / "hook"
    place.parent.mkdir(parents=True)
    receivers = [{"name": "ops", "webhook": "secret:ops-hook"}]
    world.rules(rules=[{"name": "all", "receivers": ["ops"]}], receivers=receivers)
    reference = {"place": f"file:{place}", "description": "where the room of ops is"}
    now = base.utc_now()

    def tell(seconds: int) -> int:
        return world.tell(at=now + timedelta(seconds=seconds), allow_private_webhooks=True)

    with receiving() as hook, receiving() as moved:
        (alert_id,) = world.check(0, finding())["alerts"]
        assert tell(1) == 0  # nobody said where it lies
        path, headers = "/api/v1/projects/flights/secrets/ops-hook", {"Authorization": "Bearer admin"}
        assert world.client.put(path, json=reference, headers=headers).is_success
        assert tell(20) == 0  # nothing lies there
        place.write_text("no address at all, canary-5e1f")
        assert tell(60) == 0
        place.write_text(f"{hook.url}/canary-5e1f\n")
        assert tell(200) == 1
        place.write_text(f"{moved.url}/canary-5e1f\n")  # rotated
        world.check(16)
        assert tell(200) == 1
        assert (len(hook.got), len(moved.got)) == (1, 1)
    rows = world.call("viewer", "GET", "/api/v1/audit", 200, limit=500)["items"]
    told = " ".join(row["detail"]["error"] for row in rows if row["action"] == "alert.deliver")
    assert "no secret `ops-hook`" in told and "no secret lies at" in told and "no address" in told
    assert "canary" not in json.dumps([rows, world.alert(alert_id)]) + caplog.text


def test_a_broken_webhook_is_tried_again_with_longer_waits_and_given_up_in_the_end(world: World) -> None:
    with receiving(500, 302, 503) as hook:
        world.rules(
            rules=[{"name": "all", "receivers": ["ops"]}], receivers=[{"name": "ops", "webhook": hook.url}]
        )
        (alert_id,) = world.check(0, finding())["alerts"]
        now, waits = base.utc_now(), (0, 4, 6, 14, 17)
        told = [
            world.tell(at=now + timedelta(seconds=s), allow_private_webhooks=True, delivery_attempts=3)
            for s in waits
        ]
        assert told == [0] * 5 and len(hook.got) == 3
    last = world.alert(alert_id)["history"][-1]
    assert last["kind"] == "given-up" and "answered 503" in last["detail"]["message"]


@pytest.mark.integration
def test_mail_to_a_server_that_is_away_waits_and_arrives_once_it_is_back(world: World) -> None:
    """And whom it refuses for good is in the alert's history."""
    both = ["ana@example.org", "gone@example.org"]
    world.rules(rules=[{"name": "all", "receivers": ["ops"]}], receivers=[{"name": "ops", "email": both}])
    (alert_id,) = world.check(0, finding())["alerts"]
    how = {"smtp_host": "127.0.0.1", "smtp_starttls": False, "delivery_timeout_seconds": 30.0}
    now = base.utc_now()
    assert world.tell(at=now, smtp_port=1, **how) == 0
    with platform_smtp.mailbox() as box:
        box.refused = {"gone@example.org": "550 no such person"}
        assert world.tell(at=now + timedelta(seconds=1), smtp_port=box.port, **how) == 0, "not due yet"
        assert world.tell(at=now + timedelta(seconds=6), smtp_port=box.port, **how) == 1
        assert world.tell(at=now + timedelta(seconds=60), smtp_port=box.port, **how) == 0
    ((to, message),) = box.got
    assert to == ["ana@example.org"] and alert_id in message.get_content()
    last = world.alert(alert_id)["history"][-1]
    assert (last["kind"], last["detail"]["attempts"]) == ("delivered", 2)
    assert "refuses `gone@example.org` (550 no such person)" in last["detail"]["message"]


def test_a_project_cannot_make_us_post_to_where_it_may_not_look(world: World) -> None:
    with receiving() as hook:
        world.rules(
            rules=[{"name": "all", "receivers": ["ops"]}], receivers=[{"name": "ops", "webhook": hook.url}]
        )
        world.check(0, finding())
        assert world.tell() == 0 and hook.got == []


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://localhost/", "https://10.1.2.3/", "https://169.254.169.254/latest/meta-data",
        "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://[fe80::1]/", "https://[2002:7f00:1::]/",
        "https://[64:ff9b::7f00:1]/", "https://0.0.0.0/", "https://224.0.0.1/", "https://100.64.0.1/", "http://8.8.8.8/",
    ],
)  # fmt: skip
def test_addresses_inside_are_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(errors.PermissionDenied, match=r"monitor\.allow_private_webhooks"):
        asyncio.run(
            webhooks.post(url, b"{}", key=KEY, delivery_id="d", timeout_seconds=1, allow_private=False)
        )


def test_a_key_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "alerts.key"
    assert webhooks.load_key(path) == webhooks.load_key(path)
    path.chmod(0o644)
    with pytest.raises(errors.Misconfigured, match="chmod 600"):
        webhooks.load_key(path)
    path.write_text("short")
    path.chmod(0o600)
    with pytest.raises(errors.Misconfigured, match="no key of 32 bytes"):
        webhooks.load_key(path)


def test_mail_without_a_server_says_what_to_set_and_with_one_that_is_away_is_tried_again() -> None:
    s = settings.MonitorSettings()
    with pytest.raises(errors.Misconfigured, match=r"monitor\.smtp_host"):
        mail.send(s, ("a@example.org",), subject="s", text="t", message_id="m")
    away = s.model_copy(update={"smtp_host": "127.0.0.1", "smtp_port": 1, "smtp_starttls": False})
    with pytest.raises(errors.DependencyDown, match="did not take the message"):
        mail.send(away, ("a@example.org",), subject="s", text="t", message_id="m")


@on_both
def test_the_database_refuses_an_alert_that_is_not_on_record(world: World) -> None:
    async def main() -> None:
        plane = world.plane()
        try:
            async with plane.database.write() as connection:
                await store.put_rules(connection, "flights", 1, {}, by="nobody", at=T0)
        finally:
            await plane.database.close()

    with pytest.raises(errors.InvariantViolated, match="not on record"):
        asyncio.run(main())
    assert world.call("viewer", "GET", "/v1/projects/flights/alert-rules", 200)["version"] == 0
    assert mutation.AUTHORISATION in world.call("viewer", "GET", "/api/v1/audit", 200)["items"][0]["detail"]


def test_a_fingerprint_is_of_the_finding_and_not_of_its_numbers() -> None:
    from mainspring.core.contracts import monitoring

    one, other = (
        monitoring.Finding(kind="scores", severity="alarm", value=v, limit=1, message=str(v)) for v in (1, 2)
    )
    assert alerts.fingerprint("p", "dev", "e", one) == alerts.fingerprint("p", "dev", "e", other)
    assert alerts.fingerprint("p", "prod", "e", one) != alerts.fingerprint("p", "dev", "e", one)


RULES = """
[limits]
min_rows = 500

[[rules]]
name = "drift"
kinds = ["calibration", "scores"]
receivers = ["ops"]
runbook = "https://example.org/drift"

[[receivers]]
name = "ops"
email = ["ops@example.org"]

[[metrics]]
name = "slow"
expression = 'histogram_quantile(0.99, rate(mainspring_model_request_seconds_bucket[5m])) > 0.1'
summary = "p99 above a tenth of a second"
runbook = "https://example.org/slow"
"""


class Cli:
    """Commands as somebody of a role gives them."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def client(actor: str) -> control_client.ControlClient:
            transport = platform_api.transport(world.client)
            return control_client.ControlClient(
                "http://testserver.local", actor.partition("@")[0], transport=transport
            )

        monkeypatch.setattr(session, "client", client)

    def __call__(self, *words: str, expect: int = 0) -> Any:
        done = CliRunner().invoke(cli.cli, [*words, "--json"])
        assert done.exit_code == expect, done.output
        return json.loads(done.stdout) if not expect else done.output


@pytest.fixture
def command(world: World, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(world, monkeypatch)


def test_rules_come_from_a_file_and_findings_are_seen_to_by_commands(
    world: World, command: Cli, tmp_path: Path
) -> None:
    path = tmp_path / "monitoring.toml"
    path.write_text(RULES)
    assert command("monitor", "rules", "check", str(path))["data"]["rules"] == 1
    assert command("monitor", "rules", "put", "flights", str(path))["data"]["version"] == 1
    assert command("monitor", "rules", "show", "flights")["data"]["rules"]["limits"]["min_rows"] == 500
    assert "has no report yet" in command("monitor", "report", "flights", "flights", expect=1)
    loss = {"name": "loss", "rows": 900, "mean": 0.25, "total": 225, "error": 0.01, "mean_reference": 0.2}
    report_id = world.check(0, finding(), kpis=[loss])["report_id"]
    assert [r["report_id"] for r in command("monitor", "list", "flights")["data"]] == [report_id]
    assert command("monitor", "report", "flights", "flights")["data"]["report"]["rows"] == 1000
    shown = CliRunner().invoke(cli.cli, ["monitor", "show", report_id])
    assert shown.exit_code == 0 and "scores of all moved" in shown.stdout
    assert "0.25 an answer (0.2 at first), 225 in all" in shown.stdout
    (alert,) = command("alert", "list", "--state", "open")["data"]
    assert alert["runbook"] == "https://example.org/drift"
    one = alert["alert_id"]
    assert command("alert", "acknowledge", one, "--reason", "a storm")["data"]["state"] == "acknowledged"
    assert command("alert", "resolve", one, "--reason", "over")["data"]["state"] == "resolved"
    assert [e["kind"] for e in command("alert", "show", one)["data"]["history"]] == [
        "opened",
        "acknowledged",
        "resolved",
    ]
    assert command("alert", "list", "--state", "open")["data"] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules = [", "cannot be read"),
        ("[limitz]\nmin_rows = 1", "`limitz`"),
        ('[[rules]]\nname = "Bad Name"', "`rules.0.name`"),
        ('[[metrics]]\nname = "a"\nexpression = ""\nsummary = "s"', "`metrics.0.expression`"),
    ],
)
def test_a_rule_file_that_is_wrong_says_where(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "monitoring.toml"
    path.write_text(text)
    with pytest.raises(errors.InvalidRequest, match=words):
        rule_files.read(path)


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="Debian's prometheus is not installed (tools/apt.sh)"
)
def test_prometheus_takes_the_rules_that_are_exported(tmp_path: Path) -> None:
    path, into = tmp_path / "monitoring.toml", tmp_path / "rules.yml"
    path.write_text(RULES)
    done = CliRunner().invoke(
        cli.cli, ["monitor", "rules", "export", "--file", str(path), "--into", str(into)]
    )
    assert done.exit_code == 0, done.output
    checked = subprocess.run(
        ["promtool", "check", "rules", str(into)], capture_output=True, text=True, timeout=30, check=False
    )
    assert checked.returncode == 0 and "SUCCESS: 6 rules found" in checked.stdout + checked.stderr, checked
    into.write_text(into.read_text().replace("> 0.01", "> > 0.01"))
    assert (
        subprocess.run(["promtool", "check", "rules", str(into)], capture_output=True, timeout=30).returncode
        != 0
    )


def test_a_projects_metric_rule_may_not_have_the_name_of_ours() -> None:
    one = alerts.MetricRule(name="usage-lost", expression="up == 0", summary="gone")
    with pytest.raises(errors.Conflict, match="is the platform's"):
        metric_rules.to_prometheus([one])
