"""`mainspring tune`: compare parameters of a project's model, and train with the best."""

from __future__ import annotations

from typing import Any

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["bounds", "tune"]


def bounds(text: str) -> tuple[float, float]:
    """`LOW:HIGH`. Errors: BadParameter."""
    try:
        low, high = map(float, text.split(":"))
    except ValueError as error:
        raise click.BadParameter(f"`{text}` is no LOW:HIGH, such as 1e-4:1e-2") from error
    return low, high


def _read(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[float, float] | None:
    return None if text is None else bounds(text)


@click.command()
@click.argument("project_name")
@click.option("--trials", type=click.IntRange(1, 1000), default=16, show_default=True)
@click.option("--epochs", type=click.IntRange(1, 1000), help="Default: the project's own.")
@click.option(
    "--max-cpu-hours",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="The study ends with what it has after so many core-hours; they are kept free in the budget.",
)
@click.option(
    "--learning-rate", metavar="LOW:HIGH", callback=_read, help="Default: around the project's own."
)
@click.option("--dropout", metavar="LOW:HIGH", callback=_read)
@click.option("--weight-decay", metavar="LOW:HIGH", callback=_read)
@click.option("--endpoint", default="", help="Where the training of the best deploys to, once approved.")
@click.option("--only-parameters", is_flag=True, help="Start no training with the best.")
@click.option("--environment", default="dev", show_default=True)
@click.option("--sample-fraction", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
@click.option("--purpose", default="", help="What for, as `mainspring purpose list` has them.")
@click.option("--key", default="", help="Idempotency key; default: a fresh one.")
@session.AS
@session.JSON
def tune(
    project_name: str,
    trials: int,
    epochs: int | None,
    max_cpu_hours: float,
    learning_rate: tuple[float, float] | None,
    dropout: tuple[float, float] | None,
    weight_decay: tuple[float, float] | None,
    endpoint: str,
    only_parameters: bool,
    environment: str,
    sample_fraction: float,
    purpose: str,
    key: str,
    actor: str,
    as_json: bool,
) -> None:
    """Start a study; follow it with `mainspring run watch`."""
    from mainspring.core import ids
    from mainspring.core.contracts import control

    given = {"learning_rate": learning_rate, "dropout": dropout, "weight_decay": weight_decay}
    wanted: dict[str, Any] = {
        "project": ids.check_slug(project_name, "project"),
        "kind": control.RunKind.TUNE,
        "environment": environment,
        "sample_fraction": sample_fraction,
        "epochs": epochs,
        "endpoint": endpoint,
        "purpose": purpose,
        "tune": {
            "trials": trials,
            "max_cpu_hours": max_cpu_hours,
            "train_best": not only_parameters,
            "space": {name: value for name, value in given.items() if value is not None},
        },
        "idempotency_key": key or ids.new_id("key"),
    }
    request = control.RunCreate.model_validate(wanted)
    click.echo(f"idempotency key: {request.idempotency_key}", err=True)
    with session.client(actor or "developer@local") as client:
        view = client.create_run(request)
    output.show(view.model_dump(mode="json"), as_json=as_json)
