"""The only file that imports OpenLineage's client: our words as its typed events, and those as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal, TypeAlias

from openlineage.client import event_v2 as events
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    dataset_type_dataset,
    dataset_version_dataset,
    documentation_dataset,
    error_message_run,
    job_type_job,
    lifecycle_state_change_dataset,
    ownership_dataset,
    parent_run,
    schema_dataset,
    tags_dataset,
    tags_run,
)
from openlineage.client.serde import Serde

from mainspring.core.lineage import jobs

__all__ = ["EventType", "to_json"]

EventType: TypeAlias = Literal["START", "COMPLETE", "FAIL", "OTHER"]

_PRODUCER: Final = "https://mainspring/lineage/1"
_DIRECT: Final = "DIRECT"
#: A dataset as a whole depends on such a column without having it as a column.
_INDIRECT: Final = "INDIRECT"


def to_json(
    run: jobs.JobRun,
    kind: EventType,
    *,
    at: datetime,
    reads: Iterable[jobs.Dataset] = (),
    makes: Iterable[jobs.Dataset] = (),
    error: str = "",
) -> bytes:
    """One run event: compact JSON in one line. `at` has a time zone; `error` goes with FAIL."""
    facets: dict[str, events.RunFacet] = {
        "parent": parent_run.ParentRunFacet(
            run=parent_run.Run(runId=run.parent_uuid),
            job=parent_run.Job(namespace=run.project, name="run"),
            producer=_PRODUCER,
        ),
        "tags": tags_run.TagsRunFacet(
            tags=[tags_run.TagsRunFacetFields(key="run_id", value=run.run_id, source="mainspring")],
            producer=_PRODUCER,
        ),
    }
    if error:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=error, programmingLanguage="python", producer=_PRODUCER
        )
    event = events.RunEvent(
        eventType=events.RunState(kind),
        eventTime=at.isoformat(),
        run=events.Run(runId=run.uuid, facets=facets),
        job=events.Job(
            namespace=run.project,
            name=run.job,
            facets={
                "jobType": job_type_job.JobTypeJobFacet(
                    processingType="BATCH", integration="MAINSPRING", jobType="TASK", producer=_PRODUCER
                )
            },
        ),
        inputs=[
            events.InputDataset(
                namespace=one.namespace or run.project, name=one.name, facets=_facets(one, run.project)
            )
            for one in reads
        ],
        outputs=[
            events.OutputDataset(
                namespace=one.namespace or run.project, name=one.name, facets=_facets(one, run.project)
            )
            for one in makes
        ],
        producer=_PRODUCER,
    )
    return json.dumps(Serde.to_dict(event), sort_keys=True, separators=(",", ":")).encode()


def _facets(dataset: jobs.Dataset, project: str) -> dict[str, events.DatasetFacet]:
    made: dict[str, events.DatasetFacet] = {
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(
            datasetType=dataset.kind, producer=_PRODUCER
        )
    }
    if dataset.version:
        made["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
            datasetVersion=dataset.version, producer=_PRODUCER
        )
    if dataset.columns:
        made["schema"] = schema_dataset.SchemaDatasetFacet(
            fields=[
                schema_dataset.SchemaDatasetFacetFields(name=name, type=kind)
                for name, kind in dataset.columns.items()
            ],
            producer=_PRODUCER,
        )
    if dataset.made_of or dataset.whole_of:
        made["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(
            fields={
                name: column_lineage_dataset.Fields(
                    inputFields=[_field(source, project, _DIRECT) for source in sources]
                )
                for name, sources in dataset.made_of.items()
            },
            dataset=[_field(source, project, _INDIRECT) for source in dataset.whole_of],
            producer=_PRODUCER,
        )
    return made | _words(dataset)


def _words(dataset: jobs.Dataset) -> dict[str, events.DatasetFacet]:
    """What people say of it, beside what it is."""
    made: dict[str, events.DatasetFacet] = {}
    if dataset.owner:
        made["ownership"] = ownership_dataset.OwnershipDatasetFacet(
            owners=[ownership_dataset.Owner(name=dataset.owner)], producer=_PRODUCER
        )
    if dataset.description:
        made["documentation"] = documentation_dataset.DocumentationDatasetFacet(
            description=dataset.description, producer=_PRODUCER
        )
    tags = [
        tags_dataset.TagsDatasetFacetFields(key=key, value=value, source="mainspring", field=column or None)
        for column, given in dataset.labels.items()
        for key, value in given.items()
    ]
    if tags:
        made["tags"] = tags_dataset.TagsDatasetFacet(tags=tags, producer=_PRODUCER)
    if dataset.is_gone:
        made["lifecycleStateChange"] = lifecycle_state_change_dataset.LifecycleStateChangeDatasetFacet(
            lifecycleStateChange=lifecycle_state_change_dataset.LifecycleStateChange.DROP, producer=_PRODUCER
        )
    return made


def _field(source: jobs.Column, project: str, how: str) -> column_lineage_dataset.InputField:
    return column_lineage_dataset.InputField(
        namespace=source.namespace or project,
        name=source.dataset,
        field=source.name,
        transformations=[column_lineage_dataset.Transformation(type=how)],
    )
