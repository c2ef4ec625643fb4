"""Our events and anybody's become the same nodes and edges; what is no run event is refused by the field."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from mainspring.core import errors
from mainspring.core.lineage import jobs, openlineage_adapter, reading
from mainspring.core.lineage.reading import Edge, Node

AT = datetime(2026, 11, 1, 10, tzinfo=UTC)
RUN = jobs.JobRun("flights", "join", "run_1")

VIEW = jobs.Dataset("view.tail", "sha256:v", "view", columns={"delay": "float32", "seats": "float32"})
LAKE = jobs.Dataset("lake", "sha256:l", "lake")
ROWS = jobs.Dataset(
    "training_set",
    "sha256:t",
    "training set",
    columns={"tail__delay": "float32", "late": "int8"},
    made_of={"tail__delay": (jobs.Column("view.tail", "delay"),)},
)
MODEL = jobs.Dataset("model", "sha256:m", "model", whole_of=(jobs.Column("training_set", "tail__delay"),))


def event(kind: openlineage_adapter.EventType = "COMPLETE", **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(openlineage_adapter.to_json(RUN, kind, at=AT, **fields))
    return made


def edges_of(**fields: Any) -> set[tuple[str, str]]:
    found = reading.edges([reading.parse(event(**fields))])

    def named(node: Node) -> str:
        return f"{node.name}@{node.version}#{node.column}"

    return {(named(e.source), named(e.target)) for e in found}


def test_an_event_says_who_did_what_to_which_version() -> None:
    told = event(reads=[VIEW], makes=[ROWS])
    assert (told["eventType"], told["job"]["namespace"], told["job"]["name"]) == (
        "COMPLETE", "flights", "join",
    )  # fmt: skip
    assert told["run"]["facets"]["tags"]["tags"][0] == {
        "key": "run_id", "value": "run_1", "source": "mainspring",
    }  # fmt: skip
    assert told["run"]["facets"]["parent"]["run"]["runId"] == RUN.parent_uuid != told["run"]["runId"]
    out = told["outputs"][0]["facets"]
    assert (
        out["version"]["datasetVersion"] == "sha256:t" and out["datasetType"]["datasetType"] == "training set"
    )
    assert "ColumnLineageDatasetFacet" in out["columnLineage"]["_schemaURL"]
    assert event("FAIL", error="no rows")["run"]["facets"]["errorMessage"]["message"] == "no rows"
    assert (
        jobs.JobRun("flights", "join", "run_1", 2).uuid
        != RUN.uuid
        == jobs.JobRun("flights", "join", "run_1").uuid
    )


def test_columns_that_are_told_alone_count() -> None:
    assert edges_of(reads=[VIEW, LAKE], makes=[ROWS]) == {
        ("view.tail@sha256:v#", "training_set@sha256:t#"),
        ("lake@sha256:l#", "training_set@sha256:t#"),
        ("view.tail@sha256:v#delay", "training_set@sha256:t#tail__delay"),
        # The label does not say what it was made of: it may be anything that was read.
        ("view.tail@sha256:v#", "training_set@sha256:t#late"),
        ("lake@sha256:l#", "training_set@sha256:t#late"),
    }


def test_a_model_depends_on_its_inputs_and_on_no_other_column() -> None:
    found = edges_of(reads=[jobs.Dataset("training_set", "sha256:t", "", columns={"a": "x"})], makes=[MODEL])
    assert found == {
        ("training_set@sha256:t#", "model@sha256:m#"),
        ("training_set@sha256:t#tail__delay", "model@sha256:m#"),
    }


def test_what_says_nothing_of_columns_may_have_used_all() -> None:
    plain = jobs.Dataset("copy", "1", "table")
    assert ("view.tail@sha256:v#seats", "copy@1#") in edges_of(reads=[VIEW], makes=[plain])


def test_only_a_run_that_completed_made_anything_and_its_events_count_together() -> None:
    start = reading.parse(event("START", reads=[VIEW]))
    end = reading.parse(event("COMPLETE", makes=[jobs.Dataset("copy", "1", "table")]))
    whole = Edge(Node("flights", "view.tail", "sha256:v"), Node("flights", "copy", "1"))
    assert whole in reading.edges([start, end]) and whole in reading.edges([end, start])
    assert reading.edges([start]) == {} and reading.edges([end]) == {}
    failed = reading.parse(event("FAIL", reads=[VIEW], makes=[ROWS]))
    assert reading.edges([start, failed]) == {}


def test_two_versions_of_an_input_are_both_meant() -> None:
    other = jobs.Dataset("view.tail", "sha256:w", "view")
    found = edges_of(reads=[VIEW, other], makes=[ROWS])
    assert {s for s, t in found if t.endswith("tail__delay")} == {
        "view.tail@sha256:v#delay", "view.tail@sha256:w#delay",
    }  # fmt: skip


def test_a_table_that_is_rewritten_in_place_is_no_cycle() -> None:
    same = jobs.Dataset("table", "", "table")
    assert edges_of(reads=[same], makes=[same]) == set()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda e: [], "event"),
        (lambda e: e.pop("run"), "run"),
        (lambda e: e["run"].update(runId="7"), "run.runId"),
        (lambda e: e.update(job=None), "job"),
        (lambda e: e["job"].update(name=""), "job.name"),
        (lambda e: e["job"].update(namespace="x" * 1001), "job.namespace"),
        (lambda e: e.update(eventType="BEGUN"), "eventType"),
        (lambda e: e.update(eventTime="yesterday"), "eventTime"),
        (lambda e: e.update(eventTime="2026-11-01T10:00:00"), "eventTime"),
        (lambda e: e.update(inputs={}), "inputs"),
        (lambda e: e["inputs"][0].pop("name"), "inputs[0].name"),
        (lambda e: e["outputs"][0].update(facets=7), "outputs[0].facets"),
        (lambda e: e["outputs"][0]["facets"].update(schema={"fields": [{"type": "x"}]}), "outputs[0].facets.schema.fields.name"),
        (lambda e: e["outputs"][0]["facets"]["version"].update(datasetVersion=7), "outputs[0].facets.version.datasetVersion"),
        (lambda e: e["outputs"][0]["facets"].update(columnLineage={"fields": {"a": []}}), "outputs[0].facets.columnLineage.fields.a"),
        (lambda e: e["outputs"][0]["facets"].update(columnLineage={"dataset": [{"name": "x"}]}), "outputs[0].facets.columnLineage.namespace"),
    ],
)  # fmt: skip
def test_what_is_no_run_event_is_refused_by_its_field(change: Any, field: str) -> None:
    told: Any = event(reads=[VIEW], makes=[ROWS])
    if (replaced := change(told)) == []:
        told = replaced
    with pytest.raises(errors.InvalidRequest) as caught:
        reading.parse(told)
    assert caught.value.field == field
    assert reading.parse(event(reads=[VIEW], makes=[ROWS])).job_name == "join"


def test_a_run_that_multiplies_without_end_is_refused() -> None:
    many = [jobs.Dataset(f"d{i}", "1", "t") for i in range(500)]
    told = reading.parse(event(reads=many, makes=[jobs.Dataset(f"o{i}", "1", "t") for i in range(500)]))
    with pytest.raises(errors.InvalidRequest, match="more than 200000 edges"):
        reading.edges([told])
    assert len(reading.edges([reading.parse(event(reads=many, makes=[ROWS]))])) == 1000 + 1
