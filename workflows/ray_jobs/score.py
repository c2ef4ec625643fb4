"""The scoring job: `python -m mainspring.workflows.ray_jobs.score --spec SPEC.json --out OUT.json`.

The BatchScore workflow submits it through Ray's Jobs API; it runs as well without a cluster. It exits with 0 and a
`ScoreOutput` in OUT.json, or with 1 and `{"error": ...}`; without OUT.json it was stopped on the way, and the same
command goes on with the parts that are not there yet.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import ray
import ray.data
import ray.exceptions

from mainspring.core import errors
from mainspring.core.scoring import outputs, parts, places
from mainspring.workflows.ray_jobs import command, score_messages, score_part

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
    return command.run(
        "score",
        "scoring",
        "Score a dataset with Ray Data.",
        lambda spec, address: _run(score_messages.read_spec(spec), address, begun),
    )


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
        command.connect(address, spec.num_workers, _RAY_ENVIRONMENT)
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


if __name__ == "__main__":
    sys.exit(main())
