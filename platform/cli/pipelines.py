"""`mainspring run PIPELINE.py` and `mainspring pipeline`: pipelines that a team wrote as code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.core.client import control as control_client
    from mainspring.core.contracts import control, pipelines
    from mainspring.core.pipelines import loading

__all__ = ["RunGroup", "pipeline", "run_file"]

_PLAN: Final = ("name", "kind", "gives", "needs", "each", "cpus", "memory_gib")
_NODES: Final = ("name", "state", "items", "from_cache", "tries", "seconds", "says")


class RunGroup(click.RichGroup):
    """`mainspring run`, whose subcommands are its own and any Python file."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0].endswith(".py"):
            return run_file.name, run_file, args
        return super().resolve_command(ctx, args)


@click.command("PIPELINE.py")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--project", "project_name", default="", help="Default: as `@pipeline(project=...)` says.")
@click.option("--pipeline", "name", default="", help="Which, where the file has several.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A parameter, JSON or text; repeat it."
)
@click.option("--environment", default="dev", show_default=True)
@click.option(
    "--from", "again_from", multiple=True, metavar="STEP", help="Do this and what follows again; repeat it."
)
@click.option(
    "--resume",
    "resume_of",
    default="",
    metavar="RUN",
    help="Go on where that run failed, with its parameters.",
)
@click.option("--no-cache", is_flag=True, help="Do every step again.")
@click.option("--dry-run", is_flag=True, help="Build and check it, say what it would do, start nothing.")
@click.option(
    "--local",
    type=click.Path(file_okay=False, path_type=Path),
    help="In this process, with a store in this folder.",
)
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0, min_open=True),
    help="Kept free in the project's budget until it has ended; default: `cost.run_reservation`.",
)
@click.option("--purpose", default="", help="What for, as `mainspring purpose list` has them.")
@click.option("--key", default="", help="Idempotency key; default: a fresh one.")
@session.AS
@session.JSON
def run_file(
    file: Path,
    project_name: str,
    name: str,
    settings: tuple[str, ...],
    environment: str,
    again_from: tuple[str, ...],
    resume_of: str,
    no_cache: bool,
    dry_run: bool,
    local: Path | None,
    max_cost: float | None,
    purpose: str,
    key: str,
    actor: str,
    as_json: bool,
) -> None:
    """Run a pipeline of a Python file; follow it with `mainspring pipeline show`."""
    from mainspring.core import ids
    from mainspring.core.contracts import control
    from mainspring.core.contracts import pipelines as contracts
    from mainspring.core.pipelines import loading

    given = dict(map(_parameter, settings))
    loaded = loading.load(file, name)
    if local is not None:
        output.show(
            _run_here(loaded, local, given, again_from, not no_cache), as_json=as_json, columns=_NODES
        )
        return
    if dry_run and not resume_of:
        output.show(_plan(loaded.pack(**given), as_json=as_json), as_json=as_json, columns=_PLAN)
        return
    project = ids.check_slug(project_name or loaded.pipeline.project or "", "project")
    with session.client(actor or "developer@local") as client:
        pack = loaded.pack(**{**_parameters_of(client, project, resume_of), **given})
        _check_names(pack.graph, again_from)
        if dry_run:
            output.show(_plan(pack, as_json=as_json), as_json=as_json, columns=_PLAN)
            return
        request = control.RunCreate(
            project=project,
            kind=control.RunKind.PIPELINE,
            environment=environment,
            max_cost=max_cost,
            purpose=purpose,
            pipeline=contracts.PipelineOptions(
                pack=pack.digest, resume_of=resume_of, again_from=again_from, use_cache=not no_cache
            ),
            idempotency_key=key or ids.new_id("key"),
        )
        click.echo(f"idempotency key: {request.idempotency_key}", err=True)
        client.put_pipeline(project, pack, environment=environment)
        output.show(client.create_run(request).model_dump(mode="json"), as_json=as_json)


@click.group()
def pipeline() -> None:
    """Runs of pipelines: their steps, and decisions on their approvals."""


@pipeline.command("show")
@click.argument("run_id")
@session.AS
@session.JSON
def pipeline_show(run_id: str, actor: str, as_json: bool) -> None:
    """Every step: where it is, whether the cache had it, and why not."""
    with session.client(actor or "developer@local") as client:
        view = client.run(run_id)
    rows = _rows(view)
    if as_json:
        output.show({"run_id": run_id, "stage": view.stage, "nodes": rows}, as_json=True)
        return
    click.echo(f"{run_id}: {view.stage}", err=True)
    output.show(rows, as_json=False, columns=_NODES)


