"""Endpoints whose bundles are native throughout: networks and trees over looked-up, sent and overridden columns."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import serving_world as world
from serving_both import Both
from serving_bundles import Home

from mainspring.core.contracts import inputs
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.features import ops, plan
from mainspring.core.models import architecture, network

_FRAME: Final = pl.DataFrame(
    {
        "origin_stats__mean_delay": [2.0, 4.0, None],
        "flight_stats__mean_delay": [-1.0, 0.5, 40.0],
        "distance": [100.0, 3000.0, 5.0],
        "dep_us": [world.NOW_US, 7, -3],
        "carrier": ["UA", "AA", "köln"],
        "origin_stats__weather": ["fog", "rain", "Zürich 😀"],
    },
    schema={
        "origin_stats__mean_delay": pl.Float32,
        "flight_stats__mean_delay": pl.Float32,
        "distance": pl.Float32,
        "dep_us": pl.Int64,
        "carrier": pl.String,
        "origin_stats__weather": pl.String,
    },
)
_DENSE: Final = (ops.Impute(), ops.Log1p(), ops.Standardise(), ops.Indicator())

FITTED: Final = plan.TransformPlan(
    name="native",
    columns=(
        plan.dense("origin_stats__mean_delay", ops.Impute(), ops.Standardise(), ops.Indicator()),
        plan.dense("flight_stats__mean_delay", ops.Impute()),
        plan.vocabulary("dep_us", dtype="int64"),
        plan.dense("distance", *_DENSE),
        plan.vocabulary("carrier"),
        plan.vocabulary("origin_stats__weather"),
    ),
).fit(_FRAME)
COMPILED: Final = FITTED.compile()

ARCHITECTURE: Final = architecture.Architecture(
    dense_width=len(COMPILED.dense_names),
    id_columns=COMPILED.id_names,
    tables=tuple(
        architecture.Table(column=name, rows=size, dimensions=3)
        for name, size in zip(COMPILED.id_names, COMPILED.id_sizes, strict=True)
    ),
    hidden_sizes=(16, 8),
)

#: Columns of a prediction by row, with a value each.
ROW: Final[Mapping[str, Any]] = {
    "origin_stats__mean_delay": 1.5,
    "flight_stats__mean_delay": None,
    "dep_us": 7,
    "distance": 12,
    "carrier": "UA",
    "origin_stats__weather": None,
}


def _common(project: str) -> dict[str, Any]:
    return {"plan": FITTED.to_bytes(), "input_columns": FITTED.inputs, "project": project}


def write_network(home: Home, seed: int, *, project: str = "plain-project", **more: Any) -> str:
    model = network.EmbeddingMlp(ARCHITECTURE, seed=seed)
    return home.write(
        **_common(project),
        model=ARCHITECTURE.model_dump(mode="json"),
        weights=network.save_weights(model),
        **more,
    )


def write_trees(home: Home) -> str:
    """LightGBM's, over dense columns and ids: scores beyond 0 and 1."""
    import lightgbm

    rng = np.random.default_rng(11)
    width = ARCHITECTURE.dense_width + len(ARCHITECTURE.id_columns)
    x = rng.normal(size=(500, width)) + rng.integers(0, 4, (500, width))
    data = lightgbm.Dataset(x, x @ rng.normal(size=width), params={"verbose": -1})
    booster = lightgbm.train({"verbose": -1, "num_threads": 1, "num_leaves": 15}, data, 20)
    model = {
        "dense_width": ARCHITECTURE.dense_width,
        "id_columns": list(ARCHITECTURE.id_columns),
        "format": "lightgbm",
    }
    return home.write(
        **_common("plain-project"), kind="trees", model=model, weights=booster.model_to_string().encode()
    )


def write_declared(home: Home, seed: int = 7) -> str:
    """A network over columns that `serving_bundles.DECLARED` makes, beside others."""
    names = ("hour_sin", "spread", "pace", "distance", "flight_stats__mean_delay")
    frame = pl.DataFrame(
        {name: [1.0, None, -200.0, 500.0] for name in names}
        | {"weekday": [0, 2, 4, 6], "carrier": ["UA", "AA", "", "UA"]},
        schema=dict.fromkeys(names, pl.Float32) | {"weekday": pl.Int64, "carrier": pl.String},
    )
    columns = (
        *(plan.dense(name, ops.Impute(), ops.Standardise(), ops.Indicator()) for name in names),
        plan.vocabulary("weekday", dtype="int64"),
        plan.vocabulary("carrier"),
    )
    fitted = plan.TransformPlan(name="declared", columns=columns).fit(frame)
    compiled = fitted.compile()
    shape = architecture.Architecture(
        dense_width=len(compiled.dense_names),
        id_columns=compiled.id_names,
        tables=tuple(
            architecture.Table(column=name, rows=size, dimensions=3)
            for name, size in zip(compiled.id_names, compiled.id_sizes, strict=True)
        ),
        hidden_sizes=(16, 8),
    )
    return home.write(
        plan=fitted.to_bytes(),
        input_columns=fitted.inputs,
        project="declared-project",
        model=shape.model_dump(mode="json"),
        weights=network.save_weights(network.EmbeddingMlp(shape, seed=seed)),
    )


#: What the bundle of `ranged` declares.
POLICY: Final = inputs.InputPolicy(
    columns={
        "distance": inputs.ColumnPolicy(low=0.0, high=1000.0, out_of_range="clip"),
        "dep_us": inputs.ColumnPolicy(low=-5.0, out_of_range="warn"),
        "carrier": inputs.ColumnPolicy(missing="refuse"),
        "flight_stats__mean_delay": inputs.ColumnPolicy(high=10.0, out_of_range="refuse", missing="refuse"),
        "origin_stats__mean_delay": inputs.ColumnPolicy(low=0.0, high=1.0, out_of_range="accept"),
    }
)


def token(both: Both, who: str = "service") -> dict[str, str]:
    return {"authorization": f"Bearer {both.served.tokens.token_of(f'{who}@local')}"}


def key(both: Both, caller: str, *scopes: str, **more: Any) -> str:
    """A new key of the caller."""
    asked = {"caller": caller, "scopes": list(scopes), **more}
    answer = both.front.post("/v1/keys", json=asked, headers=token(both, "admin")).raise_for_status()
    return str(answer.json()["key"])


def put(both: Both, table: TrafficTable) -> None:
    """Load what the table names and put it in force."""
    for digest in (table.stable, table.canary, table.shadow):
        if digest is not None:
            both.front.post(
                "/v1/bundles:load", json={"digest": digest}, headers=token(both)
            ).raise_for_status()
    path = f"/v1/endpoints/{table.endpoint}/traffic"
    both.front.put(path, json=table.model_dump(mode="json"), headers=token(both)).raise_for_status()


@contextlib.contextmanager
def serve(directory: Path, **serving: Any) -> Iterator[tuple[Both, Home]]:
    """A server without endpoints, and where to write bundles for it. Keyword arguments: as of `serving_world.serve`."""
    home = Home(directory)
    (directory / "serving").mkdir()
    with world.serve(directory / "serving", loaded_by=home.loader, **{"front": "on"} | serving) as served:
        pair = Both(served)
        try:
            yield pair, home
        finally:
            pair.close()


def path(endpoint: str) -> str:
    return f"/v1/endpoints/{endpoint}:predict"


def body(**request: Any) -> bytes:
    return json.dumps(request, ensure_ascii=False).encode()
