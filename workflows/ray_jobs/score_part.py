"""The work of one worker of the scoring job: the bundle and the views in memory, a part at a time. Imports no ray."""

from __future__ import annotations

import contextlib
import io
import time
import traceback
from collections.abc import Mapping
from typing import Any

import polars as pl

from mainspring.core import canonical, errors, projects
from mainspring.core.features import plan
from mainspring.core.models import bundle, runtimes, sanitise, signing
from mainspring.core.scoring import outputs, parts, places, scorer
from mainspring.workflows.ray_jobs import books, score_messages

__all__ = ["PartScorer", "load"]


class PartScorer:
    """What Ray Data maps over the parts. Ray makes one a worker, and makes it anew where it dies.

    An error is an answer and not an exception: with its kind it says whether another job may succeed, and Ray's own tries
    are for workers that died.
    """

    def __init__(self, spec: score_messages.ScoreSpec) -> None:
        begun = time.process_time()
        self._spec = spec
        # Open for as long as the process lives, which Ray ends.
        self._kept = contextlib.ExitStack()
        self._tell = self._kept.enter_context(books.keeping(spec.book, lambda: time.process_time() - begun))
        self._input = places.Place.at(spec.input)
        self._output = outputs.Output(places.Place.at(spec.output), spec.identity, spec.run_id)
        self._parts = spec.survey()
        self._error: errors.MainspringError | None = None
        try:
            self._scorer = load(spec)
        except errors.MainspringError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - the edge of Ray's worker; a project's code may raise anything
            self._error = _crashed(error)
        # The first part's answer has what loading took.
        self._loading_seconds = time.process_time() - begun

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        if self._error is not None:
            return {"error": errors.to_wire(self._error)}
        part = self._parts[row["index"]]
        begun = time.process_time()
        try:
            rows = parts.read(self._input, part)
            scores = self._scorer.score(rows)
            receipt = self._output.write(part, rows, scores, time.process_time() - begun)
        except errors.MainspringError as error:
            return {"error": errors.to_wire(_of_part(error, part))}
        except Exception as error:  # noqa: BLE001 - as above
            return {"error": errors.to_wire(_of_part(_crashed(error), part))}
        self._tell()
        loading, self._loading_seconds = self._loading_seconds, 0.0
        return {"name": receipt.name, "cpu_seconds": receipt.cpu_seconds + loading}


def load(spec: score_messages.ScoreSpec) -> scorer.Scorer:
    """The bundle, verified, over the views as they were pinned.

    Errors: those of `BundleStore.open`, of the runtimes' factories and of loading a project; Conflict if a view was made
    anew since.
    """
    opened = bundle.BundleStore(spec.bundle_dir).open(
        spec.bundle_digest, signing.TrustedKeys.load(spec.trusted_keys_dir)
    )
    # Threads: Ray gives a worker one CPU.
    known = runtimes.factories(runtimes.Options(network=spec.runtime))
    compiled = plan.FittedPlan.from_bytes(opened.plan).compile()
    return scorer.Scorer(
        service=opened.manifest.service,
        request_columns=opened.manifest.request_columns,
        program=compiled,
        runtime=known[opened.manifest.kind](opened, compiled),
        derive=projects.load_project(spec.project).derive,
        views={name: _rows(name, file) for name, file in spec.views.items()},
        as_of=spec.as_of,
        policy=sanitise.policy_of(opened),
        digest=opened.digest,
    )


def _rows(view: str, file: score_messages.ViewFile) -> pl.DataFrame:
    """In memory as a whole, so that what was checked is what is joined, whoever makes the features anew meanwhile."""
    try:
        data = file.path.read_bytes()
    except OSError as error:
        raise errors.NotFound(
            f"rows of view `{view}` are not at `{file.path}`: {error.strerror}; make the features again",
            resource="view",
            name=view,
        ) from error
    if canonical.digest_bytes(data) != file.digest:
        raise errors.Conflict(
            f"view `{view}` was made anew since the scoring was planned; start it again with a new output",
            resource="view",
            name=view,
        )
    return pl.read_parquet(io.BytesIO(data))


def _crashed(error: Exception) -> errors.InvariantViolated:
    traceback.print_exception(error)  # into the worker's log
    return errors.InvariantViolated(
        f"a worker crashed with {type(error).__name__}: {error}; read its log, and look at the project's derived features",
        where="ray_jobs.score_part",
    )


def _of_part(error: errors.MainspringError, part: parts.Part) -> errors.MainspringError:
    """The error with the place that it is about."""
    wire = errors.to_wire(error)
    where = f"rows {part.start} to {part.start + part.rows - 1}" + (
        f" of `{part.file.path}`" if part.file.path else ""
    )
    return errors.from_wire({**wire, "message": f"{where}: {error.message}"})
