"""Scores of rows from features as they were known: the road of a prediction by entity, with the offline join for look-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.contracts import inputs
from mainspring.core.features import frames, lake, point_in_time, program, schema
from mainspring.core.models import sanitise

__all__ = ["AS_OF", "Derivation", "Scorer", "check_columns", "check_service", "columns_of"]

Derivation: TypeAlias = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]

#: The time of each row.
AS_OF: Final = point_in_time.AS_OF


@dataclass(frozen=True)
class Scorer:
    """One bundle over one state of the offline store. Immutable; thread-safe if its runtime and derivation are."""

    service: schema.FeatureService
    request_columns: tuple[schema.Column, ...]
    program: program.Program
    runtime: ports.ModelRuntime
    derive: Derivation
    views: Mapping[str, pl.DataFrame | pl.LazyFrame] = field(repr=False)
    """By view of the service: keys, `event_timestamp`, `created_timestamp` and fields."""
    as_of: datetime | None = None
    """The time of every row; None: each row's own `as_of`."""
    policy: inputs.InputPolicy = field(default_factory=inputs.InputPolicy)
    """What the bundle declares of keys and request columns, applied as serving does."""
    digest: str = ""
    """Of the bundle, for the log of what the policy found."""
    sanitiser: sanitise.Sanitiser = field(default_factory=sanitise.Sanitiser, repr=False)

    def score(self, rows: pl.DataFrame) -> NDArray[np.float32]:
        """Scores (n,) float32 of n rows, in their order: what serving answers for the same keys, columns and time.

        Join keys and request columns of `rows` have the types that the bundle declares.
        Missing: null and NaN, as in serving: an entity without a key, or that no view knows, has missing features.
        Errors:  SchemaMismatch for an absent column, another type, or a null in `as_of`, an int64 or a bool column;
                 DataInvalid for a value that the policy refuses; InvariantViolated if the model broke its contract.
        """
        asked, known = self._sane(self._asked(rows))
        joined = point_in_time.join_service(asked, self.service, self.views)
        columns = frames.to_numpy(joined, self.service.columns)
        known |= {c.name: columns[c.name] for c in self.service.columns}
        known |= self.derive(known)
        scores = self.runtime.predict(self.program.run(self._inputs(known)))
        return _checked(scores, rows.height, self.runtime.name)

    def _sane(self, asked: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, NDArray[Any]]]:
        """Keys and request columns as the policy lets them in, as a frame to join and as arrays."""
        sent = frames.to_numpy(asked, columns_of(self.service, self.request_columns))
        try:
            sane = self.sanitiser.apply(self.digest, self.policy, sent, lambda name, at: f"{name}[{at}]")
        except errors.InvalidRequest as error:
            # Here nobody asked: it is the data that is wrong.
            raise errors.DataInvalid(error.message, dataset="entity rows", failed=(error.field,)) from error
        keys = {key.name for key in self.service.keys}
        changed = [pl.Series(n, sane[n]) for n in sent if n in keys and sane[n] is not sent[n]]
        return asked.with_columns(changed), dict(sane)

    def _asked(self, rows: pl.DataFrame) -> pl.DataFrame:
        wanted = columns_of(self.service, self.request_columns)
        frames.check(rows.schema, {c.name: frames.POLARS_TYPES[c.dtype] for c in wanted}, what="entity rows")
        time = (
            lake.as_time(rows.lazy(), AS_OF, what="entity rows")
            if self.as_of is None
            else pl.lit(self.as_of, dtype=frames.TIME)
        )
        return rows.select(*(c.name for c in wanted), time.alias(AS_OF))

    def _inputs(self, known: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = {}
        for column in self.program.inputs:
            if column.name not in known:
                raise errors.SchemaMismatch(
                    f"the plan wants column `{column.name}`, which neither views, request columns nor derived features"
                    " give; build the bundle anew",
                    feature=column.name,
                    expected=column.dtype,
                    got="nothing",
                )
            value = known[column.name]
            if column.dtype == "float32" and value.dtype == np.float64:
                # As in serving: the float32 that the plan was fitted on; overflow becomes an infinity.
                with np.errstate(over="ignore"):
                    value = value.astype(np.float32)
            found[column.name] = value
        return found


def columns_of(service: schema.FeatureService, request: Sequence[schema.Column]) -> list[schema.Column]:
    """What entity rows have beside their time: join keys and request columns, each once."""
    return list({c.name: c for c in (*service.keys, *request)}.values())


def check_columns(
    found: Mapping[str, str],
    service: schema.FeatureService,
    request: Sequence[schema.Column],
    *,
    has_time: bool,
    score: str,
) -> None:
    """Whether a dataset with columns `found` (name to Arrow type) can be scored at all, before a part of it is.

    `has_time`: the time is given for all rows. `score`: the column that scores will have.
    Errors: SchemaMismatch for an absent column; InvalidRequest if the dataset has a column of the scores' name.
    """
    needed = [c.name for c in columns_of(service, request)]
    frames.require(found, [*needed, *([] if has_time else [AS_OF])], what="entity rows")
    if score in found:
        raise errors.InvalidRequest(
            f"the dataset has a column `{score}`, which the scores would take; rename it where the data is made",
            field="input",
        )


def check_service(wanted: schema.FeatureService, found: schema.FeatureService) -> None:
    """Whether the offline store has the views that a bundle reads. Errors: SchemaMismatch naming the first that differs."""
    views = {view.name: view for view in found.views}
    for view in wanted.views:
        if views.get(view.name) != view:
            raise errors.SchemaMismatch(
                f"view `{view.name}` is not what the bundle was made with; score with a bundle that was trained on the"
                " features of today, or with a workspace that has the bundle's",
                feature=view.name,
                expected=view.model_dump_json(),
                got=views[view.name].model_dump_json() if view.name in views else "no such view",
            )


def _checked(scores: NDArray[np.float32], n_rows: int, runtime: str) -> NDArray[np.float32]:
    if scores.dtype != np.float32 or scores.shape != (n_rows,) or not np.isfinite(scores).all():
        raise errors.InvariantViolated(
            f"the model gave {scores.dtype} {scores.shape}, expected finite float32 ({n_rows},); look at its input",
            where=f"scoring.{runtime}",
        )
    return scores
