"""Projects are found by name, refused with a next step, and their reports survive every process border."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

from mainspring.core import errors, projects
from mainspring.core.features import schema

COLUMN = schema.Column(name="delay", dtype="float32")
KEY = schema.Column(name="origin", dtype="string")
VIEW = schema.FeatureView(name="origin_dep", keys=(KEY,), fields=(COLUMN,), ttl_seconds=3600)
SERVICE = schema.FeatureService(name="s", views=(VIEW,))
CHECK = projects.CheckResult(name="rows", expected="1 to 9", observed="0", ok=False)
WARNING = projects.CheckResult(name="gap", expected="at most 6", observed="7", ok=False, fatal=False)

REPORTS = (
    projects.IngestReport(
        project="p", source="s 1", licence="CC0", sample_fraction=0.01, digest="d",
        tables=(projects.TableReport(name="a", rows=2, files=1, bytes=9, digest="d"), projects.TableReport(name="b", rows=3, files=1, bytes=9, digest="d")),
    ),
    projects.ValidationReport(dataset_digest="d", checks=(CHECK, WARNING)),
    projects.FeatureReport(
        lake_digest="l", digest="d", service=SERVICE, registry=Path("/f/registry.db"), reused=True,
        views=(projects.ViewReport(view=VIEW, rows=3, path=Path("/f/v.parquet"), digest="d"),),
    ),
    projects.TrainingSetReport(
        path=Path("/t.parquet"), digest="d", feature_digest="f", label="late", columns=(COLUMN,),
        rows={"train": 1}, base_rate={"train": 0.1 + 0.2},
    ),
    projects.LeakReport(cutoffs=1, compared_rows=2, perturbed_values=3, moved=("x",)),
    projects.ModelSpec(
        embeddings=(projects.Embedding(column="origin", dimensions=2),), hidden_sizes=(8, 4), dropout=0.1,
        epochs=1, batch_rows=2, learning_rate=1e-3, weight_decay=0.0, seed=1,
    ),
    projects.QualityGates(min_auc=0.5, leak_alarm_auc=0.8, min_auc_gain_over_baseline=-0.1, max_calibration_gap=0.2),
    projects.Evaluation(slices=("carrier",), fairness=("origin",), threshold=0.1 + 0.2),
    projects.ReplaySet(
        requests=Path("/r.parquet"), updates={"origin_dep": Path("/u.parquet")}, rows=1, label="late", keys=(KEY,),
        request_columns=(COLUMN,), service=SERVICE, digest="d",
    ),
)  # fmt: skip


def every_report(of: type[projects.Report] = projects.Report) -> Iterator[type[projects.Report]]:
    for found in of.__subclasses__():
        if found.__module__ == projects.__name__:
            yield found
        yield from every_report(found)


@pytest.mark.parametrize("report", REPORTS, ids=lambda r: type(r).__name__)
def test_a_report_survives_json_to_the_last_bit_and_cannot_change(report: projects.Report) -> None:
    text = report.model_dump_json()
    again = type(report).model_validate_json(text)
    assert again == report and again.model_dump_json() == text
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(report, next(iter(type(report).model_fields)), None)
    with pytest.raises(pydantic.ValidationError, match="Extra inputs"):
        type(report).model_validate(report.model_dump() | {"unheard_of": 1})


def test_every_kind_of_report_is_tried_above() -> None:
    def kinds(value: Any) -> Iterator[type]:
        if isinstance(value, projects.Report):
            yield type(value)
            for name in type(value).model_fields:
                yield from kinds(getattr(value, name))
        elif isinstance(value, tuple):
            for item in value:
                yield from kinds(item)

    assert {k for report in REPORTS for k in kinds(report)} == set(every_report())


def test_what_reports_say_of_themselves() -> None:
    ingest, validation, _, _, leaks, *_ = REPORTS
    assert isinstance(ingest, projects.IngestReport) and ingest.rows == 5
    assert isinstance(validation, projects.ValidationReport)
    assert validation.failed == (CHECK,) and validation.warnings == (WARNING,)
    assert isinstance(leaks, projects.LeakReport) and not leaks.ok
    assert projects.LeakReport(cutoffs=1, compared_rows=2, perturbed_values=3).ok


@pytest.mark.parametrize(
    "change",
    [{"min_auc": 0.8}, {"min_auc": 1.1}, {"leak_alarm_auc": -1}, {"max_calibration_gap": 0}],
)
def test_gates_that_mean_nothing_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(pydantic.ValidationError):
        projects.QualityGates.model_validate(REPORTS[6].model_dump() | change)


def test_the_reference_project_is_there_and_is_one() -> None:
    assert "flight-delay" in projects.project_names()
    found = projects.load_project("flight-delay")
    assert isinstance(found, projects.Project) and found.name == "flight-delay"
    for relaxed in (True, False):
        gates = found.quality_gates(relaxed=relaxed)
        assert gates.relaxed is relaxed and gates.leak_alarm_auc == 0.80
    assert found.quality_gates().min_auc == 0.75
    assert isinstance(found, projects.Rolling)
    rolling, own = found.rolling_gates(), found.quality_gates()
    assert rolling.min_auc == 0.70 and rolling.model_copy(update={"min_auc": own.min_auc}) == own
    declared = {c.name for c in found.declare_plan().inputs}
    assert {e.column for e in found.model_spec().embeddings} <= declared
    assert found.event_time_column in {c.name for c in found.request_columns}


def test_an_unknown_name_comes_back_with_a_close_one_or_with_all() -> None:
    with pytest.raises(errors.NotFound, match="did you mean `flight-delay`") as caught:
        projects.load_project("flight-delays")
    assert caught.value.did_you_mean == ("flight-delay",)
    with pytest.raises(errors.NotFound, match="installed are `flight-delay`"):
        projects.load_project("zebra")


def entry_points(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    """As if distributions had declared these."""
    group = projects.ENTRY_POINT_GROUP
    found = importlib.metadata.EntryPoints(importlib.metadata.EntryPoint(n, v, group) for n, v in points)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **query: found.select(**query))


def test_a_teams_project_is_loaded_from_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry_points(monkeypatch, ("ours", projects.BUILT_IN["flight-delay"]))
    assert projects.project_names() == ("flight-delay", "ours")
    assert projects.load_project("ours").name == "flight-delay"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no.such.module:PROJECT", "does not load"),
        ("mainspring.core.projects:NOTHING", "does not load"),
        ("mainspring.core.projects:ENTRY_POINT_GROUP", "is no project"),
    ],
)
def test_an_entry_point_that_is_no_project_is_misconfigured(
    monkeypatch: pytest.MonkeyPatch, target: str, says: str
) -> None:
    entry_points(monkeypatch, ("ours", target))
    with pytest.raises(errors.Misconfigured, match=says):
        projects.load_project("ours")


def test_a_name_claimed_twice_is_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    entry_points(monkeypatch, ("flight-delay", "somebody.elses:PROJECT"))
    with pytest.raises(errors.Conflict, match=r"somebody\.elses") as caught:
        projects.load_project("flight-delay")
    assert caught.value.name == "flight-delay"
