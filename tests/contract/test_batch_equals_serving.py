"""A dataset's scores are serving's, to the bit: the offline join against the online store, part against request."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mainspring.core import canonical
from mainspring.core.contracts import inputs
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.contracts.prediction import PredictRequest
from mainspring.core.features import online, ops, plan, schema
from mainspring.core.models import architecture, bundle, network, runtimes, sanitise, signing
from mainspring.core.scoring import scorer
from mainspring.serving import bundles, endpoints, plane, signed_bundles, stats, traffic

START = datetime(2013, 12, 1, tzinfo=UTC)
UTC_US = pl.Datetime("us", "UTC")


def column(name: str, dtype: Any) -> schema.Column:
    return schema.Column(name=name, dtype=dtype)


SERVICE = schema.FeatureService(
    name="delays",
    views=(
        schema.FeatureView(
            name="origin_stats",
            keys=(column("origin", "string"),),
            fields=(column("delay", "float32"), column("weather", "string")),
            ttl_seconds=1800,
        ),
        schema.FeatureView(
            name="flight_stats",
            keys=(column("carrier", "string"), column("flight", "int64")),
            fields=(column("delay", "float64"),),
        ),
    ),
)
REQUEST = (column("distance", "float32"), column("due_us", "int64"))
ORIGINS = np.array(["JFK", "EWR", "LGA", "BOS", None], dtype=object)
CARRIERS = np.array(["UA", "AA", "DL"], dtype=object)


def derive(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    hour = columns["due_us"] // 3_600_000_000 % 24
    return {
        "hour": hour.astype(np.int64),
        "ratio": columns["flight_stats__delay"] / np.maximum(columns["distance"], np.float32(1)),
    }


def views(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    """Rows at every two minutes or so, some fields null."""
    made = {}
    for view, keys in (
        ("origin_stats", {"origin": ORIGINS[:3][rng.integers(0, 3, 60)]}),
        ("flight_stats", {"carrier": CARRIERS[rng.integers(0, 3, 60)], "flight": rng.integers(1, 5, 60)}),
    ):
        times = [START + timedelta(seconds=int(s)) for s in np.sort(rng.choice(7200, 60, replace=False))]
        fields: dict[str, Any] = {"delay": rng.normal(10, 40, 60)}
        if view == "origin_stats":
            fields["weather"] = np.array(["rain", "sun", None], object)[rng.integers(0, 3, 60)].tolist()
        frame = pl.DataFrame(
            {
                **{name: list(values) for name, values in keys.items()},
                "event_timestamp": pl.Series(times, dtype=UTC_US),
                "created_timestamp": pl.Series(times, dtype=UTC_US),
                **fields,
            }
        )
        missing = pl.Series(rng.random(60) < 0.2)
        frame = frame.with_columns(delay=pl.when(missing).then(None).otherwise("delay"))
        made[view] = frame.cast({"delay": pl.Float32}) if view == "origin_stats" else frame
    return made


def asked(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    """Entity rows in the order of their time; unknown entities, null keys, missing request values."""
    distance = rng.uniform(50, 3000, rows).astype(np.float32)
    distance[rng.random(rows) < 0.1] = np.nan
    return pl.DataFrame(
        {
            "origin": ORIGINS[rng.integers(0, 5, rows)].tolist(),
            "carrier": CARRIERS[rng.integers(0, 3, rows)].tolist(),
            "flight": rng.integers(1, 8, rows),
            "distance": pl.Series(distance, nan_to_null=True),
            "due_us": rng.integers(0, 10**15, rows),
            "as_of": pl.Series(
                [START + timedelta(seconds=int(s)) for s in np.sort(rng.choice(9000, rows, replace=False))],
                dtype=UTC_US,
            ),
        }
    )


def fitted() -> plan.FittedPlan:
    rng = np.random.default_rng(3)
    n = 200
    numbers = ("origin_stats__delay", "flight_stats__delay", "distance", "ratio")
    return plan.TransformPlan(
        name="delays",
        columns=(
            *(plan.dense(name, ops.Impute(), ops.Standardise(), ops.Indicator()) for name in numbers),
            plan.vocabulary("origin_stats__weather"),
            plan.vocabulary("origin"),
            plan.vocabulary("hour", dtype="int64"),
        ),
    ).fit(
        pl.DataFrame(
            {
                **{name: pl.Series(rng.normal(20, 50, n).astype(np.float32)) for name in numbers},
                "origin_stats__weather": rng.choice(["rain", "sun"], n).tolist(),
                "origin": rng.choice(["JFK", "EWR"], n).tolist(),
                "hour": rng.integers(0, 24, n),
            }
        )
    )


class World:
    """One signed bundle, loaded by serving, and by a batch scoring."""

    def __init__(self, folder: Path, policy: inputs.InputPolicy | None = None) -> None:
        rng = np.random.default_rng(1)
        self.views, self.asked = views(rng), asked(rng, 150)
        key = signing.ensure_key(folder / "key.pem")
        key.publish(folder / "trusted")
        store = bundle.BundleStore(folder / "bundles")
        self.digest = store.write(self._contents(policy), key).digest
        known = runtimes.factories(runtimes.Options(network="native"))
        self.online = online.OnlineStore()
        loader = signed_bundles.SignedBundleLoader(store, folder / "trusted", known, lambda _: derive)
        shelf = bundles.BundleShelf(loader, self.online)
        shelf.load(self.digest)
        tables, book = traffic.TrafficStore(folder / "traffic"), stats.StatsBook()
        table = TrafficTable(endpoint="delays", version=1, stable=self.digest)
        endpoints.Endpoints(tables, shelf, book).apply(table)
        self.plane = plane.Plane(tables=tables, shelf=shelf, online=self.online, book=book, max_rows=1000)
        opened = store.open(self.digest, signing.TrustedKeys.load(folder / "trusted"))
        compiled = plan.FittedPlan.from_bytes(opened.plan).compile()
        self.scorer = scorer.Scorer(
            service=opened.manifest.service,
            request_columns=opened.manifest.request_columns,
            program=compiled,
            runtime=known["embedding_mlp"](opened, compiled),
            derive=derive,
            views=self.views,
            policy=sanitise.policy_of(opened),
        )

    def _contents(self, policy: inputs.InputPolicy | None) -> bundle.BundleContents:
        made = fitted()
        compiled = made.compile()
        sizes = dict(zip(compiled.id_names, compiled.id_sizes, strict=True))
        spec = architecture.Architecture.parse(
            {
                "dense_width": len(compiled.dense_names),
                "id_columns": tuple(sizes),
                "tables": [{"column": c, "rows": n, "dimensions": 3} for c, n in sizes.items()],
                "hidden_sizes": (24, 12),
            }
        )
        return bundle.BundleContents(
            name="delays",
            project="delays",
            plan=made.to_bytes(),
            model=spec.model_dump(mode="json"),
            weights=network.save_weights(network.EmbeddingMlp(spec, seed=8)),
            card="# delays\n",
            service=SERVICE,
            request_columns=REQUEST,
            input_columns=made.inputs,
            metrics={},
            data_digest=canonical.digest("data"),
            training_run_id="run_1",
            code_version="0",
            extra_files={}
            if policy is None
            else {inputs.FILE: canonical.dumps(policy.model_dump(mode="json"))},
        )

    def serve(self, group: int) -> list[float]:
        """Every row by serving, `group` at a time, each at its own time: with what was pushed until then."""
        pushed = dict.fromkeys(self.views, 0)
        scores: list[float] = []
        for row in self.asked.to_dicts():
            for view, rows in self.views.items():
                known = int((rows["event_timestamp"] <= row["as_of"]).sum())
                self._push(view, rows[pushed[view] : known])
                pushed[view] = known
            entity = {k: v for k, v in row.items() if k != "as_of"}
            request = PredictRequest(entities=[entity] * group, as_of=row["as_of"])
            answers = {p.score for p in self.plane.predict("delays", request, "r").predictions}
            assert len(answers) == 1
            scores += answers
        return scores

    def _push(self, view: str, rows: pl.DataFrame) -> None:
        if rows.is_empty():
            return
        known = SERVICE.view(view)
        us = rows["event_timestamp"].to_physical().to_numpy()
        self.online.upsert(
            view,
            {key.name: rows[key.name].to_list() for key in known.keys},
            event_us=us,
            created_us=us,
            columns={field.name: rows[field.name].to_list() for field in known.fields},
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def bits(scores: list[float] | NDArray[np.float32]) -> list[int]:
    found: list[int] = np.asarray(scores, np.float32).view(np.int32).tolist()
    return found


@pytest.mark.parametrize("group", [1, 7])
def test_a_row_of_a_dataset_scores_as_it_would_have_been_served(world: World, group: int) -> None:
    offline = world.scorer.score(world.asked)
    assert bits(world.serve(group)) == bits(offline)
    assert len(set(offline.tolist())) > 120


def test_what_a_bundle_declares_of_its_inputs_holds_for_both(tmp_path: Path, world: World) -> None:
    columns = {
        "distance": inputs.ColumnPolicy(low=200, high=1500, out_of_range="clip"),
        "flight": inputs.ColumnPolicy(low=1, high=3, out_of_range="clip"),
    }
    strict = World(tmp_path / "strict", inputs.InputPolicy(columns=columns))
    offline = bits(strict.scorer.score(strict.asked))
    assert bits(strict.serve(1)) == offline != bits(world.scorer.score(world.asked))


def test_how_a_dataset_is_cut_changes_no_bit(world: World) -> None:
    whole = bits(world.scorer.score(world.asked))
    for rows in (1, 7, 64):
        parts = [world.scorer.score(world.asked[i : i + rows]) for i in range(0, world.asked.height, rows)]
        assert bits(np.concatenate(parts)) == whole
