"""The scoring job: `python -m mainspring.workflows.ray_jobs.score --spec SPEC.json --out OUT.json`.

The BatchScore workflow submits it through Ray's Jobs API; it runs as well without a cluster. It exits with 0 and a
`ScoreOutput` in OUT.json, or with 1 and `{"error": ...}`; without OUT.json it was stopped on the way, and the same
command goes on with the parts that are not there yet.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import ray
import ray.data
import ray.exceptions

from mainspring.core import errors
from mainspring.core.scoring import outputs, parts, places
from mainspring.workflows.ray_jobs import score_messages, score_part

#: For Ray's own processes: a worker is one CPU, and Polars would take all that the machine has.
_RAY_ENVIRONMENT: Final = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}

#: A block of Ray Data is a part; beyond this many, a block has several.
_MAX_BLOCKS: Final = 10_000

#: A part whose worker died is tried again so often: a machine that was taken away costs nothing, and a part that kills
#: every worker ends the job. Ray Data's own default is for ever.
_MAX_PART_RETRIES: Final = 2

#: Progress is written at most so often.
_PROGRESS_SECONDS: Final = 0.5


def main() -> int:
    begun = time.perf_counter()
    parser = argparse.ArgumentParser(prog="score", description="Score a dataset with Ray Data.")
    parser.add_argument("--spec", type=Path, required=True, help="a ScoreSpec as JSON")
    parser.add_argument("--out", type=Path, required=True, help="where the ScoreOutput or the error goes")
    parser.add_argument(
        "--ray-address",
        help="a Ray cluster, or `local` for one of our own; default: as Ray finds it, within a job its cluster",
    )
    arguments = parser.parse_args()
    arguments.out.unlink(missing_ok=True)
    answer: score_messages.ScoreOutput | errors.MainspringError
    try:
        spec = score_messages.read_spec(arguments.spec)
        answer = _run(spec, arguments.ray_address, begun)
    except errors.MainspringError as error:
        answer = error
    except Exception as error:  # noqa: BLE001 - who waits for OUT.json must learn of our mistakes too
        traceback.print_exc()
        answer = errors.InvariantViolated(
            f"scoring job crashed with {type(error).__name__}: {error}; report it with the job's log",
            where="ray_jobs.score",
        )
    score_messages.write_output(arguments.out, answer)
    if isinstance(answer, errors.MainspringError):
        print(f"error: {answer.message}", file=sys.stderr)
        return 1
    return 0


def _run(spec: score_messages.ScoreSpec, address: str | None, begun: float) -> score_messages.ScoreOutput:
    output = outputs.Output(places.Place.at(spec.output), spec.identity, spec.run_id)
    output.place.sweep()
    wanted = spec.survey()
    found = output.done()
    left = [part for part in wanted if part.name not in found]
    done = set(found)
    score_messages.write_progress(spec.progress, wanted, done)
    cpu_seconds = sum(r.cpu_seconds for r in found.values() if r.run_id == spec.run_id)
    if left:
        _connect(address, spec.num_workers)
        try:
            told = time.monotonic()
            for answer in _scored(spec, left):
                if "error" in answer:
                    raise errors.from_wire(answer["error"])
                done.add(answer["name"])
                cpu_seconds += answer["cpu_seconds"]
                if time.monotonic() - told >= _PROGRESS_SECONDS:
                    told = time.monotonic()
                    score_messages.write_progress(spec.progress, wanted, done)
        finally:
            ray.shutdown()
    score_messages.write_progress(spec.progress, wanted, done)
    return score_messages.ScoreOutput(
        rows=sum(part.rows for part in wanted),
        parts=len(wanted),
        parts_found=len(wanted) - len(left),
        cpu_seconds=cpu_seconds,
        wall_seconds=time.perf_counter() - begun,
        num_workers=spec.num_workers,
    )


def _scored(spec: score_messages.ScoreSpec, left: Sequence[parts.Part]) -> Iterator[Mapping[str, Any]]:
    """An answer for each part, as they come. Errors: DependencyDown if Ray gives no places, JobFailed if workers die."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # Parts have their places in the output: who is ready is told at once.
    context.execution_options.preserve_order = False
    dataset = ray.data.from_items(
        [{"index": part.index} for part in left], override_num_blocks=min(len(left), _MAX_BLOCKS)
    ).map(
        score_part.PartScorer,
        fn_constructor_args=(spec,),
        compute=ray.data.ActorPoolStrategy(
            size=min(spec.num_workers, len(left)), max_tasks_in_flight_per_actor=2
        ),
        num_cpus=1,
        max_restarts=-1,
        max_task_retries=_MAX_PART_RETRIES,
    )
    try:
        yield from dataset.iter_rows()
    except ray.exceptions.RayError as error:
        raise errors.JobFailed(
            f"a worker of the scoring died again and again: {' '.join(str(error).split())[:400]}; read the job's log, give"
            " the workers more memory or make parts of fewer rows",
            status="workers_failed",
        ) from error


def _connect(address: str | None, num_workers: int) -> None:
    """Errors: DependencyDown."""
    alone: dict[str, Any] = (
        {"num_cpus": num_workers, "include_dashboard": False} if address == "local" else {}
    )
    try:
        if address and ":" in address:
            # Ray itself gives up after some minutes only.
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, runtime_env={"env_vars": _RAY_ENVIRONMENT}, log_to_driver=True, **alone)
    except (OSError, ValueError, ray.exceptions.RayError) as error:
        raise errors.DependencyDown(
            f"ray at `{address or 'its default address'}` does not answer: {error}; start it with `mainspring up`",
            name="ray",
        ) from error


if __name__ == "__main__":
    sys.exit(main())