@pipeline.command("pack")
@click.argument("project_name")
@click.argument("digest")
@session.AS
@session.JSON
def pipeline_pack(project_name: str, digest: str, actor: str, as_json: bool) -> None:
    """What was sent as a pipeline: its steps, its parameters and the names of its files."""
    with session.client(actor or "developer@local") as client:
        pack = client.pipeline(project_name, digest)
    output.show(_plan(pack, as_json=as_json), as_json=as_json, columns=_PLAN)


@pipeline.command("decide")
@click.argument("run_id")
@click.argument("decision", type=click.Choice(["approve", "reject"]))
@click.option("--step", default="", help="Which approval, where several wait.")
@click.option("--reason", default="")
@session.AS
@session.JSON
def pipeline_decide(run_id: str, decision: str, step: str, reason: str, actor: str, as_json: bool) -> None:
    """Say yes or no where a run waits for it; it may ask for several people."""
    with session.client(actor or "approver@local") as client:
        view = client.decide(run_id, approve=decision == "approve", reason=reason, step=step)
        output.show(view.model_dump(mode="json"), as_json=as_json)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.UsageError(f"`{text}` is no parameter; write NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _parameters_of(client: control_client.ControlClient, project: str, run_id: str) -> dict[str, Any]:
    """Those of the run that is resumed. Errors: NotFound; InvalidRequest for one that is no pipeline."""
    if not run_id:
        return {}
    view = client.run(run_id)
    if not view.pack:
        raise errors.InvalidRequest(
            f"run `{run_id}` is a `{view.kind}`; only a pipeline is resumed", field="resume"
        )
    return client.pipeline(project, view.pack).graph.parameters


def _check_names(graph: pipelines.PipelineGraph, names: tuple[str, ...]) -> None:
    known = [node.name for node in graph.nodes]
    for name in names:
        if name not in known:
            raise errors.NotFound(
                f"pipeline `{graph.name}` has no step `{name}`; it has {', '.join(f'`{n}`' for n in known)}",
                resource="step",
                name=name,
            )


def _plan(pack: pipelines.Pack, *, as_json: bool) -> Any:
    """What it would do, a row a node; as JSON with its digest and parameters."""
    rows = [
        {
            "name": node.name,
            "kind": "step"
            if node.approval is None
            else f"approval by {node.approval.count} {node.approval.role}",
            "gives": node.gives,
            "needs": ", ".join(node.needs),
            "each": node.each,
            "cpus": node.resources.cpus if node.approval is None else "",
            "memory_gib": node.resources.memory_gib if node.approval is None else "",
            "spot": node.resources.spot if node.approval is None else "",
        }
        for node in pack.graph.nodes
    ]
    if not as_json:
        return rows
    return {
        "pipeline": pack.graph.name,
        "pack": pack.digest,
        "parameters": pack.graph.parameters,
        "files": sorted(pack.sources),
        "nodes": rows,
    }


def _run_here(
    loaded: loading.Loaded,
    folder: Path,
    parameters: dict[str, Any],
    again_from: tuple[str, ...],
    use_cache: bool,
) -> list[dict[str, Any]]:
    from mainspring.core.pipelines import PipelineStore, run_locally

    def ask(node: pipelines.Node) -> bool:
        return click.confirm(f"approve `{node.name}`?", err=True)

    done = run_locally(
        loaded,
        PipelineStore(folder.absolute()),
        parameters=parameters,
        approve=ask,
        again_from=again_from,
        use_cache=use_cache,
    )
    return [_row(report.model_dump(mode="json")) for report in done.reports.values()]


def _rows(view: control.RunView) -> list[dict[str, Any]]:
    live = view.status.detail.get("nodes") if view.status is not None else None
    return [_row(node) for node in live or view.result.get("nodes", [])]


def _row(node: dict[str, Any]) -> dict[str, Any]:
    from mainspring.core.contracts.pipelines import NodeReport

    report = NodeReport.model_validate(node)
    says = report.message or report.why_not_cached
    if report.approved_by:
        says = f"approved by {', '.join(report.approved_by)}"
    return {**report.model_dump(mode="json"), "seconds": round(report.seconds, 2), "says": says}
