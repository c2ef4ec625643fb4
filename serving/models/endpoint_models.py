"""Endpoints as tensor models: the same plane, traffic, statistics and shadow as a prediction by row.

Each input column is a tensor of one dimension, and so is the score. A string is a BYTES element of UTF-8, "" being a
missing value, as for the plan; a missing number is NaN. Versions are digests of bundles: stable first, then canary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.contracts import prediction
from mainspring.serving import bundles, plane, traffic
from mainspring.serving.access import guard, wishes
from mainspring.serving.models import single_version, tensor_model

PLATFORM: Final = "mainspring_bundle"
SCORE: Final = "score"
_DATATYPES: Final[Mapping[str, str]] = {
    "float32": "FP32",
    "float64": "FP64",
    "int64": "INT64",
    "bool": "BOOL",
    "string": "BYTES",
}


class EndpointModel:
    """One endpoint. It follows its traffic: nothing is kept between requests."""

    def __init__(
        self,
        name: str,
        tables: traffic.TrafficStore,
        shelf: bundles.BundleShelf,
        answerer: plane.Plane,
        max_rows: int,
    ) -> None:
        self._name = name
        self._tables = tables
        self._shelf = shelf
        self._plane = answerer
        self._max_rows = max_rows
        self._signatures: dict[str, tensor_model.Signature] = {}

    @property
    def name(self) -> str:
        return self._name

    def versions(self) -> tuple[str, ...]:
        table = self._tables.table(self._name)
        return tuple(d for d in (table.stable, table.canary) if d is not None)

    def signature(self, version: str) -> tensor_model.Signature:
        """Of a bundle of the endpoint's traffic; "" is the stable one. Errors: NotFound."""
        versions = self.versions()
        digest = version or versions[0]
        if digest not in versions:
            raise single_version.unknown_version(self._name, version, versions)
        found = self._signatures.get(digest)
        if found is None:
            found = self._signatures[digest] = _signature(self._shelf.view(digest), self._max_rows)
        return found

    def is_resident(self, version: str) -> bool:
        """Of a version its bundle; of none the bundles that traffic, or its caller, may choose."""
        if not version and guard.current().wish is not wishes.NONE:
            return all(map(self._shelf.is_resident, traffic.digests(self._tables.table(self._name))))
        return all(map(self._shelf.is_resident, (version,) if version else self.versions()))

    def infer(self, version: str, inputs: tensor_model.Tensors) -> tensor_model.Inferred:
        """Errors: those of the plane; InvalidRequest for text that is not UTF-8."""
        columns = {n: _decoded(n, v) if v.dtype.kind == "O" else v for n, v in inputs.items()}
        scores, digest, _ = self._plane.infer(self._name, columns, digest=version)
        return tensor_model.Inferred(digest, {SCORE: scores})


def _signature(bundle: prediction.BundleView, max_rows: int) -> tensor_model.Signature:
    return tensor_model.Signature(
        inputs=tuple(
            tensor_model.TensorSpec(name, _DATATYPES[dtype], (-1,))
            for name, dtype in bundle.input_columns.items()
        ),
        outputs=(tensor_model.TensorSpec(SCORE, "FP32", (-1,)),),
        platform=PLATFORM,
        max_batch_size=max_rows,
    )


def _decoded(name: str, values: NDArray[Any]) -> NDArray[Any]:
    try:
        return np.array([value.decode() for value in values.tolist()], object)
    except UnicodeDecodeError as error:
        raise errors.InvalidRequest(
            f"input `{name}` is not UTF-8: {error.reason}; send text as UTF-8", field=name
        ) from error
