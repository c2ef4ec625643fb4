"""Warm-up by measurement: in a bounded time, by a simulated clock; and of every kind of bundle, by the real one."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_kinds as kinds
import serving_world as world
import torch
from numpy.typing import NDArray
from serving_bundles import ARCHITECTURE, FITTED, Home, derivations

from mainspring.core import errors, ports, settings
from mainspring.core.client.serving import ServingClient
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.contracts.prediction import PredictRequest
from mainspring.core.models import (
    aot,
    native_runtime,
    network,
    samples,
    signing,
    torch_runtime,
    torch_threads,
)
from mainspring.core.models import runtimes as known
from mainspring.serving import bundles, native_endpoints, signed_bundles
from mainspring.serving.runtimes import candidates, chosen, function_runtime, measured, policy, routed

CPU = policy.Device("cpu", units=2)
ONE = policy.Candidate("function", CPU)
TWO = policy.Candidate("function", CPU, threads=2)
COLUMNS: Mapping[str, NDArray[Any]] = {
    "origin_stats__mean_delay": np.float32([1.0, np.nan, -3.0]),
    "distance_km": np.float32([100.0, 2.0, np.nan]),
    "carrier": np.array(["UA", None, "ZZ"], object),
}
ASKED = ports.ModelInput(np.float32([[1, 2], [3, 4], [5, 6]]), np.zeros((3, 0), np.int32))
RIGHT = ASKED.dense.sum(axis=1)
RECORDED = samples.parse(samples.record({"a": np.zeros(3)}, RIGHT), "bundle")


class Simulated:
    """A clock that work moves on: `costs` says by how many seconds for so many rows."""

    def __init__(self) -> None:
        self.now = 0.0
        self.built: list[str] = []

    def model(self, costs: Callable[[int], float], *, shift: float = 0.0) -> ports.ModelRuntime:
        def function(batch: ports.ModelInput) -> NDArray[np.float32]:
            self.now += costs(batch.n_rows)
            return batch.dense.sum(axis=1) + np.float32(shift)

        return function_runtime.FunctionRuntime(function)

    def offer(
        self, candidate: policy.Candidate, build: Callable[[], ports.ModelRuntime], seconds: float = 0.0
    ) -> candidates.Offer:
        def built() -> ports.ModelRuntime:
            self.now += seconds
            self.built.append(candidate.name)
            return build()

        return candidates.Offer(candidate, built, is_light=not seconds)

    def among(
        self,
        plain: ports.ModelRuntime,
        *offers: candidates.Offer,
        seconds: float = 1.0,
        recorded: samples.Samples = RECORDED,
    ) -> routed.RoutedRuntime:
        measurer = measured.Measurer(known.Options(), seconds, max_rows=4096, clock=lambda: self.now)
        return measurer.among("sha256:0", candidates.Offers(ONE, offers), plain, ASKED, recorded)


def states(runtime: ports.ModelRuntime) -> dict[str, str]:
    assert isinstance(runtime, routed.RoutedRuntime)
    return {f.candidate.name: f.state for f in runtime.findings}


def test_what_is_measured_is_what_each_takes_and_is_used() -> None:
    clock = Simulated()
    two = clock.offer(TWO, lambda: clock.model(lambda n: 2e-4 + 6e-6 * n))
    made = clock.among(clock.model(lambda n: 1e-5 * n), two, seconds=5.0)
    assert states(made) == {"function cpu x1": "used", "function cpu x2": "used"}
    for found, costs in zip(made.findings, (lambda n: 1e-5 * n, lambda n: 2e-4 + 6e-6 * n), strict=True):
        assert found.seconds == pytest.approx({n: costs(n) for n in (1, 4, 16, 64, 256, 1024, 4096)})
    for rows in (1, 16, 64, 256, 4096):
        made.predict(ports.ModelInput(np.zeros((rows, 2), np.float32), np.zeros((rows, 0), np.int32)))
    # 50 rows are where they meet; by 15 % better it is from 89 rows on.
    assert {f.candidate.name: f.batches for f in made.findings} == {
        "function cpu x1": 3,
        "function cpu x2": 2,
    }


def test_who_is_slower_everywhere_does_not_stay() -> None:
    clock = Simulated()
    two = clock.offer(TWO, lambda: clock.model(lambda n: 1e-4 * n))
    made = clock.among(clock.model(lambda n: 1e-5 * n), two)
    assert states(made) == {"function cpu x1": "used", "function cpu x2": "slower"}
    assert made.findings[1].seconds[1] == pytest.approx(1e-4)


@pytest.mark.parametrize(("stalls_every", "state"), [(9, "used"), (3, "slower")])
def test_who_stalls_again_and_again_is_not_chosen_for_its_good_runs(stalls_every: int, state: str) -> None:
    clock, runs = Simulated(), itertools.count(1)
    two = clock.offer(TWO, lambda: clock.model(lambda n: 0.01 if next(runs) % stalls_every == 0 else 1e-5))
    made = clock.among(clock.model(lambda n: 2e-5), two, seconds=9.0)
    assert made.findings[1].state == state


@pytest.mark.parametrize("shift", [0.1, np.nan])
def test_who_answers_otherwise_is_never_chosen(shift: float) -> None:
    clock = Simulated()
    made = clock.among(
        clock.model(lambda n: 1.0), clock.offer(TWO, lambda: clock.model(lambda n: 1e-6, shift=shift))
    )
    assert states(made) == {"function cpu x1": "used", "function cpu x2": "refused"}
    assert made.predict(ASKED).tolist() == RIGHT.tolist()


def test_without_recorded_scores_the_model_itself_says_what_is_right() -> None:
    recorded = samples.parse(samples.record({"a": np.zeros(3)}), "bundle")
    clock = Simulated()
    offers = (
        clock.offer(TWO, lambda: clock.model(lambda n: 1e-6)),
        clock.offer(dataclasses.replace(TWO, threads=4), lambda: clock.model(lambda n: 1e-6, shift=0.1)),
    )
    made = clock.among(clock.model(lambda n: 1e-3), *offers, recorded=recorded)
    assert states(made) == {
        "function cpu x1": "used",
        "function cpu x2": "used",
        "function cpu x4": "refused",
    }


def test_who_cannot_be_built_is_told_and_the_bundle_loads() -> None:
    def fails() -> ports.ModelRuntime:
        raise RuntimeError("no kernel image is available")

    clock = Simulated()
    made = clock.among(clock.model(lambda n: 1e-5), clock.offer(TWO, fails))
    assert states(made) == {"function cpu x1": "used", "function cpu x2": "refused"}
    assert "no kernel image" in made.findings[1].why


def test_the_time_is_bounded() -> None:
    """A build and a run of each is what it may take more."""
    clock = Simulated()
    offers = [
        clock.offer(
            dataclasses.replace(ONE, threads=n), lambda: clock.model(lambda rows: 1e-4 * rows), seconds=0.06
        )
        for n in (2, 4, 8, 16)
    ]
    made = clock.among(clock.model(lambda rows: 1e-4 * rows), *offers, seconds=0.1)
    # The second was not begun: the first says that 0.04 s are not enough for it.
    assert clock.built == ["function cpu x2"]
    assert [f.state for f in made.findings] == ["used", "slower", "unmeasured", "unmeasured", "unmeasured"]
    assert made.findings[2].why == "there was no time to build it"
    assert clock.now <= 0.1
    assert max(made.findings[0].seconds) < 256


def test_one_that_is_dreadfully_slow_leaves_the_time_to_the_others() -> None:
    clock = Simulated()
    slow = clock.offer(dataclasses.replace(ONE, threads=4), lambda: clock.model(lambda rows: 0.1))
    two = clock.offer(TWO, lambda: clock.model(lambda rows: 2e-5 + 2e-6 * rows))
    made = clock.among(clock.model(lambda rows: 4e-6 * rows), two, slow, seconds=0.5)
    sizes = {f.candidate.threads: sorted(f.seconds) for f in made.findings}
    assert sizes[4] == [1]
    assert sizes[1] == sizes[2] == [1, 4, 16, 64, 256, 1024, 4096]
    assert [f.state for f in made.findings] == ["used", "used", "slower"]
    assert clock.now < 0.53  # one run of each beyond it


def loader(home: Home, directory: Path, **serving: object) -> signed_bundles.SignedBundleLoader:
    in_force = world.settings_in(directory, **serving).serving
    return signed_bundles.SignedBundleLoader(
        home.store,
        home.trusted,
        chosen.runtimes(in_force),
        derivations,
        measurer=chosen.measurer(in_force),
    )


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever this runs: the number of candidates is that of the cores."""
    monkeypatch.setattr(candidates, "cpu", lambda: policy.Device("cpu", units=2))


