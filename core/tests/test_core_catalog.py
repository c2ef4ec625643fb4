"""The catalog from what exists: Feast's definitions, digests, quality reports, the plan; and what is refused at apply."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mainspring.core import errors, projects
from mainspring.core.catalog import entries, rules
from mainspring.core.contracts import catalog
from mainspring.core.features import feast_adapter as feast
from mainspring.core.features import folders
from mainspring.core.quality import gate
from mainspring.core.reference.flight_delay import project


def defined(
    *,
    owner: str = "care",
    description: str = "Patients as they came in",
    view_tags: dict[str, str] | None = None,
    key_tags: dict[str, str] | None = None,
    age_tags: dict[str, str] | None = None,
) -> feast.Definitions:
    patient = feast.Entity(
        name="patient", join_keys=["patient_id"], value_type=feast.ValueType.STRING,
        description="One person", tags=key_tags or {"pii": "true", "classification": "restricted"},
    )  # fmt: skip
    view = feast.FeatureView(
        name="intake", entities=[patient], ttl=timedelta(days=30),
        schema=[
            feast.field("patient_id", "string"),
            feast.field("age", "float32", description="In years", tags=age_tags or {"pii": "true"}),
            feast.field("weight", "float32"),
        ],
        source=feast.FileSource(name="intake_rows", path="views/intake.parquet", timestamp_field="event_timestamp"),
        owner=owner, description=description,
        tags={"classification": "confidential"} if view_tags is None else view_tags,
    )  # fmt: skip
    service = feast.FeatureService(
        name="risk_v1",
        features=[view],
        owner="care",
        description="Risk of coming back",
        tags={"team": "ward 7"},
    )
    return feast.Definitions((patient,), (view,), service)


def test_an_entry_is_what_feast_was_told(tmp_path: Path) -> None:
    feast.apply(tmp_path, "hospital", defined())
    found = feast.registered(tmp_path, "hospital")
    assert found == feast.catalog_of(defined())
    view, service = found
    assert (view.kind, view.name, view.owner, view.ttl_seconds) == (
        "view",
        "view.intake",
        "care",
        30 * 86_400,
    )
    told = {c.name: (c.is_key, c.is_pii, c.classification, c.description) for c in view.columns}
    assert told == {
        "patient_id": (True, True, "restricted", "One person"),
        "age": (False, True, "confidential", "In years"),  # its view's class
        "weight": (False, False, "confidential", ""),
    }
    assert (service.name, service.reads, service.tags) == (
        "service.risk_v1",
        ("view.intake",),
        {"team": "ward 7"},
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"owner": ""}, "view `view.intake` has no owner"),
        ({"owner": "  "}, "view `view.intake` has no owner"),
        ({"description": ""}, "view `view.intake` has no description"),
        ({"view_tags": {}}, "PII column `age` of view `view.intake` has no classification"),
        ({"view_tags": {"classification": "public"}}, "PII column `age` of view `view.intake` is classified public"),
        ({"key_tags": {"pii": "true", "classification": "public"}}, "PII column `patient_id` of view"),
        ({"view_tags": {"classification": "Confidental"}}, "did you mean `confidential`"),
        ({"description": "x" * 2001}, "`description` of `intake` does not fit the catalog"),
        ({"age_tags": {"pii": "yes"}}, "tag `pii` of `intake.age` is `yes`; write `true` or `false`"),
    ],
)  # fmt: skip
def test_what_nobody_answers_for_is_refused_by_name_and_nothing_is_applied(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        feast.apply(tmp_path, "hospital", defined(**change))
    assert problem in caught.value.message
    assert not (tmp_path / folders.REGISTRY).exists()


def test_every_problem_is_told_up_to_five() -> None:
    bad = catalog.CatalogEntry(kind="view", name="view.x")
    with pytest.raises(errors.InvalidRequest) as caught:
        rules.check([bad.model_copy(update={"name": f"view.{i}"}) for i in range(4)], project="p")
    assert (
        "`p` is not applied: view `view.0` has no owner, view `view.0` has no description"
        in caught.value.message
    )
    assert "and 3 more" in caught.value.message
    rules.check([], project="p")


@pytest.fixture(scope="module")
def flights(flights_root: Path, tmp_path_factory: pytest.TempPathFactory) -> entries.Sources:
    """Ten days of real flights, by the project's own steps."""
    root = tmp_path_factory.mktemp("catalog")
    mine = project.FlightDelay(flights_root / "csv")
    ingest = mine.ingest(root / "lake")
    features = mine.build_features(root / "lake", root / "features")
    rows = mine.training_set(root / "features", root / "training")
    train = pl.scan_parquet(rows.path).filter(pl.col("split") == "train")
    return entries.Sources(
        ingest=ingest,
        features=features,
        training_set=rows,
        plan=mine.declare_plan().fit(train),
        defined=feast.registered(root / "features", mine.name),
        lake=gate.accepted(root / "lake"),
        views=gate.accepted(root / "features"),
    )


