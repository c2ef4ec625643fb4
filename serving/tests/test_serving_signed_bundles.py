"""A real signed bundle with a real fitted plan, loaded and served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import serving_world as world
from serving_bundles import FITTED, Home, derivations

from mainspring.core import errors, ports
from mainspring.core.contracts import inputs
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.contracts.prediction import PredictRequest
from mainspring.core.features import ops, program, schema
from mainspring.core.models import bundle
from mainspring.core.supply import builders, openssf, provenance
from mainspring.serving import bundles, endpoints, plane, signed_bundles, stats, traffic
from mainspring.serving.runtimes import function_runtime


def factory(opened: bundle.Bundle, compiled: program.Program) -> ports.ModelRuntime:
    return function_runtime.FunctionRuntime(lambda b: b.dense.sum(axis=1) + 100 * b.ids[:, 0])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, {"embedding_mlp": factory})


def test_a_signed_bundle_answers_from_lookup_derivation_and_plan(home: Home, tmp_path: Path) -> None:
    digest = home.write()
    online = world.filled_store()
    shelf = bundles.BundleShelf(home.loader, online)
    tables, book = traffic.TrafficStore(tmp_path / "traffic"), stats.StatsBook()
    view = shelf.load(digest).view
    assert (view.name, view.plan_digest) == ("tiny-model", FITTED.digest)
    endpoints.Endpoints(tables, shelf, book).apply(TrafficTable(endpoint="tiny", version=1, stable=digest))
    answerer = plane.Plane(tables=tables, shelf=shelf, online=online, book=book, max_rows=10)
    request = PredictRequest.model_validate(
        {"as_of": world.AS_OF, "entities": [world.entity(), world.entity(origin="EWR", carrier="ZZ")]}
    )
    known, unknown = (p.score for p in answerer.predict("tiny", request, "r").predictions)
    ua = 100 * (ops.FIRST_VALUE_ID + list(FITTED.ids[0].values).index("UA"))
    assert known == 1.5 + 200.0 + ua
    fill = FITTED.compile().run(
        {
            "origin_stats__mean_delay": np.float32([np.nan]),
            "distance_km": np.float32([200]),
            "carrier": np.array(["ZZ"], object),
        }
    )
    assert unknown == fill.dense.sum() + 100 * ops.UNKNOWN_ID


def test_an_unknown_digest_and_an_untrusted_signer(home: Home) -> None:
    digest = home.write()
    with pytest.raises(errors.NotFound):
        home.loader.load("sha256:" + "0" * 64)
    for published in home.trusted.iterdir():
        published.unlink()
    with pytest.raises(errors.PolicyDenied, match="signed by"):
        home.loader.load(digest)
    home.key.publish(home.trusted)  # a key that is published later counts
    assert home.loader.load(digest).digest == digest


def test_a_changed_file_does_not_load(home: Home) -> None:
    digest = home.write()
    weights = home.store.root / digest.removeprefix("sha256:") / bundle.WEIGHTS
    weights.chmod(0o644)
    weights.write_bytes(b"x")
    with pytest.raises(errors.CorruptArtifact):
        home.loader.load(digest)


def test_what_was_not_built_by_whom_one_believes_does_not_load(home: Home) -> None:
    digest = home.write()
    believed = home.trusted / builders.FILE
    believed.write_text("train\nimport\n")
    with pytest.raises(errors.PolicyDenied, match="was built by `urn:mainspring:builder:library`") as denied:
        home.loader.load(digest)
    assert denied.value.rule_id == "bundle.builder"
    believed.unlink()
    folder = home.store.root / digest.removeprefix("sha256:")
    (folder / provenance.FILE).unlink()
    (folder / openssf.FILE).unlink()
    with pytest.raises(errors.PolicyDenied, match="nobody says how it was built") as denied:
        home.loader.load(digest)
    assert denied.value.rule_id == "bundle.provenance"


def test_a_manifest_that_disagrees_with_its_plan_does_not_load(home: Home) -> None:
    digest = home.write(input_columns=(*FITTED.inputs, schema.Column(name="humidity", dtype="float32")))
    with pytest.raises(errors.CorruptArtifact, match="humidity"):
        home.loader.load(digest)


def test_a_project_that_is_not_installed_and_a_kind_without_runtime(home: Home) -> None:
    with pytest.raises(errors.NotFound, match="no project `other-project`"):
        home.loader.load(home.write(project="other-project"))
    bare = signed_bundles.SignedBundleLoader(home.store, home.trusted, {}, derivations)
    with pytest.raises(errors.MissingTool, match="`embedding_mlp`; this process has none"):
        bare.load(home.write())
    with pytest.raises(errors.NotFound, match="nowhere-project"):
        signed_bundles.derivation_of("nowhere-project")


def test_what_a_bundle_declares_of_its_inputs_comes_with_it(home: Home) -> None:
    assert home.loader.load(home.write()).input_policy == inputs.InputPolicy()
    declared = inputs.InputPolicy(
        columns={
            "carrier": inputs.ColumnPolicy(is_pii=True),
            "distance_km": inputs.ColumnPolicy(low=0, high=9),
        }
    )
    written = {inputs.FILE: declared.model_dump_json().encode()}
    loaded = home.loader.load(home.write(extra_files=written))
    assert (loaded.input_policy, loaded.input_policy.private) == (declared, {"carrier"})
    for wrong in (b"{", b'{"schema_version": 2}', b'{"columns": {"a": {"low": 2, "high": 1}}}'):
        with pytest.raises(errors.CorruptArtifact, match=r"`input_policy\.json` of bundle `sha256:"):
            home.loader.load(home.write(extra_files={inputs.FILE: wrong}))
