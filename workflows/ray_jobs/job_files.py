"""What every Ray job of ours is told and answers: one JSON file each way. Imports no ray and no torch."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from mainspring.core import errors
from mainspring.core.contracts.base import Message

__all__ = ["read_output", "read_spec", "tell", "told", "write_file", "write_output"]

M = TypeVar("M", bound=Message)

_ERROR: Final = "error"


def read_spec(path: Path, kind: type[M], what: str) -> M:
    """`what` is the job in one word: `training`.

    Errors: NotFound if there is no such file; InvalidRequest naming the first wrong field.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"{what} spec `{path}` does not exist; write it before the job is submitted",
            resource=f"{what} spec",
            name=str(path),
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise errors.InvalidRequest(
            f"{what} spec `{path}` is wrong at `{field}`: {first['msg']}; write it with `{kind.__name__}`",
            field=field,
        ) from error


def write_output(path: Path, answer: Message | errors.MainspringError) -> None:
    """The answer or the error as JSON, whole or not at all."""
    value = (
        {_ERROR: errors.to_wire(answer)}
        if isinstance(answer, errors.MainspringError)
        else answer.model_dump(mode="json")
    )
    write_file(path, json.dumps(value, indent=1).encode())


def read_output(path: Path, kind: type[M], what: str) -> M:
    """What :func:`write_output` wrote.

    Errors: the job's own error, rebuilt; NotFound if the job left no answer; CorruptArtifact if it is not one.
    """
    try:
        value = json.loads(path.read_bytes())
        if isinstance(value, dict) and isinstance(value.get(_ERROR), dict):
            raise errors.from_wire(value[_ERROR])
        return kind.model_validate(value)
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"the {what} left no answer at `{path}`; it was stopped or its machine was lost: submit it again",
            resource=f"{what} output",
            name=str(path),
        ) from error
    except ValueError as error:
        raise errors.CorruptArtifact(
            f"`{path}` is no answer of a {what}: {error}; submit it again",
            artifact=str(path),
            expected=f"{kind.__name__} as JSON",
            got=str(error),
        ) from error


def write_file(path: Path, data: bytes) -> None:
    """Durable, and whole or not at all: a temporary file, fsync, rename. Several may write it; the last one counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def tell(path: Path | None, said: Message) -> None:
    """What a job says on its way, for people: whole or not at all, without fsync. A disk that takes it not is no reason to fail,
    and None is nobody who listens. One process writes it."""
    if path is None:
        return
    new = path.with_name(f".{path.name}.new")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(said.model_dump_json())
        new.replace(path)


def told(path: Path, kind: type[M]) -> M | None:
    """What :func:`tell` wrote last; None before the first, and where it cannot be read: it is told, never waited for."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
