"""The rows behind a prediction: from its model by lineage to the run, from the run's report to the views' files."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

from mainspring.core import canonical, errors, projects
from mainspring.core.contracts import lineage
from mainspring.platform import plane as control_plane
from mainspring.platform import reads
from mainspring.platform.lineage import store


async def rows_of(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    project: str,
    model_version: str,
    entity: dict[str, str],
    as_of: datetime,
) -> lineage.PredictionRows:
    """The row of each view that a prediction for `entity` at `as_of` came from; `model_version` is in its answer.

    Errors: NotFound for a model that no run of the project made, or whose folders are not here; Conflict if the views
    were made anew since: their rows are others now; InvalidRequest for a key.
    """
    async with reads.reading(plane, credential, action="lineage.read") as reader:
        await reader.project(project)
        run_id = await store.run_that_made(reader.connection, project, "model", model_version)
    if not run_id:
        raise errors.NotFound(
            f"no run of project `{project}` is known to have made model `{model_version}`; take a prediction's"
            " `model_version`",
            resource="model",
            name=model_version,
        )
    found = await asyncio.to_thread(_trace, plane.state_dir, project, run_id, entity, as_of)
    return lineage.PredictionRows(
        namespace=project, model_version=model_version, run_id=run_id, as_of=as_of, rows=found
    )


def _trace(
    state_dir: Path | None, project: str, run_id: str, entity: dict[str, str], as_of: datetime
) -> tuple[lineage.RowOrigin, ...]:
    try:
        import polars as pl  # the control API does without, but for this question

        from mainspring.core.lineage import rows as row_lineage
    except ModuleNotFoundError as error:
        raise errors.MissingTool(
            f"rows are traced with package `{error.name}`; run `pip install 'mainspring[training]'`",
            tool=str(error.name),
            fix="pip install 'mainspring[training]'",
        ) from error
    report = _report(state_dir, project, run_id)
    for view in report.views:
        if not view.path.exists() or canonical.digest_file(view.path) != view.digest:
            raise errors.Conflict(
                f"the rows of view `{view.view.name}` were made anew since run `{run_id}`; they are version"
                f" `{view.digest}` in a copy, if there is one",
                resource="view",
                name=view.view.name,
            )
    return row_lineage.trace(
        report.service,
        {v.view.name: pl.scan_parquet(v.path) for v in report.views},
        {v.view.name: v.digest for v in report.views},
        entity,
        as_of,
    )


def _report(state_dir: Path | None, project: str, run_id: str) -> projects.FeatureReport:
    where = (
        []
        if state_dir is None
        else (state_dir / "projects" / project).glob("*/runs/*/reports/FeatureReport.json")
    )
    for path in where:
        if path.parts[-3] == run_id:
            try:
                return projects.FeatureReport.model_validate_json(path.read_bytes())
            except ValueError as error:
                raise errors.CorruptArtifact(
                    f"`{path}` is no report of features: {error}; the run's folder is damaged",
                    artifact=str(path),
                ) from error
    raise errors.NotFound(
        f"the folder of run `{run_id}` is not on this machine; ask the control API beside the workers",
        resource="run",
        name=run_id,
    )
