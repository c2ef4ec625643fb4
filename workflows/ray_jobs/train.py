"""The training job: `python -m mainspring.workflows.ray_jobs.train --spec SPEC.json --out OUT.json`.

The training workflow submits it through Ray's Jobs API; it runs as well without a cluster. It exits with 0 and a
`TrainOutput` in OUT.json, or with 1 and `{"error": ...}`; without OUT.json it was stopped on the way, and the same
command goes on from the last checkpoint.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Final

import ray
import ray.exceptions
from ray import train as ray_train
from ray.train.torch import TorchConfig, TorchTrainer

from mainspring.core import errors
from mainspring.core.models import network
from mainspring.workflows.ray_jobs import command, own_training, train_data, train_loop, train_messages

#: For Ray's own processes.
_RAY_ENVIRONMENT: Final = {
    # A worker hands over one epoch between two polls of the controller, and an epoch may take a tenth of a second;
    # the default is 2 s.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # A process that warns of a preemption, for loops that save when they are told to; ours saves every so many steps.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Else every line is printed twice.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
}

#: Dead workers are replaced this often, each time from the last checkpoint.
_MAX_WORKER_FAILURES: Final = 2
#: How often the cluster is asked for places; each time, Ray waits a minute.
_MAX_START_FAILURES: Final = 2


#: An elastic training looks so often whether there is room for more workers; it then goes on from its last checkpoint.
_RESIZE_SECONDS: Final = 30.0

#: What workers tell one another in words goes by the CPU in either.
_BACKENDS: Final = {"cpu": "gloo", "gpu": "cpu:gloo,cuda:nccl"}


def main() -> int:
    begun = time.perf_counter()
    return command.run(
        "train",
        "training",
        "Train one model with Ray Train.",
        lambda spec, address: run(train_messages.read_spec(spec), address, begun),
    )


def run(spec: train_messages.TrainSpec, address: str | None, begun: float) -> train_messages.TrainOutput:
    """Train on the cluster at `address`, as `command.connect` finds it. `begun`: what its seconds count from, of
    `time.perf_counter`. Errors: those of the data, of the training and of Ray, as kinds of ours."""
    if spec.project:
        return _run_own(spec, address, begun)
    # Before Ray: what is wrong with the data is said in a second.
    prepared = train_data.prepare(spec)
    architecture = network.Architecture.of(
        spec.model, dense_width=prepared.dense_width, id_columns=prepared.id_columns
    )
    command.connect(address, spec.num_workers, _RAY_ENVIRONMENT)
    try:
        job = train_loop.Job(
            spec, architecture, prepared.identity, {k: ray.put(part) for k, part in prepared.parts.items()}
        )
        answer = _fit(job)
    finally:
        ray.shutdown()
    if "error" in answer:
        raise errors.from_wire(answer["error"])
    return train_messages.TrainOutput(**answer, wall_seconds=time.perf_counter() - begun)


def _run_own(spec: train_messages.TrainSpec, address: str | None, begun: float) -> train_messages.TrainOutput:
    """A project's own training: one task that has the workers' cores, from its beginning whenever it is started again."""
    command.connect(address, spec.num_workers, _RAY_ENVIRONMENT)
    try:
        work = ray.remote(
            num_cpus=spec.num_workers,
            num_gpus=spec.num_workers if spec.device == "gpu" else 0,
            max_retries=_MAX_WORKER_FAILURES,
        )(own_training.work)
        answer: dict[str, Any] = ray.get(work.remote(spec))
    except ray.exceptions.RayError as error:
        raise errors.JobFailed(
            f"the worker of the project's own `train` died: {' '.join(str(error).split())[:400]}; read the job's log, or"
            " give it more memory",
            status="workers_failed",
        ) from error
    finally:
        ray.shutdown()
    if "error" in answer:
        raise errors.from_wire(answer["error"])
    return train_messages.TrainOutput(**answer, wall_seconds=time.perf_counter() - begun)


def _scaling(spec: train_messages.TrainSpec) -> ray_train.ScalingConfig:
    workers = spec.num_workers if spec.min_workers is None else (spec.min_workers, spec.num_workers)
    return ray_train.ScalingConfig(
        num_workers=workers,
        use_gpu=spec.device == "gpu",
        resources_per_worker={"CPU": 1, **({"GPU": 1} if spec.device == "gpu" else {})},
        elastic_resize_monitor_interval_s=_RESIZE_SECONDS,
    )


def _place(spec: train_messages.TrainSpec) -> str:
    """What each worker has, for people."""
    return "1 CPU and 1 GPU" if spec.device == "gpu" else "1 CPU"


def _fit(job: train_loop.Job) -> dict[str, Any]:
    """Errors: JobFailed if workers died too often; DependencyDown if Ray gave no places or failed itself."""
    spec = job.spec
    trainer = TorchTrainer(
        train_loop.run,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend=_BACKENDS[spec.device]),
        scaling_config=_scaling(spec),
        run_config=ray_train.RunConfig(
            name=spec.run_name,
            storage_path=spec.storage_uri or str(spec.storage_path),
            failure_config=ray_train.FailureConfig(
                max_failures=_MAX_WORKER_FAILURES, controller_failure_limit=_MAX_START_FAILURES
            ),
            # The one before is kept until the next is whole.
            checkpoint_config=ray_train.CheckpointConfig(num_to_keep=2),
            logging_config=ray_train.LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        answer: dict[str, Any] = trainer.fit().return_value
    except ray_train.WorkerGroupError as error:
        rank, first = min(error.worker_failures.items())
        raise errors.JobFailed(
            f"training failed {_MAX_WORKER_FAILURES + 1} times, at last on rank {rank}: {first}; read the job's log and"
            " mend what it names, or give the workers more memory",
            status="workers_failed",
        ) from error
    except (ray_train.TrainingFailedError, ray.exceptions.RayError) as error:
        raise errors.DependencyDown(
            f"ray could not run {spec.min_workers or spec.num_workers} workers of {_place(spec)}:"
            f" {' '.join(str(error).split())}; add nodes or ask for fewer workers",
            name="ray",
        ) from error
    return answer


if __name__ == "__main__":
    sys.exit(main())