def test_the_reference_project_is_in_its_catalog_whole(flights: entries.Sources) -> None:
    made = entries.build(flights)
    rules.check(made, project="flight-delay")
    assert {kind: sum(e.kind == kind for e in made) for kind in catalog.KINDS} == {
        "dataset": 5, "view": 15, "service": 1, "plan": 1,
    }  # fmt: skip
    by_name = {e.name: e for e in made}
    table = by_name["lake.flights"]
    digest = {t.name: t.digest for t in flights.ingest.tables}["flights"]
    assert (table.version, table.owner, table.classification) == (digest, "flight-delay", "public")
    assert table.tags["licence"] and "New York City" in table.description
    delay = next(c for c in table.columns if c.name == "arr_delay")
    assert delay.missing and delay.low is not None and delay.low < 0 < (delay.high or 0)
    view = by_name["view.tail_last"]
    assert view.rows == next(v.rows for v in flights.features.views if v.view.name == "tail_last")
    assert view.reads == ("lake.flights",) and view.ttl_seconds == 72 * 3600
    assert view.newest_event_at is not None and view.newest_event_at > datetime(2013, 11, 4, tzinfo=UTC)
    assert [c.name for c in view.columns if c.is_key] == ["tailnum"]
    outputs = by_name["plan"]
    assert outputs.version == flights.plan.digest
    assert len(outputs.columns) == len(flights.plan.dense) + len(flights.plan.ids)
    assert catalog.CatalogEntry.model_validate_json(view.model_dump_json()) == view


def test_a_plan_inherits_pii_and_private_extremes_are_left_out(flights: entries.Sources) -> None:
    def private(entry: catalog.CatalogEntry) -> catalog.CatalogEntry:
        if entry.name != "view.plane_static":
            return entry
        changed = [
            c.model_copy(update={"is_pii": c.name == "year", "classification": "restricted"})
            for c in entry.columns
        ]
        return entry.model_copy(update={"columns": tuple(changed)})

    made = entries.build(replace(flights, defined=tuple(map(private, flights.defined))))
    by_name = {e.name: e for e in made}
    year = next(c for c in by_name["view.plane_static"].columns if c.name == "year")
    assert (year.low, year.high, year.mean) == (None, None, None) and year.missing is not None
    seats = next(c for c in by_name["view.plane_static"].columns if c.name == "seats")
    assert seats.high is not None
    found = {c.name: c.classification for c in by_name["plan"].columns if c.is_pii}
    # The age of an aircraft is derived from its year.
    assert found and all("year" in name for name in found) and set(found.values()) == {"restricted"}
    assert any(name.startswith("aircraft_age_years") for name in found)


def test_what_was_not_measured_is_not_told(flights: entries.Sources) -> None:
    bare = replace(flights, lake={}, views={})
    by_name = {e.name: e for e in entries.build(bare)}
    assert by_name["lake.flights"].columns == () and by_name["lake.flights"].rows
    view = by_name["view.tail_last"]
    assert view.newest_event_at is None and view.columns and view.columns[0].missing is None
    never = catalog.CatalogEntry(kind="view", name="view.never", owner="o", description="d")
    more = entries.build(replace(flights, defined=(*flights.defined, never)))
    assert next(e for e in more if e.name == "view.never").version == ""


def test_a_table_may_say_who_owns_it_and_what_is_private(flights: entries.Sources) -> None:
    def told(table: projects.TableReport) -> projects.TableReport:
        if table.name != "planes":
            return table
        return table.model_copy(update={"owner": "fleet", "classification": "restricted", "pii": ("year",)})

    tables = tuple(map(told, flights.ingest.tables))
    ingest = flights.ingest.model_copy(update={"tables": tables})
    planes = next(e for e in entries.build(replace(flights, ingest=ingest)) if e.name == "lake.planes")
    assert planes.owner == "fleet" and planes.has_pii
    year = next(c for c in planes.columns if c.name == "year")
    assert year.is_pii and year.low is None and year.classification == "restricted"
