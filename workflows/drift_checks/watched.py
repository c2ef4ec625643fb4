"""A bundle that is served, with the training that it came of and the sums of what it answered: what a check of it begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from mainspring.core import errors, projects, settings, workspace
from mainspring.core.contracts import base, monitoring
from mainspring.core.models import bundle, signing
from mainspring.core.monitoring import (
    baselines,
    outcomes,
    pages,
    prediction_log,
    predictions,
    training_outcomes,
    windows,
)
from mainspring.workflows.ray_jobs import train_messages

__all__ = ["Counted", "Logged", "Watched", "logged"]

#: Rows that the model was not fitted to.
_REFERENCE_SPLIT: Final = "valid"
#: Of the window and of the reference, in the full report: Evidently has them in memory.
_HTML_ROWS: Final = 5_000


@dataclass(frozen=True)
class Counted:
    """The sums of a bundle's answers, with all that the log had of them."""

    store: windows.WindowStore
    damaged: tuple[str, ...]
    """Files of the log that cannot be read."""
    ends: datetime | None
    """When the newest hour that was counted ends; None: nothing was."""


@dataclass(frozen=True)
class Logged:
    """What is judged of an endpoint's log."""

    answers: pl.LazyFrame
    """Of stable bundles."""
    bundle_digest: str
    """Which of them answered last."""


def logged(s: settings.Settings, endpoint: str) -> Logged:
    """Errors: NotFound if nothing is logged, or nothing of a stable bundle."""
    found = predictions.scan(s.serving.predictions_dir, endpoint=endpoint)
    answers = found.filter(pl.col("role") == windows.JUDGED_ROLE)
    digest = predictions.newest_bundle(answers)
    if not digest:
        raise errors.NotFound(
            f"no stable bundle's predictions of `{endpoint}` are logged; canaries are judged by their deployment",
            resource="predictions",
            name=endpoint,
        )
    return Logged(answers, digest)