OTHERS = {"onnx": "onnx", "trees": "trees", "embedding_mlp": "native", "torch_export": "torch_export"}


@pytest.mark.parametrize("kind", kinds.MAKERS)
def test_every_kind_is_measured_and_answers(two_cores: None, tmp_path: Path, kind: str) -> None:
    made, home = kinds.MAKERS[kind](), Home(tmp_path)
    asked = FITTED.compile().run(COLUMNS)
    recorded = samples.record(COLUMNS, made.answer(asked))
    digest = home.write(**made.contents | {"extra_files": {**made.steps, samples.FILE: recorded}})
    loaded = loader(home, tmp_path, warm_up_seconds=0.2).load(digest)
    assert loaded.runtime.name == made.runtime
    np.testing.assert_allclose(loaded.runtime.predict(asked), made.answer(asked), rtol=1e-5)
    if kind == "ensemble":
        assert not isinstance(loaded.runtime, routed.RoutedRuntime)
        return
    found = states(loaded.runtime)
    assert list(found) == [f"{OTHERS[kind]} cpu x1", f"{OTHERS[kind]} cpu x2"]
    assert found.pop(f"{OTHERS[kind]} cpu x1") == "used"
    assert set(found.values()) <= {"used", "slower", "unmeasured"}
    many = ports.ModelInput(np.repeat(asked.dense, 700, axis=0), np.repeat(asked.ids, 700, axis=0))
    np.testing.assert_allclose(loaded.runtime.predict(many), np.repeat(made.answer(asked), 700), rtol=1e-5)


