"""A candidate that is right and far too slow: a network that answers as another one does, through layers that only pass on.

This is how the demo gets a bad bundle honestly: its latency is arithmetic that it really does, its scores are right, its
signature is good, so that nothing but its canary can find out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.models import architecture, bundle, manifest, signing

__all__ = ["LAYERS", "WIDTH", "contents", "widened", "write"]

#: Weights of 256 MiB: more than a cache holds, so that each row reads all of it from memory, some 17 ms alone on an idle
#: core. Five times what the good one takes is what the judge tells from chance on a busy host.
LAYERS: Final = 16
WIDTH: Final = 2048

Weights = Mapping[str, NDArray[np.float32]]


def write(
    store: bundle.BundleStore,
    opened: bundle.Bundle,
    key: signing.SigningKey,
    *,
    layers: int = LAYERS,
    width: int = WIDTH,
) -> bundle.Bundle:
    """Sign and store it, as a training does its own. Errors: as `contents`, and those of the store."""
    return store.write(contents(opened, layers=layers, width=width), key)


def contents(opened: bundle.Bundle, *, layers: int, width: int) -> manifest.BundleContents:
    """What `opened` has, with the widened network; its recorded samples hold of it, too. Errors: as `widened`."""
    spec = architecture.of_bundle(opened)
    made, weights = widened(spec, safetensors.numpy.load(opened.weights), layers=layers, width=width)
    said = opened.manifest
    own = {manifest.PLAN, manifest.MODEL, manifest.WEIGHTS, manifest.CARD}
    return manifest.BundleContents(
        name=f"{said.name}-oversized",
        project=said.project,
        plan=opened.plan,
        model=made.model_dump(mode="json"),
        weights=safetensors.numpy.save(dict(weights)),
        card=f"# {said.name}-oversized\n\nThe answers of `{opened.digest}`, through {layers} layers of {width} units"
        " that pass on what they are given. Made by the demo, to be rolled back.\n",
        service=said.service,
        request_columns=said.request_columns,
        input_columns=said.input_columns,
        metrics=said.metrics,
        data_digest=said.data_digest,
        training_run_id=said.training_run_id,
        code_version=said.code_version,
        extra_files={name: opened.read(name) for name in said.files if name not in own},
    )


def widened(
    spec: architecture.Architecture, weights: Weights, *, layers: int, width: int
) -> tuple[architecture.Architecture, Weights]:
    """`layers` of `width` units behind the first hidden layer, whose values they pass on: ReLU leaves what is not below 0.

    Errors: InvalidRequest for a network without hidden layers, or a first one of more than `width` units.
    """
    first = spec.hidden_sizes[0] if spec.hidden_sizes else 0
    if not 0 < first <= width or layers < 1:
        raise errors.InvalidRequest(
            f"a network of hidden sizes {list(spec.hidden_sizes)} has no first layer that {layers} layers of {width}"
            " units could pass on; take one that has, or wider layers",
            field="width",
        )
    made = spec.model_copy(
        update={"hidden_sizes": (first, *[width] * layers, *spec.hidden_sizes[1:])},
    )
    old, new = _heads(spec), _heads(made)
    grown = {name: value for name, value in weights.items() if not name.startswith("head.")}
    for kept, name in zip((old[0], *old[1:]), (new[0], *new[1 + layers :]), strict=True):
        for part in ("weight", "bias"):
            grown[f"{name}.{part}"] = weights[f"{kept}.{part}"]
    for name in new[1 : 1 + layers]:
        rows, columns = made.tensors[f"{name}.weight"]
        grown[f"{name}.weight"] = np.eye(rows, columns, dtype=np.float32)
        grown[f"{name}.bias"] = np.zeros(rows, np.float32)
    after = f"{new[1 + layers]}.weight"
    reads = np.zeros(made.tensors[after], np.float32)
    reads[:, :first] = grown[after]
    grown[after] = reads
    return made, grown


def _heads(spec: architecture.Architecture) -> list[str]:
    """The names of the layers, in their order."""
    return [name.removesuffix(".bias") for name in spec.tensors if name.endswith(".bias")]
