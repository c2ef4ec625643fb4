"""The tuning job: `python -m mainspring.workflows.ray_jobs.tune --spec SPEC.json --out OUT.json`.

Each trial is one process on one core; ASHA stops those that are worse than others at the same epoch. A trial that
diverges, or that the kernel kills for its memory, is a failed trial, and the study goes on. As with the training job, a
job of the same name goes on where an earlier one was stopped: finished trials are not run again, others resume.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import ray
import ray.exceptions
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from mainspring.core import durable, errors
from mainspring.core.contracts import progress
from mainspring.core.contracts.training import Stage
from mainspring.core.contracts.tuning import Trial, TrialState
from mainspring.core.models import network, training
from mainspring.workflows.ray_jobs import books, command, job_files, train_data, tune_messages

#: For Ray's own processes. Tune's own logs of each trial (TensorBoard, CSV) are read by nobody.
_RAY_ENVIRONMENT: Final = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}

#: A trial whose process died is tried again from its last epoch this often; for lack of memory it dies again.
_MAX_DEATHS: Final = 1
_METRIC: Final = "best_auc"
_PROGRESS: Final = "progress.pt"
_STATE: Final = "state.json"
_ERROR_CHARACTERS: Final = 300


def main() -> int:
    begun = time.perf_counter()
    return command.run(
        "tune",
        "tuning",
        "Compare parameters of one model with Ray Tune.",
        lambda spec, address: _run(tune_messages.read_spec(spec), address, begun),
    )


def _run(spec: tune_messages.TuneSpec, address: str | None, begun: float) -> tune_messages.TuneOutput:
    # Before Ray: what is wrong with the data is said in a second.
    prepared = train_data.prepare(spec.base)
    command.connect(address, spec.base.num_workers, _RAY_ENVIRONMENT)
    is_resumed = tune.Tuner.can_restore(_folder(spec))
    budget = Budget(spec.base.out_dir / "spent.json", spec.max_cpu_seconds)
    try:
        found = _tuner(spec, prepared, budget).fit()
    except (tune.TuneError, ray.exceptions.RayError) as error:
        raise errors.DependencyDown(
            f"ray could not run the study: {' '.join(str(error).split())[:_ERROR_CHARACTERS]}; see its log",
            name="ray",
        ) from error
    finally:
        ray.shutdown()
    # Tune makes a trial when there is a place for it, and none any more once the core-hours are spent.
    ran = {one.config["trial"]: one for one in found}
    trials = tuple(
        _trial(spec, number, ran[number]) if number in ran else _not_run(spec, number)
        for number in range(len(spec.trials))
    )
    done = [t for t in trials if t.valid_auc is not None]
    if not done:
        first = next((t.error for t in trials if t.error), "the core-hours were spent before the first epoch")
        raise errors.JobFailed(
            f"none of {len(trials)} trials came to a result; the first says: {first}; narrow the search or raise"
            " `max_cpu_hours`",
            status="no_trial",
        )
    return tune_messages.TuneOutput(
        trials=trials,
        best=max(done, key=lambda t: (t.valid_auc or 0.0, -t.number)).number,
        is_cut_short=budget.stop_all(),
        is_resumed=is_resumed,
        wall_seconds=time.perf_counter() - begun,
        cpu_seconds=budget.total,
    )


def _tuner(spec: tune_messages.TuneSpec, prepared: train_data.Prepared, budget: Budget) -> tune.Tuner:
    base = spec.base
    trainable = tune.with_resources(tune.with_parameters(run_trial, spec=spec, prepared=prepared), {"cpu": 1})
    if tune.Tuner.can_restore(_folder(spec)):
        return tune.Tuner.restore(_folder(spec), trainable, resume_unfinished=True, resume_errored=False)
    epochs = base.model.epochs
    return tune.Tuner(
        trainable,
        param_space={"trial": tune.grid_search(list(range(len(spec.trials))))},
        tune_config=tune.TuneConfig(
            metric=_METRIC,
            mode="max",
            scheduler=ASHAScheduler(max_t=epochs, grace_period=min(spec.grace_epochs, epochs)),
            max_concurrent_trials=base.num_workers,
        ),
        run_config=tune.RunConfig(
            name=base.run_name,
            storage_path=str(base.storage_path),
            stop=budget,
            callbacks=[_Told(spec)],
            failure_config=tune.FailureConfig(max_failures=_MAX_DEATHS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            verbose=0,
        ),
    )


def _folder(spec: tune_messages.TuneSpec) -> str:
    return str(spec.base.storage_path / spec.base.run_name)


class _Told(tune.Callback):  # type: ignore[misc] # Ray's class is untyped
    """Says how many trials are over, whenever it is another number. A restored study has the one that it began with."""

    def __init__(self, spec: tune_messages.TuneSpec) -> None:
        self._spec, self._over = spec, -1

    def on_step_end(self, iteration: int, trials: Sequence[Any], **_: Any) -> None:
        over = sum(trial.is_finished() for trial in trials)
        if over == self._over:
            return
        self._over = over
        job_files.tell(
            self._spec.base.progress,
            progress.StepProgress(
                step=Stage.TUNE,
                done=over,
                of=len(self._spec.trials),
                unit=progress.TRIALS,
                checkpoint=_folder(self._spec),
            ),
        )


class Budget(tune.Stopper):  # type: ignore[misc] # Ray's class is untyped
    """Ends the study when its trials have taken `max_cpu_seconds`. What they took is in `path`, for the job after."""

    def __init__(self, path: Path, max_cpu_seconds: float) -> None:
        self._path, self._max = path, max_cpu_seconds

    def _spent(self) -> dict[str, float]:
        try:
            found: dict[str, float] = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        return found

    @property
    def total(self) -> float:
        return sum(self._spent().values())

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        spent = {**self._spent(), trial_id: result["cpu_seconds"]}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_file(self._path, json.dumps(spent))
        return False

    def stop_all(self) -> bool:
        return self.total >= self._max


def run_trial(
    config: Mapping[str, Any], *, spec: tune_messages.TuneSpec, prepared: train_data.Prepared
) -> None:
    """One trial, in a process of Tune's. What is wrong with its parameters is its result, and no reason to repeat it."""
    with books.keeping(spec.book):
        _run_trial(config, spec, prepared)


