"""The tuning job on real local Ray: bad trials are failed trials, a killed study goes on, core-hours are a cap."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import integration_ray
import pytest
from integration_training import data, spec_for

from mainspring.core import errors
from mainspring.core.contracts.training import ModelChanges
from mainspring.core.contracts.tuning import TrialState
from mainspring.workflows.ray_jobs import train_messages, tune_messages

__all__ = ["data"]  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(300)]

#: A rate that diverges at once, and a layer of 160 GB.
DIVERGES = ModelChanges(learning_rate=1e30)
TOO_LARGE = ModelChanges(hidden_sizes=(200_000, 200_000))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with integration_ray.started(tmp_path_factory.mktemp("ray"), 2) as found:
        yield found


def study(folder: Path, source: Path, *trials: ModelChanges, **changes: Any) -> tune_messages.TuneSpec:
    base = spec_for(source, folder, epochs=4)
    return tune_messages.TuneSpec.model_validate(
        {"base": base, "trials": trials, "max_cpu_seconds": 3600.0, **changes}
    )


def submit(
    cluster: dict[str, str], folder: Path, spec: tune_messages.TuneSpec
) -> integration_ray.Job[tune_messages.TuneOutput]:
    return integration_ray.Job(
        cluster, folder, spec, tune_messages.MODULE, tune_messages.read_output, seconds=200
    )


def test_the_best_is_found_beside_trials_that_diverge_or_need_too_much_memory(
    data: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    slow = ModelChanges(learning_rate=1e-7)
    spec = study(tmp_path, data, slow, DIVERGES, TOO_LARGE, ModelChanges(learning_rate=5e-3))
    output = submit(cluster, tmp_path, spec).output()
    assert [t.number for t in output.trials] == [0, 1, 2, 3]
    assert [t.parameters for t in output.trials] == list(spec.trials)
    assert output.best == 3 and not output.is_cut_short
    assert output.trials[3].state is TrialState.DONE and output.trials[3].epochs == 4
    diverged, large = output.trials[1], output.trials[2]
    assert (diverged.state, diverged.valid_auc) == (
        TrialState.FAILED,
        None,
    ) and "became nan" in diverged.error
    assert (large.state, large.valid_auc) == (TrialState.FAILED, None) and "memory" in large.error
    assert output.cpu_seconds >= sum(t.cpu_seconds for t in output.trials if t.epochs) > 0
    valid = [t.valid_auc for t in output.trials if t.valid_auc is not None]
    assert max(valid) == output.trials[3].valid_auc
    told = train_messages.told(spec.base)
    assert told is not None and told.words.startswith("4 of 4 trials")
    assert Path(told.checkpoint).is_dir()


def test_a_killed_study_goes_on_and_runs_no_finished_trial_again(
    data: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    # Two run at a time: once a third has begun, a fourth may have, and two are still to come.
    rates = [ModelChanges(learning_rate=rate * 1e-3) for rate in range(1, 7)]
    spec = study(tmp_path, data, *rates, grace_epochs=4)
    spent = spec.base.out_dir / "spent.json"
    first = submit(cluster, tmp_path, spec)
    try:
        while not spent.exists() or len(json.loads(spent.read_text())) < 3:
            assert first.process.poll() is None, first.log.read_text()
            time.sleep(0.02)
    finally:
        first.kill()
    before = json.loads(spent.read_text())
    output = submit(cluster, tmp_path, spec).output()
    after = json.loads(spent.read_text())
    assert set(before) < set(after) and len(after) == len(rates)
    same = [name for name in before if before[name] == after[name]]
    assert same, "the trials that had ended are as they were"
    assert {t.state for t in output.trials} <= {TrialState.DONE, TrialState.STOPPED}
    assert output.cpu_seconds == pytest.approx(sum(after.values()))


def test_the_study_ends_at_its_core_hours_with_what_it_has(
    data: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    rates = [ModelChanges(learning_rate=1e-3)] * 6
    output = submit(cluster, tmp_path, study(tmp_path, data, *rates, max_cpu_seconds=0.01)).output()
    assert output.is_cut_short
    states = [t.state for t in output.trials]
    assert [t.number for t in output.trials] == list(range(6))
    assert states.count(TrialState.NOT_RUN) >= 3
    assert output.trials[output.best].valid_auc is not None


def test_a_study_of_failures_fails_and_names_one(data: Path, cluster: dict[str, str], tmp_path: Path) -> None:
    error = submit(cluster, tmp_path, study(tmp_path, data, DIVERGES, DIVERGES)).error()
    assert isinstance(error, errors.JobFailed)
    assert "none of 2 trials" in error.message and "became nan" in error.message