def test_without_samples_or_time_nothing_is_measured(tmp_path: Path) -> None:
    home = Home(tmp_path)
    digest = home.write_network()
    assert type(loader(home, tmp_path).load(digest).runtime) is native_runtime.NativeRuntime
    digest = home.write_network(extra_files={samples.FILE: samples.record(COLUMNS)})
    assert (
        type(loader(home, tmp_path, warm_up_seconds=0).load(digest).runtime) is native_runtime.NativeRuntime
    )
    assert isinstance(loader(home, tmp_path).load(digest).runtime, routed.RoutedRuntime)
    for wrong in ("-1", "61", "soon"):
        with pytest.raises(errors.InvalidSettings, match="warm_up_seconds"):
            settings.load({"MAINSPRING_SERVING_WARM_UP_SECONDS": wrong}, directory=tmp_path)


@pytest.mark.parametrize(
    ("tolerances", "expected"),
    [({}, set()), ({"bfloat16": 0.05}, {"used", "slower"}), ({"bfloat16": 1e-9}, {"refused"})],
)
def test_a_smaller_dtype_is_tried_where_the_bundle_allows_it(
    two_cores: None, tmp_path: Path, tolerances: Any, expected: set[str]
) -> None:
    home = Home(tmp_path)
    recorded = samples.record(COLUMNS, tolerances=tolerances)
    digest = home.write_network(extra_files={samples.FILE: recorded})
    loaded = loader(home, tmp_path, runtime="torch", warm_up_seconds=2).load(digest)
    found = {name: state for name, state in states(loaded.runtime).items() if "float" in name}
    assert set(found.values()) <= expected
    names = [f"torch cpu x{n} bfloat16" for n in (1, 2)] if tolerances else []
    assert list(found) == names


