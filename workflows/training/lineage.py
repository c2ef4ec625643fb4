"""What each step of a training tells of its data: which versions it read and made, and which columns made which.

Versions are the digests that the steps report anyway. Names, in the project's namespace: `lake.<table>`,
`view.<view>`, `training_set`, `plan`, `weights`, `model`, `model_baseline`, `registered_model`.
"""

from __future__ import annotations

from temporalio import activity

from mainspring.core import projects
from mainspring.core.contracts import training
from mainspring.core.features import plan, schema
from mainspring.core.lineage import jobs

__all__ = [
    "fitted_plan", "lake", "model", "read_training_set", "registered", "run", "source", "training_set", "version_of", "views",
    "weights",
]  # fmt: skip


def run(request: training.TrainRequest, step: str) -> jobs.JobRun:
    """One attempt of a step."""
    attempt = activity.info().attempt if activity.in_activity() else 1
    # The activity's name without our prefix and its version: `training.join`.
    job = step.removeprefix("mainspring.").rpartition(".")[0]
    return jobs.JobRun(request.project, job, request.run_id, attempt)


def source(report: projects.IngestReport) -> jobs.Dataset:
    """What the lake is made of, outside of the platform."""
    name, _, version = report.source.partition(" ")
    return jobs.Dataset(f"source.{name}", version, "source")


def lake(report: projects.IngestReport) -> list[jobs.Dataset]:
    """A table a dataset."""
    return [jobs.Dataset(f"lake.{table.name}", table.digest, "table") for table in report.tables]


def views(report: projects.FeatureReport) -> list[jobs.Dataset]:
    """A view a dataset, its keys and fields its columns."""
    return [
        jobs.Dataset(
            f"view.{found.view.name}",
            found.digest,
            "view",
            columns={c.name: c.dtype for c in (*found.view.keys, *found.view.fields)},
            made_of={
                field.name: tuple(_lake_column(name) for name in of)
                for field in found.view.fields
                if (of := report.sources.get(f"{found.view.name}.{field.name}"))
            },
        )
        for found in report.views
    ]


def training_set(report: projects.TrainingSetReport, features: projects.FeatureReport) -> jobs.Dataset:
    """Joined columns come from their view's field, derived ones from those of what they are derived from."""
    joined = {
        schema.joined_name(view.name, field.name): jobs.Column(f"view.{view.name}", field.name)
        for view in features.service.views
        for field in view.fields
    }
    made_of: dict[str, tuple[jobs.Column, ...]] = {name: (column,) for name, column in joined.items()}
    for name, of in report.derived_from.items():
        if known := tuple(joined[column] for column in of if column in joined):
            made_of[name] = known
    return jobs.Dataset(
        "training_set",
        report.digest,
        "training set",
        columns={c.name: c.dtype for c in report.columns},
        made_of=made_of,
    )


def read_training_set(report: projects.TrainingSetReport) -> jobs.Dataset:
    return jobs.Dataset("training_set", report.digest, "training set")


def fitted_plan(fitted: plan.FittedPlan) -> jobs.Dataset:
    """The plan's outputs, each from the column that it reads."""
    outputs = [*((o.name, o.source, "float32") for o in fitted.dense)]
    outputs += [(o.name, o.source, "int32") for o in fitted.ids]
    return jobs.Dataset(
        "plan",
        fitted.digest,
        "plan",
        columns={name: kind for name, _, kind in outputs},
        made_of={name: (jobs.Column("training_set", of),) for name, of, _ in outputs},
    )


def weights(request: training.TrainRequest, fitted: plan.FittedPlan) -> jobs.Dataset:
    """What the training job leaves: a network over all of the plan's outputs."""
    return jobs.Dataset("weights", request.run_id, "weights", whole_of=_outputs(fitted))


def model(digest: str, fitted: plan.FittedPlan | None = None, *, name: str = "model") -> jobs.Dataset:
    """A bundle. Of one that was only read, the plan need not be told again."""
    return jobs.Dataset(name, digest, "model", whole_of=() if fitted is None else _outputs(fitted))


def registered(version: str) -> jobs.Dataset:
    return jobs.Dataset("registered_model", version, "registered model")


def version_of(dataset: jobs.Dataset) -> jobs.Dataset:
    """The dataset as something that is read: its columns were told by who made it."""
    return jobs.Dataset(dataset.name, dataset.version, dataset.kind)


def _lake_column(name: str) -> jobs.Column:
    table, _, column = name.partition(".")
    return jobs.Column(f"lake.{table}", column)


def _outputs(fitted: plan.FittedPlan) -> tuple[jobs.Column, ...]:
    names = [*(dense.name for dense in fitted.dense), *(one.name for one in fitted.ids)]
    return tuple(jobs.Column("plan", name) for name in names)
