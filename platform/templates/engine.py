"""From a template and its answers to the files of a project: planned as text, then written whole or not at all."""

from __future__ import annotations

import difflib
import io
import json
import os
import re
import secrets
import shutil
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pydantic import ValidationError

from mainspring.core import durable, errors
from mainspring.platform.templates.schema import Registered, Template

__all__ = ["Plan", "archive", "find", "names", "plan", "rendered", "write"]

FOLDER: Final = Path(__file__).parent
_DOCUMENT: Final = "template.toml"
#: The least that zip has.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
#: `{{ name }}` as it is, `{{ name | json }}` as a quoted string that Python, TOML and YAML read alike.
_PLACEHOLDER: Final = re.compile(r"\{\{ ([a-z_]+)( \| json)? \}\}")


@dataclass(frozen=True)
class Plan:
    """A project that is not there yet."""

    template: str
    values: Mapping[str, Any]
    files: Mapping[str, str]
    """By path in the project's folder."""
    registers: tuple[Registered, ...]
    next: tuple[str, ...]


def names() -> tuple[str, ...]:
    """Of all templates, sorted."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob(f"*/{_DOCUMENT}")))


def find(name: str) -> Template:
    """Errors: NotFound with close names; InvariantViolated for a template of ours that is none."""
    known = names()
    if name not in known:
        close = tuple(difflib.get_close_matches(name, known, n=1))
        hint = f"did you mean `{close[0]}`" if close else f"there are {', '.join(f'`{n}`' for n in known)}"
        raise errors.NotFound(
            f"no template `{name}`; {hint}", resource="template", name=name, did_you_mean=close
        )
    try:
        return Template.model_validate(
            {"name": name, **tomllib.loads((FOLDER / name / _DOCUMENT).read_text())}
        )
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise errors.InvariantViolated(
            f"template `{name}` is broken: {error}; install mainspring again", where="templates"
        ) from error


def plan(template: Template, given: Mapping[str, Any]) -> Plan:
    """What would be made. Errors: InvalidRequest for an answer that is absent or wrong."""
    values = template.checked(dict(given))
    commands = tuple(rendered(command, values, "next") for command in template.next)
    fetch = rendered(template.data.fetch, values, "fetch")
    values |= {"commands": "\n".join(commands), "data_fetch": fetch}
    return Plan(
        template=template.name,
        values=values,
        files={
            rendered(path, values, path): rendered((FOLDER / source).read_text(), values, source)
            for path, source in sorted(template.files.items())
        },
        registers=tuple(
            Registered(**{k: rendered(v, values, k) for k, v in one.model_dump().items()})
            for one in template.registers
        ),
        next=commands,
    )


def rendered(text: str, values: Mapping[str, Any], where: str) -> str:
    """`text` with its placeholders filled in. Errors: InvariantViolated for one that has no value."""

    def value(match: re.Match[str]) -> str:
        name, as_json = match.groups()
        if name not in values:
            raise errors.InvariantViolated(
                f"`{where}` names `{name}`, which the template does not ask for; it has {sorted(values)}",
                where="templates",
            )
        return json.dumps(values[name], ensure_ascii=False) if as_json else str(values[name])

    return _PLACEHOLDER.sub(value, text)


def archive(made: Plan) -> bytes:
    """The project's folder as a zip file. The same plan gives the same bytes, whichever release of zlib is here: nothing is packed."""
    folder = PurePosixPath(str(made.values["name"]))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for path, text in sorted(made.files.items()):
            entry = zipfile.ZipInfo(str(folder / path), _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # of Unix, whatever this machine is
            target.writestr(entry, text)
    return out.getvalue()


def write(made: Plan, folder: Path) -> Path:
    """The project's folder, all of it or none. Errors: Conflict if there is something; NotFound without its parent."""
    target = folder.absolute()
    if os.path.lexists(target):
        raise errors.Conflict(
            f"`{target}` exists, and nothing is written over; choose another name or `--folder`",
            resource="folder",
            name=str(target),
        )
    if not target.parent.is_dir():
        raise errors.NotFound(
            f"`{target.parent}` is no folder; make it, or choose another `--folder`",
            resource="folder",
            name=str(target.parent),
        )
    new = target.with_name(f".{target.name}.new-{secrets.token_hex(4)}")
    try:
        for path, text in made.files.items():
            file = new.joinpath(*PurePosixPath(path).parts)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        try:
            # Unlike `rename` of a file, one of a folder does not replace what somebody made there meanwhile.
            new.rename(target)
        except OSError as error:
            raise errors.Conflict(
                f"`{target}` cannot be made: {error.strerror}; choose another `--folder`",
                resource="folder",
                name=str(target),
            ) from error
        durable.sync_folder(target.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return target