def _run_trial(
    config: Mapping[str, Any], spec: tune_messages.TuneSpec, prepared: train_data.Prepared
) -> None:
    torch.set_num_threads(1)
    model_spec = tune_messages.changed(spec.base.model, spec.trials[config["trial"]])
    architecture = network.Architecture.of(
        model_spec, dense_width=prepared.dense_width, id_columns=prepared.id_columns
    )
    examples = {
        n: training.Examples.of(prepared.parts[n].inputs, prepared.parts[n].labels)
        for n in ("train", "valid")
    }
    before, spent = _resumed()

    def keep(progress: training.Progress) -> None:
        cpu_seconds = spent + time.process_time()
        last, best = progress.epochs[-1], progress.epochs[progress.best_epoch]
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, _PROGRESS).write_bytes(progress.to_bytes())
            Path(folder, _STATE).write_text(json.dumps({"cpu_seconds": cpu_seconds}))
            tune.report(
                {_METRIC: best.valid_auc, "epochs": last.epoch + 1, "cpu_seconds": cpu_seconds},
                checkpoint=tune.Checkpoint.from_directory(folder),
            )

    try:
        training.fit(
            network.EmbeddingMlp(architecture, seed=model_spec.seed),
            examples["train"],
            examples["valid"],
            model_spec,
            resume=before,
            on_epoch=keep,
        )
    except errors.MainspringError as error:
        # Below every result, so that the scheduler stops nobody for its sake.
        tune.report(
            {_METRIC: -1.0, "epochs": 0, "cpu_seconds": spent + time.process_time(), "failed": error.message}
        )


def _resumed() -> tuple[training.Progress | None, float]:
    found = tune.get_checkpoint()
    if found is None:
        return None, 0.0
    with found.as_directory() as folder:
        state = json.loads(Path(folder, _STATE).read_text())
        return training.Progress.from_bytes(Path(folder, _PROGRESS).read_bytes()), state["cpu_seconds"]


def _trial(spec: tune_messages.TuneSpec, number: int, found: Any) -> Trial:
    told = found.metrics or {}
    epochs, error = told.get("epochs", 0), told.get("failed", "")
    if not error and found.error:
        error = (str(found.error).strip().splitlines() or ["its process died"])[-1]
    if not error and not epochs:
        return _not_run(spec, number)
    state = TrialState.DONE if epochs >= spec.base.model.epochs else TrialState.STOPPED
    return Trial(
        number=number,
        parameters=spec.trials[number],
        state=TrialState.FAILED if error else state,
        valid_auc=None if error else told[_METRIC],
        epochs=epochs,
        cpu_seconds=told.get("cpu_seconds", 0.0),
        error=error[:_ERROR_CHARACTERS],
    )


def _not_run(spec: tune_messages.TuneSpec, number: int) -> Trial:
    return Trial(number=number, parameters=spec.trials[number], state=TrialState.NOT_RUN)


if __name__ == "__main__":
    sys.exit(main())
