"""`mainspring privacy`: answers about persons that may be published, within a budget of what may be told."""

from __future__ import annotations

import rich_click as click

from mainspring.platform.cli import output, session, table_files

__all__ = ["privacy"]


@click.group()
def privacy() -> None:
    """Differential privacy: counts, sums and means with noise, charged to a budget that does not grow back."""


@privacy.command("list")
@click.argument("project_name")
@session.AS
@session.JSON
def privacy_list(project_name: str, actor: str, as_json: bool) -> None:
    """Budgets by dataset, and what is left."""
    found, after = [], ""
    with session.client(actor or "developer@local") as client:
        while True:
            page = client.privacy_budgets(project_name, after=after)
            found += page.items
            if not (after := page.next):
                break
    output.show(found, as_json=as_json, columns=("dataset", "epsilon", "spent", "left", "answers", "set_by"))


@privacy.command("budget")
@click.argument("project_name")
@click.argument("dataset")
@click.option("--epsilon", type=click.FloatRange(1e-6, 20), required=True)
@click.option("--reason", required=True)
@session.AS
@session.JSON
def privacy_budget(
    project_name: str, dataset: str, epsilon: float, reason: str, actor: str, as_json: bool
) -> None:
    """Set how much epsilon may be spent on DATASET in all."""
    from mainspring.core.contracts import privacy as contracts

    wanted = contracts.PrivacyBudgetPut(epsilon=epsilon, reason=reason)
    with session.client(actor or "admin@local") as client:
        known = [one for one in client.each_privacy_budget(project_name) if one.dataset == dataset]
        version = known[0].version if known else ""
        made = client.put_privacy_budget(project_name, dataset, wanted, version=version)
    output.show(made.model_dump(mode="json"), as_json=as_json)


@privacy.command("answer")
@click.argument("project_name")
@click.argument("dataset")
@click.argument("file", type=click.Path(exists=True))
@click.argument("question", type=click.Choice(["count", "sum", "mean"]))
@click.option("--person", required=True, help="The column that tells persons apart.")
@click.option("--column", default="", help="Of a sum or mean.")
@click.option("--low", type=float, help="Of one value, known without the data.")
@click.option("--high", type=float)
@click.option("--rows-per-person", type=click.IntRange(1, 1000), default=1, show_default=True)
@click.option("--epsilon", type=click.FloatRange(1e-6, 20), required=True)
@click.option("--reason", required=True)
@session.AS
@session.JSON
def privacy_answer(
    project_name: str,
    dataset: str,
    file: str,
    question: str,
    person: str,
    column: str,
    low: float | None,
    high: float | None,
    rows_per_person: int,
    epsilon: float,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """One answer about FILE, the rows of DATASET, with noise: it may be published. Charged first, and not given back."""
    from mainspring.core import ids
    from mainspring.core.contracts import privacy as contracts
    from mainspring.core.protection import privacy as noise

    if (low is None) != (high is None):
        raise click.UsageError("bounds are two; give `--low` and `--high`")
    bounds = None if low is None or high is None else (low, high)
    asked = noise.Asked(question, person, epsilon, column, bounds, rows_per_person)  # type: ignore[arg-type]
    rows = table_files.scan(file).collect()
    noise.check(rows, asked)  # before anything is charged
    charge = contracts.PrivacySpend.model_validate(
        {
            "epsilon": epsilon,
            "question": question,
            "column": column,
            "spend_key": ids.new_id("spend"),
            "reason": reason,
        }
    )
    with session.client(actor or "developer@local") as client:
        spent = client.spend_privacy(project_name, dataset, charge)
    told = noise.answer(rows, asked)
    output.show(
        {"value": told.value, "noise_scale": told.scale, "epsilon": told.epsilon, "left": spent.left},
        as_json=as_json,
    )