def test_a_smaller_dtype_answers_nearly() -> None:
    plain = torch_runtime.TorchRuntime(network.EmbeddingMlp(ARCHITECTURE, seed=3))
    asked = FITTED.compile().run(COLUMNS)
    exact, near = plain.predict(asked), plain.variant(threads=1, dtype="bfloat16").predict(asked)
    assert near.dtype == np.float32
    assert 0 < np.abs(near - exact).max() < 0.02
    np.testing.assert_allclose(plain.variant(threads=2).predict(asked), exact, rtol=1e-5)
    assert np.array_equal(plain.predict(asked), exact)  # the weights that it was made of are as they were


def test_torch_keeps_threads_by_the_calling_thread() -> None:
    """Two models with different numbers run side by side, each with its own."""
    seen: dict[int, int] = {}
    meeting = threading.Barrier(2, timeout=10)

    def run(threads: int) -> None:
        torch_threads.use(threads)
        meeting.wait()  # both have set theirs
        seen[threads] = torch.get_num_threads()

    both = [threading.Thread(target=run, args=(n,)) for n in (1, 2)]
    for one in both:
        one.start()
    for one in both:
        one.join(10)
    assert seen == {1: 1, 2: 2}
    torch_threads.settle(1)
    torch_threads.use(2)
    torch_threads.use()
    assert torch.get_num_threads() == 1


@pytest.mark.skipif(not aot.has_compiler(), reason="torch compiles with g++, which is not here")
@pytest.mark.parametrize(("seconds", "last"), [(60.0, "aotinductor cpu x1"), (0.1, "torch_export cpu x2")])
def test_a_program_is_compiled_where_there_is_the_time(tmp_path: Path, seconds: float, last: str) -> None:
    made, home = kinds.MAKERS["torch_export"](), Home(tmp_path)
    loaded = home.loader.load(home.write(**made.contents))
    opened = home.store.open(loaded.digest, signing.TrustedKeys.load(home.trusted))
    found = candidates.offers(
        opened, loaded.program, loaded.runtime, known.Options(), tolerances={}, device=CPU, seconds=seconds
    )
    assert found.reference.name == "torch_export cpu x1"
    assert found.others[-1].candidate.name == last


@pytest.mark.integration
def test_the_bundles_and_metrics_tell_what_was_found(two_cores: None, tmp_path: Path) -> None:
    home = Home(tmp_path)
    digest = home.write_network(extra_files={samples.FILE: samples.record(COLUMNS)})
    measuring = loader(home, tmp_path, warm_up_seconds=0.2)
    with world.serve(tmp_path, loaded_by=measuring, front="off") as served:
        token = served.tokens.token_of("developer@local")
        with ServingClient(served.url, token=token) as client:
            assert client.load_bundle(digest).candidates[0].batches == 0
            client.set_traffic(TrafficTable(endpoint="tiny", version=1, stable=digest))
            asked = PredictRequest.model_validate({"as_of": world.AS_OF, "entities": [world.entity()]})
            client.predict("tiny", asked)
            (view,) = client.bundles()
        metrics = httpx.get(f"{served.url}/metrics", trust_env=False).text
    plain, other = view.candidates
    assert (plain.name, plain.state, plain.batches) == ("native cpu x1", "used", 1)
    assert plain.seconds[1] > 0
    assert (other.name, other.batches) == ("native cpu x2", 0)
    labels = f'bundle="{digest}",candidate="native cpu x1"'
    assert f"mainspring_candidate_batches_total{{{labels}}} 1.0" in metrics
    assert f"mainspring_candidate_failed{{{labels}}} 0.0" in metrics
    assert f'mainspring_candidate_seconds{{{labels},rows="1"}}' in metrics


def test_the_native_front_still_knows_it_as_native(two_cores: None, tmp_path: Path) -> None:
    home = Home(tmp_path)
    recorded = samples.record(COLUMNS)
    digest = home.write_network(project="plain-project", extra_files={samples.FILE: recorded})
    shelf = bundles.BundleShelf(loader(home, tmp_path), world.filled_store())
    loaded = shelf.load(digest).bundle
    assert isinstance(loaded.runtime, routed.RoutedRuntime)
    table = TrafficTable(endpoint="tiny", version=1, stable=digest)
    found = native_endpoints.endpoint(table, shelf, {}, max_rows=10, infers=False)
    assert found is not None
    assert found.stable.digest == digest
