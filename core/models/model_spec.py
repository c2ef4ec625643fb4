"""How the models of bundles are asked that are no network of ours: the content of their `model.json`.

All of them take what the plan gives: a dense matrix (n, dense_width) float32 and ids (n, k) int32.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mainspring.core import errors
from mainspring.core.models import manifest
from mainspring.core.models import source as sources

_Spec = TypeVar("_Spec", bound="ModelSpec")


class ModelSpec(BaseModel):
    """What the plan must give, in its order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dense_width: int = Field(ge=0)
    id_columns: tuple[str, ...] = ()


class TreesSpec(ModelSpec):
    """Boosted trees in the text of LightGBM or the JSON of XGBoost.

    Their features are the dense columns, then the ids: as categories, if the trees were trained so.
    """

    format: Literal["lightgbm", "xgboost"]
    output: int = Field(default=0, ge=0)
    """Which of a row's numbers is the score: of several classes the one that is asked for."""


class OnnxSpec(ModelSpec):
    """An ONNX graph by the names of its tensors."""

    dense_input: str = "dense"
    """float32; it must be absent from the graph if `dense_width` is 0."""
    ids_input: str = "ids"
    """int32 or int64; it must be absent from the graph if there are no id columns."""
    output: str = "score"
    """float32 or float64: (n,) or (n, m)."""
    column: int = Field(default=0, ge=0)
    """Which of m columns is the score."""
    activation: Literal["identity", "sigmoid"] = "identity"
    """What makes a score of it; "sigmoid" where the graph gives logits."""


class ExportedSpec(ModelSpec):
    """A program of `torch.export`: takes (dense, ids), or dense alone if there are no id columns, gives (n,) float32."""

    activation: Literal["identity", "sigmoid"] = "identity"
    """What makes a score of it; "sigmoid" where the program gives logits."""


def read(source: sources.ModelSource, spec: type[_Spec]) -> _Spec:
    """What a verified bundle says of its model. Errors: CorruptArtifact naming the field that is wrong."""
    try:
        return spec.model_validate(source.model)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(p) for p in first["loc"]) or "the document"
        raise errors.CorruptArtifact(
            f"`{source.digest}/{manifest.MODEL}` does not say how to ask a model of kind `{source.kind}`:"
            f" `{path}`: {first['msg']}; build the bundle anew",
            artifact=source.digest,
            expected=spec.__name__,
            got=path,
        ) from error


def unfit(
    source: sources.ModelSource, why: str, *, expected: str = "", got: str = ""
) -> errors.CorruptArtifact:
    """What to raise where a bundle's model is not what its `model.json` says."""
    return errors.CorruptArtifact(
        f"model of bundle `{source.digest}` is not what its `{manifest.MODEL}` says: {why}; build the bundle anew",
        artifact=source.digest,
        expected=expected,
        got=got,
    )
