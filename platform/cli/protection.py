"""`mainspring data`: which columns tell of persons, and a person's word on each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import leaving, output, session, synthesising, table_files

__all__ = ["CLASSES", "ENVIRONMENTS", "KINDS", "data"]

#: As `core.contracts.protection`, whose import would slow `--help` down; a test holds them equal.
KINDS: Final = (
    "address", "bank_account", "birth_date", "card_number", "credential", "device", "email", "gender", "health",
    "ip_address", "location", "national_id", "person_key", "person_name", "phone", "postcode", "special",
)  # fmt: skip
CLASSES: Final = ("internal", "confidential", "restricted")
ENVIRONMENTS: Final = ("dev", "staging", "prod")
_FOUND: Final = ("column", "kind", "classification", "confidence", "reasons")
_LISTED: Final = ("entry", "column", "kind", "classification", "confidence", "state", "decided_by")


@click.group()
def data() -> None:
    """Data that tells of persons: found, and confirmed or rejected by a person."""


@data.command("classify")
@click.argument("project_name")
@click.argument("entry")
@click.argument("file", type=click.Path(exists=True))
@click.option(
    "--rows", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="Rows to look at."
)
@click.option("--dry-run", is_flag=True, help="Only say what is found; nothing is sent.")
@session.AS
@session.JSON
def data_classify(
    project_name: str, entry: str, file: str, rows: int, dry_run: bool, actor: str, as_json: bool
) -> None:
    """Look for persons in the columns of FILE (Parquet or CSV, or a folder of Parquet), which is ENTRY of the catalog.

    No value leaves this machine: the control API is told columns, kinds and counts.
    """
    from mainspring.core.contracts import protection
    from mainspring.core.protection import detecting

    found = detecting.detect(detecting.sample(table_files.scan(file), rows))
    listed = [finding.model_dump(mode="json") for finding in found]
    told: dict[str, Any] = {"entry": entry, "findings": listed}
    if not dry_run:
        with session.client(actor or "developer@local") as client:
            receipt = client.find_classifications(
                project_name, protection.Findings(entry=entry, findings=found)
            )
        told |= {"changed": receipt.changed, "waiting": receipt.waiting}
    if as_json:
        output.show(told, as_json=True)
        return
    output.show([{**f, "reasons": "; ".join(f["reasons"])} for f in listed], as_json=False, columns=_FOUND)
    if told.get("waiting"):
        click.echo(
            f"{told['waiting']} wait for an approver: `mainspring data confirm` or `mainspring data reject`",
            err=True,
        )


@data.command("findings")
@click.argument("project_name")
@click.option("--entry", default="", help="Of one dataset or view.")
@click.option("--state", type=click.Choice(["open", "confirmed", "rejected"]))
@session.AS
@session.JSON
def data_findings(project_name: str, entry: str, state: str | None, actor: str, as_json: bool) -> None:
    """What was found in a project, and what was decided."""
    found, after = [], ""
    with session.client(actor or "developer@local") as client:
        while True:
            page = client.classifications(project_name, entry=entry, state=state or "", after=after)
            found += page.items
            if not (after := page.next):
                break
    output.show(found, as_json=as_json, columns=_LISTED)


@data.command("confirm")
@click.argument("project_name")
@click.argument("entry")
@click.argument("column")
@click.option("--kind", type=click.Choice(KINDS), help="Another kind than was found.")
@click.option("--classification", type=click.Choice(CLASSES), help="Another class than was found.")
@click.option("--reason", default="")
@session.AS
@session.JSON
def data_confirm(
    project_name: str,
    entry: str,
    column: str,
    kind: str | None,
    classification: str | None,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """COLUMN of ENTRY tells of persons: it is personal in the catalog from now on."""
    asked = {"confirm": True, "kind": kind, "classification": classification, "reason": reason}
    _decide(project_name, {"entry": entry, "column": column, **asked}, actor, as_json)


@data.command("reject")
@click.argument("project_name")
@click.argument("entry")
@click.argument("column")
@click.option("--reason", required=True, help="Why it tells of nobody.")
@session.AS
@session.JSON
def data_reject(project_name: str, entry: str, column: str, reason: str, actor: str, as_json: bool) -> None:
    """COLUMN of ENTRY tells of nobody."""
    asked = {"confirm": False, "reason": reason}
    _decide(project_name, {"entry": entry, "column": column, **asked}, actor, as_json)


def _decide(project_name: str, asked: dict[str, Any], actor: str, as_json: bool) -> None:
    from mainspring.core.contracts import protection

    decision = protection.ClassificationDecision.model_validate(asked)
    with session.client(actor or "approver@local") as client:
        made = client.decide_classification(project_name, decision)
    output.show(made.model_dump(mode="json"), as_json=as_json)


@data.command("seal")
@click.argument("project_name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("out", type=click.Path(dir_okay=False))
@click.option(
    "--scheme",
    type=click.Path(exists=True, dir_okay=False),
    required=True,
    help="TOML: `dataset` and `columns`.",
)
@session.JSON
def data_seal(project_name: str, file: str, out: str, scheme: str, as_json: bool) -> None:
    """Write FILE (Parquet or CSV) to OUT as Parquet, its columns sealed as the scheme says, by this machine's keys."""
    import tomllib
    from pathlib import Path

    from mainspring.core import settings
    from mainspring.core.protection import keysets, tables

    try:
        document = tomllib.loads(Path(scheme).read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.InvalidRequest(f"`{scheme}` is no TOML: {error}; correct it", field="scheme") from error
    asked = tables.Scheme.parse(document)
    cipher = keysets.keyset(settings.load().protection, project_name).cipher()
    rows = table_files.scan(file).collect()
    tables.write(rows, Path(out), asked, cipher)
    told = {"file": out, "rows": rows.height, "columns": sorted(asked.columns), "key_id": cipher.current}
    output.show(told, as_json=as_json)


@data.command("reseal")
@click.argument("project_name")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@session.JSON
def data_reseal(project_name: str, folder: str, as_json: bool) -> None:
    """Bring every sealed Parquet file below FOLDER over to the newest data key. Safe to stop and to repeat."""
    from pathlib import Path

    from mainspring.core import settings
    from mainspring.core.protection import keysets, tables

    cipher = keysets.keyset(settings.load().protection, project_name).cipher()
    done = tables.reseal(Path(folder), cipher)
    told = {
        "files": done.files,
        "untouched": done.untouched,
        "values": done.values,
        "key_ids": sorted(done.key_ids),
    }
    output.show(told, as_json=as_json)


@data.command("mask")
@click.argument("project_name")
@click.option("--purpose", "purposes", multiple=True, help="A word that callers may say; repeat it.")
@click.option(
    "--environment",
    type=click.Choice(ENVIRONMENTS),
    help="Whose serving it is for; in some nothing is shown as it is.",
)
@click.option("--apply", is_flag=True, help="Put it in force in serving; else it is only shown.")
@session.AS
@session.JSON
def data_mask(
    project_name: str,
    purposes: tuple[str, ...],
    environment: str | None,
    apply: bool,
    actor: str,
    as_json: bool,
) -> None:
    """How each role sees the project's columns that are not for everybody, as the policies say."""
    with session.client(actor or "admin@local") as client:
        found = client.masking(project_name, purposes=purposes, environment=environment or "")
    told: dict[str, Any] = found.model_dump(mode="json")
    if apply:
        with session.serving(actor or "admin@local") as serving:
            told["version"] = serving.set_masking(serving.masking().with_section(found)).version
    if as_json:
        output.show(told, as_json=True)
        return
    output.show(told["fields"], as_json=False, columns=("view", "field", "classification", "kind"))
    click.echo("")
    output.show(told["rules"], as_json=False, columns=("classification", "role", "purpose", "form"))
    if apply:
        click.echo(f"in force in serving as version {told['version']}", err=True)


@data.command("check")
@click.argument("project_name")
@click.argument("file", type=click.Path(exists=True))
@click.option("--environment", type=click.Choice(ENVIRONMENTS), required=True)
@click.option(
    "--entry",
    default="",
    help="The table's name in the project's catalog; without one its columns' names tell.",
)
@click.option("--purpose", default="", help="What for, as `mainspring purpose list` has them.")
@session.AS
@session.JSON
def data_check(
    project_name: str, file: str, environment: str, entry: str, purpose: str, actor: str, as_json: bool
) -> None:
    """May FILE (Parquet, a folder of it, or CSV) be read in an environment, as a run that starts there would ask.

    No value leaves this machine: the control API is told columns, which of them are sealed, and whether the rows are nobody's.
    """
    from mainspring.core.contracts import data_reads
    from mainspring.core.protection import sealing
    from mainspring.core.synthetic import marks

    rows = table_files.scan(file)
    table = data_reads.ReadDataset(
        name=entry or Path(file).name,
        columns=list(rows.collect_schema()),
        sealed=sorted(sealing.sealed_columns(rows)),
        is_synthetic=marks.is_synthetic(table_files.files(file)),
        is_uncatalogued=not entry,
    )
    asked = data_reads.DataRead(environment=environment, datasets=[table], purpose=purpose)
    with session.client(actor or "developer@local") as client:
        output.show(client.read_data(project_name, asked).model_dump(mode="json"), as_json=as_json)


@data.command("open")
@click.argument("project_name")
@click.argument("dataset")
@click.argument("column")
@click.argument("values", nargs=-1, required=True)
@click.option("--purpose", required=True, help="What for, in a word that policies know.")
@click.option("--reason", required=True)
@click.option("--mode", type=click.Choice(["joinable", "random"]), default="joinable", show_default=True)
@click.option("--domain", default="", help="Of columns that are joined.")
@session.AS
@session.JSON
def data_open(
    project_name: str,
    dataset: str,
    column: str,
    values: tuple[str, ...],
    purpose: str,
    reason: str,
    mode: str,
    domain: str,
    actor: str,
    as_json: bool,
) -> None:
    """Sealed VALUES as they were; on record with who asked, what for and why."""
    from mainspring.core.contracts import masking

    asked = masking.OpenRequest.model_validate(
        {
            "dataset": dataset,
            "column": column,
            "mode": mode,
            "domain": domain,
            "values": list(values),
            "purpose": purpose,
            "reason": reason,
        }
    )
    with session.client(actor or "approver@local") as client:
        opened = client.open_sealed(project_name, asked)
    output.show(opened.model_dump(mode="json"), as_json=as_json)


data.add_command(synthesising.synthesise)
data.add_command(leaving.export)
