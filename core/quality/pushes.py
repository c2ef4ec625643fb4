"""An online store whose pushes pass their view's expectations, or are refused whole."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors, identity, ports
from mainspring.core.contracts import prediction
from mainspring.core.features import frames, online_batch, online_gate
from mainspring.core.features.windows import CREATED, EVENT
from mainspring.core.quality import accepted, expectations, gate, measures
from mainspring.core.quality import quarantine as holding
from mainspring.core.quality.report import QualityReport

__all__ = ["CheckedFeatures", "read_suites"]

_LOG: Final = logging.getLogger(__name__)

KIND: Final = "pushed rows"
_ROWS: Final = "rows.parquet"


class CheckedFeatures(online_gate.OnlineGate):
    """An `ports.OnlineFeatures` over another: a push of a view with a suite is evaluated before the store sees it.

    The suite's columns are the view's keys, its fields, and `event_timestamp` and `created_timestamp` (UTC
    microseconds), as in the view's offline rows. A refused push is held in `folder` as long as all of them together
    take no more than `max_held_bytes`: who sends bad rows for ever must not fill the disk.
    Cost:    2 ms a push of up to 100 rows, with eleven claims on ten fields; for 10,000 rows what the store takes itself.
    Threads: safe. Pushes of one view may be evaluated at once; the last one accepted is what the next is compared with.
    """

    def __init__(
        self,
        store: ports.OnlineFeatures,
        suites: Sequence[expectations.Suite],
        folder: Path,
        *,
        max_held_bytes: int = 1 << 30,
    ) -> None:
        """Errors: InvalidRequest for a suite that refers to other datasets, which a push does not carry."""
        for suite in suites:
            for expectation in suite.expectations:
                if isinstance(expectation, expectations.References):
                    raise errors.InvalidRequest(
                        f"`{suite.name(expectation)}` refers to other rows, which a push does not carry; check it where"
                        " the rows are made",
                        field="suites",
                    )
        super().__init__(store)
        self._suites = {suite.dataset: suite for suite in suites}
        self._folder = folder
        self._max_held_bytes = max_held_bytes
        self._lock = threading.Lock()
        self._kept = accepted.Accepted(folder)
        self._accepted = {name: self._kept.read(name) for name in self._suites}
        self.quarantine = holding.Quarantine(folder / "quarantine")

    def upsert(
        self,
        view: str,
        keys: ports.KeyColumns,
        *,
        event_us: NDArray[np.int64],
        created_us: NDArray[np.int64],
        columns: Mapping[str, Sequence[Any]],
    ) -> int:
        """As the store's, if the batch is what its view's suite expects.

        Errors: DataInvalid that names the failed checks and the held batch, and then the store has seen nothing of it;
        those of the store.
        """
        suite = self._suites.get(view)
        known = next((v for v in self._store.views() if v.name == view), None)
        if suite is None or known is None or not len(event_us):
            return self._store.upsert(view, keys, event_us=event_us, created_us=created_us, columns=columns)
        rows = _frame(known, online_batch.parse(known, keys, event_us, created_us, columns))
        report = measures.evaluate(suite, rows, accepted=self._accepted.get(view), with_statistics=False)
        if report.failed:
            raise gate.refusal(view, [report], self._hold(view, rows, report))
        changed = self._store.upsert(view, keys, event_us=event_us, created_us=created_us, columns=columns)
        self._accept(view, report)
        return changed

    def release(self, name: str, *, actor: identity.Actor, reason: str) -> prediction.FeaturePushResult:
        """Push the held batch `name` although it failed. Newer rows of its keys stay: safe at any time, and to repeat.

        Errors: NotFound; PermissionDenied unless `actor` is an approver; InvalidRequest without a reason; the store's.
        """
        held = self.quarantine.read(name)
        given = holding.approve(actor, reason, name)
        rows = pl.read_parquet(self.quarantine.data(name) / _ROWS)
        known = next((v for v in self._store.views() if v.name == held.dataset), None)
        if known is None:
            raise errors.NotFound(
                f"view `{held.dataset}` of batch `{name}` is not served any more; load a bundle that reads it",
                resource="view",
                name=held.dataset,
            )
        changed = self._store.upsert(
            held.dataset,
            {key: rows[key].to_list() for key in known.join_keys},
            event_us=rows[EVENT].to_physical().to_numpy(),
            created_us=rows[CREATED].to_physical().to_numpy(),
            columns={field: rows[field].to_list() for field in known.field_names},
        )
        if held.release is None:
            self.quarantine.mark(name, given)
        _LOG.warning(
            "batch `%s` of view `%s` is released by %s: %s", name, held.dataset, given.by, given.reason
        )
        return prediction.FeaturePushResult(view=held.dataset, received=rows.height, accepted=changed)

    def _hold(self, view: str, rows: pl.DataFrame, report: QualityReport) -> str:
        with self._lock:
            if _bytes_below(self.quarantine.path) + rows.estimated_size() > self._max_held_bytes:
                return ""
            self._folder.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(_Aside(self._folder)) as aside:
                rows.write_parquet(aside.path / _ROWS)
                return self.quarantine.hold(
                    aside.path,
                    dataset=view,
                    kind=KIND,
                    inputs={"view": view, "suite": report.suite},
                    detail={"rows": rows.height},
                    reports=(report,),
                    instead_of="",
                ).name

    def _accept(self, view: str, report: QualityReport) -> None:
        """What the next push is compared with. Small pushes are no population: they leave it as it is."""
        with self._lock:
            if self._kept.keep(self._suites[view], report):
                self._accepted[view] = report


def read_suites(folder: Path) -> tuple[expectations.Suite, ...]:
    """The suites of a folder, one JSON file `<view>.json` each. Errors: Misconfigured, naming the file."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            suite = expectations.Suite.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise errors.Misconfigured(
                f"`{path}` holds no expectations: {error}; correct or remove the file"
            ) from error
        if suite.dataset != path.stem:
            raise errors.Misconfigured(
                f"`{path}` holds the expectations of `{suite.dataset}`; call it `{suite.dataset}.json`"
            )
        found.append(suite)
    return tuple(found)


class _Aside:
    """A folder for a moment."""

    def __init__(self, parent: Path) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=".push-", dir=parent))

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def _frame(view: ports.ViewSchema, batch: online_batch.Batch) -> pl.DataFrame:
    """The batch as the view's offline rows would be."""
    columns: list[pl.Series] = [
        pl.Series(name, values, frames.POLARS_TYPES["int64" if kind == "int64" else "string"])
        for name, values, kind in zip(view.join_keys, batch.keys, batch.key_types, strict=True)
    ]
    columns += [
        pl.Series(EVENT, batch.event_us).cast(frames.TIME),
        pl.Series(CREATED, batch.created_us).cast(frames.TIME),
    ]
    for name, kind in view.fields:
        values, valid = batch.columns[name], batch.valid[name]
        if kind in ("float32", "float64"):
            columns.append(pl.Series(name, values))  # NaN where there is no value
        else:
            plain = [v if there else None for v, there in zip(values.tolist(), valid, strict=True)]
            columns.append(pl.Series(name, plain, frames.POLARS_TYPES[kind]))
    # As offline rows say it: one step for all columns, a step each costs more than the suite.
    return pl.DataFrame(columns).with_columns(pl.col(pl.Float32, pl.Float64).fill_nan(None))


def _bytes_below(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
