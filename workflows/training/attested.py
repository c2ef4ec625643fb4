"""What a training's bundles say of how they were made: their provenance, and their bill of materials."""

from __future__ import annotations

import importlib.metadata
import inspect
import sys
from pathlib import Path
from typing import Final

from temporalio import activity

import mainspring.core.supply as supply_package
from mainspring.core import canonical, projects
from mainspring.core.features import plan
from mainspring.core.supply import builders, environment, provenance, sbom
from mainspring.workflows.training import messages

BUILD_TYPE: Final = "urn:mainspring:build:TrainModel.v1"


def build(
    asked: messages.Bundle,
    project: projects.Project,
    rows: projects.TrainingSetReport,
    fitted: plan.FittedPlan,
) -> provenance.Build:
    """Of both bundles of a run. The request's parameters are all there are: it is what started the run."""
    request = asked.request
    info = activity.info() if activity.in_activity() else None
    return provenance.Build(
        builder=builders.TRAIN,
        build_type=BUILD_TYPE,
        version=code_version(),
        invocation=f"{info.workflow_id}/{info.workflow_run_id}" if info is not None else request.run_id,
        parameters=request.model_dump(mode="json"),
        materials=(
            provenance.Material("training-set", _sha256(rows.digest)),
            provenance.Material("plan", _sha256(fitted.digest)),
            provenance.Material("project-code", _sha256(_code_digest(project))),
            provenance.Material(provenance.ENVIRONMENT, _sha256(environment.digest(environment.packages()))),
            *_source(),
        ),
        started_at=asked.started_at,
        # Of all attempts the same.
        finished_at=info.scheduled_time if info is not None else None,
    )


def bill(name: str, run_id: str, rows: projects.TrainingSetReport, fitted: plan.FittedPlan) -> bytes:
    """Every package that is installed where the bundle is made: workers and Ray jobs of one release have the same."""
    return sbom.render(
        name,
        run_id,
        (
            sbom.Input("training-set", rows.digest, f"label {rows.label}, {sum(rows.rows.values())} rows"),
            sbom.Input("plan", fitted.digest, "the fitted transform plan"),
        ),
        environment.packages(),
        environment.python_version(),
    )


def code_version() -> str:
    try:
        return importlib.metadata.version("mainspring")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # run from a source tree


def _source() -> tuple[provenance.Material, ...]:
    """The commit of our own source tree, where the platform runs from one."""
    commit = environment.commit_of(Path(supply_package.__file__ or "").resolve().parent)
    return (provenance.Material("mainspring", {"gitCommit": commit}),) if commit else ()


def _code_digest(project: projects.Project) -> str:
    """Of the Python files of the package that the project is of; of its one file where it is of none."""
    module = sys.modules[type(project).__module__]
    file = Path(inspect.getfile(module))
    files = sorted(file.parent.glob("*.py")) if module.__package__ else [file]
    return canonical.digest([[f.name, canonical.digest_file(f)] for f in files])


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}
