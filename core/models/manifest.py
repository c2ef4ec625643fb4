"""What a bundle says about itself, and what goes into one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, Literal, TypeAlias

from pydantic import Field, ValidationError

from mainspring.core import canonical, errors
from mainspring.core.contracts import base, training
from mainspring.core.features import schema
from mainspring.core.models import pickles

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "signature.json"
PLAN: Final = "plan.json"
MODEL: Final = "model.json"
WEIGHTS: Final = "weights.safetensors"
CARD: Final = "card.md"

#: Files of a bundle that its manifest does not list: itself, and what is about it (`core/supply`).
UNLISTED: Final = (MANIFEST, SIGNATURE, "provenance.intoto.json", "model.sig")

Kind: TypeAlias = Literal["embedding_mlp", "trees", "onnx", "torch_export", "ensemble"]

#: An ensemble's steps have theirs in folders of their own below this one.
STEPS: Final = "steps/"

#: By kind, the file that holds what was learned; empty: an ensemble has its steps'. `model.json` says how it is asked.
LEARNED: Final[Mapping[Kind, str]] = {
    "embedding_mlp": WEIGHTS,
    "trees": "trees.model",
    "onnx": "model.onnx",
    "torch_export": "program.pt2",
    "ensemble": "",
}

_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def required(kind: Kind) -> tuple[str, ...]:
    """The files that a bundle of this kind must list."""
    return tuple(name for name in (PLAN, MODEL, LEARNED[kind], CARD) if name)


class FileEntry(base.Message):
    """One listed file."""

    digest: base.Digest
    bytes: int = Field(ge=0)


class Manifest(base.Message):
    """What a bundle says about itself. A field that changes meaning needs a new `schema_version`; a new kind does not."""

    schema_version: Literal[1] = 1
    kind: Kind = "embedding_mlp"
    name: base.Slug
    project: base.Slug
    plan_digest: base.Digest
    service: schema.FeatureService
    request_columns: tuple[schema.Column, ...]
    """What a caller sends beside the entity keys."""
    input_columns: tuple[schema.Column, ...]
    """What the plan reads, in its order."""
    metrics: dict[str, training.Metrics]
    data_digest: base.Digest
    training_run_id: str
    code_version: str
    files: dict[str, FileEntry]
    """By POSIX path relative to the bundle; all files but the manifest and the signature."""

    @property
    def learned_bytes(self) -> int:
        """Size of what was learned, of all steps of an ensemble."""
        own = LEARNED[self.kind]
        return sum(e.bytes for name, e in self.files.items() if name == own or name.startswith(STEPS))


@dataclass(frozen=True)
class BundleContents:
    """What goes into a bundle.

    `plan` is canonical JSON; `weights` the bytes of the kind's own file (:data:`LEARNED`) and `model` what
    `model.json` says of them; `extra_files` are more files by relative path: an SBOM, or an ensemble's steps
    (`ensemble.files_of`), which has no weights itself.
    """

    name: str
    project: str
    plan: bytes
    model: Mapping[str, Any]
    weights: bytes
    card: str
    service: schema.FeatureService
    request_columns: tuple[schema.Column, ...]
    input_columns: tuple[schema.Column, ...]
    metrics: Mapping[str, training.Metrics]
    data_digest: str
    training_run_id: str
    code_version: str
    extra_files: Mapping[str, bytes] = field(default_factory=dict)
    kind: Kind = "embedding_mlp"

    def files(self) -> dict[str, bytes]:
        """Every listed file's bytes by path.

        Errors: InvalidRequest for a path that is taken or leaves the bundle, a pickle, or a kind there is not.
        """
        if self.kind not in LEARNED:
            raise errors.InvalidRequest(
                f"no bundle is of kind `{self.kind}`; kinds are {', '.join(f'`{k}`' for k in LEARNED)}",
                field="kind",
            )
        if self.weights and not LEARNED[self.kind]:
            raise errors.InvalidRequest(
                f"a bundle of kind `{self.kind}` has no weights itself; pass its steps' files",
                field="weights",
            )
        files = {
            PLAN: self.plan,
            MODEL: canonical.dumps(dict(self.model)),
            **({name: self.weights} if (name := LEARNED[self.kind]) else {}),
            CARD: self.card.encode(),
        }
        for path, data in self.extra_files.items():
            if not is_safe(path) or path in (*files, *UNLISTED):
                raise errors.InvalidRequest(
                    f"`{path}` cannot be a bundle's extra file; use a relative path of letters, digits, `._-` that no"
                    " standard file has",
                    field="extra_files",
                )
            files[path] = data
        for path, data in files.items():
            if pickles.is_pickle(data):
                raise errors.InvalidRequest(
                    f"`{path}` is a pickle, which runs code when it is read; use safetensors, ONNX, or"
                    " `exported.save` for a torch program",
                    field=path,
                )
        return files

    def manifest(self) -> Manifest:
        """Errors: InvalidRequest if a field is malformed or the plan is not canonical JSON."""
        if not is_canonical(self.plan):
            raise errors.InvalidRequest(
                "`plan` is not canonical JSON; write it with `canonical.dumps`", field="plan"
            )
        files = self.files()
        try:
            return Manifest(
                kind=self.kind,
                name=self.name,
                project=self.project,
                plan_digest=canonical.digest_bytes(self.plan),
                service=self.service,
                request_columns=self.request_columns,
                input_columns=self.input_columns,
                metrics=dict(self.metrics),
                data_digest=self.data_digest,
                training_run_id=self.training_run_id,
                code_version=self.code_version,
                files={
                    p: FileEntry(digest=canonical.digest_bytes(d), bytes=len(d)) for p, d in files.items()
                },
            )
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(str(p) for p in first["loc"])
            raise errors.InvalidRequest(
                f"bundle field `{path}` is malformed: {first['msg']}; correct it and write again", field=path
            ) from error


def is_safe(name: str) -> bool:
    """Whether a path stays in its folder and is hidden from nobody."""
    return PurePosixPath(name).as_posix() == name and all(_PART.fullmatch(p) for p in name.split("/"))


def is_canonical(data: bytes) -> bool:
    """Whether bytes are canonical JSON."""
    try:
        return canonical.dumps(json.loads(data)) == data
    except (ValueError, RecursionError, errors.InvalidRequest):
        return False
