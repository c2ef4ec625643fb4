"""`mainspring`: a thin client of the control API. Heavy packages are never imported here.

Exit codes: 0 ok, 1 failed, 2 usage, 3 denied, 4 needs approval, 5 timeout, 78 misconfigured.
"""

from __future__ import annotations

import importlib.metadata
import os
import signal
import sys
import time
from typing import Any

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import (
    access,
    alerts,
    approvals,
    audits,
    batch,
    budgets,
    bundles,
    contracts,
    cost_reports,
    costs,
    data,
    dpia,
    endpoints,
    environments,
    erasure,
    events,
    evidence,
    gitops,
    holds,
    keys,
    keysets,
    leaving,
    login,
    members,
    models,
    monitor,
    new,
    notebooks,
    output,
    payloads,
    pipelines,
    policies,
    portal,
    privacy,
    projects,
    protection,
    purposes,
    quotas,
    releases,
    runs,
    schedules,
    secrets,
    service_accounts,
    serving,
    session,
    templates,
    tuning,
    upkeep,
    workflows,
)

_JSON, _AS = session.JSON, session.AS


class _Group(click.RichGroup):
    """Turns our errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except errors.MainspringError as error:
            output.show_error(error, as_json="--json" in sys.argv)
            ctx.exit(output.exit_code(error))
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in ("", "mainspring"):
                raise
            missing = errors.MissingTool(
                f"package `{error.name}` is not installed; run `pip install 'mainspring[all]'`, or ask `mainspring doctor`"
                " which extra has it",
                tool=str(error.name),
                fix="pip install 'mainspring[all]'",
            )
            output.show_error(missing, as_json="--json" in sys.argv)
            ctx.exit(output.exit_code(missing))
        except ValueError as error:
            # pydantic's ValidationError is one; importing pydantic here would slow `--help` down.
            problems = getattr(error, "errors", None)
            if problems is None:
                raise
            first = problems()[0]
            field = ".".join(str(part) for part in first["loc"])
            click.echo(f"error: `{field}`: {first['msg'].lower()}; see `mainspring --help`", err=True)
            ctx.exit(output.USAGE)


@click.group(cls=_Group)
def cli() -> None:
    """Mainspring: from a feature definition to a governed, measured endpoint."""


@cli.command()
@_JSON
def version(as_json: bool) -> None:
    """The installed version."""
    output.show({"version": importlib.metadata.version("mainspring")}, as_json=as_json)


@cli.command()
@_JSON
def status(as_json: bool) -> None:
    """Is the control API ready, and which parts of the local stack run."""
    import httpx

    from mainspring.core import settings
    from mainspring.platform.stack import stack

    s = settings.load()
    state = stack.read(s)
    try:
        ready = httpx.get(f"{s.control_url}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        ready = False
    parts = {} if state is None else stack.is_up(state)
    output.show({"control_url": s.control_url, "ready": ready, "parts": parts}, as_json=as_json)
    if not ready:
        raise errors.DependencyDown(
            f"no control API at `{s.control_url}`; start it with `mainspring up`", name="control"
        )


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """The script that completes commands and options: `eval "$(mainspring completion bash)"` in the shell's start file."""
    from click import shell_completion

    kind = shell_completion.get_completion_class(shell)
    assert kind is not None  # a choice above
    click.echo(kind(cli, {}, "mainspring", "_MAINSPRING_COMPLETE").source())


@cli.command()
@_JSON
def doctor(as_json: bool) -> None:
    """What this machine lacks, and the command that mends it."""
    from mainspring.core import settings
    from mainspring.platform.cli import doctor as checks

    found = checks.examine(settings.load())
    output.show(found, as_json=as_json, columns=("check", "ok", "found", "fix"))
    if bad := [row["check"] for row in found if row["ok"] == "no"]:
        raise errors.Misconfigured(f"not in order: {', '.join(bad)}; run the commands in column `fix`")


@cli.command()
@click.option("--only", "names", multiple=True, help="Start this part only; may be repeated.")
@_JSON
def up(names: tuple[str, ...], as_json: bool) -> None:
    """Start the local stack's servers; all of them, or none is left."""
    from mainspring.core import settings
    from mainspring.platform.stack import parts, stack

    s = settings.load()
    if unknown := sorted(set(names) - set(parts.PARTS)):
        raise click.UsageError(f"no part `{unknown[0]}`; parts are `{'`, `'.join(parts.PARTS)}`")
    wanted = [make(s) for name, make in parts.PARTS.items() if not names or name in names]
    state = stack.up(s, wanted, progress=lambda line: click.echo(line, err=True))
    click.echo(f"development tokens: {s.control.tokens_file}", err=True)
    found = [part.model_dump(mode="json") for part in state.parts]
    output.show(found, as_json=as_json, columns=("name", "url", "ready_seconds"))


@cli.command()
@_JSON
def down(as_json: bool) -> None:
    """End every process of the local stack, and no other."""
    from mainspring.core import settings
    from mainspring.platform.stack import stack

    output.show({"ended": stack.down(settings.load())}, as_json=as_json)


