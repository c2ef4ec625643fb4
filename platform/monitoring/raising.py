"""From a report's findings to alerts: one for each fingerprint, met again and again, until it is clear.

A report about an older window than the one that an alert was seen in last changes nothing about it: checks may be made late, or
again, and clocks may jump.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import alerts, monitoring
from mainspring.core.contracts.alerts import AlertState
from mainspring.platform.monitoring import store

#: Kinds that need outcomes to be judged; without enough of them their alerts stay as they are.
_BY_OUTCOMES: Final = frozenset({"calibration", "ranking", "target", "kpi"})


class Raised:
    """What one report did."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.seen: list[str] = []
        self.resolved: list[str] = []

    @property
    def ids(self) -> list[str]:
        return [*self.opened, *self.seen]

    def told(self) -> dict[str, Any]:
        """What goes on record."""
        return {"opened": self.opened, "seen": self.seen, "resolved": self.resolved}


async def raise_alerts(
    connection: AsyncConnection,
    report: monitoring.MonitorReport,
    report_id: str,
    in_force: alerts.RulesView,
    *,
    by: str,
    now: datetime,
) -> Raised:
    """Open, meet again and resolve the alerts of the report's endpoint."""
    rules = in_force.rules
    done = Raised()
    if report.rows < report.limits.min_rows:
        return done  # nothing was judged
    found: dict[str, tuple[monitoring.Finding, alerts.Rule]] = {}
    for finding in report.findings:
        rule = rules.rule_of(finding, report.endpoint)
        if rule is not None:
            mark = alerts.fingerprint(report.project, report.environment, report.endpoint, finding)
            found.setdefault(mark, (finding, rule))
    step = _Step(connection, report, report_id, in_force, by=by, now=now, done=done)
    for mark, (finding, rule) in found.items():
        await step.found(mark, finding, rule)
    await step.clear(set(found))
    return done


class _Step:
    """One report at work."""

    def __init__(
        self,
        connection: AsyncConnection,
        report: monitoring.MonitorReport,
        report_id: str,
        in_force: alerts.RulesView,
        *,
        by: str,
        now: datetime,
        done: Raised,
    ) -> None:
        self._connection, self._report, self._report_id = connection, report, report_id
        self._rules, self._by, self._now, self._done = in_force.rules, by, now, done
        self._put_by = in_force.put_by

    async def found(self, mark: str, finding: monitoring.Finding, rule: alerts.Rule) -> None:
        """The alert of a finding: a new one, one that there is, or one that was resolved a short while ago."""
        known = await store.newest_of(self._connection, mark)
        told = {
            "message": finding.message,
            "value": finding.value,
            "limit": finding.limit,
            "severity": finding.severity,
            "last_seen_at": self._now.isoformat(),
            "last_ends": self._report.ends.isoformat(),
            "found_ends": self._report.ends.isoformat(),
            "report_id": self._report_id,
            "bundle_digest": self._report.bundle_digest,
            "rule": rule.name,
            "runbook": rule.runbook,
        }
        if known is not None and self._is_older(known):
            return
        if known is None or not self._is_same(known, rule):
            alert_id = await store.insert_alert(
                self._connection,
                project=self._report.project,
                environment=self._report.environment,
                endpoint=self._report.endpoint,
                fingerprint=mark,
                kind=finding.kind,
                subject=finding.subject,
                state=str(AlertState.OPEN),
                opened_at=self._now.isoformat(),
                **told,
            )
            asks = {store.RETRAIN: self._put_by} if rule.retrain else {}
            event_id = await self._event(alert_id, "opened", finding.message, **asks)
            await self._tell(alert_id, event_id, rule)
            self._done.opened.append(alert_id)
            return
        again = {"state": str(AlertState.OPEN), "resolved_at": None, "resolved_by": ""}
        is_resolved = known.state == AlertState.RESOLVED
        await store.update_alert(
            self._connection,
            known.alert_id,
            **told,
            times=known.times + 1,
            **(again if is_resolved else {}),
        )
        event_id = await self._event(known.alert_id, "reopened" if is_resolved else "seen", finding.message)
        if is_resolved:
            await self._tell(known.alert_id, event_id, rule)
        self._done.seen.append(known.alert_id)

    async def clear(self, found: set[str]) -> None:
        """Resolve every other alert that the report could have had, and that none had for long enough."""
        report = self._report
        is_known = report.known >= report.limits.min_rows
        unresolved: Sequence[sa.Row[Any]] = await store.unresolved_of(
            self._connection, report.project, report.environment, report.endpoint
        )
        by_name = {rule.name: rule for rule in self._rules.rules}
        for row in unresolved:
            if row.fingerprint in found or self._is_older(row):
                continue
            if row.kind in _BY_OUTCOMES and not is_known:
                continue
            rule = by_name.get(row.rule, alerts.Rule(name="gone"))
            values: dict[str, Any] = {"last_ends": report.ends.isoformat()}
            hours = self._since(row.found_ends) / timedelta(hours=1)
            if hours < rule.clear_hours:
                await store.update_alert(self._connection, row.alert_id, **values)
                continue
            why = f"not found for {hours:g} hours"
            values |= {
                "state": str(AlertState.RESOLVED),
                "resolved_at": self._now.isoformat(),
                "resolved_by": self._by,
                "reason": why,
            }
            await store.update_alert(self._connection, row.alert_id, **values)
            event_id = await self._event(row.alert_id, "resolved", why)
            await self._tell(row.alert_id, event_id, rule)
            self._done.resolved.append(row.alert_id)

    def _is_older(self, row: sa.Row[Any]) -> bool:
        return bool(self._report.ends.isoformat() < row.last_ends)

    def _since(self, ends: str) -> timedelta:
        """By the windows and not by the clock: checks may be made late, many at a time."""
        return self._report.ends - datetime.fromisoformat(ends)

    def _is_same(self, row: sa.Row[Any], rule: alerts.Rule) -> bool:
        if row.state != AlertState.RESOLVED:
            return True
        return self._since(row.found_ends) < timedelta(hours=rule.reopen_hours)

    async def _tell(self, alert_id: str, event_id: str, rule: alerts.Rule) -> None:
        receivers = [r for r in self._rules.receivers if r.name in rule.receivers]
        await store.add_deliveries(
            self._connection, self._report.project, alert_id, event_id, receivers, at=self._now
        )

    async def _event(self, alert_id: str, kind: str, message: str, **more: str) -> str:
        return await store.add_event(
            self._connection,
            alert_id,
            kind,
            by=self._by,
            at=self._now,
            detail={"report_id": self._report_id, "message": message, **more},
        )
