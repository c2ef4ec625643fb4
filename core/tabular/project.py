"""A `Project` out of tables: a team says what its data, features and model are, and this does the rest.

What the team says is in one class (`mainspring new` writes it); the steps, their folders, their checks, the join as of each row's
own time, the leak check and the replay are here.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import numpy.typing as npt

from mainspring.core import errors, projects
from mainspring.core.features import derivation, folders, schema
from mainspring.core.tabular import tables as tabular

if TYPE_CHECKING:
    import polars as pl

    from mainspring.core.features.plan import TransformPlan
    from mainspring.core.quality.report import QualityReport

__all__ = ["TableProject"]

# Polars is imported by the methods that need it: serving loads a project for `derive` alone.

#: Request-time features out of keys, request columns and what was looked up.
Derive: TypeAlias = Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]]

_REQUESTS: Final = "requests.parquet"
#: In what a lake says of itself.
_SYNTHETIC: Final = "synthetic"


class TableProject(abc.ABC):
    """Implements `projects.Project`. Immutable; methods are safe to call again with the same arguments."""

    name: ClassVar[str]
    label: ClassVar[str]
    """The label's column: Int8 of 0 and 1, null where no outcome is known."""
    request_columns: ClassVar[tuple[schema.Column, ...]]
    event_time_column: ClassVar[str]
    horizon_seconds: ClassVar[int]
    views: ClassVar[tuple[schema.FeatureView, ...]] = ()
    """What is looked up by key; none: the caller sends everything."""
    derived: ClassVar[tuple[schema.Column, ...]] = ()
    """What `derive` gives."""
    derived_from: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    derive: ClassVar[Derive] = staticmethod(derivation.nothing)
    """Request-time features, of columns (n_rows,) each. A `derivation.Derivation` is computed without Python."""
    leak_history: ClassVar[timedelta | None] = None
    """How much before a cut-off the leak check builds from; None: all of it."""
    model_files: ClassVar[tuple[str, ...]] = ("model.py",)
    """Files beside the project's that only its model depends on: an edit there makes no data anew."""

    # What a team says.

    @abc.abstractmethod
    def source(self) -> tabular.Source:
        """Where the data lies. Errors: MissingTool with the command that fetches it."""

    @abc.abstractmethod
    def read(self, source: tabular.Source, sample_fraction: float) -> Mapping[str, tabular.Table]:
        """The source's tables, of a sample those that are sampled (`tables.sampled`)."""

    @abc.abstractmethod
    def examples(self, tables: Mapping[str, tabular.Table]) -> pl.DataFrame:
        """One row a question: the views' keys, `as_of` (UTC microseconds), request columns, label, and `split`.

        The order depends on the tables alone.
        """

    def view_rows(self, tables: Mapping[str, tabular.Table]) -> Mapping[str, pl.DataFrame]:
        """By view its rows: keys, `event_timestamp`, `created_timestamp`, fields."""
        return {}

    def checks(self, tables: Mapping[str, tabular.Table]) -> Sequence[projects.CheckResult]:
        """What must hold of the tables beyond their types."""
        return ()

    @abc.abstractmethod
    def declare_plan(self) -> TransformPlan:
        """The unfitted transform plan over the training set's columns."""

    @abc.abstractmethod
    def model_spec(self) -> projects.ModelSpec:
        """The network, or what the project's own `train` makes of it."""

    @abc.abstractmethod
    def quality_gates(self, *, relaxed: bool = False) -> projects.QualityGates:
        """What a model must reach; `relaxed=True`: in a sample run."""

    # What follows from it.

    @property
    def feature_service(self) -> str:
        return f"{self.name.replace('-', '_')}_v1"

    @property
    def service(self) -> schema.FeatureService:
        """The views that the model reads."""
        return schema.FeatureService(name=self.feature_service, views=self.views)

    def ingest(self, lake_dir: Path, *, sample_fraction: float = 1.0) -> projects.IngestReport:
        """See `projects.Project`. Errors: those of `source` and `read`; DataInvalid, SchemaMismatch for a table."""
        from mainspring.core.synthetic import marks

        source = self.source()
        is_synthetic = marks.is_synthetic(source.files)

        def fill(new: Path) -> Mapping[str, Any]:
            found = self.read(source, sample_fraction)
            for name, table in found.items():
                tabular.check(name, table)
                table.rows.write_parquet(new / f"{name}.parquet")
            return {
                "tables": {name: {"rows": t.rows.height, **tabular.told(t)} for name, t in found.items()},
                # Where it does not hold it is not said: digests of lakes stay what they are.
                **({_SYNTHETIC: True} if is_synthetic else {}),
            }

        made = folders.publish(
            lake_dir,
            kind=self._kind("lake"),
            inputs={"source": source.digest, "fraction": sample_fraction, "code": self._code()},
            write=fill,
        )
        return projects.IngestReport(
            project=self.name,
            source=f"{source.name} {source.version}",
            licence=source.licence,
            sample_fraction=sample_fraction,
            tables=tuple(
                projects.TableReport(
                    name=name,
                    rows=found["rows"],
                    files=1,
                    bytes=int(made.files[f"{name}.parquet"]["bytes"]),
                    digest=made.file_digest(f"{name}.parquet"),
                    description=found["description"],
                    classification=found["classification"],
                    pii=tuple(found["pii"]),
                )
                for name, found in made.detail["tables"].items()
            ),
            digest=made.digest,
            reused=made.reused,
            is_synthetic=bool(made.detail.get(_SYNTHETIC, False)),
        )

    def validate(self, lake_dir: Path) -> projects.ValidationReport:
        """Types, outcomes and splits of the examples, and `checks`. Errors: DataInvalid, SchemaMismatch, NotFound."""
        lake = self._lake(lake_dir)
        tables = self._tables(lake)
        from mainspring.core.tabular import checks

        columns = (*self.service.keys, *self.request_columns)
        report = projects.ValidationReport(
            dataset_digest=lake.digest,
            checks=(*checks.of_examples(self.examples(tables), columns, self.label), *self.checks(tables)),
        )
        if report.failed:
            first = report.failed[0]
            raise errors.DataInvalid(
                f"check `{first.name}` expects {first.expected}, got {first.observed}; mend the source or `examples`",
                dataset=self.name,
                failed=tuple(check.name for check in report.failed),
            )
        return report

    def build_features(self, lake_dir: Path, feature_dir: Path) -> projects.FeatureReport:
        """The views' rows and the examples as Parquet. Errors: DataInvalid for rows that are not as their view says."""
        from mainspring.core.quality import gate
        from mainspring.core.quality import views as quality

        lake = self._lake(lake_dir)
        paths = {view.name: f"{view.name}.parquet" for view in self.views}

        def fill(new: Path) -> Mapping[str, Any]:
            tables = self._tables(lake)
            self.examples(tables).write_parquet(new / _REQUESTS)
            rows = self.view_rows(tables)
            for view, path in paths.items():
                if view not in rows:
                    raise errors.NotFound(
                        f"`view_rows` gives no rows of view `{view}`; compute them there",
                        resource="view",
                        name=view,
                    )
                rows[view].write_parquet(new / path)
            return {"rows": {view: rows[view].height for view in paths}}

        def judge(
            new: Path, detail: Mapping[str, Any], accepted: Mapping[str, QualityReport]
        ) -> Sequence[QualityReport]:
            return quality.reports(self.service, {v: new / p for v, p in paths.items()}, accepted)

        made = gate.publish(
            feature_dir,
            kind=self._kind("features"),
            inputs={"lake": lake.digest, "code": self._code()},
            write=fill,
            checks=judge,
        )
        return projects.FeatureReport(
            lake_digest=lake.digest,
            digest=made.digest,
            service=self.service,
            views=tuple(
                projects.ViewReport(
                    view=view,
                    rows=made.detail["rows"][view.name],
                    path=made.path / paths[view.name],
                    digest=made.file_digest(paths[view.name]),
                )
                for view in self.views
            ),
            registry=made.path / folders.REGISTRY,
            is_synthetic=bool(lake.detail.get(_SYNTHETIC, False)),
            reused=made.reused,
        )

    def training_set(self, feature_dir: Path, out_dir: Path) -> projects.TrainingSetReport:
        """The labelled examples joined as of their own times. Errors: DataInvalid for a split with one outcome only."""
        import polars as pl

        found = folders.read(feature_dir, kind=self._kind("features"))

        def fill(new: Path) -> Mapping[str, Any]:
            asked = pl.read_parquet(feature_dir / _REQUESTS).drop_nulls(self.label)
            rows = self._assembled(asked, self._stored(feature_dir))
            rows.write_parquet(new / "training.parquet")
            counts = {name: rows.filter(pl.col(tabular.SPLIT) == name)[self.label] for name in tabular.SPLITS}
            return {
                "rows": {name: len(labels) for name, labels in counts.items()},
                "base_rate": {
                    name: int(labels.sum()) / max(len(labels), 1) for name, labels in counts.items()
                },
            }

        made = folders.publish(
            out_dir,
            kind=self._kind("training set"),
            inputs={"features": found.digest, "code": self._code()},
            write=fill,
        )
        return projects.TrainingSetReport(
            path=out_dir / "training.parquet",
            digest=made.digest,
            feature_digest=found.digest,
            label=self.label,
            columns=(*self.request_columns, *self.service.columns, *self.derived),
            rows=dict(made.detail["rows"]),
            base_rate=dict(made.detail["base_rate"]),
            reused=made.reused,
            derived_from=dict(self.derived_from),
        )

    def leak_check(self, lake_dir: Path, *, cutoffs: int = 2) -> projects.LeakReport:
        """Perturb what was known after `cutoffs` instants. Errors: LeakDetected, naming the features that moved."""
        from mainspring.core.tabular import leakage

        tables = self._tables(self._lake(lake_dir))
        report = leakage.check(
            tables,
            lambda some: self._assembled(self.examples(some), self.view_rows(some)),
            leakage.choose_cutoffs(self.examples(tables)[tabular.AS_OF], cutoffs),
            ignored=frozenset({tabular.AS_OF, tabular.SPLIT, self.label}),
            history=self.leak_history,
        )
        if not report.ok:
            raise errors.LeakDetected(
                f"{len(report.moved)} features moved when only later values were changed, first `{report.moved[0]}`;"
                f" compute them from what is known at `{tabular.AS_OF}`",
                features=report.moved,
                evidence=f"{report.compared_rows} rows at {report.cutoffs} cut-offs",
            )
        return report

    def replay(self, feature_dir: Path, *, n: int) -> projects.ReplaySet:
        """See `projects.Project`. Errors: InvalidRequest if `n` is not 1 to the number of labelled test rows."""
        import polars as pl

        from mainspring.core.features import replay

        found = folders.read(feature_dir, kind=self._kind("features"))
        target = feature_dir.with_name(f"{feature_dir.name}-replay-{n}")

        def fill(new: Path) -> Mapping[str, Any]:
            asked = (
                pl.read_parquet(feature_dir / _REQUESTS)
                .filter(pl.col(tabular.SPLIT) == "test")
                .drop_nulls(self.label)
            )
            if not 1 <= n <= asked.height:
                raise errors.InvalidRequest(
                    f"`n` is {n}, expected 1 to {asked.height}, the labelled rows of the test split",
                    field="n",
                )
            chosen = asked.sort(tabular.AS_OF, maintain_order=True)[[asked.height * i // n for i in range(n)]]
            chosen.write_parquet(new / _REQUESTS)
            for view, rows in replay.updates(chosen, self.service, self._stored(feature_dir)).items():
                rows.write_parquet(new / f"{view}.parquet")
            return {}

        made = folders.publish(
            target,
            kind=self._kind("replay"),
            inputs={"features": found.digest, "n": n, "code": self._code()},
            write=fill,
        )
        return projects.ReplaySet(
            requests=target / _REQUESTS,
            updates={view.name: target / f"{view.name}.parquet" for view in self.views},
            rows=n,
            label=self.label,
            keys=self.service.keys,
            request_columns=self.request_columns,
            service=self.service,
            digest=made.digest,
        )

    def tables(self, lake_dir: Path) -> dict[str, tabular.Table]:
        """What a lake holds, as `read` gave it. Errors: NotFound, CorruptArtifact."""
        return self._tables(self._lake(lake_dir))

    def _kind(self, what: str) -> str:
        return f"{self.name} {what}"

    def _code(self) -> str:
        """Of all that the data depends on: the files beside the project's own, and these here."""
        own = Path(inspect.getfile(type(self))).parent
        files = sorted(path for path in own.glob("*.py") if path.name not in self.model_files)
        return folders.code(*map(str, files), __file__, tabular.__file__)

    def _lake(self, lake_dir: Path) -> folders.Folder:
        return folders.read(lake_dir, kind=self._kind("lake"))

    def _tables(self, lake: folders.Folder) -> dict[str, tabular.Table]:
        import polars as pl

        found = {}
        for name, said in lake.detail["tables"].items():
            about = {key: value for key, value in said.items() if key != "rows"}
            found[name] = tabular.restored(pl.read_parquet(lake.path / f"{name}.parquet"), about)
        return found

    def _stored(self, feature_dir: Path) -> dict[str, pl.LazyFrame]:
        import polars as pl

        return {view.name: pl.scan_parquet(feature_dir / f"{view.name}.parquet") for view in self.views}

    def _assembled(
        self, asked: pl.DataFrame, views: Mapping[str, pl.DataFrame | pl.LazyFrame]
    ) -> pl.DataFrame:
        """`asked` with every column of the service as of its `as_of`, and what is derived. Rows and order stay."""
        import polars as pl

        from mainspring.core.features import frames, point_in_time

        joined = point_in_time.join_service(asked, self.service, views)
        if not self.derived:
            return joined
        # What serving and batch scoring hand over: keys, request columns and what was looked up.
        known = {c.name: c for c in (*self.service.keys, *self.request_columns, *self.service.columns)}
        made = type(self).derive(frames.to_numpy(joined, tuple(known.values())))
        return joined.with_columns(
            pl.Series(
                c.name, made[c.name], frames.POLARS_TYPES[c.dtype], nan_to_null=c.dtype.startswith("float")
            )
            for c in self.derived
        )