@cli.command()
@click.option("--sample-fraction", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
@click.option("--predictions", type=click.IntRange(1, 10_000), default=1000, show_default=True)
@click.option(
    "--keep/--no-keep",
    default=None,
    help="Leave the stack up afterwards. Default: until Ctrl-C on a terminal, else take it down.",
)
@_JSON
def demo(sample_fraction: float, predictions: int, keep: bool | None, as_json: bool) -> None:
    """The whole platform on a year of real flights: train, approve, deploy, predict, explain what it cost."""
    from mainspring.core import settings
    from mainspring.platform.cli import progress
    from mainspring.platform.demo import journey, summary
    from mainspring.platform.stack import stack

    s = journey.with_own_store(settings.load())
    stack.refuse_if_up(s)
    # A polite kill ends the demo as Ctrl-C does: nothing of it stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    is_kept = False
    try:
        with progress.ConsoleProgress() as told:
            report = journey.run(s, sample_fraction=sample_fraction, predictions=predictions, progress=told)
        if as_json:
            output.show(report.model_dump(mode="json"), as_json=True)
        else:
            click.echo("\n".join(summary.lines(report)))
        is_kept = bool(keep)
        if keep is None and sys.stdout.isatty():
            click.echo("\nthe stack is up; Ctrl-C takes it down", err=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        click.echo("stopping", err=True)
        raise
    finally:
        if not is_kept:
            stack.down(s)


@cli.group()
def stream() -> None:
    """Streams: features of events, from Kafka into serving."""


@stream.command("list")
@click.argument("project_name")
@_JSON
def stream_list(project_name: str, as_json: bool) -> None:
    """The streams of an installed project."""
    from mainspring.platform.cli import streaming

    columns = ("name", "topic", "views", "hop", "lateness")
    output.show(streaming.listed(project_name), as_json=as_json, columns=columns)


@stream.command("run")
@click.argument("project_name")
@click.argument("stream_name")
@click.option(
    "--partition",
    "partitions",
    type=click.IntRange(min=0),
    multiple=True,
    help="Read this one only; repeat it.",
)
@click.option(
    "--client-config",
    type=click.Path(exists=True, dir_okay=False),
    help="Settings of librdkafka, `name=value` lines.",
)
@click.option("--until-idle", is_flag=True, help="End once nothing waits.")
@click.option(
    "--resend",
    is_flag=True,
    help="First push the newest row of every key again, for a store that lost its rows.",
)
@click.option(
    "--history",
    type=click.Path(file_okay=False),
    help="Also append the rows of closed hops to Parquet below this folder, for training.",
)
@leaving.ENVIRONMENT
@leaving.PURPOSE
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Answer Prometheus here, on loopback.")
@click.option("--status-seconds", type=click.FloatRange(min=0), default=10.0, show_default=True)
@_AS
@_JSON
def stream_run(
    project_name: str,
    stream_name: str,
    partitions: tuple[int, ...],
    client_config: str | None,
    until_idle: bool,
    resend: bool,
    history: str | None,
    environment: str,
    purpose: str,
    metrics_port: int | None,
    status_seconds: float,
    actor: str,
    as_json: bool,
) -> None:
    """Read a stream and push its features to serving, until Ctrl-C or SIGTERM."""
    from pathlib import Path

    from mainspring.core import settings
    from mainspring.platform.cli import streaming

    status = streaming.run(
        settings.load(),
        project_name,
        stream_name,
        partitions=partitions or None,
        client_config=None if client_config is None else Path(client_config),
        actor=actor or "service@local",
        until_idle=until_idle,
        resend=resend,
        history=None if history is None else Path(history).resolve(),
        environment=environment,
        purpose=purpose,
        metrics_port=metrics_port,
        status_seconds=status_seconds,
    )
    output.show(status, as_json=as_json)


cli.add_command(upkeep.db)
cli.add_command(access.access)
cli.add_command(audits.audit)
cli.add_command(batch.batch)
cli.add_command(bundles.bundle)
cli.add_command(costs.cost)
costs.cost.add_command(cost_reports.cost_chargeback)
costs.cost.add_command(cost_reports.cost_showback)
cli.add_command(contracts.contracts)
cli.add_command(data.catalog)
cli.add_command(protection.data)
cli.add_command(purposes.purpose)
cli.add_command(dpia.dpia)
cli.add_command(privacy.privacy)
cli.add_command(keysets.keyset)
cli.add_command(data.lineage)
cli.add_command(data.quarantine)
cli.add_command(endpoints.endpoint)
cli.add_command(environments.environment)
cli.add_command(erasure.erasure)
cli.add_command(holds.hold)
cli.add_command(secrets.secret)
cli.add_command(service_accounts.service_account)
cli.add_command(quotas.quota)
cli.add_command(budgets.budget)
cli.add_command(events.event)
cli.add_command(evidence.evidence)
cli.add_command(gitops.gitops)
cli.add_command(data.trace)
cli.add_command(keys.keys)
cli.add_command(payloads.payloads)
cli.add_command(pipelines.pipeline)
cli.add_command(schedules.schedule)
cli.add_command(serving.serve)
cli.add_command(login.login)
cli.add_command(login.logout)
cli.add_command(login.whoami)
cli.add_command(members.member)
cli.add_command(models.model)
cli.add_command(alerts.alert)
cli.add_command(monitor.monitor)
cli.add_command(new.new)
cli.add_command(notebooks.notebook)
cli.add_command(policies.policy)
cli.add_command(approvals.approval)
cli.add_command(portal.portal)
cli.add_command(projects.project)
cli.add_command(releases.release)
cli.add_command(runs.run)
cli.add_command(templates.template)
cli.add_command(tuning.tune)
cli.add_command(workflows.workflow)


def main() -> None:
    """The console script."""
    try:
        cli(prog_name="mainspring")
    except SystemExit as end:
        if "temporalio.bridge.temporal_sdk_bridge" in sys.modules and isinstance(end.code, int):
            sys.stdout.flush()
            sys.stderr.flush()
            # Its threads outlive its clients, and the interpreter's end aborts now and then ("PyGILState_Release").
            os._exit(end.code)
        raise


if __name__ == "__main__":
    main()
