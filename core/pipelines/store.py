"""Where a project's pipelines keep what they are and what they made: packs, contents by digest, and the cache's index.

Everything is a file that is there whole or not at all, and may be written by several processes at once: what has one
name has one content. Only `latest/`, which says what a step was last made from, is written over.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from mainspring.core import canonical, durable, errors, ids
from mainspring.core.contracts import pipelines

__all__ = ["PipelineStore"]

M = TypeVar("M", bound=BaseModel)
_CHUNK_BYTES: Final = 1 << 20


class PipelineStore:
    """The folder of one project. Nothing is made before something is kept."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of(cls, state_dir: Path, project: str) -> PipelineStore:
        """Errors: InvalidRequest for a name that is none: it is a part of a path."""
        return cls(state_dir / "projects" / ids.check_slug(project, "project") / "pipelines")

    def run(self, run_id: str) -> Path:
        """What one run makes on its way. Errors: InvalidRequest for an id that is none."""
        if not run_id.replace("_", "").replace("-", "").isalnum():
            raise errors.InvalidRequest(f"`{run_id}` is no id of a run", field="run_id")
        return self.root / "runs" / run_id

    def keep_pack(self, pack: pipelines.Pack) -> bool:
        """True if it was not there before."""
        path = self._pack(pack.digest)
        if path.exists():
            return False
        durable.put_file(path, canonical.dumps(pack.model_dump(mode="json", exclude_defaults=True)))
        return True

    def pack(self, digest: str) -> pipelines.Pack:
        """Errors: NotFound; CorruptArtifact if it is not what its digest says."""
        try:
            found = pipelines.Pack.model_validate_json(self._pack(digest).read_bytes())
        except FileNotFoundError as error:
            raise errors.NotFound(
                f"no pipeline `{digest}` is kept here; send it with `mainspring run PIPELINE.py`",
                resource="pipeline",
                name=digest,
            ) from error
        except ValidationError as error:
            raise self._corrupt(digest, "a pipeline", str(error.errors()[0]["msg"])) from error
        if found.digest != digest:
            raise self._corrupt(digest, digest, found.digest)
        return found

    def has_pack(self, digest: str) -> bool:
        return self._pack(digest).exists()

    def unpack(self, pack: pipelines.Pack) -> Path:
        """The folder of its sources, to be imported from; several runs share it."""
        folder = self.root / "sources" / _hex(pack.digest)
        for path, text in pack.sources.items():
            file = folder / path  # a plain relative path: the contract has seen to it
            if not file.exists():
                durable.put_file(file, text.encode())
        return folder

    def put_bytes(self, data: bytes) -> str:
        """Keep content; its digest."""
        digest = canonical.digest_bytes(data)
        path = self._object(digest)
        if not _touched(path):
            durable.put_file(path, data)
        return digest

    def put_file(self, source: Path) -> tuple[str, int]:
        """Keep the content of a file, copied; its digest and size. Errors: OSError."""
        beside = self.root / "objects" / f".new-{secrets.token_hex(8)}"
        beside.parent.mkdir(parents=True, exist_ok=True)
        whole, size = hashlib.sha256(), 0
        try:
            with source.open("rb") as read, beside.open("wb") as written:
                while chunk := read.read(_CHUNK_BYTES):
                    whole.update(chunk)
                    size += len(chunk)
                    written.write(chunk)
                written.flush()
                os.fsync(written.fileno())
            digest = f"sha256:{whole.hexdigest()}"
            path = self._object(digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.chmod(0o444)
            beside.replace(path)
            durable.sync_folder(path.parent)
        finally:
            beside.unlink(missing_ok=True)
        return digest, size

    def open(self, digest: str) -> Path:
        """The file with that content, checked. Errors: NotFound; CorruptArtifact."""
        path = self._object(digest)
        try:
            found = canonical.digest_file(path)
        except FileNotFoundError as error:
            raise errors.NotFound(
                f"content `{digest}` is not in the store any more; run the step that made it again (`--from STEP`)",
                resource="content",
                name=digest,
            ) from error
        if found != digest:
            raise self._corrupt(digest, digest, found)
        return path

    def has(self, value: pipelines.Value) -> bool:
        """Is all of its content there, to be used again: it counts as made now, so that no retention takes it. It is not read."""
        return all(_touched(self._object(leaf.digest)) for leaf in leaves(value))

    def keep(self, folder: str, name: str, record: BaseModel | dict[str, Any], *, anew: bool = False) -> None:
        """A small record by name; one that is there stays, but `anew`."""
        path = self.root / folder / f"{name}.json"
        if anew or not path.exists():
            value = record.model_dump(mode="json") if isinstance(record, BaseModel) else record
            durable.put_file(path, json.dumps(value, indent=1, sort_keys=True).encode())

    def kept(self, folder: str, name: str, kind: type[M]) -> M | None:
        """None if there is none, or none of this form: what cannot be read was never kept."""
        try:
            return kind.model_validate_json((self.root / folder / f"{name}.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def _pack(self, digest: str) -> Path:
        return self.root / "packs" / f"{_hex(digest)}.json"

    def _object(self, digest: str) -> Path:
        name = _hex(digest)
        return self.root / "objects" / name[:2] / name

    def _corrupt(self, name: str, expected: str, got: str) -> errors.CorruptArtifact:
        return errors.CorruptArtifact(
            f"what the store has as `{name}` is something else ({got}); remove it and run the step again",
            artifact=name,
            expected=expected,
            got=got,
        )


def leaves(value: pipelines.Value) -> Iterator[pipelines.Value]:
    """The parts that have content of their own."""
    parts = [*value.items, *value.fields.values()]
    if value.kind in (pipelines.ValueKind.LIST, pipelines.ValueKind.RECORD):
        for part in parts:
            yield from leaves(part)
    else:
        yield value


def _touched(path: Path) -> bool:
    """False where there is none."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def fresh_folder(path: Path, fill: Callable[[Path], None] | None = None) -> Path:
    """An empty folder: what an attempt before us left is removed."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    if fill is not None:
        fill(path)
    return path


def _hex(digest: str) -> str:
    """Errors: InvalidRequest for what is no digest: it becomes a part of a path."""
    name = digest.removeprefix("sha256:")
    if len(name) != 64 or not all(c in "0123456789abcdef" for c in name):
        raise errors.InvalidRequest(
            f"`{digest}` is no digest; write `sha256:` and 64 hex digits", field="digest"
        )
    return name
