"""`mainspring dpia`: the impact assessment of a project, without which restricted data of persons do not go to prod."""

from __future__ import annotations

from typing import Any

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

__all__ = ["dpia"]

_COLUMNS = ("dpia_id", "risk", "score", "state", "submitted_by", "decided_by", "valid_until", "digest")


@click.group()
def dpia() -> None:
    """Impact assessments: answered, weighed, and signed by somebody else."""


@dpia.command("template")
def dpia_template() -> None:
    """The questionnaire as TOML, to be answered."""
    from mainspring.core.protection import dpia as risks

    click.echo(risks.template(), nl=False)


@dpia.command("submit")
@click.argument("project_name")
@click.argument("answers", type=click.Path(exists=True, dir_okay=False))
@session.AS
@session.JSON
def dpia_submit(project_name: str, answers: str, actor: str, as_json: bool) -> None:
    """Hand in ANSWERS, a TOML file; the risk follows from them."""
    import tomllib
    from pathlib import Path

    from mainspring.core.contracts import dpia as contracts

    try:
        document = tomllib.loads(Path(answers).read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.InvalidRequest(
            f"`{answers}` is no TOML: {error}; answer every question of `mainspring dpia template`",
            field="answers",
        ) from error
    with session.client(actor or "developer@local") as client:
        made = client.submit_dpia(project_name, contracts.DpiaAnswers.model_validate(document))
    _show(made.model_dump(mode="json"), as_json)


@dpia.command("show")
@click.argument("project_name")
@session.AS
@session.JSON
def dpia_show(project_name: str, actor: str, as_json: bool) -> None:
    """The last assessments of a project, newest first."""
    with session.client(actor or "developer@local") as client:
        output.show(client.dpias(project_name).items, as_json=as_json, columns=_COLUMNS)


@dpia.command("sign")
@click.argument("project_name")
@click.argument("digest")
@click.option("--reason", required=True)
@session.AS
@session.JSON
def dpia_sign(project_name: str, digest: str, reason: str, actor: str, as_json: bool) -> None:
    """Sign the open assessment, whose answers have DIGEST: nothing else is signed by accident."""
    _decide(project_name, digest, True, reason, actor, as_json)


@dpia.command("reject")
@click.argument("project_name")
@click.argument("digest")
@click.option("--reason", required=True)
@session.AS
@session.JSON
def dpia_reject(project_name: str, digest: str, reason: str, actor: str, as_json: bool) -> None:
    """Reject the open assessment."""
    _decide(project_name, digest, False, reason, actor, as_json)


def _decide(project_name: str, digest: str, sign: bool, reason: str, actor: str, as_json: bool) -> None:
    from mainspring.core.contracts import dpia as contracts

    decision = contracts.DpiaDecision(digest=digest, sign=sign, reason=reason)
    with session.client(actor or "approver@local") as client:
        made = client.decide_dpia(project_name, decision)
    _show(made.model_dump(mode="json"), as_json)


def _show(found: dict[str, Any], as_json: bool) -> None:
    output.show(found if as_json else {k: v for k, v in found.items() if k != "answers"}, as_json=as_json)
