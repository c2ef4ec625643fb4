"""Small networks at the price of their arithmetic: embedding tables, fully connected layers, an activation.

    >>> import numpy as np
    >>> from mainspring.native import mlp
    >>> model = mlp.make(2, [mlp.Layer(np.array([[1.0, -1.0]], np.float32), np.zeros(1, np.float32), "sigmoid")])
    >>> model.run(np.array([[3.0, 3.0], [0.0, 100.0]], np.float32)).round(6)
    array([[0.5],
           [0. ]], dtype=float32)

A row's answer is the same alone and in any batch, and on every target; how far it is from the exact one is bounded
in native/README.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from mainspring.native import status
from mainspring.native._native import BoundModel, Mlp

__all__ = ["ACTIVATIONS", "Activation", "BoundModel", "Layer", "Mlp", "Table", "from_state", "make"]

#: "gelu" is the exact one (by the error function), as torch's default.
Activation = Literal["identity", "relu", "gelu", "silu", "tanh", "sigmoid"]
ACTIVATIONS: Final[tuple[str, ...]] = get_args(Activation)


class Layer(NamedTuple):
    """activation(weight @ x + bias): weight (outputs, inputs), bias (outputs,) or None, float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None = None
    activation: Activation = "identity"


class Table(NamedTuple):
    """Row `ids[id_index]` of weight (rows, dimensions) float32 goes behind the dense values.

    With `is_added` it is added to the last layer's sums instead, before the activation: logistic regression over ids.
    """

    weight: NDArray[np.float32]
    id_index: int
    is_added: bool = False


def make(
    dense_width: int,
    layers: Sequence[Layer],
    *,
    tables: Sequence[Table] = (),
    n_ids: int = 0,
    target: str | None = None,
) -> Mlp:
    """Pack a network's weights; the arrays are copied.

    Errors: NativeError `bad_spec` (widths that do not follow one another, a weight that is not finite, an unknown
            activation), `bad_dtype`, `bad_shape`, `not_contiguous`, `unknown_target`.
    """
    if not 0 <= dense_width <= 1 << 14 or not 0 <= n_ids <= 4096:
        raise status.NativeError(
            "bad_spec", f"`dense_width` is {dense_width} and `n_ids` {n_ids}; at most 16384 and 4096"
        )
    packed = []
    for i, layer in enumerate(layers):
        if layer.activation not in ACTIVATIONS:
            raise status.NativeError(
                "bad_spec",
                f"`layers[{i}].activation` must be one of {list(ACTIVATIONS)}, got `{layer.activation}`",
            )
        packed.append((layer.weight, layer.bias, ACTIVATIONS.index(layer.activation)))
    for i, table in enumerate(tables):
        if not 0 <= table.id_index < n_ids:
            raise status.NativeError(
                "bad_spec", f"`tables[{i}].id_index` must lie below `n_ids` ({n_ids}), got {table.id_index}"
            )
    packed_tables = [(t.weight, t.id_index, t.is_added) for t in tables]
    return Mlp(dense_width, n_ids, packed_tables, packed, target)


def from_state(
    state: Mapping[str, NDArray[Any]],
    *,
    dense_width: int,
    id_indices: Sequence[int] = (),
    n_ids: int = 0,
    output: Activation = "identity",
    target: str | None = None,
) -> Mlp:
    """Of the weights of the platform's network (`EmbeddingMlp.state_dict()`, as NumPy arrays).

    `tables.I.weight` are looked up by the id `id_indices[I]`; `head.N.weight` and `head.N.bias` are the layers, in the
    order of N, with ReLU between. With one layer only the tables are added to its sum (logistic regression).
    `output` "sigmoid" gives probabilities, "identity" logits.
    Errors: NativeError `bad_spec` for a name that is not expected or missing; else as `make`.
    """
    heads: dict[int, dict[str, NDArray[Any]]] = {}
    found: dict[int, NDArray[Any]] = {}
    for name, value in state.items():
        if match := re.fullmatch(r"tables\.(\d{1,4})\.weight", name):
            found[int(match[1])] = value
        elif match := re.fullmatch(r"head\.(\d{1,4})\.(weight|bias)", name):
            heads.setdefault(int(match[1]), {})[match[2]] = value
        else:
            raise status.NativeError(
                "bad_spec",
                f"weight `{name}` is not expected; only `tables.I.weight` and `head.N.weight`, `head.N.bias` are",
            )
    if sorted(found) != list(range(len(id_indices))):
        raise status.NativeError(
            "bad_spec",
            f"`id_indices` names {len(id_indices)} tables, the weights hold {sorted(found)}; name each once",
        )
    if not heads:
        raise status.NativeError("bad_spec", "the weights hold no `head.N.weight`; pass the whole state")
    layers = []
    for n, head in sorted(heads.items()):
        if "weight" not in head and not (len(heads) == 1 and dense_width == 0):
            raise status.NativeError("bad_spec", f"`head.{n}.weight` is missing; pass the whole state")
        weight = head["weight"] if "weight" in head else np.zeros((1, 0), np.float32)
        layers.append(Layer(weight, head.get("bias"), output if n == max(heads) else "relu"))
    is_added = len(layers) == 1
    tables = [Table(found[i], index, is_added) for i, index in enumerate(id_indices)]
    return make(dense_width, layers, tables=tables, n_ids=n_ids, target=target)
