"""What data may be used for follows from what was said of them and of what they are made of."""

from __future__ import annotations

import pytest

from mainspring.core import errors
from mainspring.core.contracts.catalog import CatalogEntry, Kind
from mainspring.core.contracts.data_reads import ReadDataset
from mainspring.core.protection import purposes


def entry(name: str, *reads: str, said: str | None = None, kind: Kind = "view") -> CatalogEntry:
    tags = {} if said is None else {"purposes": said}
    return CatalogEntry(kind=kind, name=name, reads=reads, tags=tags)


LAKE = entry("lake.people", said="care, billing", kind="dataset")
WARDS = entry("lake.wards", kind="dataset")


def test_an_entry_is_for_what_all_say_that_it_is_made_of() -> None:
    made = [
        LAKE,
        WARDS,
        entry("view.stay", "lake.people", "lake.wards"),
        entry("plan", "view.stay", kind="plan"),
    ]
    assert purposes.bounds(made, {}) == {
        name: purposes.Bound(frozenset({"care", "billing"}), ("lake.people",))
        for name in ("lake.people", "view.stay", "plan")
    }
    decided = purposes.bounds(made, {"view.stay": ["care", "study"]})
    assert decided["plan"] == purposes.Bound(frozenset({"care"}), ("lake.people", "view.stay"))
    assert decided["lake.people"].purposes == {"care", "billing"}
    assert "lake.wards" not in decided


def test_a_person_and_a_definition_are_both_heard() -> None:
    assert purposes.bounds([LAKE], {"lake.people": ["care", "sale"]})["lake.people"].purposes == {"care"}
    assert purposes.bounds([LAKE], {"lake.people": ["sale"]})["lake.people"].purposes == frozenset()
    # What is not in the catalog any more stays bound.
    assert purposes.bounds([], {"lake.gone": ["care"]})["lake.gone"].purposes == {"care"}


def test_circles_end() -> None:
    round_ = [
        entry("view.a", "view.b", said="care"),
        entry("view.b", "view.a"),
        entry("view.c", "view.nowhere"),
    ]
    found = purposes.bounds(round_, {})
    assert set(found) == {"view.a", "view.b"} and found["view.b"].by == ("view.a",)


@pytest.mark.parametrize("said", ["", "Care", "care,", "care; billing", "9lives", "a" * 41, "*"])
def test_a_tag_of_no_words_is_refused(said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"tag `purposes` of `lake\.people`"):
        purposes.check({"purposes": said}, where="lake.people")


def test_tags_of_words_are_read_once_each() -> None:
    purposes.check({"purposes": "care, billing,care"}, where="x")
    assert purposes.of_tags({"purposes": "care, billing,care"}) == ("care", "billing")
    assert purposes.of_tags({"pii": "true"}) is None


def test_tables_are_bound_by_name_and_without_one_by_their_classified_columns() -> None:
    known = purposes.bounds([LAKE, entry("lake.staff", said="payroll", kind="dataset")], {})
    classes = {
        "lake.people": {"mail": "confidential", "ward": "public"},
        "lake.staff": {"mail": "restricted"},
    }

    def of(name: str, *columns: str, **more: bool) -> frozenset[str] | None:
        table = ReadDataset.model_validate({"name": name, "columns": columns or ["mail"], **more})
        bound = purposes.of_tables([table], known, classes)
        return None if bound is None else bound.purposes

    assert of("lake.people") == {"care", "billing"}
    assert of("copy.parquet") is None
    assert of("copy.parquet", is_uncatalogued=True) == frozenset()  # either may be where it came from
    assert of("copy.parquet", "ward", is_uncatalogued=True) is None
    assert of("lake.people", is_synthetic=True) is None


def test_a_run_is_bound_by_its_plans_else_its_services_else_everything() -> None:
    wards = entry("lake.wards", said="analytics", kind="dataset")
    made = [LAKE, wards, entry("view.stay", "lake.people"), entry("view.bed", "lake.wards")]
    service, plan = (
        entry("service.all", "view.stay", "view.bed", kind="service"),
        entry("plan", "view.bed", kind="plan"),
    )

    def of(*entries: CatalogEntry) -> frozenset[str] | None:
        bound = purposes.of_run(entries, purposes.bounds(entries, {}))
        return None if bound is None else bound.purposes

    assert of(*made) == frozenset()
    assert of(*made, service, plan) == {"analytics"}
    assert of(*made, service) == frozenset()
    assert of(LAKE, entry("view.stay", "lake.people")) == {"care", "billing"}
    assert of(entry("view.free")) is None and of() is None


def test_a_purpose_may_go_on_after_a_colon() -> None:
    assert [purposes.word(said) for said in ("care", "study: table 3", " care ", "")] == [
        "care",
        "study",
        "care",
        "",
    ]
