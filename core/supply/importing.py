"""Somebody else's model as a bundle of ours: scanned, tried, signed, and said to be imported.

A folder with the model's file, a card and `import.toml`:

    kind = "onnx"                   # onnx, torch_export, trees
    file = "model.onnx"
    card = "README.md"
    source = "https://models.example/credit/7"
    licence = "Apache-2.0"          # SPDX
    [model]                         # how it is asked: `core/models/model_spec.py`, without `dense_width`
    output = "score"
    [[inputs]]                      # what callers send, float32, in the order of the model's columns
    name = "income"
    missing = 0.0                   # what null and NaN become

Features of a store, ids and derived columns are a project's, and its training's: a foreign model gets what callers send.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mainspring.core import canonical, errors
from mainspring.core.contracts.base import Slug
from mainspring.core.features import ops, plan, schema
from mainspring.core.models import bundle, runtimes, signing
from mainspring.core.supply import builders, environment, gates, imported, provenance, sbom, scanning

__all__ = ["FILE", "Import", "read"]

FILE: Final = "import.toml"
BUILD_TYPE: Final = "urn:mainspring:build:import"


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Input(_Spec):
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    missing: float = 0.0


class Described(_Spec):
    """The content of `import.toml`."""

    kind: Literal["onnx", "torch_export", "trees"]
    file: str
    card: str = "README.md"
    source: Annotated[str, Field(min_length=3)]
    licence: Annotated[str, Field(min_length=2)]
    model: dict[str, Any] = {}
    inputs: Annotated[tuple[_Input, ...], Field(min_length=1)]


class _Name(_Spec):
    project: Slug
    name: Slug


@dataclass(frozen=True)
class Import:
    """A folder that was scanned and may be imported; nothing was written yet."""

    project: str
    name: str
    said: Described
    digest: str
    """Of all its files: the same folder is the same import."""
    contents: bundle.BundleContents

    @property
    def run_id(self) -> str:
        return self.contents.training_run_id

    def write(
        self, store: bundle.BundleStore, key: signing.SigningKey, *, by: str, at: datetime, version: str
    ) -> bundle.Bundle:
        """Sign and store. Errors: those of `BundleStore.write`."""
        return store.write(self.contents, key, self._build(by, at, version))

    def _build(self, by: str, at: datetime, version: str) -> provenance.Build:
        return provenance.Build(
            builder=builders.IMPORT,
            build_type=BUILD_TYPE,
            version=version,
            invocation=self.run_id,
            parameters={
                **self.said.model_dump(mode="json"),
                "imported_by": by,
                "rules": list(imported.RULES),
            },
            materials=(
                provenance.Material(
                    imported.FOLDER, {"sha256": self.digest.removeprefix("sha256:")}, self.said.source
                ),
            ),
            started_at=at,
            finished_at=at,
            scans=scanning.scanners(),
        )


def read(folder: Path, project: str, name: str, rules: gates.Rules) -> Import:
    """Scan a folder, ask the rules about its licence, and try the model on two rows: the whole import but for writing.

    Errors: InvalidRequest naming the field of `import.toml` that is wrong; PolicyDenied by `import.scanned` or
    `import.licence`; CorruptArtifact, MissingTool and InvariantViolated of a model that does not load or answer.
    """
    try:
        named = _Name(project=project, name=name)
    except ValidationError as error:
        raise _wrong(error, "") from error
    files = scanning.scan(folder)
    said = _described(files)
    licence = environment.Package(name, "imported", said.licence)
    if denied := gates.denied_licence(licence, rules.licences.deny):
        raise errors.PolicyDenied(
            f"rule `import.licence` denies it: `{denied}` of the model's licence `{said.licence}` is denied here; get it under"
            " another one, or have the rules changed",
            rule_id="import.licence",
        )
    digest = canonical.digest([[path, canonical.digest_bytes(data)] for path, data in sorted(files.items())])
    contents = _contents(named, said, files, digest)
    _try(contents)
    return Import(named.project, named.name, said, digest, contents)


def _described(files: Mapping[str, bytes]) -> Described:
    if FILE not in files:
        raise errors.InvalidRequest(
            f"the folder has no `{FILE}`, which says what the model is and where it came from; write one",
            field=FILE,
        )
    try:
        said = Described.model_validate(tomllib.loads(files[FILE].decode()))
    except ValidationError as error:
        raise _wrong(error, f" of `{FILE}`") from error
    except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError are ones
        raise errors.InvalidRequest(f"`{FILE}` cannot be read: {error}; correct it", field=FILE) from error
    for field, path in (("file", said.file), ("card", said.card)):
        if path not in files:
            raise errors.InvalidRequest(
                f"`{field}` of `{FILE}` names `{path}`, which the folder has not; it has {sorted(files)}",
                field=field,
            )
    if "dense_width" in said.model or "id_columns" in said.model:
        raise errors.InvalidRequest(
            f"`model` of `{FILE}` says `dense_width` or `id_columns`; `inputs` say it, and ids are not imported",
            field="model",
        )
    return said


def _contents(
    named: _Name, said: Described, files: Mapping[str, bytes], digest: str
) -> bundle.BundleContents:
    import polars as pl  # a plan of constants is fitted on a row of them

    declared = plan.TransformPlan(
        name=named.name,
        columns=tuple(
            plan.dense(i.name, ops.Impute(method="constant", value=i.missing)) for i in said.inputs
        ),
    )
    row = {i.name: [i.missing] for i in said.inputs}
    fitted = declared.fit(pl.DataFrame(row, schema={i.name: pl.Float32 for i in said.inputs}))
    run_id = f"import-{digest.removeprefix('sha256:')[:16]}"
    bill = sbom.render(
        named.name,
        run_id,
        (sbom.Input("imported-model", canonical.digest_bytes(files[said.file]), said.source),),
        (),
        environment.python_version(),
        licence=said.licence,
    )
    return bundle.BundleContents(
        name=named.name,
        project=named.project,
        kind=said.kind,
        plan=fitted.to_bytes(),
        model={"dense_width": len(said.inputs), **said.model},
        weights=files[said.file],
        card=files[said.card].decode(errors="replace"),
        service=schema.FeatureService(name=named.name, views=()),
        request_columns=fitted.inputs,
        input_columns=fitted.inputs,
        metrics={},
        data_digest=digest,
        training_run_id=run_id,
        code_version="imported",
        extra_files={sbom.FILE: bill},
    )


def _try(contents: bundle.BundleContents) -> None:
    """Load it as serving does, from a store that nobody sees, and ask it two rows: of missing values, and of ones."""
    with tempfile.TemporaryDirectory() as aside:
        key = signing.ensure_key(Path(aside) / "key")
        key.publish(Path(aside) / "trusted")
        store = bundle.BundleStore(Path(aside) / "bundles")
        trust = signing.TrustedKeys.load(Path(aside) / "trusted")
        opened = store.open(store.write(contents, key).digest, trust)
        program = plan.FittedPlan.from_bytes(opened.plan).compile()
        runtime = runtimes.factories(runtimes.Options())[opened.kind](opened, program)
        columns = {c.name: np.array([np.nan, 1.0], np.float32) for c in contents.input_columns}
        runtime.predict(program.run(columns))


def _wrong(error: ValidationError, where: str) -> errors.InvalidRequest:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return errors.InvalidRequest(f"`{field}`{where} is wrong: {first['msg']}; correct it", field=field)
