"""A fitted plan, a store of signed bundles over it, and one small model of every kind."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from bundle_contents import CONTENTS

from mainspring.core import ports
from mainspring.core.features import ops, plan
from mainspring.core.models import bundle, network, runtimes, signing


def fitted(*columns: plan.PlanColumn) -> plan.FittedPlan:
    return plan.TransformPlan(name="small", columns=columns).fit(
        pl.DataFrame(
            {
                "delay": [1.0, 2.0, 3.0],
                "distance": [10.0, 20.0, 30.0],
                "wind": [0.0, 1.0, 5.0],
                "carrier": ["UA", "AA", "DL"],
            },
            schema={"delay": pl.Float32, "distance": pl.Float32, "wind": pl.Float32, "carrier": pl.String},
        )
    )


_DENSE = tuple(plan.dense(name, ops.Impute()) for name in ("delay", "distance", "wind"))

#: Gives three dense columns and one of ids: 0 missing, 1 unknown, then AA, DL, UA.
FITTED = fitted(*_DENSE, plan.vocabulary("carrier"))
#: The dense columns alone.
DENSE = fitted(*_DENSE)
DENSE_WIDTH, ID_COLUMNS, N_IDS = 3, ("carrier",), 5


def batch(rows: int, seed: int = 0) -> ports.ModelInput:
    random = np.random.default_rng(seed)
    return ports.ModelInput(
        random.normal(size=(rows, DENSE_WIDTH)).astype(np.float32),
        random.integers(0, N_IDS, (rows, 1), np.int32),
    )


def torch_scores(model: network.EmbeddingMlp, batch: ports.ModelInput) -> Any:
    """What the network itself answers (n,) float32."""
    with torch.inference_mode():
        return torch.sigmoid(model(torch.from_numpy(batch.dense), torch.from_numpy(batch.ids))).numpy()


class Store:
    """Writes bundles, opens them verified, and builds their runtimes."""

    def __init__(self, folder: Path) -> None:
        self.key = signing.ensure_key(folder / "key.pem")
        self.key.publish(folder / "trusted")
        self.trust = signing.TrustedKeys.load(folder / "trusted")
        self.bundles = bundle.BundleStore(folder / "bundles")

    def write(self, kind: bundle.Kind, model: dict[str, Any], learned: bytes) -> bundle.Bundle:
        contents = dataclasses.replace(
            CONTENTS,
            kind=kind,
            model=model,
            weights=learned,
            plan=FITTED.to_bytes(),
            input_columns=FITTED.inputs,
        )
        return self.bundles.open(self.bundles.write(contents, self.key).digest, self.trust)

    def load(
        self,
        opened: bundle.Bundle,
        options: runtimes.Options | None = None,
        fitted: plan.FittedPlan = FITTED,
    ) -> ports.ModelRuntime:
        factories = runtimes.factories(options or runtimes.Options())
        return factories[opened.manifest.kind](opened, fitted.compile())

    def runtime(self, kind: bundle.Kind, model: dict[str, Any], learned: bytes) -> ports.ModelRuntime:
        return self.load(self.write(kind, model, learned))
