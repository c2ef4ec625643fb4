"""Signed bundles over a real fitted plan, and the loader of their store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import serving_world as world

from mainspring.core import canonical, errors
from mainspring.core.features import derivation, formulas, ops, plan, schema
from mainspring.core.models import architecture, bundle, network, signing
from mainspring.core.models import runtimes as known
from mainspring.serving import signed_bundles
from mainspring.serving.runtimes import chosen


def _fitted(*columns: plan.PlanColumn) -> plan.FittedPlan:
    return plan.TransformPlan(name="tiny", columns=columns).fit(
        pl.DataFrame(
            {
                "origin_stats__mean_delay": [2.0, 4.0],
                "distance_km": [1.0, 3.0],
                "carrier": ["UA", "AA"],
            },
            schema={
                "origin_stats__mean_delay": pl.Float32,
                "distance_km": pl.Float32,
                "carrier": pl.String,
            },
        )
    )


_DEPARTURE = formulas.whole("dep_us")
_DENSE = tuple(plan.dense(name, ops.Impute()) for name in ("origin_stats__mean_delay", "distance_km"))
FITTED = _fitted(*_DENSE, plan.vocabulary("carrier"))


def dense_plan() -> plan.FittedPlan:
    """The same without ids: what it gives is one matrix."""
    return _fitted(*_DENSE)


#: A network over that plan's output.
ARCHITECTURE = architecture.Architecture(
    dense_width=2,
    id_columns=("carrier",),
    tables=(architecture.Table(column="carrier", rows=4, dimensions=2),),
    hidden_sizes=(16, 8),
)

#: One whose packed weights are worth sharing.
WIDE: Final = ARCHITECTURE.model_copy(update={"hidden_sizes": (160, 160)})


#: Of `declared-project`: times, what is sent, looked up as float32 and as float64, and a sent column that is replaced.
DECLARED = derivation.Derivation(
    {
        schema.Column(name="hour_sin", dtype="float32"): formulas.entry(
            [math.sin(math.pi * i / 12) for i in range(24)],
            formulas.local_minutes(_DEPARTURE, "America/New_York") // 60,
        ),
        schema.Column(name="weekday", dtype="int64"): (
            formulas.local_minutes(_DEPARTURE, "America/New_York") // 1440
        )
        % 7,
        schema.Column(name="spread", dtype="float32"): formulas.real("origin_stats__mean_delay")
        - formulas.real("flight_stats__mean_delay"),
        schema.Column(name="pace", dtype="float32"): formulas.ratio(
            formulas.real("distance"), formulas.real("flight_stats__mean_delay")
        ),
        schema.Column(name="distance", dtype="float32"): formulas.real("distance") / 3.0,
    }
)


def derivations(project: str) -> signed_bundles.Derivation:
    if project == "plain-project":
        return derivation.nothing
    if project == "declared-project":
        return DECLARED
    if project != "tiny-project":
        raise errors.NotFound(f"no project `{project}` is installed", resource="project", name=project)
    return lambda columns: {"distance_km": columns["distance"] * np.float32(2)}


class Home:
    """A bundle store, a key and a loader in one directory."""

    def __init__(self, directory: Path, runtimes: Mapping[str, known.RuntimeFactory] | None = None) -> None:
        """`runtimes`: as `create_app` has them where none are given."""
        self.key = signing.ensure_key(directory / "signing.pem")
        self.trusted = directory / "trusted"
        self.store = bundle.BundleStore(directory / "bundles")
        self.trusted.mkdir()
        self.key.publish(self.trusted)
        if runtimes is None:
            runtimes = chosen.runtimes(world.settings_in(directory).serving)
        self.loader = signed_bundles.SignedBundleLoader(self.store, self.trusted, runtimes, derivations)

    def write(self, **changes: Any) -> str:
        contents: dict[str, Any] = {
            "name": "tiny-model",
            "project": "tiny-project",
            "plan": FITTED.to_bytes(),
            "model": {},
            "weights": b"w",
            "card": "# tiny",
            "service": world.SERVICE,
            "request_columns": world.REQUEST_COLUMNS,
            "input_columns": FITTED.inputs,
            "metrics": {},
            "data_digest": canonical.digest("data"),
            "training_run_id": "run-1",
            "code_version": "0",
        }
        return self.store.write(bundle.BundleContents(**contents | changes), self.key).digest

    def write_network(
        self, seed: int = 0, spec: architecture.Architecture = ARCHITECTURE, **changes: Any
    ) -> str:
        """Of an untrained network over the plan's output."""
        model = network.EmbeddingMlp(spec, seed=seed)
        made = {"model": spec.model_dump(mode="json"), "weights": network.save_weights(model)}
        return self.write(**made | changes)
