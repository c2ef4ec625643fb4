"""`mainspring policy`: those in force, and an organisation's own before they are."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

__all__ = ["policy"]

_FOLDER = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
_COLUMNS: Final = ("id", "effect", "whose", "file", "advice")


@click.group()
def policy() -> None:
    """Policies: who may do what, as Cedar."""


@policy.command("list")
@session.AS
@session.JSON
def policy_list(actor: str, as_json: bool) -> None:
    """The policies in force: ours, and the organisation's own beside them."""
    with session.client(actor or "admin@local") as client:
        found = [one.model_dump(mode="json") for one in client.each_policy()]
    told = [{**one, "whose": "platform" if one["is_ours"] else "own"} for one in found]
    output.show(found if as_json else told, as_json=as_json, columns=_COLUMNS)


@policy.command("show")
@click.argument("policy_id")
@session.AS
@session.JSON
def policy_show(policy_id: str, actor: str, as_json: bool) -> None:
    """The text of POLICY_ID, as Cedar writes it, and the table cases that name it."""
    with session.client(actor or "admin@local") as client:
        found = client.policy(policy_id).model_dump(mode="json")
    if as_json:
        output.show(found, as_json=True)
        return
    output.show({k: v for k, v in found.items() if k not in ("text", "cases", "annotations")}, as_json=False)
    click.echo(f"\n{found['text']}\n")
    output.show(found["cases"], as_json=False, columns=("name", "allowed"))


@policy.command("versions")
@session.AS
@session.JSON
def policy_versions(actor: str, as_json: bool) -> None:
    """Which sets were in force and since when, newest first."""
    with session.client(actor or "admin@local") as client:
        found, before = list[dict[str, Any]](), ""
        while True:
            page = client.policy_versions(before=before)
            found += page.items
            if not (before := page.next):
                break
    output.show(found, as_json=as_json, columns=("version", "since", "how", "is_in_force", "sequence"))


@policy.command("reads")
@click.option("--project", "project_name", default="", help="Of one project.")
@click.option("--actor", "whose", default="", help="Of one actor.")
@click.option("--action", default="", help="Such as `secret.read`.")
@click.option("--denied", is_flag=True, help="Denials alone.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@session.AS
@session.JSON
def policy_reads(
    project_name: str, whose: str, action: str, denied: bool, limit: int, actor: str, as_json: bool
) -> None:
    """What the policies answered about reads, newest first: counted by the hour, each denial alone while there are few."""
    with session.client(actor or "admin@local") as client:
        asked = client.each_read_decision(project=project_name, actor=whose, action=action, denied=denied)
        found = [one.model_dump(mode="json") for one in itertools.islice(asked, limit)]
    columns = ("last_at", "actor", "action", "project", "allowed", "policies", "count")
    output.show(found, as_json=as_json, columns=columns)


@policy.command("check")
@_FOLDER
@session.JSON
def policy_check(folder: Path, as_json: bool) -> None:
    """Hold the policies of FOLDER against the schema, and run its table cases (`cases.toml`) if it has some."""
    from mainspring.platform.policies import cases, engine, sources

    own = None if folder.resolve() == sources.FOLDER.resolve() else folder
    found = engine.PolicyEngine.load(own)
    table = folder / cases.FILE
    asked = cases.load(table) if table.exists() else []
    missed = cases.run(found, asked)
    told = {
        "policies": len([p for p in found.policies if own is None or not p.is_ours]),
        "cases": len(asked),
        "missed": [str(one) for one in missed],
        "version": found.version,
    }
    output.show(told, as_json=as_json)
    if missed:
        raise errors.Misconfigured(
            f"{len(missed)} of {len(asked)} cases are answered otherwise; first {missed[0]}; mend the policies or the cases"
        )


@policy.command("diff")
@_FOLDER
@click.option("--days", type=click.IntRange(1, 90), default=7, show_default=True)
@session.AS
@session.JSON
def policy_diff(folder: Path, days: int, actor: str, as_json: bool) -> None:
    """Which changes of the last days the policies of FOLDER would decide otherwise, in the place of the organisation's own."""
    from mainspring.core.contracts import policies
    from mainspring.platform.policies import sources

    trial = policies.PolicyTrial(policies=sources.read(folder), days=days)
    with session.client(actor or "admin@local") as client:
        found = client.try_policies(trial).model_dump(mode="json")
    if as_json:
        output.show(found, as_json=True)
        return
    output.show({k: v for k, v in found.items() if k != "changes"}, as_json=False)
    columns = ("at", "actor", "action", "resource", "was_allowed", "is_allowed", "is_by")
    output.show(found["changes"], as_json=False, columns=columns)
