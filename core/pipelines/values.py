"""Values between steps: what a step answers goes into the store by its type, and comes out of it as an argument."""

from __future__ import annotations

import json
import typing
from pathlib import Path, PurePosixPath
from typing import Any

import pydantic

from mainspring.core import canonical, errors
from mainspring.core.contracts import pipelines
from mainspring.core.contracts.pipelines import Value, ValueKind
from mainspring.core.pipelines import hints
from mainspring.core.pipelines.store import PipelineStore, fresh_folder

__all__ = ["literal", "put", "take"]


def put(store: PipelineStore, answer: Any, annotation: Any, where: str, *, is_spread: bool = False) -> Value:
    """Keep an answer of that type. `where` names it in messages: `step.field`.

    Errors: InvalidRequest if it is not of its type, has no canonical JSON form (NaN), or names no file.
    """
    kind = hints.kind_of(annotation, is_spread=is_spread, where=where)
    if kind is ValueKind.FILE:
        return _put_file(store, answer, where)
    if kind is ValueKind.TABLE:
        return _put_table(store, answer, where)
    if kind is ValueKind.LIST:
        return _put_list(store, answer, annotation, where)
    if kind is ValueKind.RECORD:
        return _put_record(store, answer, annotation, where)
    return _put_json(store, answer, annotation, where)


def take(store: PipelineStore, value: Value, annotation: Any, folder: Path, where: str) -> Any:
    """The value as an argument of that type. Files appear in `folder`, under the name that their step gave them.

    Errors: NotFound, CorruptArtifact of the store; InvalidRequest if it is not of the type.
    """
    if value.kind is ValueKind.FILE:
        place = fresh_folder(folder) / (value.name or "file")
        place.symlink_to(store.open(value.digest))
        return place
    if value.kind is ValueKind.TABLE:
        return _take_table(store.open(value.digest), annotation)
    if value.kind is ValueKind.LIST:
        item = hints.item_of(annotation) or Any
        found = [
            take(store, one, item, folder / str(i), f"{where}[{i}]") for i, one in enumerate(value.items)
        ]
        return tuple(found) if typing.get_origin(annotation) is tuple else found
    if value.kind is ValueKind.RECORD:
        types = hints.fields_of(annotation)
        return annotation(
            **{
                n: take(store, v, types[n], folder / n, f"{where}.{n}")
                for n, v in value.fields.items()
                if n in types
            }
        )
    return literal(json.loads(store.open(value.digest).read_bytes()), annotation, where)


def literal(value: Any, annotation: Any, where: str) -> Any:
    """A JSON value as one of that type. Errors: InvalidRequest."""
    try:
        return hints.adapter(annotation, where).validate_python(value)
    except pydantic.ValidationError as error:
        raise errors.InvalidRequest(
            f"`{where}` is of type `{hints.name_of(annotation)}` and got {value!r:.80}:"
            f" {error.errors()[0]['msg'].lower()}; give it a value of that type",
            field=where,
        ) from error


def _put_json(store: PipelineStore, answer: Any, annotation: Any, where: str) -> Value:
    kind = hints.adapter(annotation, where)
    try:
        # Strictly: what a step says that it gives, it gives.
        data = canonical.dumps(kind.dump_python(kind.validate_python(answer), mode="json"))
    except pydantic.ValidationError as error:
        raise _other_type(answer, annotation, where) from error
    except errors.InvalidRequest as error:
        raise errors.InvalidRequest(f"`{where}`: {error.message}", field=where) from error
    return Value(kind=ValueKind.JSON, digest=store.put_bytes(data), bytes=len(data))


def _put_file(store: PipelineStore, answer: Any, where: str) -> Value:
    if not isinstance(answer, Path):
        raise _other_type(answer, Path, where)
    if not answer.is_file():
        what = "a folder; return one file, such as an archive" if answer.is_dir() else "not there"
        raise errors.InvalidRequest(f"`{where}` is the file `{answer.name}`, which is {what}", field=where)
    digest, size = store.put_file(answer)
    return Value(kind=ValueKind.FILE, digest=digest, bytes=size, name=PurePosixPath(answer.name).name)


def _put_table(store: PipelineStore, answer: Any, where: str) -> Value:
    place = fresh_folder(store.root / "objects" / f".table-{canonical.digest(where)[7:23]}-{id(answer):x}")
    file = place / "table.parquet"
    try:
        if hasattr(answer, "write_parquet"):  # polars
            answer.write_parquet(file)
        else:
            import pyarrow
            import pyarrow.parquet

            if not isinstance(answer, pyarrow.Table):
                raise errors.InvalidRequest(
                    f"`{where}` should be a table of polars or pyarrow and is `{type(answer).__name__}`; return one",
                    field=where,
                )
            pyarrow.parquet.write_table(answer, file)
        digest, size = store.put_file(file)
    finally:
        file.unlink(missing_ok=True)
        place.rmdir()
    return Value(kind=ValueKind.TABLE, digest=digest, bytes=size)


def _take_table(path: Path, annotation: Any) -> Any:
    if annotation.__module__.startswith("pyarrow"):
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path)
    import polars

    return polars.read_parquet(path)


def _put_list(store: PipelineStore, answer: Any, annotation: Any, where: str) -> Value:
    if not isinstance(answer, list | tuple):
        raise _other_type(answer, annotation, where)
    if len(answer) > pipelines.MAX_FAN_OUT:
        raise errors.InvalidRequest(
            f"`{where}` has {len(answer)} items, at most {pipelines.MAX_FAN_OUT} are mapped over; give larger ones",
            field=where,
        )
    item = hints.item_of(annotation)
    return Value.of_items([put(store, one, item, f"{where}[{i}]") for i, one in enumerate(answer)])


def _put_record(store: PipelineStore, answer: Any, annotation: Any, where: str) -> Value:
    if not isinstance(answer, annotation):
        raise _other_type(answer, annotation, where)
    fields = {
        name: put(store, getattr(answer, name), kind, f"{where}.{name}")
        for name, kind in hints.fields_of(annotation).items()
    }
    return Value.of_fields(fields)


def _other_type(answer: Any, annotation: Any, where: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"`{where}` should be `{hints.name_of(annotation)}` and is `{type(answer).__name__}`; return what the"
        " type hint says, or change it",
        field=where,
    )
