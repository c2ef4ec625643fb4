"""`mainspring monitor`: reports of served models, and the rules by which they raise alerts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from mainspring.core import canonical, durable, errors
from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.core.contracts import alerts, monitoring

__all__ = ["monitor"]

_COLUMNS: Final = ("report_id", "endpoint", "begins", "ends", "rows", "known", "alarms", "notices")
_FINDINGS: Final = ("severity", "kind", "subject", "value", "limit", "message")
_LIMIT: Final = click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
_FILE: Final = click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group()
def monitor() -> None:
    """Monitoring: what checks of served models found."""


@monitor.command("list")
@click.argument("project_name")
@click.option("--endpoint", default="", help="Of this endpoint alone.")
@_LIMIT
@session.AS
@session.JSON
def monitor_list(project_name: str, endpoint: str, limit: int, actor: str, as_json: bool) -> None:
    """A project's reports, newest first."""
    with session.client(actor or "developer@local") as client:
        page = client.monitoring_reports(project=project_name, endpoint=endpoint, limit=limit)
        output.show(page.items, as_json=as_json, columns=_COLUMNS)


@monitor.command("report")
@click.argument("project_name")
@click.argument("endpoint")
@session.AS
@session.JSON
def monitor_report(project_name: str, endpoint: str, actor: str, as_json: bool) -> None:
    """What the newest report of an endpoint found; `mainspring schedule run PROJECT drift` makes one."""
    with session.client(actor or "developer@local") as client:
        page = client.monitoring_reports(project=project_name, endpoint=endpoint, limit=1)
        if not page.items:
            raise errors.NotFound(
                f"endpoint `{endpoint}` has no report yet; make one by `mainspring schedule put {project_name} drift"
                f" --set endpoint={endpoint}` and `mainspring schedule run {project_name} drift`",
                resource="monitoring report",
                name=endpoint,
            )
        _show(client.monitoring_report(page.items[0]["report_id"]), as_json)


@monitor.command("show")
@click.argument("report_id")
@session.AS
@session.JSON
def monitor_show(report_id: str, actor: str, as_json: bool) -> None:
    """What a report found."""
    with session.client(actor or "developer@local") as client:
        _show(client.monitoring_report(report_id), as_json)


@monitor.command("page")
@click.argument("report_id")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Written there.")
@session.AS
@session.JSON
def monitor_page(report_id: str, out: Path, actor: str, as_json: bool) -> None:
    """Write Evidently's page of a report to a file, which a browser opens; it fetches and sends nothing."""
    with session.client(actor or "developer@local") as client:
        wanted = client.monitoring_report(report_id).html_digest
        page = b"".join(client.monitoring_page(report_id))
    if (got := canonical.digest_bytes(page)) != wanted:
        raise errors.CorruptArtifact(
            f"the page of report `{report_id}` came as `{got}`, and the report says `{wanted}`; ask again",
            artifact="report page",
            expected=wanted,
            got=got,
        )
    durable.replace_file(out, page)
    output.show({"report": report_id, "page": str(out), "bytes": len(page)}, as_json=as_json)


def _show(view: alerts.ReportView, as_json: bool) -> None:
    if as_json:
        output.show(view.model_dump(mode="json"), as_json=True)
        return
    report = view.report
    assert report is not None
    whole = report.whole
    told: dict[str, Any] = {
        "report": view.report_id,
        "bundle": view.bundle_digest,
        "training": view.training_run_id,
        "window": f"{view.begins:%Y-%m-%d %H:%M} to {view.ends:%Y-%m-%d %H:%M} UTC",
        "answers": view.rows,
        "with an outcome": view.known,
        "late": "" if whole is None or whole.base_rate is None else f"{whole.base_rate:.4f}",
        "predicted": ""
        if whole is None or whole.known_mean_score is None
        else f"{whole.known_mean_score:.4f}",
        "auc": ""
        if whole is None or whole.auc is None
        else f"{whole.auc:.4f} ({report.reference_auc or 0:.4f} at first)",
        **{f"kpi {one.name}": _worth(one) for one in report.kpis},
        "alerts": ", ".join(view.alerts),
        "message": report.message,
    }
    told["happened"] = told.pop("late")
    output.show(told, as_json=False)
    output.show([f.model_dump(mode="json") for f in report.findings], as_json=False, columns=_FINDINGS)


def _worth(one: monitoring.KpiFound) -> str:
    before = "" if one.mean_reference is None else f" ({one.mean_reference:.4g} at first)"
    return f"{one.mean:.4g} an answer{before}, {one.total:.6g} in all"


@monitor.group("rules")
def rules() -> None:
    """Alert rules, as a project's repository has them."""


@rules.command("show")
@click.argument("project_name")
@session.AS
@session.JSON
def rules_show(project_name: str, actor: str, as_json: bool) -> None:
    """The rules in force."""
    with session.client(actor or "developer@local") as client:
        output.show(client.alert_rules(project_name).model_dump(mode="json"), as_json=as_json)


@rules.command("check")
@_FILE
@session.JSON
def rules_check(path: Path, as_json: bool) -> None:
    """Whether a file has rules that can be put in force; asks nobody."""
    from mainspring.platform.monitoring import rule_files

    found = rule_files.read(path)
    told = {name: len(getattr(found, name)) for name in ("rules", "receivers", "metrics")}
    output.show({"file": str(path), **told}, as_json=as_json)


@rules.command("put")
@click.argument("project_name")
@_FILE
@session.AS
@session.JSON
def rules_put(project_name: str, path: Path, actor: str, as_json: bool) -> None:
    """Put a file's rules in force, as a new version; the same again changes nothing."""
    from mainspring.platform.monitoring import rule_files

    wanted = rule_files.read(path)
    with session.client(actor or "developer@local") as client:
        found = client.alert_rules(project_name)
        made = client.put_alert_rules(project_name, wanted, version=str(found.version))
        output.show(
            {"project": project_name, "version": made.version, "put_by": made.put_by}, as_json=as_json
        )


@rules.command("export")
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="These rules' metrics, too.",
)
@click.option("--into", type=click.Path(dir_okay=False, path_type=Path), help="Write there; default: stdout.")
def rules_export(path: Path | None, into: Path | None) -> None:
    """Prometheus' alerting rules: those of the platform, and a file's own `[[metrics]]`."""
    from mainspring.core.monitoring import metric_rules
    from mainspring.platform.monitoring import rule_files

    text = metric_rules.to_prometheus(() if path is None else rule_files.read(path).metrics)
    if into is None:
        click.echo(text, nl=False)
    else:
        into.write_text(text)
