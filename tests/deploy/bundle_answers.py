"""A signed bundle that stateless replicas serve in a test, what is asked of it and what it answers by its own runtime."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from manifests import ROOT

sys.path.insert(0, str(ROOT / "serving" / "tests"))
import serving_bundles

from mainspring.core import ports
from mainspring.core.features import plan
from mainspring.core.models import runtimes, signing

_DENSE = np.float32([[1.5, 200.0], [-2.25, 3.0], [0.0, 1.0]])
_IDS = np.int32([[1], [2], [0]])


def _tensor(name: str, datatype: str, values: np.ndarray) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": values.shape, "data": values.ravel().tolist()}


#: Of the v2 protocol, and one without ids, which the model wants.
ASKED = {"inputs": [_tensor("dense", "FP32", _DENSE), _tensor("ids", "INT32", _IDS)]}
INCOMPLETE = {"inputs": ASKED["inputs"][:1]}


class SignedBundle:
    """In `folder`/bundles, signed by a key of `folder`/trusted."""

    def __init__(self, folder: Path) -> None:
        self._home = serving_bundles.Home(folder)
        self.digest = self._home.write_network(project="flight-delay")

    def answer(self) -> np.ndarray:
        """To `ASKED`: opened and verified here."""
        opened = self._home.store.open(self.digest, signing.TrustedKeys.load(self._home.trusted))
        compiled = plan.FittedPlan.from_bytes(opened.plan).compile()
        runtime = runtimes.factories(runtimes.Options())[opened.kind](opened, compiled)
        scores: np.ndarray = runtime.predict(ports.ModelInput(_DENSE, _IDS))
        return scores

    def change(self) -> None:
        """One of its files, so that it is not what was signed any more."""
        card = self._home.store.root / self.digest.removeprefix("sha256:") / "card.md"
        card.chmod(0o644)
        card.write_text("# changed\n")
