"""`mainspring gitops`: bring about what a repository's `mainspring.yaml` wants."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.platform.gitops import plan as plans

__all__ = ["gitops"]

_COLUMNS: Final = ("action", "what", "before", "after", "says")
_FOLDER: Final = click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default="."
)
_AUTHOR: Final = click.option(
    "--as-author",
    is_flag=True,
    help="What is started is prompted by who signed the commit: not his to decide on. For service accounts; with --signed.",
)
_SIGNED: Final = click.option("--signed", is_flag=True, help="Only a commit whose signature git accepts.")


@click.group()
def gitops() -> None:
    """A repository says what there should be; its commits are applied."""


@gitops.command("plan")
@_FOLDER
@session.AS
@session.JSON
def gitops_plan(folder: Path, actor: str, as_json: bool) -> None:
    """What `apply` would do, and nothing else."""
    from mainspring.platform.gitops import checkout, plan

    with session.client(actor or "developer@local") as client:
        prepared = plan.prepare(client, checkout.here(folder))
    _show(prepared.plan, prepared.plan.items, as_json)


@gitops.command("apply")
@_FOLDER
@click.option("--plan", "approved", help="The digest of the plan that was approved; another one is refused.")
@_SIGNED
@_AUTHOR
@session.TOKEN_FILE
@session.AS
@session.JSON
def gitops_apply(
    folder: Path,
    approved: str | None,
    signed: bool,
    as_author: bool,
    token_file: Path | None,
    actor: str,
    as_json: bool,
) -> None:
    """Do what the committed `mainspring.yaml` wants; again it does nothing."""
    from mainspring.platform.gitops import checkout, plan

    found = checkout.here(folder)
    found.require(signed=signed or as_author)
    with session.client(actor or "developer@local", token_file) as client:
        prepared = plan.prepare(client, found)
        author = found.signer if as_author else ""
        _show(prepared.plan, plan.apply(client, prepared, approved=approved, author=author), as_json)


@gitops.command("watch")
@click.argument("repository")
@click.option("--branch", default="main", show_default=True, help="What is merged here is applied.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="Of its own.")
@click.option("--every-seconds", type=click.FloatRange(min=1), default=60.0, show_default=True)
@click.option("--once", is_flag=True, help="Look once, and end.")
@_SIGNED
@_AUTHOR
@session.TOKEN_FILE
@session.AS
@session.JSON
def gitops_watch(
    repository: str,
    branch: str,
    folder: Path,
    every_seconds: float,
    once: bool,
    signed: bool,
    as_author: bool,
    token_file: Path | None,
    actor: str,
    as_json: bool,
) -> None:
    """Apply each new commit of a branch, and tell of what is otherwise than it wants."""
    from mainspring.platform.gitops import checkout, plan

    while True:
        try:
            found = checkout.fetch(repository, branch, folder.absolute())
            found.require(signed=signed or as_author)
            with session.client(actor or "developer@local", token_file) as client:
                prepared = plan.prepare(client, found)
                done = plan.apply(client, prepared, author=found.signer if as_author else "")
            drift = [i for i in prepared.plan.items if i.action in (plan.Action.EXTRA, plan.Action.FAILED)]
            if done or drift or once:
                _show(prepared.plan, [*done, *drift], as_json)
        except errors.MainspringError as error:
            if once:
                raise
            # The next look may find it mended: a watcher that ends is one that nobody watches.
            output.show_error(error, as_json=as_json)
        if once:
            return
        time.sleep(every_seconds)


def _show(found: plans.Plan, items: list[plans.Item], as_json: bool) -> None:
    rows: list[dict[str, Any]] = [item.model_dump(mode="json") for item in items]
    if as_json:
        head = {"project": found.project, "commit": found.commit, "plan": found.digest}
        output.show({**head, "changes": len(found.changes), "items": rows}, as_json=True)
        return
    click.echo(f"commit {found.commit or '(not committed)'}, plan {found.digest}", err=True)
    output.show(rows, as_json=False, columns=_COLUMNS)
