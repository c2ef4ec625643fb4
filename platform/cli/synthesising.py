"""`mainspring data synthesise`: a table that may go where the real one may not."""

from __future__ import annotations

import rich_click as click

from mainspring.platform.cli import output, session, table_files

__all__ = ["synthesise"]


@click.command("synthesise")
@click.argument("file", type=click.Path(exists=True))
@click.argument("out", type=click.Path(dir_okay=False))
@click.option("--rows", type=click.IntRange(1, 1_000_000_000), required=True, help="How many to make.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed makes the same rows.")
@click.option("--target", default="", help="What models of it predict: a number or a truth value.")
@click.option("--identifier", "identifiers", multiple=True, help="A column to make anew; repeat it.")
@click.option(
    "--project", "project_name", default="", help="Whose decisions about columns hold; with --entry."
)
@click.option("--entry", default="", help="The table's name in the project's catalog.")
@session.AS
@session.JSON
def synthesise(
    file: str,
    out: str,
    rows: int,
    seed: int,
    target: str,
    identifiers: tuple[str, ...],
    project_name: str,
    entry: str,
    actor: str,
    as_json: bool,
) -> None:
    """Make a table that looks like FILE and has nobody's row, and say what it is worth.

    Columns that identify are made anew: those a detector finds, but for those that a person said tell of nobody, and `--identifier`.
    Nothing is written that tells of those it was made of (exit code 3).
    """
    from pathlib import Path

    from mainspring.core.protection import detecting
    from mainspring.core.synthetic import table

    if bool(project_name) != bool(entry):
        raise click.UsageError("--project and --entry go together; give both, or neither")
    real = table_files.scan(file, types=True)
    anew = table.identifiers_of(detecting.detect(detecting.sample(real)))
    if project_name:
        confirmed, rejected = _decided(project_name, entry, actor or "developer@local")
        anew = (anew - rejected) | confirmed
    report = table.synthesise(
        real, Path(out).absolute(), rows=rows, seed=seed, identifiers=anew | set(identifiers), target=target
    )
    if as_json:
        output.show({"path": str(Path(out).absolute()), **report.model_dump(mode="json")}, as_json=True)
        return
    told = report.model_dump(mode="json", exclude={"columns", "problems"})
    output.show({**told, "farthest": max(report.columns, key=lambda c: c.distance).name}, as_json=False)


def _decided(project_name: str, entry: str, actor: str) -> tuple[set[str], set[str]]:
    """Columns that a person said identify, and those that tell of nobody."""
    from mainspring.core.contracts import protection
    from mainspring.core.synthetic import table

    confirmed, rejected, after = set[str](), set[str](), ""
    with session.client(actor) as client:
        while True:
            page = client.classifications(project_name, entry=entry, after=after)
            for item in page.items:
                one = protection.ClassificationView.model_validate(item)
                if one.state is protection.ClassificationState.REJECTED:
                    rejected.add(one.column)
                elif one.state is protection.ClassificationState.CONFIRMED and one.kind in table.IDENTIFIES:
                    confirmed.add(one.column)
            if not (after := page.next):
                return confirmed, rejected
