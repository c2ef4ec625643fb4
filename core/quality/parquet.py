"""Parquet of a lake, a file or a folder of parts, at a path or an `s3://` URI: batches pass their suite or are held."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import polars as pl

from mainspring.core import durable, errors, identity
from mainspring.core.features import lake
from mainspring.core.quality import accepted, expectations, gate, measures
from mainspring.core.quality import quarantine as holding
from mainspring.core.quality.report import QualityReport

__all__ = ["CheckedParquet"]

KIND: Final = "parquet batch"
_ROWS: Final = "rows.parquet"
_WRITTEN: Final = "written"


class CheckedParquet:
    """`target` behind a suite. Reports and held batches are in the local `folder`, whatever `target` is.

    One writer at a time, as of the Parquet itself.
    """

    def __init__(self, target: lake.Parquet, suite: expectations.Suite, folder: Path) -> None:
        self._target, self._suite, self._folder = target, suite, folder
        self._accepted = accepted.Accepted(folder)
        self.quarantine = holding.Quarantine(folder / "quarantine")

    def write(self, rows: pl.DataFrame, others: Mapping[str, measures.Frame] | None = None) -> QualityReport:
        """As `lake.Parquet.write`, of rows that are what the suite expects; their report.

        Errors: DataInvalid that names the failed checks and the held batch, and then the rows that were there stand;
        those of `lake.Parquet.write`.
        """
        before = self._accepted.read(self._suite.dataset)
        report = measures.evaluate(self._suite, rows, others=others, accepted=before)
        if report.failed:
            raise gate.refusal(self._suite.dataset, [report], self._hold(rows, report))
        self._count_up()
        self._target.write(rows)
        self._accepted.keep(self._suite, report)
        return report

    def release(self, name: str, *, actor: identity.Actor, reason: str) -> holding.Held:
        """Write the held batch `name` although it failed. Safe to repeat: into a folder it goes under its own name.

        Errors: NotFound; PermissionDenied unless `actor` is an approver; InvalidRequest without a reason; Conflict if it
        would take the place of a file that was accepted later.
        """
        held = self.quarantine.read(name)
        given = holding.approve(actor, reason, name)
        if held.release is not None:
            return held
        target = self._target
        if target.is_folder:
            target = replace(target, uri=f"{target.uri.rstrip('/')}/part-released-{name}.parquet")
        elif held.instead_of != self._count():
            raise errors.Conflict(
                f"batch `{name}` was refused before the one that is in `{target.uri}` now; write it again, so that it is"
                " judged against that",
                resource="quarantined batch",
                name=name,
            )
        target.write(pl.read_parquet(self.quarantine.data(name) / _ROWS))
        self._accepted.keep(self._suite, held.reports[0])
        return self.quarantine.mark(name, given)

    def _hold(self, rows: pl.DataFrame, report: QualityReport) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".batch-", dir=self._folder))
        try:
            rows.write_parquet(aside / _ROWS)
            return self.quarantine.hold(
                aside,
                dataset=self._suite.dataset,
                kind=KIND,
                inputs={"target": self._target.uri, "suite": report.suite},
                detail={"rows": rows.height},
                reports=(report,),
                instead_of=self._count(),
            ).name
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _count(self) -> str:
        """How many batches were written here, as text; it tells a file that was written since from the one before."""
        try:
            return (self._folder / _WRITTEN).read_text()
        except FileNotFoundError:
            return "0"

    def _count_up(self) -> None:
        # Before the write: one that failed makes a release be refused in vain, one not counted would be overwritten.
        self._folder.mkdir(parents=True, exist_ok=True)
        durable.replace_file(self._folder / _WRITTEN, str(int(self._count()) + 1))
