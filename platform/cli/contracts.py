"""`mainspring contracts`: the processes' JSON Schemas, for clients in other languages and for those who change them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

__all__ = ["contracts"]


@click.group()
def contracts() -> None:
    """What starts a process and what it answers, as JSON Schemas."""


@contracts.command("export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@session.JSON
def contracts_export(folder: Path, as_json: bool) -> None:
    """Write a schema for each process into FOLDER; one that has not changed stays as it is."""
    from mainspring.core import durable
    from mainspring.core.contracts import published

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in published.schemas().items():
        path, text = folder / f"{name}.json", json.dumps(schema, indent=1, sort_keys=True) + "\n"
        if not path.exists() or path.read_text() != text:
            durable.replace_file(path, text)
            written.append(path.name)
    output.show({"folder": str(folder), "written": written}, as_json=as_json)


@contracts.command("check")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@session.JSON
def contracts_check(folder: Path, as_json: bool) -> None:
    """Compare what is installed with the schemas in FOLDER, which `export` of another release wrote.

    A client that was made from those can speak to what is installed, or it fails and every break is said.
    """
    from mainspring.core.contracts import published

    new, found = published.schemas(), []
    for name, old in sorted(_read(folder).items()):
        if name not in new:
            found.append(f"{name} is gone")
        else:
            found += [f"{name}: {what}" for what in published.breaks(old, new[name])]
    if found:
        raise errors.SchemaMismatch(
            f"a client of `{folder.name}` cannot speak to this release: {'; '.join(found)}; install that release's"
            " worker beside it, or make the client anew",
            expected=folder.name,
            got=f"{len(found)} breaks",
        )
    output.show({"folder": str(folder), "processes": len(new), "breaks": 0}, as_json=as_json)


def _read(folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text())
            found[path.stem] = {"properties": document["properties"], "$defs": document["$defs"]}
        except (ValueError, KeyError, TypeError) as error:
            raise errors.CorruptArtifact(
                f"`{path.name}` is no exported schema: {error!r}; write the folder with `mainspring contracts export`",
                artifact=path.name,
                expected="a JSON Schema of a process",
                got="something else",
            ) from error
    if not found:
        raise errors.NotFound(
            f"`{folder}` holds no schema; write some with `mainspring contracts export`",
            resource="schemas",
            name=str(folder),
        )
    return found