class Watched:
    """A bundle that is served, with the training that it came of."""

    def __init__(
        self,
        s: settings.Settings,
        logged: Logged,
        *,
        project: str,
        endpoint: str,
        sample_fraction: float,
        slices: Sequence[str] = (),
    ) -> None:
        """`sample_fraction`: of the workspace that it was trained in. `slices` are for the baseline, if it has none yet.

        Errors: those of `BundleStore.open`; NotFound for a project that is not installed.
        """
        trust = signing.TrustedKeys.load(s.serving.trusted_keys_dir)
        self._opened = bundle.BundleStore(s.serving.bundle_dir).open(logged.bundle_digest, trust)
        self._settings, self._answers, self._endpoint, self._slices = s, logged.answers, endpoint, slices
        self._project = projects.load_project(project)
        self._space = workspace.Workspace(s.stack.state_dir, project, sample_fraction)

    def counted(self) -> Counted:
        """Count what is new in the log; the first time, make the baseline.

        Errors: those of :meth:`baseline`; Overloaded while another process counts; CorruptArtifact for sums that cannot be read.
        """
        store = windows.WindowStore.of(
            self._settings.monitor.windows_dir, self._endpoint, self._opened.digest
        )
        try:
            store.baseline()
        except errors.NotFound:
            store.put_baseline(self.baseline())
        folder = self._opened.digest.removeprefix("sha256:")[:16]
        found = store.ingest(self._settings.serving.predictions_dir / self._endpoint / folder)
        return Counted(store, found.damaged, store.newest())

    def join(self, store: windows.WindowStore, *, since: datetime, until: datetime) -> None:
        """Bring what is known of that time's answers up to date. Errors: those of `training_outcomes.read`."""
        outcomes.update(
            store,
            self._answers,
            self.labels(),
            since=since,
            until=until,
            now=base.utc_now(),
            kpis=self._kpis(),
        )

    def _kpis(self) -> Mapping[str, pl.Expr]:
        return self._project.kpis() if isinstance(self._project, projects.Worth) else {}

    def baseline(self) -> monitoring.Baseline:
        """Errors: NotFound without what the training left; DataInvalid if it was made anew since; InvalidRequest for a slice."""
        names = [
            n.removeprefix(prediction_log.FEATURE)
            for n in self._answers.collect_schema().names()
            if n.startswith(prediction_log.FEATURE)
        ]
        rows, private = self._reference(), training_outcomes.private_columns(self._opened)
        features = [name for name in names if name in rows.columns and name not in private]
        for name in self._slices:
            if name not in rows.columns or rows[name].dtype != pl.String or name in private:
                raise errors.InvalidRequest(
                    f"`{name}` cannot be a slice: it is no column of strings of the training set, or tells of a person",
                    field="slices",
                )
        return baselines.make(
            rows,
            bundle_digest=self._opened.digest,
            score="\0score",
            label=self._project.label,
            features=features,
            slices=self._slices,
            training_run_id=self._opened.manifest.training_run_id,
            worth=self._kpis(),
        )

    def labels(self) -> outcomes.Labels:
        """What happened, as the project's training set knows it. Errors: those of `training_outcomes.read`."""
        labels = training_outcomes.read(
            self._space.training / "training.parquet",
            self._project,
            self._opened,
            self._settings.serving.token_key,
        )
        return outcomes.Labels(
            labels.drop_nulls(self._project.label),
            keys=[key.name for key in self._opened.manifest.service.keys],
            at=training_outcomes.DUE,
            label=self._project.label,
            horizon=timedelta(seconds=self._project.horizon_seconds),
        )

    def html(self, baseline: monitoring.Baseline, begins: datetime, ends: datetime, *, rows: int) -> str:
        """Leave Evidently's report of a sample of the window's `rows`, with what is known to have happened; answers its digest.

        Empty: too few rows.
        """
        from mainspring.core.monitoring import evidently_adapter

        there = self._answers.collect_schema().names()
        columns = {name: prediction_log.FEATURE + name for name in _inputs(baseline)}
        # A slice may be told by a key, which is no input.
        columns |= {
            name: prediction_log.KEY + name for name in baseline.slices if columns.get(name) not in there
        }
        columns = {name: logged for name, logged in columns.items() if logged in there}
        inside = self._answers.filter(
            pl.col("model_version") == baseline.bundle_digest,
            pl.col("as_of").is_between(begins, ends, closed="left"),
        )
        sample = predictions.sampled(inside, _HTML_ROWS, of=rows).lazy()
        shown = (*(pl.col(logged).alias(name) for name, logged in columns.items()),)
        known = self.labels().joined(sample, begins, ends, base.utc_now())
        current = known.select(
            "score", pl.col(predictions.LABEL).alias(self._project.label), *shown
        ).collect()
        reference = self._reference().select(pl.col("\0score").alias("score"), self._project.label, *columns)
        if min(current.height, reference.height) < evidently_adapter.MIN_ROWS:
            return ""
        sampled = [f.sample(min(f.height, _HTML_ROWS), seed=7) for f in (reference, current)]
        slices = {name: values for name, values in baseline.slices.items() if name in columns}
        page = evidently_adapter.full_report(*sampled, label=self._project.label, slices=slices)
        return pages.leave(self._settings.monitor.reports_dir, page)

    def _reference(self) -> pl.DataFrame:
        """The training set's held-out rows, with the scores that they had. In order, as the training left them."""
        run_id = self._opened.manifest.training_run_id
        folder = self._space.run(run_id)
        outputs = list(folder.glob("train-output-*.json"))
        if not outputs:
            raise errors.NotFound(
                f"training `{run_id}` of bundle `{self._opened.digest}` left no predictions in this workspace; check with"
                " its `sample_fraction`, or train anew",
                resource="training output",
                name=run_id,
            )
        output = train_messages.read_output(max(outputs, key=lambda path: path.stat().st_mtime_ns))
        column = "baseline_score" if self._opened.model == output.baseline_architecture else "score"
        spec = folder / "train-spec.json"
        path = (
            train_messages.read_spec(spec).training_set
            if spec.exists()
            else self._space.training / "training.parquet"
        )
        is_reference = pl.col("split") == _REFERENCE_SPLIT
        rows = pl.read_parquet(path).filter(is_reference)
        scored = pl.read_parquet(output.predictions_path).filter(is_reference)
        label = self._project.label
        if (
            rows.height != scored.height
            or not (rows[label].cast(pl.Float64) == scored["label"].cast(pl.Float64)).all()
        ):
            raise errors.DataInvalid(
                f"the training set of run `{run_id}` was made anew since: its rows are not those that were scored; train"
                " the model anew to have a baseline",
                dataset="training set",
            )
        return rows.with_columns(scored[column].alias("\0score"))


def _inputs(baseline: monitoring.Baseline) -> list[str]:
    return [column.name for column in baseline.columns if column.name != monitoring.SCORE]
