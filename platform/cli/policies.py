"""`mainspring policy`: an organisation's own policies, before they are in force."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

__all__ = ["policy"]

_FOLDER = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group()
def policy() -> None:
    """Policies: who may do what, as Cedar."""


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
