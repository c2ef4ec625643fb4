"""`mainspring data export`: a table leaves for a place that is not the platform's own, once that was asked and is on record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session, table_files

if TYPE_CHECKING:
    from mainspring.core.contracts import data_exports

__all__ = ["ENVIRONMENT", "PURPOSE", "export", "require"]

PURPOSE: Final = click.option("--purpose", default="", help="What for, where it leaves the project's places.")
ENVIRONMENT: Final = click.option(
    "--environment",
    type=click.Choice(("dev", "staging", "prod")),
    default="prod",
    show_default=True,
    help="Where one's role is asked about.",
)


def require(project_name: str, wanted: data_exports.DataExport, actor: str) -> None:
    """Let it leave: inside of the project's own places nobody is asked, and no server has to be there.

    Errors: InvalidRequest for a place that is none; those of the control API, and then nothing may be written.
    """
    from mainspring.core import settings
    from mainspring.core.protection import exporting

    s = settings.load()
    own = exporting.own(s.control.export_places, s.stack.state_dir, project_name)
    if exporting.is_inside(wanted.destination, map(exporting.followed, own)):
        return
    with session.client(actor) as client:
        client.export_data(project_name, wanted)


@click.command("export")
@click.argument("project_name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out")
@click.option(
    "--entry", default="", help="The table's name in the catalog; without one its columns' names tell."
)
@ENVIRONMENT
@PURPOSE
@session.AS
@session.JSON
def export(
    project_name: str,
    file: Path,
    out: str,
    entry: str,
    environment: str,
    purpose: str,
    actor: str,
    as_json: bool,
) -> None:
    """Copy FILE (Parquet or CSV) to OUT, a file that is not there yet or s3://bucket/key, if its columns may go there.

    What is told and kept on record are names of columns, which of them are sealed, the digest, the number of rows and the purpose.
    Exit code 3 if it may not leave, and then nothing is written.
    """
    import io

    import polars as pl

    from mainspring.core import canonical
    from mainspring.core.contracts import data_exports, data_reads
    from mainspring.core.protection import exporting, sealing
    from mainspring.core.scoring import places
    from mainspring.core.synthetic import marks

    target = exporting.followed(exporting.check(out if "://" in out else str(Path(out).absolute())))
    place = places.Place.at(target)
    if place.look("") is not None:
        raise errors.Conflict(
            f"`{out}` is there already; choose a name that is not", resource="file", name=out
        )
    # Once: what is told of it, what is digested and what leaves is the same, whatever becomes of the file meanwhile.
    content = file.read_bytes()
    rows = table_files.scan(str(file), content=content)
    table = data_reads.ReadDataset(
        name=entry or file.name,
        columns=list(rows.collect_schema()),
        sealed=sorted(sealing.sealed_columns(rows)),
        is_synthetic=marks.is_synthetic([io.BytesIO(content)]),
        is_uncatalogued=not entry,
    )
    wanted = data_exports.DataExport(
        environment=environment,
        exit="table",
        destination=target,
        datasets=[table],
        purpose=purpose,
        digest=canonical.digest_bytes(content),
        rows=rows.select(pl.len()).collect().item(),
    )
    with session.client(actor or "developer@local") as client:
        found = client.export_data(project_name, wanted)
    if not target.startswith("s3://"):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    place.put("", content)
    output.show(found.model_dump(mode="json"), as_json=as_json)
