"""A scoring job without Ray: the same messages and workers, run in this process when the double is submitted to."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from mainspring.core import errors
from mainspring.core.scoring import outputs, places
from mainspring.workflows.ray_jobs import job_files, score_messages, score_part

#: Parts that a job does before it is lost without a word; None: all.
lost_after: list[int | None] = [None]


def run(entrypoint: str) -> str:
    """What Ray would say of a job with this command in the end: SUCCEEDED, FAILED or STOPPED."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spec", type=Path)
    parser.add_argument("--out", type=Path)
    words = shlex.split(entrypoint)
    assert words[1:3] == ["-m", score_messages.MODULE]
    arguments = parser.parse_args(words[3:])
    spec = score_messages.read_spec(arguments.spec)
    limit, lost_after[0] = lost_after[0], None
    try:
        answer = _score(spec, limit)
    except errors.MainspringError as error:
        job_files.write_output(arguments.out, error)
        return "FAILED"
    if answer is None:
        return "STOPPED"
    job_files.write_output(arguments.out, answer)
    return "SUCCEEDED"


def _score(spec: score_messages.ScoreSpec, limit: int | None) -> score_messages.ScoreOutput | None:
    found = outputs.Output(places.Place.at(spec.output), spec.identity).done()
    wanted = spec.survey()
    worker = score_part.PartScorer(spec)
    done = set(found)
    for part in wanted:
        if part.name in found:
            continue
        if limit is not None and len(done) - len(found) >= limit:
            return None
        answer = worker({"index": part.index})
        if "error" in answer:
            raise errors.from_wire(answer["error"])
        done.add(answer["name"])
        score_messages.write_progress(spec.progress, wanted, done)
    return score_messages.ScoreOutput(
        rows=sum(part.rows for part in wanted),
        parts=len(wanted),
        parts_found=len(found),
        cpu_seconds=3.6,
        wall_seconds=1.0,
        num_workers=spec.num_workers,
    )
