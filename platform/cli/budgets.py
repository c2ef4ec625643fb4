"""`mainspring budget`: what a project may spend by environment and period, and where it stands."""

from __future__ import annotations

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["budget"]

_COLUMNS = (
    "environment",
    "period",
    "amount",
    "spent",
    "held",
    "forecast",
    "reached",
    "is_hard",
    "stop_endpoints",
    "version",
)
_ENVIRONMENT = click.option(
    "--environment",
    type=click.Choice(["all", "dev", "staging", "prod"]),
    default="all",
    show_default=True,
    help="Of this one alone; `all`: of all of them together.",
)
_PERIOD = click.option(
    "--period",
    type=click.Choice(["day", "week", "month", "quarter", "year"]),
    default="month",
    show_default=True,
    help="By the calendar, in UTC.",
)


@click.group()
def budget() -> None:
    """What a project may spend by environment and period; its own monthly budget is `mainspring project update`'s."""


@budget.command("list")
@click.argument("project_name")
@session.AS
@session.JSON
def budget_list(project_name: str, actor: str, as_json: bool) -> None:
    """Budgets and where they stand; `reached` is the highest threshold that is spent."""
    rows, after = [], ""
    with session.client(actor or "developer@local") as client:
        while True:
            page = client.budgets(project_name, after=after)
            rows += page.items
            if not (after := page.next):
                break
    output.show(rows, as_json=as_json, columns=_COLUMNS)


@budget.command("show")
@click.argument("project_name")
@_ENVIRONMENT
@_PERIOD
@session.AS
@session.JSON
def budget_show(project_name: str, environment: str, period: str, actor: str, as_json: bool) -> None:
    """One budget, with the version that a change names."""
    with session.client(actor or "developer@local") as client:
        found = client.budget(project_name, environment, period)
    output.show(found.model_dump(mode="json"), as_json=as_json)


@budget.command("set")
@click.argument("project_name")
@click.argument("amount", type=click.FloatRange(min=0, min_open=True))
@_ENVIRONMENT
@_PERIOD
@click.option("--soft", is_flag=True, help="Tell of it only: nothing is refused or stopped.")
@click.option(
    "--threshold",
    "thresholds",
    type=click.FloatRange(min=0, min_open=True, max=10),
    multiple=True,
    help="A share of it that somebody is told of when it is spent; default: 0.5, 0.8 and 1.",
)
@click.option(
    "--stop-endpoints",
    is_flag=True,
    help="When it is spent, take endpoints of its environment out of service after a notice; by the project's schedule `stop-idle`.",
)
@click.option(
    "--version", default="", help="Of the budget that is changed, from `show`; needed where there is one."
)
@session.AS
@session.JSON
def budget_set(
    project_name: str,
    amount: float,
    environment: str,
    period: str,
    soft: bool,
    thresholds: tuple[float, ...],
    stop_endpoints: bool,
    version: str,
    actor: str,
    as_json: bool,
) -> None:
    """Let a project spend AMOUNT each period, all of the budget anew: what is left out is as by default."""
    from mainspring.core.contracts import budgets

    given = {
        "amount": amount,
        "is_hard": not soft,
        "stop_endpoints": stop_endpoints,
        **({"thresholds": thresholds} if thresholds else {}),
    }
    wanted = budgets.BudgetPut.model_validate(given)
    with session.client(actor or "admin@local") as client:
        made = client.put_budget(project_name, environment, period, wanted, version=version)
    output.show(made.model_dump(mode="json"), as_json=as_json)


@budget.command("remove")
@click.argument("project_name")
@_ENVIRONMENT
@_PERIOD
@click.option("--version", required=True, help="Of the budget, from `show`.")
@session.AS
def budget_remove(project_name: str, environment: str, period: str, version: str, actor: str) -> None:
    """Take a budget away."""
    with session.client(actor or "admin@local") as client:
        client.remove_budget(project_name, environment, period, version=version)
    click.echo(f"project {project_name} has no budget {environment}/{period} any more")
